/** A little of the fuzzer for every run of the tests; `npm run fuzz -- --packets 10000000` is much of it. */
import { describe, expect, it } from 'vitest';
import { DROP_REASONS } from '../../dataplane/drops.ts';
import { fuzz } from './fuzz.ts';

const PACKETS = Number(process.env.FUZZ_PACKETS ?? 20_000);

describe('the packet path', () => {
  it.each([1, 2, 3])(
    `takes ${PACKETS} packets of chance, seed %i: no exception, none unaccounted, no byte read that was not received`,
    (seed) => {
      const report = fuzz(seed, PACKETS);
      expect(report.packets).toBe(PACKETS);
      expect(report.delivered).toBeGreaterThan(PACKETS / 100);
    },
    120_000,
  );

  it('is reached everywhere: every reason to drop a received packet comes about', () => {
    const { drops } = fuzz(4, 40_000);
    const never = DROP_REASONS.slice(DROP_REASONS.findIndex(({ name }) => name === 'ip-too-short'))
      .map(({ name }) => name)
      .filter((name) => !drops.includes(`${name} `));
    expect(never.filter((name) => !RARE.has(name))).toEqual([]);
  }, 180_000);
});

/** What these packets don't bring about: one wants other selectors, one another configuration, two more luck with the segments of one frame. */
const RARE: ReadonlySet<string> = new Set(['esp-selector-in', 'wrong-protection', 'stt-too-long', 'stt-scattered']);
