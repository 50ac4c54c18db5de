/**
 * Answers a request with what it returns or resolves to, an async iterable with its values as a stream; what it throws
 * goes to the caller as text.
 */
export type RequestHandlerFunction<T = unknown, R = unknown> = (data: T, call: RequestInfo) => R | Promise<R>;

/** What a function handler may want to know beside the data. */
export interface RequestInfo {
  readonly type: string;
  /** Fires when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  readonly meta: Readonly<Record<string, string>> | undefined;
}

/** Which methods of a class handle which request types; filled by {@link RequestHandler}. */
const markedMethods = new WeakMap<object, Map<string, string | symbol>>();

/** Marks a method as the handler of `type`; {@link RequestHandlerRegistry.registerFrom} finds it. */
export function RequestHandler(type: string): MethodDecorator {
  return (prototype, method) => {
    const marked = markedMethods.get(prototype) ?? new Map<string, string | symbol>();
    markedMethods.set(prototype, marked.set(type, method));
  };
}

/** Request handlers by type, added and removed at run time. The last one registered for a type wins. */
export class RequestHandlerRegistry {
  private readonly handlers = new Map<string, RequestHandlerFunction>();

  /** @throws TypeError if `handler` is no function */
  register(type: string, handler: RequestHandlerFunction<never>): this {
    if (typeof type !== 'string') throw new TypeError(`A request type is a string, not ${typeof type}`);
    if (typeof handler !== 'function') throw new TypeError(`The handler of "${type}" is not a function`);
    this.handlers.set(type, handler as RequestHandlerFunction);
    return this;
  }

  /** Registers every method marked with {@link RequestHandler}, inherited ones too. Returns their types. */
  registerFrom(instance: object): string[] {
    const found = new Map<string, string | symbol>();
    for (
      let proto: unknown = Object.getPrototypeOf(instance);
      typeof proto === 'object' && proto !== null;
      proto = Object.getPrototypeOf(proto)
    ) {
      for (const [type, method] of markedMethods.get(proto) ?? [])
        if (!found.has(type)) found.set(type, method);
    }
    for (const [type, method] of found) {
      const handler = (instance as Record<string | symbol, RequestHandlerFunction>)[
        method
      ] as RequestHandlerFunction;
      this.register(type, handler.bind(instance));
    }
    return [...found.keys()];
  }

  get(type: string): RequestHandlerFunction | undefined {
    return this.handlers.get(type);
  }

  has(type: string): boolean {
    return this.handlers.has(type);
  }

  /** Whether there was one. */
  remove(type: string): boolean {
    return this.handlers.delete(type);
  }

  list(): string[] {
    return [...this.handlers.keys()];
  }
}
