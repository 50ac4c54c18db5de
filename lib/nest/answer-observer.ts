import type { ProducerDeserializer } from '@nestjs/microservices';
import type { Subscriber } from 'rxjs';
import type { CallObserver } from '../client/pending-call.js';
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

  constructor(
    private readonly subscriber: Subscriber<T>,
    private readonly deserializer: ProducerDeserializer,
    private readonly isDeserializerCustom: boolean,
  ) {}

  next(value: unknown, isPacket: boolean): void {
    if (isPacket) this.deserialize(value);
    else if (this.isDeserializerCustom) this.deserialize({ response: value });
    else this.subscriber.next(value as T);
  }

  error(error: UnixSocketError): void {
    if (this.isDeserializerCustom && error instanceof RemoteError)
      this.deserialize({ err: error.payload, isDisposed: true });
    this.afterChain(() => this.subscriber.error(error));
  }

  complete(): void {
    this.afterChain(() => this.subscriber.complete());
  }

  private deserialize(raw: unknown): void {
    this.chain = (this.chain ?? Promise.resolve())
      .then(() => this.deserializer.deserialize(raw))
      .then(
        (packet: OutgoingPacket) => this.onPacket(packet),
        (error: unknown) => this.subscriber.error(error),
      );
  }

  private onPacket({ err, response, isDisposed }: OutgoingPacket): void {
    if (err !== undefined && err !== null) {
      this.subscriber.error(new RemoteError(failureFromPayload(err)));
      return;
    }
    if (response !== undefined || isDisposed !== true) this.subscriber.next(response as T);
    if (isDisposed === true) this.subscriber.complete();
  }

  private afterChain(end: () => void): void {
    if (this.chain === undefined) end();
    else void this.chain.then(end);
  }
}
