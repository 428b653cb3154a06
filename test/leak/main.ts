/**
 * `npm run leak -- [--sequences N] [--first SEED] [--story]`: plays random sequences, prints each one that breaks the policy
 * (with `--story` also what it did), and what all of them have tried. Exit 1 if any did. A seed plays the same again.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { playSequence } from './sequence.ts';

const PROGRESS_EVERY = 100;

function number(text: string, name: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= 0xffff_ffff) return value;
  throw new Error(`--${name} is "${text}", expected a whole number from 1 on`);
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      sequences: { type: 'string', default: '500' },
      first: { type: 'string', default: '1' },
      story: { type: 'boolean', default: false },
    },
  });
  const sequences = number(values.sequences, 'sequences');
  const first = number(values.first, 'first');
  const directory = mkdtempSync(join(tmpdir(), 'espd-leak-'));
  const total = new Map<string, number>();
  let failed = 0;
  try {
    for (let seed = first; seed < first + sequences; seed++) {
      const { violations, tally, story, logs } = await playSequence(seed, directory);
      for (const [name, count] of Object.entries(tally)) total.set(name, (total.get(name) ?? 0) + count);
      if (violations.length > 0) {
        failed++;
        process.stdout.write(`seed ${seed}:\n${violations.map((line) => `  ${line}\n`).join('')}`);
        if (values.story) process.stdout.write(`${[...story, ...logs].map((line) => `  | ${line}\n`).join('')}`);
      }
      const done = seed - first + 1;
      if (done % PROGRESS_EVERY === 0) process.stdout.write(`${done} sequences, ${failed} failed\n`);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  process.stdout.write(`${sequences} sequences from seed ${first}: ${failed} failed\n`);
  for (const [name, count] of total) process.stdout.write(`  ${name.padEnd(16)} ${count}\n`);
  return failed === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`leak: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
