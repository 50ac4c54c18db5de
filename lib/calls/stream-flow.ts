/** A stream that has stopped until there is room. */
export interface PausedStream {
  /** There may be room again. */
  resume(): void;
}

/** Tells a stream that makes its values on demand when to make none. */
export interface StreamFlow {
  /** Whether nothing more should be made, because what there is has not been read. */
  readonly isHeldBack: boolean;
  /** Resumes `stream` once, when what is unread has been read. */
  pauseStream(stream: PausedStream): void;
  /** `stream` is over. */
  forgetStream(stream: PausedStream): void;
}
