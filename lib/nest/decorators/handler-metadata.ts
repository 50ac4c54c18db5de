import type { PushSubscriptionOptions } from '../../options/push-options.js';

/** The name given to `forClient`, or the token of a client that `ClientsModule` or a provider made. */
export type ClientName = string | symbol | (abstract new (...args: never[]) => unknown);

export interface PushBinding {
  readonly kind: 'push';
  readonly pattern: string | object;
  readonly client: ClientName | undefined;
  readonly options: PushSubscriptionOptions;
}

export interface ConnectionBinding {
  readonly kind: 'connect' | 'disconnect';
  readonly client: ClientName | undefined;
  readonly isServer: boolean;
}

/** What one decorator asked for. */
export type HandlerBinding = PushBinding | ConnectionBinding;

const BINDINGS = Symbol.for('nestjs-unix-socket:bindings');

/** Classes with decorated methods that no explorer has come across yet. */
const unexplored = new Set<object>();

export function addBinding(target: object, method: object, binding: HandlerBinding): void {
  // Decorators run from the last to the first.
  Reflect.defineMetadata(BINDINGS, [binding, ...bindingsOf(method)], method);
  unexplored.add(target.constructor);
}

export function bindingsOf(method: object): readonly HandlerBinding[] {
  return (Reflect.getMetadata(BINDINGS, method) as HandlerBinding[] | undefined) ?? [];
}

export function noteExplored(target: object): void {
  for (
    let proto: object | null = target;
    proto !== null;
    proto = Object.getPrototypeOf(proto) as object | null
  )
    unexplored.delete(proto.constructor);
}

export function unexploredClasses(): string[] {
  return [...unexplored].map((target) => (target as { name: string }).name);
}
