import net from 'node:net';

import { Pending } from '../support/pending.mjs';
import { BINARY, callHead, MORE, PUSH, REQUEST } from './envelope.mjs';
import { FrameReader } from './frame-reader.mjs';
import { FrameWriter } from './frame-writer.mjs';

const ID_PREFIX = 'floor-client-';

/** The least a client of our wire can do: one promise per call, no timeout, no reconnect. */
class FloorClient {
  #socket;
  #writer;
  #pending = new Pending();
  #greeted;
  #listener;

  constructor(socket, greeted) {
    this.#socket = socket;
    this.#greeted = greeted;
    this.#writer = new FrameWriter(socket);
    const reader = new FrameReader((kind, id, _type, data) => this.#receive(kind, id, data));
    socket.on('data', (chunk) => reader.push(chunk));
  }

  request(name, data) {
    return Buffer.isBuffer(data)
      ? this.#pending.start((slot) =>
          this.#writer.sendBytes(callHead(REQUEST | BINARY, ID_PREFIX + slot, name), data),
        )
      : this.stream(name, data);
  }

  stream(name, data, onItem) {
    return this.#pending.start(
      (slot) => this.#writer.sendValue(callHead(REQUEST, ID_PREFIX + slot, name), data),
      onItem,
    );
  }

  emit(name, data) {
    this.#writer.sendValue(callHead(PUSH, '', name), data);
  }

  onPush(listener) {
    this.#listener = listener;
  }

  close() {
    return new Promise((resolve) => {
      this.#socket.once('close', resolve);
      this.#socket.destroy();
    });
  }

  #receive(kind, id, data) {
    if (kind === PUSH) {
      this.#listener?.(data);
      return;
    }
    if (id === '') {
      this.#greeted();
      return;
    }
    const slot = Number(id.slice(ID_PREFIX.length));
    if (kind === MORE) this.#pending.onItem(slot, data);
    else this.#pending.resolve(slot, data);
  }
}

/** @param {net.NetConnectOpts} endpoint */
export function connectFloorClient(endpoint) {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ ...endpoint, noDelay: true });
    const client = new FloorClient(socket, () => resolve(client));
    socket.once('error', reject);
  });
}
