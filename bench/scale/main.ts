/**
 * Many tunnels: look-ups and sending in memory with 1, 10, 100, … tunnels, and a daemon with as many configured.
 *
 *     node dist/bench/scale/main.js [--tunnels=10000] [--seconds=0.3] [--rounds=5] [--patience=180]
 *                                   [--only=memory,daemon] [--out=FOLDER]
 *
 * `seconds` is the time for each look-up (and 2 s for each TCP run of the daemon's part), `patience` how many seconds the daemon
 * has to add its tunnels.
 */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { canMakeNamespaces } from '../../test/rig/rig.ts';
import { list, positive, wholeNumber } from '../options.ts';
import { startProgress } from '../progress.ts';
import { readEnvironment } from '../report/environment.ts';
import { markdownTable } from '../report/markdown.ts';
import { RESULTS, writeReport } from '../report/write.ts';
import { type DaemonPoint, measureDaemons } from './daemon.ts';
import { type MemoryPoint, measureInMemory } from './memory.ts';
import { scalePage } from './report.ts';

const PARTS = ['memory', 'daemon'] as const;
const TCP_SECONDS = 2;

const OPTIONS = {
  tunnels: { type: 'string', default: '10000' },
  seconds: { type: 'string', default: '0.3' },
  rounds: { type: 'string', default: '5' },
  patience: { type: 'string', default: '180' },
  only: { type: 'string', default: PARTS.join(',') },
  out: { type: 'string', default: RESULTS },
} as const;

/** 1, 10, 100, … up to `most`, and `most` itself. */
function steps(most: number): number[] {
  const powers = Array.from({ length: 8 }, (_, exponent) => 10 ** exponent).filter((count) => count < most);
  return [...powers, most];
}

async function scaleMain(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...argv], options: OPTIONS });
  const tunnels = wholeNumber('tunnels', values.tunnels, 2);
  const seconds = positive('seconds', values.seconds);
  const shape = {
    rounds: wholeNumber('rounds', values.rounds),
    seconds: TCP_SECONDS,
    patience: positive('patience', values.patience),
  };
  const parts = list(values.only);
  const unknown = parts.find((part) => !PARTS.some((known) => known === part));
  if (unknown !== undefined) throw new Error(`--only=${unknown}: expected ${PARTS.join(' or ')}`);
  const environment = readEnvironment();
  const counts = parts.includes('memory') ? steps(tunnels) : [];
  const progress = startProgress(counts.length + (parts.includes('daemon') ? 1 : 0));
  const skipped: string[] = [];
  const memory: MemoryPoint[] = [];
  for (const count of counts) {
    memory.push(await measureInMemory(count, seconds));
    progress.step(`${count} tunnels in memory`);
  }
  let daemon: DaemonPoint | undefined;
  if (parts.includes('daemon')) {
    try {
      if (!canMakeNamespaces()) throw new Error('network namespaces need root');
      daemon = await measureDaemons(tunnels, shape);
    } catch (error) {
      skipped.push(`the daemon with ${tunnels} tunnels: ${(error as Error).message.split('\n')[0]}`);
    }
    progress.step(`a daemon with ${tunnels} tunnels`);
  }
  progress.end();
  const command = ['npm run bench -- scale', ...argv.filter((word) => !word.startsWith('--out'))].join(' ');
  const data = { environment, command, memory, daemon, skipped };
  const page = scalePage(data);
  for (const line of skipped) process.stdout.write(`left out: ${line}\n`);
  for (const { table } of page.sections) if (table !== undefined) process.stdout.write(`\n${markdownTable(table)}\n`);
  process.stdout.write(`\nWritten: ${writeReport(resolve(values.out), 'scale', data, page).join(', ')}\n`);
}

try {
  await scaleMain(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`scale: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
