import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import {
  ConnectionLostError,
  MalformedFrameError,
  NotConnectedError,
  RemoteError,
  RequestTimeoutError,
  type UnixSocketServerOptions,
} from 'nestjs-unix-socket';
import { atEnd } from '../support/at-end.js';
import { vectors } from '../support/fixtures.js';
import { frame, RawPeer, type Address, type WireMessage } from '../support/frames.js';
import { gone } from '../support/gone.js';
import { freeAddress, makeClient, startNestServer, TRANSPORTS } from '../support/nest-server.js';
import { nextResponse, RawServer, request } from '../support/wire.js';

/** Where our server does better than the recorded one, and why. Everywhere else it has to do the same. */
const SERVER_BETTER: Readonly<Record<string, { because: string; answer: Partial<WireMessage> }>> = {
  type_array: { because: 'every request is answered', answer: { data: null, error: 'Unknown request type' } },
  tagged_bytes_not_utf8: {
    because: 'all binary can be sent, so no connection is closed over it',
    answer: { data: { echo: { __bytes__: 'ff' } } },
  },
  tagged_bytes_utf8: { because: 'binary stays binary', answer: { data: { echo: { __bytes__: '6162' } } } },
  tagged_bytes_with_others: {
    because: 'binary stays binary',
    answer: { data: { echo: { __bytes__: '6162' } } },
  },
  tagged_bytes_blank_upper: {
    because: 'binary stays binary',
    answer: { data: { echo: { __bytes__: '616a' } } },
  },
};

const malformed = expect.objectContaining({ name: MalformedFrameError.name }) as unknown;
const lost = { name: ConnectionLostError.name, delivery: 'sentNoReply', cause: malformed };

/** Where a request gave null for everything that went wrong, ours says what it was. */
const CLIENT_BETTER: Readonly<Record<string, { because: string; error: object }>> = {
  v2_error: {
    because: 'an error arrives as one',
    error: { name: RemoteError.name, message: 'boom', delivery: 'replied' },
  },
  v2_error_and_data: {
    because: 'the error wins, and arrives as one',
    error: { name: RemoteError.name, message: 'boom' },
  },
  v2_error_type: {
    because: 'an error frame is ignored, and the timeout that follows said so',
    error: { name: RequestTimeoutError.name, delivery: 'sentNoReply' },
  },
  v2_object_id: { because: 'the loss is told at once', error: lost },
  v2_tagged_bytes_bad: { because: 'the loss is told at once', error: lost },
  v2_not_json: { because: 'the loss is told at once', error: lost },
  v2_unknown_msg_type: { because: 'the loss is told at once', error: lost },
  v2_missing_field: { because: 'the loss is told at once', error: lost },
  v1_frame_to_v2_client: { because: 'the loss is told at once', error: lost },
  v1_greeting_to_v2_client: {
    because: 'nothing is sent before a greeting that can be read',
    error: { name: NotConnectedError.name, delivery: 'notSent', cause: malformed },
  },
};

const KEYS = ['msg_type', 'request_id', 'data', 'timestamp', 'error'];

@Controller()
class EchoController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): object {
    return { echo: data };
  }
}

/** Resolves once an ordinary request has been answered, which comes behind every answer to what was sent before. */
async function answered(peer: RawPeer): Promise<void> {
  await peer.send(request('last', 'echo', null));
  await nextResponse(peer, 'last');
}

it('lists as better only what was recorded', () => {
  const names = (to: 'server' | 'client'): string[] => vectors('v2', to).map(({ name }) => name);
  expect(names('server')).toEqual(expect.arrayContaining(Object.keys(SERVER_BETTER)));
  expect(names('client')).toEqual(expect.arrayContaining(Object.keys(CLIENT_BETTER)));
});

describe.each(TRANSPORTS)('over %s', (transport) => {
  describe.each(['a controller', 'a function'])('a server whose handler is %s', (kind) => {
    async function start(more: UnixSocketServerOptions = {}): Promise<Address> {
      const isController = kind === 'a controller';
      const options = { accountId: 'acc1', ...freeAddress(transport), ...more };
      const { server, address } = await startNestServer(
        isController ? { controllers: [EchoController] } : {},
        options,
      );
      if (!isController) server.handle('echo', (data: unknown) => ({ echo: data }));
      return address;
    }

    async function open(address: Address): Promise<RawPeer> {
      const peer = await RawPeer.connect(address);
      atEnd(() => peer.destroy());
      return peer;
    }

    it('greets as recorded', async () => {
      const peer = await open(await start());
      const { data, ...greeting } = await peer.next();
      expect(greeting).toEqual({
        // Which V2 clients ignore, and V1 clients need.
        type: 'register',
        account_id: 'acc1',
        msg_type: 'response',
        request_id: '',
        timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/),
        error: null,
      });
      expect(data).toMatchObject({ account_id: 'acc1', conn_id: expect.stringMatching(/^[\da-f]{8}$/) });
    });

    it('does with every recorded frame what was recorded, or better', async () => {
      const [address, v2Address] = [await start(), await start({ protocols: ['v2'] })];
      // In one test, for the sake of one server: a wrong row is named all the same.
      const outcomes = await Promise.all(
        vectors('v2', 'server').map(async ({ name, hex, outcome, reply }) => {
          // With V1 among its protocols the server understands this one.
          const peer = await open(name === 'v1_request' ? v2Address : address);
          await peer.next();
          await peer.send(Buffer.from(hex, 'hex'));
          const better = SERVER_BETTER[name];
          const expected =
            better === undefined
              ? reply
              : { msg_type: 'response', request_id: 'r1', error: null, ...better.answer };
          const isClosed = outcome === 'closed' && better === undefined;
          if (isClosed) await gone(peer);
          else await answered(peer);
          const answers = peer.received.slice(1, isClosed ? undefined : -1);
          return { name, isClosed, answers, expected: expected === undefined ? [] : [expected] };
        }),
      );
      for (const { name, isClosed, answers, expected } of outcomes) {
        expect({ name, answers }).toEqual({
          name,
          answers: expected.map((one) => expect.objectContaining({ ...one, timestamp: expect.any(String) })),
        });
        // To a plain peer go the five keys, and at most the detail of an error.
        const others = answers.flatMap((answer) => Object.keys(answer)).filter((key) => !KEYS.includes(key));
        expect({ name, others }).toEqual({ name, others: others.filter((key) => key === 'error_detail') });
        if (isClosed) expect({ name, answers }).toEqual({ name, answers: [] });
      }
      expect(outcomes.filter(({ isClosed }) => isClosed).length).toBeGreaterThan(15);
    });
  });

  describe('a client', () => {
    it.each(vectors('v2', 'client'))(
      'makes of the recorded frames of $name what was recorded, or better',
      async (row) => {
        const server = await RawServer.listen(freeAddress(transport));
        atEnd(() => server.close());
        const isV1Greeting = row.name === 'v1_greeting_to_v2_client';
        const client = makeClient({
          ...server.address,
          reconnect: { enabled: false },
          ...(isV1Greeting ? { protocol: 'v2' } : {}),
        });
        const pushes: unknown[] = [];
        client.pushes().subscribe(({ type, data }) => pushes.push([type, data]));

        const answer = client
          .request('any', { a: 1 }, { timeoutMs: row.name === 'v2_error_type' ? 200 : 5_000 })
          .then(
            (result) => ({ result }),
            (error: unknown) => ({ error }),
          );
        const peer = await server.accept();
        await peer.send(frame(row.greeting));
        const better = CLIENT_BETTER[row.name];
        if (!isV1Greeting) {
          const sent = await peer.next();
          expect(sent).toMatchObject({
            msg_type: 'request',
            data: { type: 'any', data: { a: 1 } },
            error: null,
          });
          expect(Object.keys(sent)).toEqual(expect.arrayContaining(KEYS));
          await peer.send(...row.bodies.map((body) => frame(body.replace('@ID@', sent.request_id))));
        }

        expect(await answer).toEqual(
          better === undefined ? { result: row.result } : { error: expect.objectContaining(better.error) },
        );
        expect(pushes).toEqual(row.pushes);
        expect(client.isConnected()).toBe(row.still_connected);
        // Nothing the server sends is answered: no heartbeat, no request, no second response.
        if (row.still_connected) {
          const next = client.request('last', null);
          expect(await peer.next()).toMatchObject({ msg_type: 'request', data: { type: 'last' } });
          await peer.send(frame({ msg_type: 'error', request_id: '', data: null, timestamp: null }));
          peer.destroy();
          await expect(next).rejects.toMatchObject({ name: ConnectionLostError.name });
        } else {
          await gone(peer);
        }
      },
    );
  });
});
