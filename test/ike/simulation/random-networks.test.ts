/** Two engines on bad networks, a seed each (run-seed.ts). `npm run simulate -- --seeds 10000 --loss 20` runs more of them. */

import { describe, expect, it } from 'vitest';
import { type CredentialPair, makeCredentials } from './credentials.ts';
import { runSeed } from './run-seed.ts';

const SEEDS = 200;
const SEEDS_A_TEST = 50;

let credentials: CredentialPair | undefined;
try {
  credentials = makeCredentials();
} catch {
  // Without OpenSSL no seed has certificates; the others are the same.
}

describe('two engines on a bad network', () => {
  for (let first = 1; first <= SEEDS; first += SEEDS_A_TEST) {
    const last = first + SEEDS_A_TEST - 1;
    it(`end with the same child SAs, each once, when the network is good again: seeds ${first} to ${last}`, () => {
      for (let seed = first; seed <= last; seed++) {
        expect(runSeed(seed, { credentials }).faults, `npm run simulate -- --first ${seed} --seeds 1 --log`).toEqual(
          [],
        );
      }
    }, 180_000);
  }

  it('does the same again for the same seed', () => {
    const runs = [1, 2].map(() => runSeed(7));
    expect(runs[0].log()).toBe(runs[1].log());
    expect(runs[0].counters).toEqual(runs[1].counters);
  });
});
