import { Controller } from '@nestjs/common';
import { MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { interval, map, take, type Observable } from 'rxjs';

/** What the Python program asks of a Nest server. */
@Controller()
export class WorkshopController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }

  /** A running total. A Nest client would see every value; a Python peer knows no streams and gets the last. */
  @MessagePattern('sum')
  sum(@Payload() numbers: readonly number[]): Observable<number> {
    if (!Array.isArray(numbers)) throw new RpcException('A list of numbers, please');
    let total = 0;
    return interval(20).pipe(
      take(numbers.length),
      map((index) => (total += Number(numbers[index]))),
    );
  }
}
