/**
 * Random sequences of configuration changes, peer deaths, wrong secrets, rekeyings, worker deaths and restarts, under
 * traffic with known payloads, against the model of the policy table. A seed makes the same sequence every time.
 *
 * More, or one: `npm run leak -- --sequences 5000 --first 1`; LEAK_STORY=1 prints what a failing one did.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { playSequence } from './sequence.ts';
import type { Tally } from './world.ts';

const SEQUENCES = Number(process.env.LEAK_SEQUENCES ?? 500);
const FIRST = Number(process.env.LEAK_FIRST ?? 1);
const SEQUENCES_A_TEST = 50;

describe('no packet in the clear that the policy forbids', () => {
  const total: Record<string, number> = {};
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'espd-leak-'));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  for (let first = FIRST; first < FIRST + SEQUENCES; first += SEQUENCES_A_TEST) {
    const last = Math.min(first + SEQUENCES_A_TEST, FIRST + SEQUENCES) - 1;
    it(`leaves or is taken, and every tunnel comes back: seeds ${first} to ${last}`, { timeout: 240_000 }, async () => {
      const failed: string[] = [];
      for (let seed = first; seed <= last; seed++) {
        const { violations, tally, story, logs } = await playSequence(seed, directory);
        for (const [name, count] of Object.entries(tally)) total[name] = (total[name] ?? 0) + count;
        if (violations.length === 0) continue;
        const told = process.env.LEAK_STORY ? `\n${story.join('\n')}\n${logs.join('\n')}` : '';
        failed.push(`seed ${seed}: ${violations.slice(0, 5).join('\n')}${told}`);
      }
      if (failed.length > 0) expect.fail(`${failed.length} sequences failed.\n${failed.slice(0, 10).join('\n')}`);
    });
  }

  it('and a seed makes the same sequence every time', async () => {
    const [first, second] = [await playSequence(FIRST, directory), await playSequence(FIRST, `${directory}/again`)];
    expect(second).toEqual(first);
  });

  it.skipIf(SEQUENCES < SEQUENCES_A_TEST)('and the sequences have tried what they should', () => {
    const expected: readonly (keyof Tally)[] = [
      'clear',
      'esp',
      'deliveredClear',
      'deliveredEsp',
      'forged',
      'forgedTaken',
      'replayed',
      'restarts',
    ];
    for (const name of expected) expect(total[name], name).toBeGreaterThan(0);
  });
});
