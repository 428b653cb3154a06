import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backOffMs, lifeSpan } from '../../../ike/lifetimes.ts';
import { type Timer, TimerQueue } from '../../../ike/timers.ts';

describe('TimerQueue', () => {
  it('runs what is due in the order of time, and of setting where times are equal', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 100 }), (times) => {
        const queue = new TimerQueue();
        const ran: number[] = [];
        times.forEach((time, index) => {
          queue.at(time, () => ran.push(index));
        });
        queue.run(25);
        const expected = times
          .map((time, index) => ({ time, index }))
          .filter(({ time }) => time <= 25)
          .sort((a, b) => a.time - b.time || a.index - b.index)
          .map(({ index }) => index);
        expect(ran).toEqual(expected);
        const rest = times.filter((time) => time > 25);
        expect(queue.nextMs()).toBe(rest.length === 0 ? undefined : Math.min(...rest));
      }),
    );
  });

  it('does not run a cancelled timer, and forgets cancelled ones', () => {
    const queue = new TimerQueue();
    const ran: number[] = [];
    const timers: Timer[] = Array.from({ length: 1000 }, (_, index) => queue.at(index, () => ran.push(index)));
    for (const timer of timers) if (timer.dueMs % 10 !== 0) queue.cancel(timer);
    queue.cancel(timers[1]);
    expect(queue.size).toBe(100);
    queue.run(2000);
    expect(ran).toEqual(Array.from({ length: 100 }, (_, index) => index * 10));
    expect(queue.size).toBe(0);
    expect(queue.nextMs()).toBeUndefined();
  });

  it('runs so many at most as it is told to, and what is left is still due', () => {
    const queue = new TimerQueue();
    const ran: number[] = [];
    for (const due of [10, 30, 20, 40]) queue.at(due, () => ran.push(due));
    queue.run(35, 2);
    expect(ran).toEqual([10, 20]);
    expect(queue.nextMs()).toBe(30);
    queue.run(35, 2);
    expect(ran).toEqual([10, 20, 30]);
  });

  it('runs a timer that a timer sets for now', () => {
    const queue = new TimerQueue();
    const ran: string[] = [];
    queue.at(1, () => queue.at(1, () => ran.push('second')));
    queue.run(1);
    expect(ran).toEqual(['second']);
  });
});

describe('life and back-off', () => {
  it('begin rekeying between one and two margins before the end, as fuzz is 100 %', () => {
    const settings = { marginSeconds: 540, fuzzPercent: 100 };
    expect(lifeSpan(1000, 3600, settings, 0)).toEqual({ rekeyAtMs: 1000 + 3060_000, expiresAtMs: 1000 + 3600_000 });
    expect(lifeSpan(1000, 3600, settings, 0.999).rekeyAtMs).toBeCloseTo(1000 + 2520_540, -3);
  });

  it('never let a margin longer than the life make an SA rekey without pause', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100_000 }),
        fc.nat(200_000),
        fc.nat(300),
        fc.integer({ min: 0, max: 99 }),
        (seconds, marginSeconds, fuzzPercent, percent) => {
          const span = lifeSpan(0, seconds, { marginSeconds, fuzzPercent }, percent / 100);
          expect(span.rekeyAtMs).toBeGreaterThanOrEqual((seconds * 1000) / 2 - 1);
          expect(span.rekeyAtMs).toBeLessThanOrEqual(span.expiresAtMs);
        },
      ),
    );
  });

  it('double the pause up to the largest, and shorten it by at most a quarter', () => {
    expect([1, 2, 3, 4, 20].map((failures) => backOffMs(failures, 1000, 60_000, 0))).toEqual([
      1000, 2000, 4000, 8000, 60_000,
    ]);
    expect(backOffMs(20, 1000, 60_000, 0.9999)).toBeGreaterThanOrEqual(45_000);
  });
});
