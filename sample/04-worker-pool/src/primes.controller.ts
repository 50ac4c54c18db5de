import { Controller, Inject } from '@nestjs/common';
import { Payload, RpcException } from '@nestjs/microservices';
import { OnRequest, Signal } from 'nestjs-unix-socket';
import { Observable } from 'rxjs';
import type { Job, Progress, Result } from './jobs.js';
import { say } from './narrator.js';

export const WORKER_NAME = Symbol('WORKER_NAME');

/** Numbers looked at before others get their turn: a signal is heard in between. */
const SLICE = 20_000;
const REPORT_EVERY_MS = 60;

@Controller()
export class PrimesController {
  constructor(@Inject(WORKER_NAME) private readonly name: string) {}

  @OnRequest('primes')
  async primes(@Payload() job: Job, @Signal() signal: AbortSignal): Promise<Result> {
    if (job.below < 0)
      throw new RpcException({ code: 'NEGATIVE', message: `no number is below ${job.below}` });
    const { primes, upTo } = await this.count(job, signal);
    if (signal.aborted) say(this.name, `${job.name}: stopped at ${upTo}, nobody waits any more`);
    return { worker: this.name, primes };
  }

  @OnRequest('survey')
  survey(@Payload() job: Job): Observable<Progress> {
    return new Observable((subscriber) => {
      const controller = new AbortController();
      let reportedAt = Date.now();
      const onProgress = (progress: Progress): void => {
        if (Date.now() - reportedAt < REPORT_EVERY_MS) return;
        reportedAt = Date.now();
        subscriber.next(progress);
      };
      this.count(job, controller.signal, onProgress).then(
        () => subscriber.complete(),
        (error: unknown) => subscriber.error(error),
      );
      // Runs when the server unsubscribes, too.
      return () => {
        controller.abort();
        say(this.name, `${job.name}: nobody listens any more`);
      };
    });
  }

  private async count(
    { below }: Job,
    signal: AbortSignal,
    onProgress?: (progress: Progress) => void,
  ): Promise<Progress> {
    let primes = 0;
    let number = 2;
    while (number < below && !signal.aborted) {
      for (const end = Math.min(below, number + SLICE); number < end; number++) if (isPrime(number)) primes++;
      onProgress?.({ primes, upTo: number });
      await new Promise(setImmediate);
    }
    return { primes, upTo: number };
  }
}

function isPrime(number: number): boolean {
  for (let divisor = 2; divisor * divisor <= number; divisor++) if (number % divisor === 0) return false;
  return true;
}
