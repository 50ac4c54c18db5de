require('reflect-metadata');
const { Controller, Module } = require('@nestjs/common');
const { NestFactory } = require('@nestjs/core');
const { EventPattern, MessagePattern } = require('@nestjs/microservices');
const { UnixSocketClientProxy, UnixSocketServer } = require('nestjs-unix-socket');
const testing = require('nestjs-unix-socket/testing');
const { exchange } = require('./exchange.cjs');

const nest = { Controller, EventPattern, MessagePattern, Module, NestFactory };
exchange({ ...nest, UnixSocketClientProxy, UnixSocketServer, testing });
