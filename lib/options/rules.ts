import { InvalidOptionError } from '../errors/option.errors.js';

/** What one option may be. A rule sees only its own value, so it cannot check another one by mistake. */
export interface Rule {
  readonly expected: string;
  accepts(value: unknown): boolean;
}

export type Rules<T> = { readonly [K in keyof T]-?: Rule };

/** What a user may pass for the resolved options `T`; `undefined` means "not given". */
export type Given<T> = { readonly [K in keyof T]?: T[K] | undefined };

/** Defaults filled in, checked, frozen. @throws InvalidOptionError naming the first bad option. */
export function resolveTable<T extends object>(
  given: Given<T> | undefined,
  defaults: T,
  rules: Rules<T>,
  prefix = '',
): Readonly<T> {
  if (given !== undefined && (typeof given !== 'object' || given === null)) {
    throw new InvalidOptionError(prefix.slice(0, -1) || 'options', given, 'an object');
  }
  const resolved = { ...defaults };
  for (const key of Object.keys(rules) as (keyof T & string)[]) {
    const value = given?.[key];
    if (value !== undefined) resolved[key] = value;
    if (!rules[key].accepts(resolved[key]))
      throw new InvalidOptionError(prefix + key, resolved[key], rules[key].expected);
  }
  return Object.freeze(resolved);
}

/** A whole number of at least `minimum`. */
export function atLeast(minimum: number): Rule {
  return {
    expected: `a whole number of at least ${minimum}`,
    accepts: (value) => Number.isSafeInteger(value) && (value as number) >= minimum,
  };
}

/** Any finite number of at least `minimum`. */
export function numberFrom(minimum: number): Rule {
  return {
    expected: `a number of at least ${minimum}`,
    accepts: (value) => Number.isFinite(value) && (value as number) >= minimum,
  };
}

/** A time for a timer: Node's timers take 31 bits of milliseconds and fire at once beyond. */
export function milliseconds(minimum: number): Rule {
  return {
    expected: `a number of milliseconds from ${minimum} to 2147483647`,
    accepts: (value) =>
      Number.isFinite(value) && (value as number) >= minimum && (value as number) <= 0x7fff_ffff,
  };
}

export function oneOf(...values: readonly string[]): Rule {
  return {
    expected: values.map((value) => `"${value}"`).join(' or '),
    accepts: (value) => values.includes(value as string),
  };
}

export const aBoolean: Rule = { expected: 'true or false', accepts: (value) => typeof value === 'boolean' };
export const aString: Rule = { expected: 'a string', accepts: (value) => typeof value === 'string' };

/** At least one of these, none of them twice. */
export function someOf(...values: readonly string[]): Rule {
  return {
    expected: `an array of ${values.map((value) => `"${value}"`).join(' or ')}`,
    accepts: (value) =>
      Array.isArray(value) &&
      value.length > 0 &&
      value.every((item) => values.includes(item as string)) &&
      new Set(value).size === value.length,
  };
}

export const aCodec: Rule = {
  expected: '"auto", "json", "msgpack" or an object { name, encode, decode }',
  accepts: (value) => {
    if (typeof value === 'string') return ['auto', 'json', 'msgpack'].includes(value);
    const codec = value as Partial<Record<'name' | 'encode' | 'decode', unknown>> | null;
    return (
      typeof codec === 'object' &&
      typeof codec?.name === 'string' &&
      typeof codec.encode === 'function' &&
      typeof codec.decode === 'function'
    );
  },
};

/** Of the largest messages so many fit into what may wait, unless an option says otherwise. */
const LARGEST_MESSAGES = 4;

/**
 * The settings, with byte limits that were left to their defaults raised to what {@link LARGEST_MESSAGES} of the allowed
 * size take: whoever raises `maxFrameBytes` means to send such messages.
 * @param given what was set by hand
 */
export function withRoomForMessages<T extends { readonly maxFrameBytes: number }>(
  settings: T,
  given: object | undefined,
  ...limits: (keyof T)[]
): T {
  const least = settings.maxFrameBytes * LARGEST_MESSAGES;
  const raised = limits
    .filter(
      (name) => (given as Partial<T> | undefined)?.[name] === undefined && Number(settings[name]) < least,
    )
    .map((name) => [name, least]);
  return { ...settings, ...Object.fromEntries(raised) };
}
