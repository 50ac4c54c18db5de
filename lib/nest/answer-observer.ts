import type { ProducerDeserializer } from '@nestjs/microservices';
import type { Observer } from 'rxjs';
import type { CallObserver } from '../calls/pending-call.js';
import { RemoteError } from '../errors/call.errors.js';
import type { UnixSocketError } from '../errors/unix-socket.error.js';
import { failureFromPayload } from './call-failure.js';
import type { OutgoingPacket } from './packet-replies.js';

/**
 * Hands the answer of one call to its subscriber. What a server's serializer made, and everything if this client
 * has a deserializer of its own, goes through the deserializer as Nest's packet; the rest goes straight through.
 */
export class AnswerObserver<T> implements CallObserver {
  /** The answers still being deserialized, in order. Undefined on the straight way. */
  private chain: Promise<void> | undefined;
  /** The latest packet of ours, as long as the deserializer has not been shown it. */
  private unread: OutgoingPacket | undefined;
  private hasServerPackets = false;

  /** @param target may hear of more than one end; only the first counts */
  constructor(
    private readonly target: Observer<T>,
    private readonly deserializer: ProducerDeserializer,
    private readonly isDeserializerCustom: boolean,
  ) {}

  next(value: unknown, isPacket: boolean): void {
    if (isPacket) {
      this.hasServerPackets = true;
      this.deserialize(value);
    } else if (this.isDeserializerCustom) {
      this.unread = { response: value };
      this.deserialize(this.unread);
    } else {
      this.target.next(value as T);
    }
  }

  error(error: UnixSocketError): void {
    if (this.isDeserializerCustom && error instanceof RemoteError)
      this.deserialize({ err: error.payload, isDisposed: true });
    this.afterChain(() => this.target.error(error));
  }

  complete(): void {
    if (this.isDeserializerCustom && !this.hasServerPackets) {
      // The only value and the end come together, and are one packet, as on Nest's TCP transport.
      if (this.unread === undefined) this.deserialize({ isDisposed: true });
      else this.unread.isDisposed = true;
    }
    this.afterChain(() => this.target.complete());
  }

  private deserialize(raw: unknown): void {
    this.chain = (this.chain ?? Promise.resolve())
      .then(() => {
        if (raw === this.unread) this.unread = undefined;
        return this.deserializer.deserialize(raw);
      })
      .then(
        (packet: OutgoingPacket) => this.onPacket(packet),
        (error: unknown) => this.target.error(error),
      );
  }

  private onPacket({ err, response, isDisposed }: OutgoingPacket): void {
    if (err !== undefined && err !== null) {
      this.target.error(new RemoteError(failureFromPayload(err)));
      return;
    }
    if (response !== undefined || isDisposed !== true) this.target.next(response as T);
    if (isDisposed === true) this.target.complete();
  }

  private afterChain(end: () => void): void {
    if (this.chain === undefined) end();
    else void this.chain.then(end);
  }
}
