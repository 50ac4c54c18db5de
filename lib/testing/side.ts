import type { Socket } from 'node:net';

/** One of the two sockets of a connection through the proxy. */
export interface Side {
  readonly socket: Socket;
  readonly isTcp: boolean;
}

/** Destroys it, with RST where there is one. */
export function resetSide({ socket, isTcp }: Side): void {
  // Node never emits "close" on a socket that is reset while its FIN is still on the way out.
  const isEnding = socket.writableEnded && !socket.writableFinished;
  if (isTcp && !socket.connecting && !socket.destroyed && !isEnding) socket.resetAndDestroy();
  else socket.destroy();
}
