import { Inject } from '@nestjs/common';

/** The token of a client that `UnixSocketModule.forClient` made. */
export function getUnixSocketClientToken(name: string): string {
  return `UnixSocketClient(${name})`;
}

/** Injects the client with this name. */
export function InjectUnixSocketClient(name: string): ParameterDecorator & PropertyDecorator {
  return Inject(getUnixSocketClientToken(name));
}
