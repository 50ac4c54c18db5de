import type { DiscoveryService, MetadataScanner } from '@nestjs/core';
import { InvalidHandlerError } from '../../errors/handler.errors.js';
import { bindingsOf, noteExplored, type HandlerBinding } from '../decorators/handler-metadata.js';
import { PARAM_METADATA } from '../unix-socket.constants.js';

/** What Nest knows of a provider or controller. */
export type InstanceWrapper = ReturnType<DiscoveryService['getProviders']>[number];

/** A method with decorators of this package. */
export interface DecoratedMethod {
  readonly wrapper: InstanceWrapper;
  /** As `Class.method`, for messages. */
  readonly label: string;
  readonly method: string;
  /** Whether one instance handles everything; otherwise each message gets its own. */
  readonly isSingleton: boolean;
  readonly bindings: readonly HandlerBinding[];
}

/** Guards, interceptors, pipes and filters of a class or method, as Nest's decorators leave them. */
const ENHANCERS = ['__guards__', '__interceptors__', '__pipes__', '__exceptionFilters__'];

/** @throws InvalidHandlerError */
export function* decoratedMethods(
  wrappers: Iterable<InstanceWrapper>,
  scanner: MetadataScanner,
): Iterable<DecoratedMethod> {
  const seen = new Set<object>();
  for (const wrapper of wrappers) {
    const instance: unknown = wrapper.isAlias ? undefined : wrapper.instance;
    // The same object may be there under several tokens.
    if (typeof instance !== 'object' || instance === null || seen.has(instance)) continue;
    seen.add(instance);
    const prototype = Object.getPrototypeOf(instance) as Record<string, unknown> | null;
    if (prototype === null) continue;
    for (const method of scanner.getAllMethodNames(prototype)) {
      const bindings = bindingsOf(prototype[method] as object);
      if (bindings.length === 0) continue;
      noteExplored(prototype);
      const label = `${prototype.constructor.name}.${method}`;
      const isSingleton = wrapper.isDependencyTreeStatic() && !wrapper.isTransient;
      yield { wrapper, label, method, isSingleton, bindings };
    }
  }
}

/**
 * Nest registers the classes of guards and the like only for classes that it makes itself, and passes over in silence
 * what it does not find.
 * @throws InvalidHandlerError
 */
export function checkEnhancers({ wrapper, label, method }: DecoratedMethod): void {
  const { constructor, [method]: callback } = wrapper.instance as Record<string, object>;
  const named = [constructor, callback].flatMap((target) =>
    ENHANCERS.flatMap((key) => (Reflect.getMetadata(key, target as object) as unknown[] | undefined) ?? []),
  );
  const params = (Reflect.getMetadata(PARAM_METADATA, constructor as object, method) ?? {}) as Record<
    string,
    { pipes?: unknown[] }
  >;
  for (const enhancer of [...named, ...Object.values(params).flatMap(({ pipes }) => pipes ?? [])]) {
    if (typeof enhancer !== 'function' || wrapper.host?.injectables.has(enhancer as never)) continue;
    throw new InvalidHandlerError(
      'ENHANCER_NOT_FOUND',
      label,
      `Nest would not run its ${enhancer.name}. List the class itself among the providers or controllers of its module, ` +
        'instead of a factory or value.',
    );
  }
}
