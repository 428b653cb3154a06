/**
 * The statistics of the reports. Contenders are measured in blocks: within one block all of them take turns within
 * seconds, so a machine that grows busy or slow meets all alike. What is claimed is a ratio: the median over the blocks of
 * (one contender ÷ another in the same block), with a 95 % interval by bootstrap over the blocks. A claim "at least X
 * times" holds only where the lower end of that interval is X or more.
 */

/** The middle of an interval estimate, and the interval. */
export type Estimate = {
  readonly median: number;
  /** 95 % interval. With fewer than three values it is their range. */
  readonly low: number;
  readonly high: number;
  /** Values it is made of. */
  readonly count: number;
};

const RESAMPLES = 2000;
const SEED = 0x9e3779b9;

/** The median of at least one number. */
export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/**
 * The value below which `share` (0 to 1) of the numbers lie, interpolated between neighbours.
 * @throws RangeError without any number.
 */
export function percentile(values: readonly number[], share: number): number {
  if (values.length === 0) throw new RangeError('a percentile needs at least one number');
  const sorted = Float64Array.from(values).sort();
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.ceil(at);
  return sorted[below]! + (sorted[above]! - sorted[below]!) * (at - below);
}

/** Numbers from 0 to below 1 (mulberry32): the same for the same seed, so that a report can be made again. */
function uniform(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The median and its 95 % interval by bootstrap (percentile method). @throws RangeError without any number. */
export function estimate(values: readonly number[]): Estimate {
  const middle = median(values);
  const count = values.length;
  if (count < 3) return { median: middle, low: Math.min(...values), high: Math.max(...values), count };
  const random = uniform(SEED);
  const medians = Array.from({ length: RESAMPLES }, () =>
    median(values.map(() => values[Math.floor(random() * count)]!)),
  );
  return { median: middle, low: percentile(medians, 0.025), high: percentile(medians, 0.975), count };
}

/** One measured number and the block in which it was measured. */
export type Blocked = { readonly block: string; readonly value: number };

/**
 * Median of the ratios within each block in which both were measured; a contender measured twice in a block counts with
 * the mean of its values. Gives undefined if they never met.
 */
export function ratio(numerator: readonly Blocked[], denominator: readonly Blocked[]): Estimate | undefined {
  const below = byBlock(denominator);
  const ratios = [...byBlock(numerator)].flatMap(([block, value]) => {
    const other = below.get(block);
    return other === undefined || other === 0 ? [] : [value / other];
  });
  return ratios.length === 0 ? undefined : estimate(ratios);
}

function byBlock(values: readonly Blocked[]): Map<string, number> {
  const lists = new Map<string, number[]>();
  for (const { block, value } of values) lists.set(block, [...(lists.get(block) ?? []), value]);
  return new Map([...lists].map(([block, list]) => [block, list.reduce((sum, value) => sum + value, 0) / list.length]));
}
