// The statistics of the reports: percentiles, bootstrap intervals, ratios within blocks.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { estimate, median, percentile, ratio } from '../../bench/report/statistics.ts';

const numbers = fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 50 });

describe('the median', () => {
  it('is the middle of an odd number of values, and the mean of the two middle ones of an even number', () => {
    expect(median([5, 1, 3])).toBe(3);
    expect(median([10, 9, 1, 2])).toBe(5.5);
  });
});

describe('a percentile', () => {
  it('is interpolated between neighbours', () => {
    expect(percentile([1, 2, 3, 4, 5], 0.9)).toBeCloseTo(4.6, 10);
    expect(percentile([7], 0.99)).toBe(7);
  });

  it('lies between the least and the greatest value, grows with the share, and leaves its input alone', () => {
    fc.assert(
      fc.property(numbers, fc.double({ min: 0, max: 1, noNaN: true }), (values, share) => {
        const before = [...values];
        const value = percentile(values, share);
        expect(value).toBeGreaterThanOrEqual(Math.min(...values));
        expect(value).toBeLessThanOrEqual(Math.max(...values));
        expect(percentile(values, 1)).toBeGreaterThanOrEqual(value);
        expect(values).toEqual(before);
      }),
    );
  });

  it('of nothing is refused', () => {
    expect(() => percentile([], 0.5)).toThrow(RangeError);
  });
});

describe('an estimate', () => {
  it('holds its median within its interval, and the interval within the range', () => {
    fc.assert(
      fc.property(numbers, (values) => {
        const { median: middle, low, high, count } = estimate(values);
        expect(count).toBe(values.length);
        expect(low).toBeLessThanOrEqual(middle);
        expect(high).toBeGreaterThanOrEqual(middle);
        expect(low).toBeGreaterThanOrEqual(Math.min(...values));
        expect(high).toBeLessThanOrEqual(Math.max(...values));
      }),
      { numRuns: 30 },
    );
  });

  it('is the same each time it is made of the same values', () => {
    const values = [3, 1, 4, 1, 5, 9, 2, 6];
    expect(estimate(values)).toEqual(estimate(values));
  });

  it('grows narrower with more values of the same spread', () => {
    const wide = estimate([1, 2, 3, 4, 5]);
    const narrow = estimate(Array.from({ length: 100 }, (_, index) => 1 + (index % 5)));
    expect(narrow.high - narrow.low).toBeLessThan(wide.high - wide.low);
  });
});

describe('a ratio', () => {
  const blocked = (...values: number[]) => values.map((value, index) => ({ block: `b${index}`, value }));

  it('is formed within each block, so a machine that slows both down does not show', () => {
    const machine = [1, 0.5, 0.1, 0.8];
    const ours = blocked(...machine.map((speed) => 6 * speed));
    const theirs = blocked(...machine.map((speed) => 2 * speed));
    const found = ratio(ours, theirs)!;
    expect([found.median, found.low, found.high]).toEqual([3, 3, 3].map((value) => expect.closeTo(value, 10)));
    expect(found.count).toBe(4);
  });

  it('leaves out blocks in which one of the two is missing, and counts two values of a block as their mean', () => {
    const ours = [...blocked(6, 6), { block: 'b1', value: 2 }];
    expect(ratio(ours, [{ block: 'b1', value: 2 }])).toMatchObject({ median: 2, count: 1 });
  });

  it('of contenders that never met is undefined', () => {
    expect(ratio([{ block: 'x', value: 1 }], [{ block: 'y', value: 1 }])).toBeUndefined();
  });
});
