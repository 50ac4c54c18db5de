import { connect, type Socket } from 'node:net';
import { asCompact, readCompact } from '../compact.js';
import { frame } from '../frames.js';

const LIMIT_BYTES = 16 * 1024 * 1024;
const BEAT_MS = 50;

type Json = Record<string, unknown>;

interface Order {
  readonly type: string;
  readonly data: unknown;
  readonly stream?: true;
  readonly event?: true;
  readonly cancelAfterMs?: number;
  readonly timeoutMs?: number;
  readonly meta?: object;
}

interface Waiting {
  readonly id: string;
  readonly isStream: boolean;
  readonly values: unknown[];
  settle(outcome: object): void;
}

/**
 * A client of both versions, made by hand, that runs the conformance application and keeps every rule but the one it
 * is told to break. It connects again at once, until it is told that all is done.
 */
export class FaultyClient {
  isClosed = false;
  isAtWork = false;
  report: object | null = null;
  pushes: unknown[] = [];
  session: ClientSession | undefined;
  private readonly sessions = new Set<ClientSession>();

  constructor(
    readonly at: { path: string } | { port: number },
    readonly fault: string | undefined,
    readonly version: 'v1' | 'v2',
    /** When a lost call fails that should fail at once. */
    readonly lateMs: number,
  ) {
    this.dial();
  }

  breaks(rule: string): boolean {
    return this.fault === rule;
  }

  dial(): void {
    if (this.isClosed) return;
    this.session = new ClientSession(connect({ ...this.at, allowHalfOpen: true, noDelay: true }), this);
    this.sessions.add(this.session);
  }

  onClosed(session: ClientSession): void {
    this.sessions.delete(session);
    if (session === this.session) setImmediate(() => this.dial());
  }

  close(): void {
    this.isClosed = true;
    for (const session of this.sessions) session.socket.destroy();
  }
}

export class ClientSession {
  private pending = Buffer.alloc(0);
  private isGreeted = false;
  private isV1 = false;
  private isUpgraded = false;
  private isCompact = false;
  private limitBytes = Infinity;
  private isGoingAway = false;
  private count = 0;
  private waiting: Waiting[] = [];
  private readonly beats: NodeJS.Timeout;

  constructor(
    readonly socket: Socket,
    private readonly owner: FaultyClient,
  ) {
    let isOurEnd = true;
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => this.onData(chunk));
    socket.on('end', () => {
      isOurEnd = false;
      if (!this.breaks('close/end')) socket.destroy();
    });
    socket.on('close', () => {
      clearInterval(this.beats);
      const fail = (): void => {
        for (const { settle } of this.waiting.splice(0)) settle({ error: 'lost' });
        owner.onClosed(this);
      };
      if (!isOurEnd && this.breaks('close/lost') && !owner.isClosed && this.hasCalls)
        setTimeout(fail, owner.lateMs);
      else fail();
    });
    this.beats = setInterval(() => {
      if (this.isGreeted && !this.isV1 && !this.breaks('heartbeat/sent')) this.write('heartbeat', '', null);
    }, BEAT_MS);
  }

  private get hasCalls(): boolean {
    return this.waiting.some(({ id }) => !id.startsWith('next'));
  }

  private breaks(rule: string): boolean {
    return this.owner.breaks(rule);
  }

  private refuse(rule: string): void {
    if (!this.breaks(rule)) this.socket.destroy();
  }

  private onData(chunk: Buffer): void {
    if (this.breaks('framing/split') && this.pending.length === 0 && chunk.length < 4) return;
    this.pending = Buffer.concat([this.pending, chunk]);
    for (let count = 0; this.pending.length >= 4 && !this.socket.destroyed; count++) {
      const length = this.pending.readUInt32BE();
      const limit = this.breaks('framing/large') ? 100_000 : LIMIT_BYTES;
      if (length > limit && !this.breaks('framing/too-long')) return void this.socket.destroy();
      if (this.pending.length < 4 + length) return;
      const body = this.pending.subarray(4, 4 + length);
      this.pending = this.pending.subarray(4 + length);
      if (!this.breaks('framing/joined') || count < 30) this.onBody(body);
    }
  }

  private onBody(bytes: Buffer): void {
    if (bytes.length === 0) return this.refuse('framing/zero-length');
    if (this.isCompact && !this.breaks('compact/read')) {
      try {
        const compact = readCompact(bytes);
        if (compact !== undefined) return this.onMessage({ ...compact });
      } catch {
        return this.refuse('compact/malformed');
      }
    }
    let value: unknown;
    try {
      const ignoreBOM = this.breaks('body/any-json');
      value = JSON.parse(new TextDecoder('utf-8', { ignoreBOM }).decode(bytes));
    } catch {
      return this.refuse('body/json');
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return this.refuse('body/object');
    const body = value as Json;
    if (!this.isGreeted) return this.onGreeting(body);
    if (this.isV1) return this.onV1(body);
    for (const key of ['msg_type', 'request_id', 'data', 'timestamp']) {
      if (!(key in body)) return this.refuse('message/keys');
    }
    if (this.breaks('message/lenient') && body['timestamp'] === null) return void this.socket.destroy();
    this.onMessage(body);
  }

  private onGreeting(body: Json): void {
    this.isGreeted = true;
    this.isV1 = this.owner.version === 'v1';
    if (this.breaks('greeting/extra') && 'type' in body) return void this.socket.destroy();
    if (this.breaks('v1/greeting') && 'msg_type' in body) return void this.socket.destroy();
    const { caps, max_frame_bytes: limit } = body['data'] as Json;
    if (caps !== undefined) {
      this.isUpgraded = true;
      if (typeof limit === 'number' && !this.breaks('limit/frame')) this.limitBytes = limit;
      const own = this.breaks('compact/agreed') ? [] : ['compact'];
      const hello = { name: 'by hand', account_id: '', caps: own, max_frame_bytes: LIMIT_BYTES };
      if (!this.breaks('upgrade/hello')) {
        this.write('heartbeat', '', null, { hello });
        this.isCompact = (caps as string[]).includes('compact');
      }
    }
    void this.askNext();
  }

  /** For its next task, unless it is at work on one. */
  private async askNext(): Promise<void> {
    if (this.owner.isAtWork) return;
    const outcome = await this.call({ type: 'conformance.next', data: this.owner.report }, 'next');
    const { done, task, calls } = ((outcome as Json)['result'] ?? {}) as Json;
    if (done === true) this.owner.close();
    if (!Array.isArray(calls)) return;
    this.owner.pushes = [];
    this.owner.isAtWork = true;
    const outcomes = await Promise.all(calls.map((order: Order) => this.call(order)));
    this.owner.report = { task, outcomes, pushes: this.owner.pushes };
    this.owner.isAtWork = false;
    // On a lost connection the next one asks, and after a notice the new one does.
    const { session } = this.owner;
    if (session === this && !this.socket.destroyed) void this.askNext();
    else if (session !== this && session?.isGreeted === true) void session.askNext();
    if (this.isGoingAway) this.socket.destroy();
  }

  private call(order: Order, prefix = 'call'): Promise<object> {
    const { type, stream, event, cancelAfterMs, timeoutMs, meta } = order;
    const number = Number(/^any-(\d+)$/.exec(type)?.[1]);
    const isTwin = this.breaks('request/id') && number > 10;
    const id = isTwin ? 'twin' : `${prefix}-${++this.count}`;
    const isWrong = this.breaks('request/data') && number >= 0 && order.data === false;
    const data = isWrong ? null : order.data;
    const extras = {
      ...(meta !== undefined && !this.breaks('meta/sent') ? { meta } : {}),
      ...(timeoutMs !== undefined && this.sendsDeadline() ? { deadline_ms: timeoutMs } : {}),
    };
    if (stream === true && this.breaks('no streams')) return Promise.resolve({ unsupported: 'streams' });
    return new Promise((resolve) => {
      const waiting: Waiting = { id, isStream: stream === true, values: [], settle: resolve };
      if (JSON.stringify(data).length > this.limitBytes) return resolve({ error: 'too large' });
      if (event === true && this.isUpgraded && !this.breaks('event/sent')) {
        this.write('push', id, { type, data });
        return resolve({ result: null });
      }
      this.waiting.push(waiting);
      if (this.isV1) {
        const payload = this.breaks('v1/request') && prefix === 'call' ? { data } : data;
        this.socket.write(frame({ type, request_id: id, data: payload }));
      } else this.write('request', id, { type, data }, extras);
      if (cancelAfterMs !== undefined) {
        setTimeout(() => {
          if (!this.breaks('cancel/sent')) this.write('error', id, null, { error: 'cancelled' });
          this.settle(waiting, { error: 'cancelled' });
        }, cancelAfterMs);
      }
    });
  }

  private sendsDeadline(): boolean {
    return this.isUpgraded ? !this.breaks('deadline/sent') : this.breaks('upgrade/plain');
  }

  private settle(waiting: Waiting, outcome: object): void {
    this.waiting = this.waiting.filter((one) => one !== waiting);
    waiting.settle(outcome);
  }

  private onMessage(body: Json): void {
    const { msg_type: type, request_id: id, data, probe } = body;
    switch (type) {
      case 'response':
        return this.onResponse(body);
      case 'push':
        return this.onPush(data);
      case 'heartbeat':
        if (this.breaks('ignored/heartbeat')) this.write('heartbeat', '', null);
        if (probe !== undefined && !this.breaks('probe/answer')) {
          this.write('heartbeat', '', null, { probe_ack: probe });
        }
        return;
      case 'error':
        return this.onError(id);
      case 'request':
        if (this.breaks('ignored/request')) this.write('response', id, null);
        return;
      default:
        this.refuse('message/type');
    }
  }

  private onResponse({ request_id: id, data, error, error_detail: detail, more, end }: Json): void {
    const found = this.waiting.find((one) => one.id === id);
    if (found === undefined) {
      if (this.breaks('response/unknown-id') && id === 'zzz') this.socket.destroy();
      return;
    }
    const waiting = this.breaks('response/any-order') ? (this.waiting[0] as Waiting) : found;
    if (more === true) return void waiting.values.push(data);
    const isEmptyError = error === '' && this.breaks('response/empty-error');
    let isFailure = isEmptyError || (typeof error === 'string' && error !== '');
    if (this.breaks('response/failure') && data === null && detail === undefined) isFailure = false;
    if (this.breaks('response/error-wins') && data !== null) isFailure = false;
    const { code } = (detail ?? {}) as Json;
    const failure = this.breaks('error/detail') ? { error } : { error, code };
    const outcome = isFailure ? failure : { result: this.result(waiting, data, end) };
    if (this.breaks('response/twice') && !found.id.startsWith('next')) {
      // Whatever has come last when it looks.
      Object.assign(waiting, { latest: outcome });
      setTimeout(() => this.settle(waiting, (waiting as unknown as { latest: object }).latest), 10);
      return;
    }
    this.settle(waiting, outcome);
  }

  private result({ isStream, values }: Waiting, data: unknown, end: unknown): unknown {
    if (isStream && values.length === 0 && this.breaks('stream/empty')) return [null];
    if (isStream) return this.breaks('stream/values') ? values.slice(-1) : end === true ? values : [data];
    if (this.breaks('response/value') && data === false) return null;
    if (this.breaks('body/surrogate') && data === '\ud83d') return '?';
    return data;
  }

  private onPush(data: unknown): void {
    const isOdd = typeof data !== 'object' || data === null || !('type' in data);
    if (isOdd && this.breaks('push/odd')) return void this.socket.destroy();
    const { type = 'unknown', data: inner = {} } = (isOdd ? {} : data) as Json;
    if (this.breaks('push/delivered')) this.owner.pushes.unshift([type, inner]);
    else this.owner.pushes.push([type, inner]);
  }

  private onError(id: unknown): void {
    const waiting = this.waiting.find((one) => one.id === id);
    if (waiting !== undefined && this.breaks('ignored/error')) this.settle(waiting, { error: 'boom' });
    if (id !== '') return;
    this.isGoingAway = true;
    if (this.breaks('notice/going-away')) this.socket.destroy();
    else this.owner.dial();
  }

  private onV1({ type, request_id: id, status, data, message, msg_type: msgType }: Json): void {
    if (type === 'response') {
      const waiting = this.waiting.find((one) => one.id === id);
      if (waiting === undefined) {
        if (this.breaks('v1/response')) this.socket.destroy();
        return;
      }
      const isFailure = status === 'error' && !this.breaks('v1/failure');
      return this.settle(waiting, isFailure ? { error: message } : { result: data });
    }
    if (type === undefined) {
      const { type: inner, data: payload } = data as Json;
      if (this.breaks('v1/v2-frame') && typeof payload === 'object') this.owner.pushes.push([inner, payload]);
      return;
    }
    const isBare = this.breaks('v1/push') && typeof data === 'object';
    this.owner.pushes.push([type, isBare ? null : data]);
    if (this.breaks('v1/pair') && msgType !== undefined) this.owner.pushes.push([type, data]);
  }

  private write(msgType: string, id: unknown, data: unknown, extras: object = {}): void {
    const timestamp = this.breaks('message/form') ? 5 : '2024-01-02T03:04:05.000006';
    const body = { msg_type: msgType, request_id: id, data, timestamp, error: null, ...extras };
    if (!this.socket.destroyed)
      this.socket.write((this.isCompact ? asCompact(body) : undefined) ?? frame(body));
  }
}
