import {
  BadRequestException,
  Catch,
  Controller,
  Inject,
  Injectable,
  Module,
  ParseIntPipe,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type INestMicroservice,
  type NestInterceptor,
  type PipeTransform,
} from '@nestjs/common';
import { APP_INTERCEPTOR, REQUEST } from '@nestjs/core';
import {
  EventPattern,
  MessagePattern,
  Payload,
  RpcException,
  type RequestContext,
} from '@nestjs/microservices';
import { catchError, defer, map, of, tap, throwError, type Observable } from 'rxjs';
import { Journal } from './nest-apps.js';

/** Filled by the spec: what the handler of `returns` gives, or throws, for each number. */
export const results: (() => unknown)[] = [];

export class DomainError extends Error {}

@Controller()
export class ValuesController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }

  @MessagePattern('field')
  field(@Payload('name') name: unknown): unknown {
    return { name };
  }

  @MessagePattern('returns')
  returns(@Payload() index: number): unknown {
    return results[index]?.();
  }

  @MessagePattern({ cmd: 'sum', version: 1 })
  sum(@Payload() numbers: number[]): number {
    return numbers.reduce((total, number) => total + number, 0);
  }

  @MessagePattern({ deep: { b: [1, 'two'], a: true } })
  deep(): string {
    return 'deep';
  }

  @MessagePattern(7)
  seven(): string {
    return 'seven';
  }

  @MessagePattern(['first', { cmd: 'second' }, 3])
  several(): string {
    return 'one of several';
  }

  @MessagePattern('ünï/*."\\> ')
  unusual(): string {
    return 'unusual';
  }
}

@Controller()
export class EventsController {
  constructor(@Inject(Journal) private readonly journal: Journal) {}

  @EventPattern('noted')
  noted(@Payload() data: unknown): void {
    this.journal.add(['noted', data]);
  }

  @EventPattern('shared')
  first(@Payload() data: unknown): string {
    this.journal.add(['first', data]);
    return 'first';
  }

  @EventPattern('shared')
  async second(@Payload() data: unknown): Promise<string> {
    this.journal.add(['second', data]);
    return 'second';
  }

  @EventPattern({ event: 'object' })
  object(@Payload() data: unknown): void {
    this.journal.add(['object', data]);
  }

  @EventPattern(9)
  nine(@Payload() data: unknown): void {
    this.journal.add(['nine', data]);
  }

  @EventPattern('lazy')
  lazy(@Payload() data: unknown): Observable<unknown> {
    return defer(() => {
      this.journal.add(['subscribed', data]);
      return of(1, 2).pipe(tap((value) => this.journal.add(['value', value])));
    });
  }

  @EventPattern('fails')
  fails(@Payload() _data: unknown): void {
    this.journal.add(['about to fail']);
    throw new Error('an event handler failed');
  }

  @EventPattern('failsLater')
  failsLater(@Payload() _data: unknown): Observable<never> {
    this.journal.add(['about to fail later']);
    return throwError(() => new RpcException('a stream of an event failed'));
  }

  @MessagePattern('request')
  request(@Payload() data: unknown): unknown {
    this.journal.add(['request', data]);
    return data;
  }
}

@Injectable()
class DoublingPipe implements PipeTransform {
  transform(value: unknown): unknown {
    if (typeof value === 'number') return value * 2;
    throw new RpcException({ message: 'a number, please', got: value });
  }
}

@Injectable()
class OddGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    const data: unknown = context.switchToRpc().getData();
    if (data === 'throw') throw new RpcException('the guard threw');
    return data === 'later' ? Promise.resolve(false) : data === 'pass';
  }
}

@Injectable()
class WrappingInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const data: unknown = context.switchToRpc().getData();
    if (data === 'cached') return of('from the cache');
    return next.handle().pipe(
      map((value: unknown) => ({ wrapped: value })),
      catchError((error: Error) => of({ caught: error.message })),
    );
  }
}

@Catch(DomainError)
class DomainFilter implements ExceptionFilter {
  catch(error: DomainError): Observable<unknown> {
    if (error.message === 'recover') return of('recovered');
    if (error.message === 'text') return throwError(() => 'just a text');
    if (error.message === 'number') return throwError(() => 42);
    return throwError(() => ({ filtered: error.message }));
  }
}

@Controller()
export class LocalController {
  @MessagePattern('local.pipe')
  @UsePipes(DoublingPipe)
  pipe(@Payload() data: number): unknown {
    return data;
  }

  @MessagePattern('local.parse')
  parse(@Payload('id', ParseIntPipe) id: number): unknown {
    return { id };
  }

  @MessagePattern('local.guard')
  @UseGuards(OddGuard)
  guard(): string {
    return 'let in';
  }

  @MessagePattern('local.interceptor')
  @UseInterceptors(WrappingInterceptor)
  intercepted(@Payload() data: unknown): unknown {
    if (data === 'throw') throw new DomainError('in the handler');
    if (data === 'stream') return of(1, 2, 3);
    return data === 'nothing' ? undefined : data;
  }

  @MessagePattern('local.filter')
  @UseFilters(DomainFilter)
  filtered(@Payload() { kind, via }: { kind: string; via: string }): unknown {
    const error = kind === 'other' ? new BadRequestException('not for this filter') : new DomainError(kind);
    if (via === 'stream') return throwError(() => error);
    if (via === 'promise') return Promise.reject(error);
    throw error;
  }
}

@Controller({ scope: Scope.REQUEST })
export class RequestScopedController {
  private calls = 0;

  constructor(
    @Inject(REQUEST) private readonly request: RequestContext,
    @Inject(Journal) private readonly journal: Journal,
  ) {
    if (request.data === 'no instance') throw new RpcException('the constructor threw');
  }

  @MessagePattern('scoped')
  scoped(): unknown {
    return { call: ++this.calls, pattern: this.request.pattern, data: this.request.data as unknown };
  }

  @MessagePattern({ cmd: 'scoped' })
  scopedStream(): Observable<unknown> {
    return of(this.request.pattern, ++this.calls);
  }

  @EventPattern('scoped.event')
  event(@Payload() data: unknown): void {
    this.journal.add(['scoped', data, ++this.calls]);
  }

  @EventPattern('shared.scoped')
  shared(@Payload() data: unknown): void {
    this.journal.add(['scoped', data, ++this.calls]);
  }
}

@Controller()
export class SharedScopedController {
  private calls = 0;

  constructor(@Inject(Journal) private readonly journal: Journal) {}

  @EventPattern('shared.scoped')
  shared(@Payload() data: unknown): void {
    this.journal.add(['single', data, ++this.calls]);
  }
}

/** One instance for each tenant, once the spec has set a strategy that tells tenants apart. */
@Injectable({ scope: Scope.REQUEST, durable: true })
class TenantService {
  private visits = 0;

  constructor(@Inject(REQUEST) private readonly payload: { tenant: string }) {}

  visit(): unknown {
    return { tenant: this.payload.tenant, visits: ++this.visits };
  }
}

@Controller()
export class DurableController {
  constructor(@Inject(TenantService) private readonly tenant: TenantService) {}

  @MessagePattern('durable')
  durable(): unknown {
    return this.tenant.visit();
  }
}

@Module({
  controllers: [
    ValuesController,
    EventsController,
    LocalController,
    SharedScopedController,
    RequestScopedController,
    DurableController,
  ],
  providers: [Journal, TenantService],
})
export class ParityModule {}

/** Data that enhancers and the handler leave their names in, in the order they run. */
interface Trail {
  readonly trail: string[];
  readonly stop?: string;
}

function leave(name: string, data: Trail): void {
  data.trail.push(name);
  if (data.stop === name) throw new RpcException({ stoppedBy: name, trail: data.trail });
}

function guard(name: string): CanActivate {
  return {
    canActivate(context) {
      const data = context.switchToRpc().getData<Trail>();
      leave(`${name} guard`, data);
      return data.stop !== `${name} guard says no`;
    },
  };
}

function interceptor(name: string): NestInterceptor {
  return {
    intercept(context, next) {
      leave(`${name} interceptor`, context.switchToRpc().getData());
      return next.handle().pipe(tap((value: Trail) => leave(`${name} interceptor again`, value)));
    },
  };
}

function pipe(name: string): PipeTransform {
  return {
    transform(value: unknown, { type }) {
      if (type === 'body') leave(`${name} pipe`, value as Trail);
      return value;
    },
  };
}

@Injectable({ scope: Scope.REQUEST })
class ScopedInterceptor implements NestInterceptor {
  private calls = 0;

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    leave(`scoped interceptor, call ${++this.calls}`, context.switchToRpc().getData());
    return next.handle();
  }
}

@Controller()
@UseGuards(guard('local'))
@UseInterceptors(interceptor('local'))
@UsePipes(pipe('local'))
export class TrailController {
  @MessagePattern('trail')
  handle(@Payload() data: Trail): unknown {
    leave('handler', data);
    if (data.stop === 'domain') throw new DomainError('left to the global filter');
    if (data.stop === 'plain') throw new Error('not told to anybody');
    return data;
  }

  @MessagePattern('trail.stream')
  stream(@Payload() { trail }: Trail): Observable<unknown> {
    return of({ trail: [...trail, 'first'] }, { trail: [...trail, 'second'] });
  }

  @MessagePattern('trail.filtered')
  @UseFilters(DomainFilter)
  filtered(): never {
    throw new DomainError('left to the local filter');
  }
}

@Catch(DomainError)
class GlobalFilter implements ExceptionFilter {
  catch(error: DomainError): Observable<unknown> {
    return throwError(() => ({ filteredGlobally: error.message }));
  }
}

/** To be set up with {@link useGlobals}. */
@Module({
  controllers: [TrailController],
  providers: [Journal, { provide: APP_INTERCEPTOR, scope: Scope.REQUEST, useClass: ScopedInterceptor }],
})
export class GlobalModule {}

export function useGlobals(app: INestMicroservice): void {
  app.useGlobalGuards(guard('global'));
  app.useGlobalInterceptors(interceptor('global'));
  app.useGlobalPipes(pipe('global'));
  app.useGlobalFilters(new GlobalFilter());
}
