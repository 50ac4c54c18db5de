import { BYTES_KEY, isBinary, reservedKey, tooDeep } from './value-rules.js';

/**
 * A look through a value before it is encoded. `JSON.stringify` would write a Buffer as `{"type":"Buffer",…}` and a typed
 * array as an object of numbers, and offers no cheap way to step in. Also finds what must not be sent.
 */
export class Survey {
  /** Of the longest string there is. */
  longestLength = 0;
  valueCount = 0;

  /** @param hasTags whether the key {@link BYTES_KEY} is reserved */
  constructor(private readonly hasTags: boolean) {}

  /**
   * Whether there is any. If not, the other findings are complete.
   * @param levels how many the value may have
   */
  holdsBinary(value: unknown, levels: number): boolean {
    if (typeof value === 'object' && value !== null) return this.lookInto(value, levels);
    this.note(value);
    return false;
  }

  private lookInto(value: object, levels: number): boolean {
    this.valueCount++;
    if (levels === 0) throw tooDeep();
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++) if (this.holdsBinary(value[i], levels - 1)) return true;
      return false;
    }
    if (isBinary(value)) return true;
    // What toJSON() gives is only known by calling it, which the careful path does.
    if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return !(value instanceof Date);
    for (const key in value) {
      if (key === BYTES_KEY && this.hasTags && Object.hasOwn(value, key)) throw reservedKey();
      if (this.holdsBinary((value as Record<string, unknown>)[key], levels - 1)) return true;
    }
    return false;
  }

  private note(value: unknown): void {
    this.valueCount++;
    if (typeof value === 'string' && value.length > this.longestLength) this.longestLength = value.length;
  }
}
