import { createServer, type Server, type Socket } from 'node:net';
import { asCompact, readCompact } from '../compact.js';
import { frame } from '../frames.js';

const LIMIT_BYTES = 16 * 1024 * 1024;
const UNKNOWN = 'Unknown request type';
const CAPS = [
  'stream',
  'cancel',
  'deadline',
  'meta',
  'error_detail',
  'probe',
  'going_away',
  'credit',
  'compact',
];

type Json = Record<string, unknown>;

interface Hanging {
  readonly id: unknown;
  readonly session: Session;
}

/**
 * A server of both versions, made by hand, that runs the conformance application and keeps every rule but the one
 * it is told to break.
 */
export class FaultyServer {
  cancelled = 0;
  events = 0;
  connections = 0;
  readonly sessions = new Set<Session>();
  hanging: Hanging[] = [];
  private readonly server: Server;

  constructor(readonly fault?: string) {
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.sessions.add(new Session(socket, this));
    });
  }

  listen(at: { path: string } | { port: number }): Promise<this> {
    return new Promise((resolve) => this.server.listen(at, () => resolve(this)));
  }

  get address(): ReturnType<Server['address']> {
    return this.server.address();
  }

  breaks(rule: string): boolean {
    return this.fault === rule;
  }

  stop(isMeant: (hanging: Hanging) => boolean): void {
    const stopped = this.hanging.filter(isMeant);
    this.hanging = this.hanging.filter((hanging) => !stopped.includes(hanging));
    this.cancelled += stopped.length;
  }

  close(): Promise<void> {
    for (const session of this.sessions) session.socket.destroy();
    return new Promise((resolve) => this.server.close(() => resolve()));
  }
}

class Session {
  private pending = Buffer.alloc(0);
  private isUpgraded = false;
  private isCompact = false;
  private isV1 = false;
  private limitBytes = LIMIT_BYTES;
  private readonly streams = new Map<unknown, { sent: number; readonly length: number; credit: number }>();
  private running = 0;
  private hasEnded = false;
  /** Of the latest request. */
  private credit: unknown;
  private readonly seen = new Set<unknown>();

  constructor(
    readonly socket: Socket,
    private readonly owner: FaultyServer,
  ) {
    socket.on('error', () => undefined);
    socket.on('close', () => owner.sessions.delete(this));
    socket.on('data', (chunk: Buffer) => this.onData(chunk));
    socket.on('end', () => this.onEnd());
    if (this.breaks('greeting/first')) this.write('heartbeat', '', null);
    this.greet();
  }

  private breaks(rule: string): boolean {
    return this.owner.breaks(rule);
  }

  private greet(): void {
    const connId = this.breaks('greeting/form') ? 'same' : `conn${++this.owner.connections}`;
    const limit = this.breaks('upgrade/greeting') ? {} : { max_frame_bytes: LIMIT_BYTES };
    const data = { account_id: 'acc1', conn_id: connId, caps: CAPS, ...limit };
    const type = this.breaks('v1/greeting') ? 'hello' : 'register';
    this.write('response', '', data, { type, account_id: 'acc1' });
  }

  private onData(chunk: Buffer): void {
    if (this.breaks('framing/split') && this.pending.length === 0 && chunk.length < 4) return;
    this.pending = Buffer.concat([this.pending, chunk]);
    for (let count = 0; this.pending.length >= 4; count++) {
      const length = this.pending.readUInt32BE();
      const limit = this.breaks('framing/large') ? 100_000 : LIMIT_BYTES;
      if (length > limit && !this.breaks('framing/too-long')) return this.hangUp();
      if (this.pending.length < 4 + length) return;
      const body = this.pending.subarray(4, 4 + length);
      this.pending = this.pending.subarray(4 + length);
      if (!this.breaks('framing/joined') || count < 10) this.onBody(body);
    }
  }

  private onEnd(): void {
    this.hasEnded = true;
    if (this.isUpgraded && !this.breaks('cancel/gone')) {
      this.owner.stop(({ session }) => session === this);
      this.socket.end();
    }
    if (this.breaks('framing/cut-off') && this.pending.length > 0) return;
    if (this.breaks('close/half')) this.socket.destroy();
    else if (this.running === 0) this.socket.end();
  }

  private hangUp(): void {
    if (this.breaks('close/others')) for (const session of this.owner.sessions) session.socket.destroy();
    this.socket.destroy();
  }

  private refuse(rule: string): void {
    if (!this.breaks(rule) && !this.breaks('v1/malformed')) this.hangUp();
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
    let text: string;
    let value: unknown;
    try {
      const isBom = this.breaks('body/any-json');
      text = new TextDecoder('utf-8', { fatal: !this.breaks('body/utf-8'), ignoreBOM: isBom }).decode(bytes);
    } catch {
      return this.hangUp();
    }
    try {
      value = JSON.parse(text);
    } catch {
      return this.refuse('body/json');
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return this.refuse('body/object');
    const body = value as Json;
    if (!('msg_type' in body) && 'type' in body) this.isV1 = true;
    if (!('msg_type' in body) && (this.isV1 || 'request_id' in body) && !('timestamp' in body)) {
      this.isV1 = true;
      return this.onV1(body);
    }
    for (const key of ['msg_type', 'request_id', 'data', 'timestamp']) {
      if (!(key in body)) return this.refuse('message/keys');
    }
    if (this.breaks('message/lenient') && body['timestamp'] === null) return this.hangUp();
    this.onMessage(body);
  }

  private onMessage(body: Json): void {
    const id = body['request_id'];
    switch (body['msg_type']) {
      case 'request':
        return this.onRequest(body);
      case 'push':
        if (this.isUpgraded && !this.breaks('event/handled')) this.owner.events++;
        if (!this.isUpgraded && this.breaks('ignored/push')) this.write('response', id, null);
        return;
      case 'response':
        if (this.breaks('ignored/response')) this.write('error', '', null);
        return;
      case 'error':
        if (this.breaks('ignored/error')) this.write('response', id, null);
        if (!this.breaks('cancel/stops')) {
          this.owner.stop((hanging) => hanging.session === this && hanging.id === id);
        }
        return;
      case 'heartbeat':
        return this.onHeartbeat(body);
      default:
        this.refuse('message/type');
    }
  }

  private onHeartbeat({ hello, probe, probe_ack: ack, request_id: id, credit }: Json): void {
    if (credit !== undefined) return this.goOn(id, Number(credit));
    if (hello !== undefined) {
      this.isUpgraded = true;
      const { caps, max_frame_bytes: limit } = hello as Json;
      this.isCompact = (caps as string[]).includes('compact');
      if (typeof limit === 'number' && !this.breaks('limit/frame')) this.limitBytes = limit;
    }
    if (ack !== undefined) return;
    const isAcked = probe !== undefined && !(this.breaks('probe/answer') && probe !== 0);
    const extras = isAcked ? { probe_ack: probe } : this.breaks('upgrade/plain') ? { probe_ack: 0 } : {};
    this.write('heartbeat', this.breaks('heartbeat/answer') ? id : '', null, extras);
  }

  private onRequest(body: Json): void {
    const { request_id: id, data: outer, error, meta, deadline_ms: deadlineMs } = body;
    if (this.breaks('response/every') && this.seen.has(id)) return;
    this.seen.add(id);
    this.credit = body['credit'];
    if (this.breaks('request/error-key') && error === 'x') return this.fail(id, 'x');
    if (deadlineMs === 0 && !this.breaks('deadline/zero')) {
      return this.fail(id, 'late', { code: 'DEADLINE_EXCEEDED', message: 'late', refused: true });
    }
    const { type, data } = (typeof outer === 'object' && outer !== null ? outer : {}) as Json;
    const payload = data === undefined ? (this.breaks('request/data-missing') ? null : {}) : data;
    if (typeof type !== 'string' || type === '') {
      if (!this.breaks('request/no-type')) this.fail(id, UNKNOWN);
      return;
    }
    this.handle(id, type, payload, (meta ?? {}) as Json, deadlineMs);
  }

  private handle(id: unknown, type: string, data: unknown, meta: Json, deadlineMs: unknown): void {
    switch (type) {
      case 'echo':
        return this.echo(id, data);
      case 'nothing':
        return this.breaks('response/nothing') ? this.fail(id, 'nothing') : this.answer(id, null);
      case 'fail':
        return this.fail(id, this.failureText(String(data)));
      case 'unencodable':
        return this.breaks('response/unencodable') ? this.hangUp() : this.fail(id, 'circular');
      case 'slow':
        return this.slow(id, data as { ms: number; value: unknown });
      case 'push':
        this.push(data as { type: string; data: unknown });
        return this.answer(id, null);
      case 'hang':
        this.owner.hanging.push({ id, session: this });
        if (typeof deadlineMs === 'number' && !this.breaks('deadline/passed')) {
          const stop = (): void =>
            this.owner.stop((hanging) => hanging.session === this && hanging.id === id);
          setTimeout(stop, deadlineMs);
        }
        return;
      case 'cancelled':
        return this.answer(id, this.owner.cancelled);
      case 'events':
        return this.answer(id, this.owner.events);
      case 'meta':
        return this.answer(id, this.breaks('meta/read') ? {} : meta);
      case 'stream':
        return this.stream(id, Number(data));
      default:
        this.unknown(id);
    }
  }

  private echo(id: unknown, data: unknown): void {
    let value = data;
    if (this.breaks('request/data-null') && data === null) value = {};
    if (this.breaks('response/value') && data === false) value = null;
    if (this.breaks('body/surrogate') && data === '\ud83d') value = '?';
    const text = JSON.stringify(isTooDeep(data) ? null : data);
    if (this.breaks('body/bytes') && text.includes('"6162"')) value = { deep: [null] };
    if (this.breaks('body/bytes-bad') && text.includes('"zz"')) value = { __bytes__: '' };
    if (isTooDeep(data)) return this.breaks('body/depth') ? undefined : this.hangUp();
    if (data === Infinity && this.breaks('body/non-finite')) {
      const plain = JSON.stringify(envelope('response', id, '@')).replace('"@"', 'Infinity');
      this.socket.write(frame(plain));
      return;
    }
    this.answer(id, value, this.breaks('stream/single') && this.isUpgraded ? { end: true } : {});
  }

  private slow(id: unknown, { ms, value }: { ms: number; value: unknown }): void {
    this.running++;
    setTimeout(() => {
      this.running--;
      this.answer(id, value);
      if (this.hasEnded && this.running === 0) this.socket.end();
    }, ms);
  }

  private stream(id: unknown, length: number): void {
    if (!this.isUpgraded) return this.answer(id, this.breaks('stream/plain') ? 1 : length);
    const { credit } = this;
    const limit = typeof credit === 'number' && !this.breaks('credit/kept') ? credit : Infinity;
    this.streams.set(id, { sent: 0, length, credit: limit });
    this.goOn(id, 0);
  }

  private goOn(id: unknown, credit: number): void {
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    stream.credit += credit;
    while (stream.sent < stream.length && stream.credit-- > 0) this.answer(id, ++stream.sent, { more: true });
    if (stream.sent < stream.length) {
      stream.credit = 0;
      return;
    }
    this.streams.delete(id);
    const hasEnd = !this.breaks(stream.length === 0 ? 'stream/empty' : 'stream/values');
    this.answer(id, null, hasEnd ? { end: true } : {});
  }

  private push({ type, data }: { type: string; data: unknown }): void {
    if (this.isV1) {
      const bytes = frame({ type, account_id: 'acc1', data });
      this.socket.write(this.breaks('v1/push') ? Buffer.concat([bytes, bytes]) : bytes);
    } else {
      this.write('push', 'p', this.breaks('push/form') ? data : { type, data });
    }
  }

  private failureText(text: string): string {
    if (text === '') return this.breaks('response/empty-error') ? '' : 'Error';
    return this.breaks('response/failure') ? 'failed' : text;
  }

  private unknown(id: unknown): void {
    if (this.breaks('request/unknown')) this.fail(id, 'unknown');
    else this.fail(id, UNKNOWN, { code: 'UNKNOWN_PATTERN', message: UNKNOWN });
  }

  private fail(id: unknown, error: string, detail?: object): void {
    if (this.isV1) return this.answer(id, null, {}, error);
    const hasDetail = detail !== undefined && !(error === UNKNOWN && this.breaks('error/detail'));
    this.write('response', id, null, hasDetail ? { error, error_detail: detail } : { error });
  }

  private answer(id: unknown, data: unknown, extras: object = {}, message?: string): void {
    if (this.isV1) {
      if (message === UNKNOWN && this.breaks('v1/unknown')) return;
      const isFailure = message !== undefined && !(message === 'bäd luck' && this.breaks('v1/failure'));
      const status = isFailure ? 'error' : data === null && this.breaks('v1/response') ? 'ok' : 'success';
      this.socket.write(frame({ type: 'response', request_id: id, status, data, message: message ?? '' }));
    } else if (JSON.stringify(data).length > this.limitBytes) {
      this.fail(id, 'too large');
    } else {
      this.write('response', this.breaks('response/id') ? String(id) : id, data, extras);
    }
  }

  private onV1({ type, request_id: id, data }: Json): void {
    if (id === undefined || id === null) {
      if (this.breaks('v1/no-id') && type === 'echo') this.answer(null, data);
      return;
    }
    const back = this.breaks('v1/id') && typeof id === 'number' ? `${id}` : id;
    const payload = data === undefined ? (this.breaks('v1/data') ? null : {}) : data;
    if (type === undefined) {
      if (!this.breaks('v1/no-type')) this.fail(back, 'no type');
    } else if (type === 'ping' && !this.breaks('v1/ping')) {
      this.answer(back, { status: 'ok' });
    } else if (typeof type === 'string') {
      this.handle(back, type, payload, {}, undefined);
    }
  }

  private write(msgType: string, id: unknown, data: unknown, extras: object = {}): void {
    const body = { ...envelope(msgType, id, data), ...extras };
    if (this.breaks('message/form')) body.timestamp = '2024-01-02 03:04';
    const isAgreed =
      this.isCompact || (this.breaks('compact/agreed') && this.isUpgraded && msgType === 'push');
    if (!this.socket.destroyed) this.socket.write((isAgreed ? asCompact(body) : undefined) ?? frame(body));
  }
}

function envelope(msgType: string, id: unknown, data: unknown) {
  return { msg_type: msgType, request_id: id, data, timestamp: '2024-01-02T03:04:05.000006', error: null };
}

function isTooDeep(value: unknown): boolean {
  let inner = value;
  for (let depth = 0; Array.isArray(inner); depth++) {
    if (depth > 1_000) return true;
    inner = inner[0] as unknown;
  }
  return false;
}
