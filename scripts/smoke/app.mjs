import 'reflect-metadata';
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MessagePattern } from '@nestjs/microservices';
// By name: this is what fails first when Node cannot see the exports of a CommonJS package.
import { UnixSocketClientProxy, UnixSocketServer } from 'nestjs-unix-socket';
import * as testing from 'nestjs-unix-socket/testing';
import { exchange } from './exchange.cjs';

// Two copies of a class in one process would break every instanceof.
const required = createRequire(import.meta.url)('nestjs-unix-socket');
assert.equal(required.UnixSocketServer, UnixSocketServer);
assert.equal(required.UnixSocketClientProxy, UnixSocketClientProxy);

const nest = { Controller, EventPattern, MessagePattern, Module, NestFactory };
await exchange({ ...nest, UnixSocketClientProxy, UnixSocketServer, testing });
