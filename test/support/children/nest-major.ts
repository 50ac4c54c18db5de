import Module from 'node:module';
import { join } from 'node:path';

type Resolve = (request: string, ...rest: unknown[]) => string;

/**
 * Loads Nest from the folder that the environment names, as jest does for its second project: import this before
 * anything that imports Nest.
 */
const { NEST_FROM } = process.env;

if (NEST_FROM !== undefined) {
  const loader = Module as unknown as { _resolveFilename: Resolve };
  const resolve = loader._resolveFilename;
  loader._resolveFilename = (request, ...rest) =>
    request.startsWith('@nestjs/')
      ? resolve.call(loader, join(NEST_FROM, request.slice('@nestjs'.length)), ...rest)
      : resolve.call(loader, request, ...rest);
}
