/**
 * End-to-end throughput: ovs-espd (GRE, Geneve, VXLAN with PSK) beside strongSwan's kernel-libipsec, one TCP stream
 * through two namespaces on one veth of MTU 1500, in interleaved rounds. Prints a Markdown table of medians, with the
 * ratio to kernel-libipsec, and writes every sample to bench/results/.
 *
 *     node dist/bench/e2e/throughput.js [--rounds=5] [--seconds=5] [--type=gre,geneve,vxlan] [--column=offload,wire-honest]
 *                                       [--espd-args='--workers=2']
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { canMakeNamespaces, missingPrograms } from '../../test/rig/rig.ts';
import { ROOT } from '../../test/rig/root.ts';
import { ovsEspd } from '../peers/ovs-espd.ts';
import { strongswanLibipsec } from '../peers/strongswan.ts';
import { COLUMNS, type Column, median, runInterleaved, type Sample } from './interleaved.ts';

const TYPES = ['gre', 'geneve', 'vxlan'] as const;
const PROGRAMS = ['ip', 'ethtool', 'iperf3', 'tcpdump', 'ping', 'swanctl', 'charon-systemd'];

const OPTIONS = {
  rounds: { type: 'string', default: '5' },
  seconds: { type: 'string', default: '5' },
  type: { type: 'string', default: TYPES.join(',') },
  column: { type: 'string', default: COLUMNS.join(',') },
  'espd-args': { type: 'string', default: '' },
} as const;

/** A comma-separated list of known words. @throws with one line that names what came and what was expected. */
function words<Word extends string>(option: string, value: string, known: readonly Word[]): Word[] {
  return value.split(',').map((word) => {
    const found = known.find((candidate) => candidate === word);
    if (found === undefined) throw new Error(`--${option}=${value}: '${word}' is not one of ${known.join(', ')}`);
    return found;
  });
}

function positive(option: string, value: string): number {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 1)
    throw new Error(`--${option}=${value}: expected a whole number from 1 on`);
  return number;
}

const gigabits = (samples: readonly Sample[], peer: string, column: Column) =>
  samples
    .filter((sample) => sample.peer === peer && sample.column === column)
    .map((sample) => sample.gigabitsPerSecond);

/** The Markdown table: medians (lowest to highest) and ratios to the baseline, a column for each of `columns`. */
export function throughputTable(samples: readonly Sample[], columns: readonly Column[], baseline: string): string {
  const peers = [...new Set(samples.map((sample) => sample.peer))];
  const head = ['path', ...columns.flatMap((column) => [`${column}, Gbit/s`, 'ratio'])];
  const rows = peers.map((peer) => {
    const cells = columns.flatMap((column) => {
      const values = gigabits(samples, peer, column);
      const middle = median(values);
      const ratio = middle / median(gigabits(samples, baseline, column));
      const range = `${Math.min(...values).toFixed(2)} to ${Math.max(...values).toFixed(2)}`;
      return [`${middle.toFixed(2)} (${range})`, `${ratio.toFixed(2)}×`];
    });
    return [peer, ...cells];
  });
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function environment() {
  const git = (...args: string[]) => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim();
  const cpu = { model: cpus()[0]?.model ?? 'unknown', cores: cpus().length };
  const software = { kernel: release(), node: process.version, commit: git('rev-parse', '--short', 'HEAD') };
  return { date: new Date().toISOString(), cpu, load: loadavg(), ...software };
}

/** Runs the benchmark with command-line words. Gives the exit status. */
export async function throughputMain(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({ args: [...argv], options: OPTIONS });
  const columns = words('column', values.column, COLUMNS);
  const shape = { rounds: positive('rounds', values.rounds), seconds: positive('seconds', values.seconds), columns };
  const args = values['espd-args'].split(' ').filter(Boolean);
  const peers = [...words('type', values.type, TYPES).map((type) => ovsEspd(type, args)), strongswanLibipsec];
  const missing = missingPrograms(...PROGRAMS);
  if (!canMakeNamespaces()) throw new Error('network namespaces need root: run this benchmark as root');
  if (missing.length > 0) throw new Error(`missing ${missing.join(', ')}: run npm run bench, which installs them`);
  const before = environment();
  const samples = await runInterleaved(peers, shape, (sample, done, total) => {
    const { peer, column, gigabitsPerSecond } = sample;
    process.stderr.write(`[${done}/${total}] ${peer}, ${column}: ${gigabitsPerSecond.toFixed(2)} Gbit/s\n`);
  });
  process.stdout.write(`${throughputTable(samples, columns, strongswanLibipsec.name)}\n`);
  for (const { name, what } of peers) process.stdout.write(`\n- ${name}: ${what}.`);
  const folder = join(ROOT, 'bench/results');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `throughput-${before.date.replaceAll(/[:.]/g, '-')}.json`);
  writeFileSync(file, `${JSON.stringify({ environment: before, ...shape, samples }, null, 2)}\n`);
  process.stdout.write(`\n\nSamples: ${file}\n`);
  return 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    process.exitCode = await throughputMain(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`throughput: ${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
