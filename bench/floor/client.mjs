import net from 'node:net';

import { Pending } from '../support/pending.mjs';
import { binaryHead, HEAD_BYTES, readSlot } from './binary.mjs';
import { pushText, requestText } from './envelope.mjs';
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
    const reader = new FrameReader(
      (message) => this.#receive(message),
      (body) => this.#pending.resolve(readSlot(body), body.subarray(HEAD_BYTES)),
    );
    socket.on('data', (chunk) => reader.push(chunk));
  }

  request(name, data) {
    return Buffer.isBuffer(data)
      ? this.#pending.start((slot) => this.#writer.sendBinary(binaryHead(slot), data))
      : this.stream(name, data);
  }

  stream(name, data, onItem) {
    return this.#pending.start(
      (slot) => this.#writer.sendData(data, (json) => requestText(`${ID_PREFIX}${slot}`, name, json)),
      onItem,
    );
  }

  emit(name, data) {
    this.#writer.sendData(data, (json) => pushText(name, json));
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

  #receive(message) {
    if (message.msg_type === 'push') {
      this.#listener?.(message.data.data);
      return;
    }
    if (message.request_id === '') {
      this.#greeted();
      return;
    }
    const slot = Number(message.request_id.slice(ID_PREFIX.length));
    if (message.more === true) this.#pending.onItem(slot, message.data);
    else if (message.error === null) this.#pending.resolve(slot, message.data);
    else this.#pending.reject(slot, new Error(message.error));
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
