import { connect, type NetConnectOpts, type Socket } from 'node:net';

/** Bytes have come, in room that is only lent: whoever keeps them copies them. */
export const LENT_DATA = Symbol('lent data');

/** As much as one read of a socket brings. One room for all: what is read is dealt with before the next is. */
const room = Buffer.allocUnsafeSlow(64 * 1024);

/** As `net.connect`, but tells of {@link LENT_DATA} instead of `data`, which needs new room for every read. */
export function connectLending(options: NetConnectOpts): Socket {
  const socket: Socket = connect({
    ...options,
    onread: {
      buffer: room,
      callback(size) {
        socket.emit(LENT_DATA, room.subarray(0, size));
        return true;
      },
    },
  });
  return socket;
}
