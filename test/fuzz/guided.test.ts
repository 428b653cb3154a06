/** The guided fuzzer finds what chance does not, and a little of it for every run of the tests: `npm run fuzz -- --guided` is much of it. */
import { describe, expect, it } from 'vitest';
import { Coverage } from './coverage.ts';
import { guide, type Target } from './guided.ts';
import { Random } from './random.ts';
import { GUIDED, guideAll } from './targets.ts';

const INPUTS = 300;

/** Wrong for one in 2^40 inputs, one condition behind the other. */
function buried(bytes: Uint8Array): void {
  if (bytes[0] !== 0x67) return;
  if (bytes[1] !== 0x21) return;
  if (bytes[2] !== 0xc3) return;
  if (bytes[3] !== 0x5a) return;
  if (bytes[4] !== 0x99) return;
  throw new Error('found');
}

const target: Target = { name: 'buried', seeds: () => [new Uint8Array(8)], run: buried };

describe('the guided fuzzer', () => {
  it('gets behind one condition after the other by what was reached, and names the input', () => {
    const coverage = new Coverage((url) => url.includes('guided.test'));
    try {
      const run = () => guide(target, { random: new Random(1), inputs: 500_000, coverage });
      expect(run).toThrow(/^buried, input 6721c35a99[0-9a-f]*: Error: found/);
    } finally {
      coverage.close();
    }
  }, 180_000);

  it('gets nowhere in 100,000 inputs without looking at what was reached', () => {
    const blind = new Coverage(() => false);
    try {
      expect(guide(target, { random: new Random(1), inputs: 100_000, coverage: blind }).kept).toBe(0);
    } finally {
      blind.close();
    }
  }, 180_000);

  it.each(GUIDED)(
    'finds nothing in %s, whose code it reaches',
    (name) => {
      const [report] = guideAll([name], INPUTS, 7);
      expect(report!.inputs).toBe(INPUTS);
      expect(report!.characters).toBeGreaterThan(1000);
    },
    60_000,
  );
});
