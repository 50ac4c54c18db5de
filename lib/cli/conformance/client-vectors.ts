import type { ClientBench } from './client-bench.js';
import { expectFailure, expectOutcome } from './client-outcome.js';
import type { Call } from './dialect.js';
import { readVectors, VECTOR_RULES, type ClientVector } from './vectors.js';
import type { Rule } from './verdict.js';
import { frame } from './wire.js';

const ORDER = { type: 'any', data: { a: 1 } };

/** The rules that a table of bodies puts to the test. */
export function clientVectorRules(): Rule<ClientBench>[] {
  const { vectors } = readVectors();
  return VECTOR_RULES.filter(({ roles }) => roles.includes('client')).map(({ id, level, summary }) => {
    const own = vectors.filter(
      (vector): vector is ClientVector => vector.role === 'client' && vector.rule === id,
    );
    return {
      id,
      level,
      summary,
      async check(bench) {
        for (const vector of own) await checkVector(bench, vector);
      },
    };
  });
}

/** As many heartbeats as no client sends by itself in the time of a test. */
const ANSWERED_HEARTBEATS = 20;

async function checkVector(bench: ClientBench, vector: ClientVector): Promise<void> {
  const turn = await bench.turn(vector.greeting === undefined ? undefined : frame(vector.greeting));
  const { peer } = turn;
  const [call] = (await bench.give(turn, [ORDER])) as [Call];
  const before = peer.frames.length;
  const id = JSON.stringify(String(call.id)).slice(1, -1);
  peer.send(...vector.bodies.map((body) => frame(body.replace('@ID@', () => id))));
  if (vector.then === 'closed') {
    await peer.gone();
    expectFailure(peer, await bench.report(turn));
    return;
  }
  const report = await bench.report(turn);
  expectOutcome(peer, report, vector.then);
  if (vector.pushes !== undefined) {
    peer.expectValue('pushes', vector.pushes, report.pushes, report.received);
  }
  const sent = peer.frames.slice(before);
  const answer = sent.find(({ body }) => body['msg_type'] === 'response');
  if (answer !== undefined) throw peer.broken('no response from a client', 'this frame', answer.bytes);
  const beats = sent.filter(({ body }) => body['msg_type'] === 'heartbeat');
  if (beats.length >= ANSWERED_HEARTBEATS) {
    throw peer.broken('no answer to heartbeats', `${beats.length} of them`, beats[0]?.bytes);
  }
}
