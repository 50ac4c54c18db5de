import { ConfigurableModuleBuilder } from '@nestjs/common';
import type { UnixSocketServerOptions } from './unix-socket.server.js';

const definition = new ConfigurableModuleBuilder<UnixSocketServerOptions>({ moduleName: 'UnixSocket' })
  .setClassMethodName('forRoot')
  .setExtras({ isGlobal: true }, (module, { isGlobal }) => ({ ...module, global: isGlobal }))
  .build();

export const ConfigurableUnixSocketModule = definition.ConfigurableModuleClass;
export const UNIX_SOCKET_OPTIONS = definition.MODULE_OPTIONS_TOKEN;
