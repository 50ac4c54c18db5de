import { CONSENT_MS, TAKE_OVER_GRANTED, TAKE_OVER_REFUSED } from './take-over.js';

/** The connection over which a server asks for the path. */
export interface Successor {
  notify(code: string, text: string): void;
  close(): void;
}

/** The path that may be given away. */
export interface HeldPath {
  /** Stops watching it. False if there is none to give. */
  letGo(): boolean;
  /** Whether another server's socket stands at it. If not, it is watched again. */
  looksTaken(): Promise<boolean>;
}

/** The server that has the path. */
export interface PathHolder {
  isWilling(): boolean;
  /** A successor has the path. */
  onTakenOver(): void;
}

/** The owner's side of a take-over: consents to one successor at a time, and ends a consent that is not used. */
export class PathHandover {
  private successor: Successor | undefined;
  private consentTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly path: HeldPath,
    private readonly holder: PathHolder,
  ) {}

  onAsked(asker: Successor): void {
    if (!this.holder.isWilling() || this.successor !== undefined || !this.path.letGo()) {
      asker.notify(TAKE_OVER_REFUSED, 'The server does not give up its path.');
      return;
    }
    this.successor = asker;
    this.consentTimer = setTimeout(() => asker.close(), CONSENT_MS);
    asker.notify(TAKE_OVER_GRANTED, 'The path may be taken.');
  }

  /** A connection has ended. If it was the successor's, it has what it wanted, or has failed. */
  onClosed(connection: Successor): void {
    if (connection !== this.successor) return;
    this.successor = undefined;
    clearTimeout(this.consentTimer);
    void this.look();
  }

  private async look(): Promise<void> {
    if (await this.path.looksTaken()) this.holder.onTakenOver();
  }
}
