import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { MessageType } from '../protocol/message-body.js';

export type MessageCounts = { readonly [K in MessageType]: number };

/** Percentiles in milliseconds, to a thousandth. All 0 while `count` is 0. */
export interface LatencySummary {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** One microsecond to one hour, to a hundredth of the value: a few kilobytes, where the default takes hundreds. */
const RANGE = { lowest: 1, highest: 3_600_000_000, figures: 2 };

/** Latencies since the start, kept as a histogram: fixed memory however many are recorded. */
export class LatencyRecorder {
  /** Made with the first: it would be most of what an idle client takes. */
  private histogram: RecordableHistogram | undefined;

  /** @param milliseconds may have a fraction */
  record(milliseconds: number): void {
    // Whole microseconds; the histogram takes no 0.
    this.histogram ??= createHistogram(RANGE);
    this.histogram.record(Math.min(Math.max(RANGE.lowest, Math.round(milliseconds * 1_000)), RANGE.highest));
  }

  summary(): LatencySummary {
    const { histogram } = this;
    if (histogram === undefined) return Object.freeze({ count: 0, mean: 0, p50: 0, p90: 0, p99: 0, max: 0 });
    return Object.freeze({
      count: histogram.count,
      mean: Math.round(histogram.mean) / 1_000,
      p50: histogram.percentile(50) / 1_000,
      p90: histogram.percentile(90) / 1_000,
      p99: histogram.percentile(99) / 1_000,
      max: histogram.max / 1_000,
    });
  }
}

/** Counts of messages by their type. */
export class MessageCounter {
  private heartbeat = 0;
  private request = 0;
  private response = 0;
  private push = 0;
  private error = 0;

  add(type: MessageType): void {
    switch (type) {
      case MessageType.Request:
        this.request++;
        return;
      case MessageType.Response:
        this.response++;
        return;
      case MessageType.Push:
        this.push++;
        return;
      case MessageType.Heartbeat:
        this.heartbeat++;
        return;
      case MessageType.Error:
        this.error++;
    }
  }

  snapshot(): MessageCounts {
    const { heartbeat, request, response, push, error } = this;
    return Object.freeze({ heartbeat, request, response, push, error });
  }
}

/** Counts of errors by their code. */
export class ErrorCounter {
  total = 0;
  private readonly byCode = new Map<string, number>();

  add(code: string): void {
    this.total++;
    this.byCode.set(code, (this.byCode.get(code) ?? 0) + 1);
  }

  snapshot(): Readonly<Record<string, number>> {
    return Object.freeze(Object.fromEntries(this.byCode));
  }
}
