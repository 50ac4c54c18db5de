import net from 'node:net';

import { requestText } from './envelope.mjs';
import { FrameReader } from './frame-reader.mjs';
import { FrameWriter } from './frame-writer.mjs';

const ID_PREFIX = 'floor-client-';

/** The least a client of our wire can do: one promise per call, no timeout, no reconnect. */
class FloorClient {
  #socket;
  #writer;
  /**
   * Pending calls by slot, the number in their id, and the slots nobody uses. Not a Map: one that gains and loses an
   * entry per call leaves a chain of outgrown tables behind, and each of them that a major collection has moved to the
   * old generation keeps all later ones, with the calls they held, alive until the next. That costs a third.
   */
  #calls = [];
  #freeSlots = [];
  #greeted;

  constructor(socket, greeted) {
    this.#socket = socket;
    this.#greeted = greeted;
    this.#writer = new FrameWriter(socket);
    const reader = new FrameReader((text) => this.#receive(JSON.parse(text)));
    socket.on('data', (chunk) => reader.push(chunk));
  }

  request(type, data) {
    return new Promise((resolve, reject) => {
      const slot = this.#freeSlots.pop() ?? this.#calls.length;
      this.#calls[slot] = { resolve, reject };
      this.#writer.send(requestText(`${ID_PREFIX}${slot}`, type, data));
    });
  }

  close() {
    return new Promise((resolve) => {
      this.#socket.once('close', resolve);
      this.#socket.destroy();
    });
  }

  #receive(message) {
    if (message.request_id === '') {
      this.#greeted();
      return;
    }
    const slot = Number(message.request_id.slice(ID_PREFIX.length));
    const call = this.#calls[slot];
    this.#calls[slot] = undefined;
    this.#freeSlots.push(slot);
    if (message.error === null) call.resolve(message.data);
    else call.reject(new Error(message.error));
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
