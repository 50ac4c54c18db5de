const MOST_KEPT = 1_000;

/**
 * What is written of a type in every message of it. An application has few types, so their texts are kept; not all of
 * them, since callers may make types up.
 */
export class TypeTexts {
  private readonly texts = new Map<string, string>();

  constructor(private readonly write: (type: string) => string) {}

  of(type: string): string {
    let text = this.texts.get(type);
    if (text === undefined) {
      text = this.write(type);
      if (this.texts.size < MOST_KEPT) this.texts.set(type, text);
    }
    return text;
  }
}
