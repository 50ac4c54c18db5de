import type { RawPeer } from './raw-peer.js';
import type { ServerBench } from './server-bench.js';
import { readVectors, VECTOR_RULES, type ServerVector } from './vectors.js';
import type { Rule } from './verdict.js';
import { frame, isObject } from './wire.js';

/** The rules that a table of bodies puts to the test. */
export function serverVectorRules(): Rule<ServerBench>[] {
  const { vectors } = readVectors();
  return VECTOR_RULES.filter(({ roles }) => roles.includes('server')).map(({ id, level, summary }) => {
    const own = vectors.filter(
      (vector): vector is ServerVector => vector.role === 'server' && vector.rule === id,
    );
    return {
      id,
      level,
      summary,
      async check(bench) {
        for (const vector of own) await checkVector(bench, vector, level === 'v1');
      },
    };
  });
}

/** Handlers that an application may lack. */
const OPTIONAL = ['fail', 'nothing'];

async function checkVector(bench: ServerBench, vector: ServerVector, isV1: boolean): Promise<void> {
  const peer = await bench.open();
  // Only a frame with a type tells a server of both versions which one it is.
  if (isV1) await bench.askV1(peer, 'echo', 1);
  const bytes = frame(vector.body ?? Buffer.from(vector.bodyHex ?? '', 'hex'));
  if (vector.then === 'closed') {
    peer.send(bytes);
    await peer.gone();
    return;
  }
  if (vector.then === 'ignored') {
    await checkIgnored(bench, peer, bytes, isV1);
    return;
  }
  peer.send(bytes);
  const { request_id: id, ...rest } = vector.answer ?? {};
  const received = isV1
    ? await peer.next('a response', (body) => body['type'] === 'response')
    : await peer.next('a response', (body) => body['msg_type'] === 'response' && !isGreeting(body));
  if (OPTIONAL.some((type) => vector.body?.includes(`"type":"${type}"`)))
    bench.checkHandled(vector.name, received);
  peer.expectValue('the id', id, received.body['request_id'], received);
  for (const [key, value] of Object.entries(rest)) {
    peer.expectValue(
      key,
      value,
      key === 'error' ? (received.body[key] ?? null) : received.body[key],
      received,
    );
  }
}

/** Nothing is said to it; what is asked next is answered. */
async function checkIgnored(bench: ServerBench, peer: RawPeer, bytes: Buffer, isV1: boolean): Promise<void> {
  const ask = (): Promise<unknown> => (isV1 ? bench.askV1(peer, 'echo', 1) : bench.ask(peer, 'echo', 1));
  await ask();
  const before = peer.frames.length;
  peer.send(bytes);
  await ask();
  await ask();
  const other = peer.frames
    .slice(before)
    .find(({ body }) => isAnswer(body, isV1) && !String(body['request_id']).startsWith('kit-'));
  if (other !== undefined) throw peer.broken('no answer', 'this frame', other.bytes);
}

function isAnswer({ msg_type: msgType, type }: Record<string, unknown>, isV1: boolean): boolean {
  // Pushes may come at any time, and towards V1 clients a heartbeat may carry one.
  return isV1 ? type === 'response' : msgType !== 'push';
}

function isGreeting({ request_id: id, data }: Record<string, unknown>): boolean {
  return id === '' && isObject(data) && 'conn_id' in data;
}
