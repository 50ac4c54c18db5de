/** Count the primes below a number. */
export interface Job {
  readonly name: string;
  readonly below: number;
  /** How long it may take, in milliseconds. */
  readonly timeoutMs?: number;
}

export interface Progress {
  readonly primes: number;
  readonly upTo: number;
}

export interface Result {
  readonly worker: string;
  readonly primes: number;
}
