import { Heartbeat, type HeartbeatTimes } from '../../../lib/connection/heartbeat.js';

class Target {
  bytesReceived = 0;
  hasPartialFrame = false;
  limitMs = 1_000;
  beats = 0;
  readonly verdicts: string[] = [];

  silenceLimitMs(): number {
    return this.limitMs;
  }

  beat(): void {
    this.beats++;
  }

  onSilent(limitMs: number): void {
    this.verdicts.push(`silent for ${limitMs}`);
  }

  onStuckFrame(limitMs: number): void {
    this.verdicts.push(`stuck for ${limitMs}`);
  }
}

describe('Heartbeat', () => {
  let target: Target;
  let heartbeat: Heartbeat;

  beforeEach(() => {
    jest.useFakeTimers();
    target = new Target();
  });

  afterEach(() => {
    heartbeat.stop();
    jest.useRealTimers();
  });

  function start(times: Partial<HeartbeatTimes> = {}): void {
    heartbeat = new Heartbeat(target, {
      beatIntervalMs: 100,
      silenceTimeoutMs: 1_000,
      frameTimeoutMs: 400,
      ...times,
    });
    heartbeat.start();
  }

  it('beats at its interval, the first time after one interval', () => {
    start();
    jest.advanceTimersByTime(99);
    expect(target.beats).toBe(0);
    jest.advanceTimersByTime(201);
    expect(target.beats).toBe(3);
  });

  it('judges silence at its limit, at most a quarter late', () => {
    start();
    target.bytesReceived = 1;
    jest.advanceTimersByTime(999);
    expect(target.verdicts).toEqual([]);
    jest.advanceTimersByTime(251);
    expect(target.verdicts[0]).toBe('silent for 1000');
  });

  it('takes any byte for a sign of life', () => {
    start();
    for (let i = 0; i < 20; i++) {
      target.bytesReceived++;
      target.hasPartialFrame = true;
      jest.advanceTimersByTime(390);
    }
    expect(target.verdicts).toEqual([]);
  });

  it('judges a begun frame that does not go on before the silence itself', () => {
    start();
    target.hasPartialFrame = true;
    target.bytesReceived = 5;
    jest.advanceTimersByTime(400);
    expect(target.verdicts).toEqual([]);
    jest.advanceTimersByTime(100);
    expect(target.verdicts[0]).toBe('stuck for 400');
  });

  it('judges a begun frame where silence is allowed', () => {
    target.limitMs = 0;
    start({ silenceTimeoutMs: 0 });
    jest.advanceTimersByTime(10_000);
    expect(target.verdicts).toEqual([]);
    target.hasPartialFrame = true;
    target.bytesReceived = 5;
    jest.advanceTimersByTime(500);
    expect(target.verdicts[0]).toBe('stuck for 400');
  });

  it('leaves a begun frame alone without a limit for it', () => {
    start({ frameTimeoutMs: 0 });
    target.hasPartialFrame = true;
    jest.advanceTimersByTime(900);
    expect(target.verdicts).toEqual([]);
  });

  it('goes by the limit of the moment', () => {
    start();
    target.limitMs = 3_000;
    jest.advanceTimersByTime(2_900);
    expect(target.verdicts).toEqual([]);
    target.limitMs = 1_000;
    jest.advanceTimersByTime(250);
    expect(target.verdicts[0]).toBe('silent for 1000');
  });

  it('holds no silence against a peer that came while none was judged', () => {
    start();
    jest.advanceTimersByTime(900);
    target.limitMs = 0;
    jest.advanceTimersByTime(10_000);
    target.limitMs = 1_000;
    jest.advanceTimersByTime(999);
    expect(target.verdicts).toEqual([]);
    jest.advanceTimersByTime(251);
    expect(target.verdicts[0]).toBe('silent for 1000');
  });

  it('accuses nobody when this very process was stopped', () => {
    start();
    jest.advanceTimersByTime(500);
    // The clock goes on and no timer fires: afterwards one look is due, not forty.
    jest.setSystemTime(Date.now() + 10_000);
    jest.advanceTimersByTime(250);
    expect(target.verdicts).toEqual([]);
  });

  it('neither beats nor looks when switched off', () => {
    start({ beatIntervalMs: 0, silenceTimeoutMs: 0, frameTimeoutMs: 0 });
    expect(jest.getTimerCount()).toBe(0);
  });

  it('ends with stop()', () => {
    start();
    heartbeat.stop();
    expect(jest.getTimerCount()).toBe(0);
    jest.advanceTimersByTime(10_000);
    expect([target.beats, target.verdicts]).toEqual([0, []]);
  });

  it('keeps no process alive', () => {
    jest.useRealTimers();
    const before = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    start();
    expect(process.getActiveResourcesInfo().filter((name) => name === 'Timeout')).toHaveLength(before);
    heartbeat.stop();
    jest.useFakeTimers();
  });
});
