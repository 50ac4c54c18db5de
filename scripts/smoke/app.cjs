require('reflect-metadata');
const { Controller, Module } = require('@nestjs/common');
const { NestFactory } = require('@nestjs/core');
const { EventPattern, MessagePattern } = require('@nestjs/microservices');
const { UnixSocketClientProxy, UnixSocketServer } = require('nestjs-unix-socket');
const testing = require('nestjs-unix-socket/testing');
const { exchange } = require('./exchange.cjs');

const nest = { Controller, EventPattern, MessagePattern, Module, NestFactory };
// A failure is an unhandled rejection, which ends the process with code 1.
void exchange({ ...nest, UnixSocketClientProxy, UnixSocketServer, testing });
