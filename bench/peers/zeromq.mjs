import { Dealer, Publisher, Router, Subscriber } from 'zeromq';

import { events, requests, streams } from '../support/handlers.mjs';
import { Pending } from '../support/pending.mjs';

export const title = 'zeromq.js, ipc';
export const endpointKind = 'unix';
/** It connects in the background and does not tell when it is through. */
export const without = ['connections'];

/** zeromq drops or blocks at 1,000 messages by default. */
const SENDING = { sendHighWaterMark: 0, linger: 0 };
const RECEIVING = { receiveHighWaterMark: 0 };
const ITEM = 'item';
const ANSWER = 'answer';

const addressOf = ({ path }) => `ipc://${path}`;
const pushAddressOf = ({ path }) => `ipc://${path}.push`;

export async function startServer(endpoint) {
  const router = new Router({ ...SENDING, ...RECEIVING });
  const publisher = new Publisher(SENDING);
  await router.bind(addressOf(endpoint));
  await publisher.bind(pushAddressOf(endpoint));
  const sender = new Sender(router);
  const pushes = new Sender(publisher);
  void serve(router, sender);
  return {
    publish: (data) => pushes.send([JSON.stringify(data)]),
    close() {
      router.close();
      publisher.close();
    },
  };
}

async function serve(router, sender) {
  for await (const [identity, slot, nameBytes, body] of router) {
    const name = nameBytes.toString();
    if (name in events) {
      events[name](decode(body));
    } else if (name in streams) {
      for (const item of streams[name](decode(body)))
        sender.send([identity, slot, ITEM, JSON.stringify(item)]);
      sender.send([identity, slot, ANSWER, 'null']);
    } else if (name === 'echoBytes') {
      sender.send([identity, slot, name, requests.echoBytes(body)]);
    } else {
      sender.send([identity, slot, ANSWER, JSON.stringify(requests[name](decode(body)))]);
    }
  }
}

export function createClient(endpoint) {
  const dealer = new Dealer({ ...SENDING, ...RECEIVING });
  dealer.connect(addressOf(endpoint));
  const sender = new Sender(dealer);
  const pending = new Pending();
  let subscriber;
  void receive(dealer, pending);
  const send = (name, data, onItem) =>
    pending.start((slot) => sender.send([`${slot}`, name, encode(name, data)]), onItem);
  return {
    request: send,
    emit: (name, data) => sender.send(['', name, encode(name, data)]),
    stream: send,
    onPush(listener) {
      subscriber = new Subscriber(RECEIVING);
      subscriber.connect(pushAddressOf(endpoint));
      subscriber.subscribe();
      void listen(subscriber, listener);
    },
    close() {
      dealer.close();
      subscriber?.close();
    },
  };
}

async function receive(dealer, pending) {
  for await (const [slot, kind, body] of dealer) {
    const name = kind.toString();
    if (name === ITEM) pending.onItem(Number(slot), decode(body));
    else pending.resolve(Number(slot), name === ANSWER ? decode(body) : body);
  }
}

async function listen(subscriber, listener) {
  for await (const [body] of subscriber) listener(decode(body));
}

const encode = (name, data) => (name === 'echoBytes' ? data : JSON.stringify(data));
const decode = (body) => JSON.parse(body.toString());

/** A socket of zeromq.js takes one message at a time. */
class Sender {
  #socket;
  #queue = [];
  #isSending = false;

  constructor(socket) {
    this.#socket = socket;
  }

  send(frames) {
    this.#queue.push(frames);
    if (!this.#isSending) void this.#drain();
  }

  async #drain() {
    this.#isSending = true;
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      for (const frames of batch) await this.#socket.send(frames);
    }
    this.#isSending = false;
  }
}
