import {
  RequestHandler,
  RequestHandlerRegistry,
  type RequestHandlerFunction,
} from '../../../lib/calls/request-handler-registry.js';

const INFO = { type: '', signal: new AbortController().signal, meta: undefined };
const symbol = Symbol('method');

class Base {
  protected readonly greeting: string = 'base';

  @RequestHandler('greet')
  greet(name: string): string {
    return `${this.greeting} ${name}`;
  }

  @RequestHandler('kept')
  kept(): string {
    return 'kept';
  }

  @RequestHandler('replaced')
  oldName(): string {
    return 'old';
  }

  unmarked(): string {
    return 'unmarked';
  }
}

class Derived extends Base {
  protected override readonly greeting: string = 'derived';

  /** Overrides without a mark of its own: it is the marked method still. */
  override kept(): string {
    return 'overridden';
  }

  @RequestHandler('replaced')
  newName(): string {
    return 'new';
  }

  @RequestHandler('also')
  @RequestHandler('both')
  [symbol](): string {
    return 'two types';
  }
}

describe('RequestHandlerRegistry', () => {
  let registry: RequestHandlerRegistry;
  const call = (type: string, data?: unknown): unknown => registry.get(type)?.(data, INFO);

  beforeEach(() => {
    registry = new RequestHandlerRegistry();
  });

  it('keeps one handler for each type, the last one registered', () => {
    registry.register('a', () => 1).register('b', () => 2);
    registry.register('a', () => 3);
    expect([call('a'), call('b'), call('c')]).toEqual([3, 2, undefined]);
    expect([registry.has('a'), registry.has('c')]).toEqual([true, false]);
    expect(registry.list()).toEqual(['a', 'b']);
    expect([registry.remove('a'), registry.remove('a'), registry.has('a')]).toEqual([true, false, false]);
  });

  it.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty', ''])(
    'takes %j for an ordinary type',
    (type) => {
      expect(registry.get(type)).toBeUndefined();
      expect(registry.has(type)).toBe(false);
      registry.register(type, () => 'handled');
      expect(call(type)).toBe('handled');
    },
  );

  it.each<[unknown, unknown, string]>([
    [5, () => 1, 'A request type is a string, not number'],
    [undefined, () => 1, 'A request type is a string, not undefined'],
    ['a', 'no function', 'The handler of "a" is not a function'],
    ['a', undefined, 'The handler of "a" is not a function'],
  ])('refuses %p with %p', (type, handler, message) => {
    expect(() => registry.register(type as string, handler as RequestHandlerFunction)).toThrow(
      new TypeError(message),
    );
  });

  it('registers the marked methods of an instance, bound to it', () => {
    expect(registry.registerFrom(new Base()).sort()).toEqual(['greet', 'kept', 'replaced']);
    expect([call('greet', 'x'), call('kept'), call('replaced')]).toEqual(['base x', 'kept', 'old']);
    expect(registry.list()).not.toContain('unmarked');
  });

  it('registers inherited methods, overridden ones, and the nearest mark of a type', () => {
    expect(registry.registerFrom(new Derived()).sort()).toEqual([
      'also',
      'both',
      'greet',
      'kept',
      'replaced',
    ]);
    expect([call('greet', 'x'), call('kept'), call('replaced')]).toEqual(['derived x', 'overridden', 'new']);
    expect([call('also'), call('both')]).toEqual(['two types', 'two types']);
  });

  it('does not change a parent class by what its children mark', () => {
    expect(registry.registerFrom(new Base())).not.toContain('both');
  });

  it('reads no property but the marked methods', () => {
    const instance = Object.defineProperty(new Derived(), 'trap', {
      enumerable: true,
      get: () => {
        throw new Error('read');
      },
    });
    expect(() => registry.registerFrom(instance)).not.toThrow();
    expect(registry.registerFrom({ plain: () => 1 })).toEqual([]);
  });
});
