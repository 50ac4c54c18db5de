import { Deadlines } from '../connection/deadlines.js';
import { LatencyRecorder } from '../connection/stats.js';
import type { CallChannel } from './call-channel.js';
import type { IncomingCall } from './incoming-call.js';
import { RequestHandlerRegistry } from './request-handler-registry.js';
import { runFunctionHandler } from './run-function-handler.js';

const LONGEST_TIMER_MS = 0x7fff_ffff;

/** Runs the calls that arrive at one end, within their deadlines: by a plain function, else by whoever is above. */
export class CallRunner<C extends CallChannel> {
  /** Functions that handle requests. */
  readonly handlers = new RequestHandlerRegistry();
  /** From the start of a handler to its answer. */
  readonly latency = new LatencyRecorder();
  private readonly deadlines = new Deadlines();

  /** @param runElsewhere gets a call that no function handles. False: nobody does */
  constructor(private readonly runElsewhere: (call: IncomingCall<C>) => boolean) {}

  /** The caller waits only so long from now. */
  limit(call: IncomingCall<C>, deadlineMs: number): void {
    const timeoutMs = Math.min(deadlineMs, LONGEST_TIMER_MS);
    // 0 means no limit there, and no time left here.
    if (timeoutMs > 0) this.deadlines.add(call, timeoutMs, performance.now());
    else
      call.refuse(
        'DEADLINE_EXCEEDED',
        'The deadline of the call had passed before it arrived; it was not started.',
      );
  }

  run(call: IncomingCall<C>): void {
    const now = performance.now();
    // It waited for its turn, and this process was too busy for the timer.
    if (call.expiresAt > 0 && call.expiresAt <= now) {
      call.onExpired();
      return;
    }
    call.startedAt = now;
    const { type, kind } = call.message;
    const handler = typeof type === 'string' && kind === 'request' ? this.handlers.get(type) : undefined;
    if (handler !== undefined) {
      runFunctionHandler(handler, call);
    } else if (!this.runElsewhere(call)) {
      call.failUnknown();
    }
  }

  onSettled(call: IncomingCall<C>): void {
    this.deadlines.remove(call);
    // How long a caller leaves its answer unread says nothing of the handler.
    if (call.startedAt > 0) this.latency.record((call.answeredAt || performance.now()) - call.startedAt);
  }

  /** After the last call has ended. */
  close(): void {
    this.deadlines.close();
  }
}
