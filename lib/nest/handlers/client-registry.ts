import { Injectable } from '@nestjs/common';
import { DuplicateClientError, InvalidHandlerError } from '../../errors/handler.errors.js';
import type { ClientName } from '../decorators/handler-metadata.js';
import type { UnixSocketClientProxy } from '../unix-socket.client.js';

/** The clients of one app, by name. */
@Injectable()
export class ClientRegistry {
  private readonly named = new Map<string, UnixSocketClientProxy>();
  /** Clients that the app made in another way, by their tokens, which need not be unique. */
  private readonly found = new Map<unknown, Set<UnixSocketClientProxy>>();
  private readonly eager: UnixSocketClientProxy[] = [];

  /** @param isEager connects it with {@link connectEager} @throws DuplicateClientError */
  add(name: string, client: UnixSocketClientProxy, isEager: boolean): void {
    if (this.named.has(name)) throw new DuplicateClientError(name);
    this.named.set(name, client);
    if (isEager) this.eager.push(client);
  }

  addFound(token: unknown, client: UnixSocketClientProxy): void {
    if ([...this.named.values()].includes(client)) return;
    const clients = this.found.get(token) ?? new Set();
    this.found.set(token, clients.add(client));
  }

  all(): Set<UnixSocketClientProxy> {
    return new Set([...this.named.values(), ...[...this.found.values()].flatMap((clients) => [...clients])]);
  }

  /** @param handler for messages @throws InvalidHandlerError */
  find(name: ClientName | undefined, handler: string): UnixSocketClientProxy {
    const clients = name === undefined ? this.all() : this.candidates(name);
    const [client, another] = clients;
    if (client === undefined) {
      const what = name === undefined ? 'this app has no client' : `there is no client named ${label(name)}`;
      throw new InvalidHandlerError(
        'UNKNOWN_CLIENT',
        handler,
        `${what}. Clients are made by UnixSocketModule.forClient() or ClientsModule; there are: ${this.names()}.`,
      );
    }
    if (another !== undefined) {
      const what =
        name === undefined ? 'this app has several clients' : `several clients have the token ${label(name)}`;
      throw new InvalidHandlerError(
        'AMBIGUOUS_CLIENT',
        handler,
        `${what}. Say which with { client: … }; there are: ${this.names()}.`,
      );
    }
    return client;
  }

  /** To be called once the handlers are bound, so that they miss nothing. */
  connectEager(): void {
    for (const client of this.eager.splice(0)) client.connectInBackground();
  }

  private candidates(name: ClientName): Set<UnixSocketClientProxy> {
    const named = typeof name === 'string' ? this.named.get(name) : undefined;
    return named === undefined ? (this.found.get(name) ?? new Set()) : new Set([named]);
  }

  private names(): string {
    return [...this.named.keys(), ...this.found.keys()].map(label).join(', ') || 'none';
  }
}

function label(name: unknown): string {
  if (typeof name === 'string') return JSON.stringify(name);
  return typeof name === 'function' ? name.name : String(name);
}
