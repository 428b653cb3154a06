/**
 * `npm run fuzz -- [--packets N] [--seed N] [--guided] [--only TARGETS]`: so many packets of chance through two workers
 * (fuzz.ts); with `--guided` so many inputs in all, shared out among the decoders (guided.ts). A run with the same seed does the same again.
 */
import { parseArgs } from 'node:util';
import { fuzz } from './fuzz.ts';
import { GUIDED, guideAll } from './targets.ts';

const { values } = parseArgs({
  options: {
    packets: { type: 'string' },
    seed: { type: 'string' },
    guided: { type: 'boolean', default: false },
    only: { type: 'string' },
  },
});

function natural(name: string, text: string | undefined, byDefault: number): number {
  const number = text === undefined ? byDefault : Number(text);
  if (Number.isSafeInteger(number) && number >= 1) return number;
  throw new Error(`--${name}=${text}: expected a number of 1 or more`);
}

function namesOf(only: string | undefined): readonly string[] {
  const names = only === undefined ? GUIDED : only.split(',');
  const unknown = names.find((name) => !GUIDED.includes(name));
  if (unknown !== undefined) throw new Error(`--only=${unknown}: expected one of ${GUIDED.join(', ')}`);
  return names;
}

function guided(packets: number, seed: number): void {
  for (const { name, inputs, kept, characters, seconds } of guideAll(namesOf(values.only), packets, seed))
    process.stdout.write(
      `${name}: ${inputs} inputs in ${seconds.toFixed(1)} s, ${kept} kept, ${characters} characters of code reached; nothing found\n`,
    );
}

function random(packets: number, seed: number): void {
  const started = Date.now();
  const report = fuzz(seed, packets, (done) => {
    if (process.stdout.isTTY) process.stdout.write(`\r${done}`);
  });
  const seconds = (Date.now() - started) / 1000;
  process.stdout.write(
    `\r${report.packets} packets in ${seconds.toFixed(1)} s: no exception, no dependence, each counted\n`,
  );
  process.stdout.write(`${report.delivered} frames delivered; dropped: ${report.drops}\n`);
}

try {
  const packets = natural('packets', values.packets, 1_000_000);
  const seed = natural('seed', values.seed, 1 + Math.floor(Math.random() * 0x7fffffff));
  process.stdout.write(`${packets} packets, seed ${seed}\n`);
  if (values.guided || values.only !== undefined) guided(packets, seed);
  else random(packets, seed);
} catch (error) {
  process.stderr.write(`fuzz: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
