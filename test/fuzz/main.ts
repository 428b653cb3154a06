/** `npm run fuzz -- [--packets N] [--seed N]`: runs the fuzzer of fuzz.ts; a run with the same seed does the same again. */
import { parseArgs } from 'node:util';
import { fuzz } from './fuzz.ts';

const { values } = parseArgs({ options: { packets: { type: 'string' }, seed: { type: 'string' } } });

function natural(name: string, text: string | undefined, byDefault: number): number {
  const number = text === undefined ? byDefault : Number(text);
  if (Number.isSafeInteger(number) && number >= 1) return number;
  throw new Error(`--${name}=${text}: expected a number of 1 or more`);
}

try {
  const packets = natural('packets', values.packets, 1_000_000);
  const seed = natural('seed', values.seed, 1 + Math.floor(Math.random() * 0x7fffffff));
  const started = Date.now();
  process.stdout.write(`${packets} packets, seed ${seed}\n`);
  const report = fuzz(seed, packets, (done) => {
    if (process.stdout.isTTY) process.stdout.write(`\r${done}`);
  });
  const seconds = (Date.now() - started) / 1000;
  process.stdout.write(
    `\r${report.packets} packets in ${seconds.toFixed(1)} s: no exception, no dependence, each counted\n`,
  );
  process.stdout.write(`${report.delivered} frames delivered; dropped: ${report.drops}\n`);
} catch (error) {
  process.stderr.write(`fuzz: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
