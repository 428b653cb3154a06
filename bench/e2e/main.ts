/**
 * End to end: ovs-espd in every encapsulation and protection beside strongSwan's kernel-libipsec, wireguard-go, kernel
 * VXLAN and OVS's userspace datapath, interleaved in one run; JSON, Markdown and a web page with charts.
 *
 *     node dist/bench/e2e/main.js [--rounds=5] [--seconds=2] [--only=geneve,libipsec,tcp-1,wire-honest] [--resume]
 *                                 [--out=FOLDER]
 *
 * --only confines the run: ids of measurements (tcp-1, udp-64, latency-idle, or tcp, udp, latency), columns, parts of
 * contenders' names. --resume goes on with the last run's file: what it has is kept, the rest of the plan is measured.
 */
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { canMakeNamespaces, missingPrograms } from '../../test/rig/rig.ts';
import { list, positive, wholeNumber } from '../options.ts';
import { startProgress } from '../progress.ts';
import { readEnvironment } from '../report/environment.ts';
import { markdownTable } from '../report/markdown.ts';
import { RESULTS, saveJson, writeReport } from '../report/write.ts';
import { type Block, CONTENDERS, plan, select } from './lineup.ts';
import { e2ePage } from './report.ts';
import { type Results, readResults } from './results.ts';
import { runSession } from './session.ts';

const NAME = 'e2e';
/** Without these nothing can be measured at all. */
const PROGRAMS = ['ip', 'ethtool', 'iperf3', 'tcpdump', 'ping'];

const OPTIONS = {
  rounds: { type: 'string', default: '5' },
  seconds: { type: 'string', default: '2' },
  only: { type: 'string', default: '' },
  out: { type: 'string', default: RESULTS },
  resume: { type: 'boolean', default: false },
} as const;

/** What of the plan is still to do: a block is measured again, with all its contenders, unless it has all its samples. */
export function remaining(blocks: readonly Block[], results: Pick<Results, 'samples'>): Block[] {
  return blocks.filter(({ name, cells }) => {
    const done = results.samples.filter(({ block }) => block.slice(block.indexOf('/') + 1) === name);
    return cells.some(({ peer }) => !done.some(({ contender }) => contender === peer.name));
  });
}

function emptyResults(blocks: readonly Block[], command: string): Results {
  const taking = new Set(blocks.flatMap(({ cells }) => cells.map(({ peer }) => peer.name)));
  return {
    version: 1,
    environment: readEnvironment(),
    command,
    contenders: CONTENDERS.filter(({ name }) => taking.has(name)).map(({ name, what }) => ({ name, what })),
    samples: [],
    skipped: [],
    background: [],
    discarded: 0,
  };
}

/** An earlier run's results, with the contenders of this one's plan added; what failed then may be tried again. */
function resumedResults(file: string, fresh: Results): Results {
  const earlier = readResults(file);
  const known = new Set(fresh.contenders.map(({ name }) => name));
  const both = new Set([...earlier.contenders.map(({ name }) => name), ...known]);
  const contenders = CONTENDERS.filter(({ name }) => both.has(name)).map(({ name, what }) => ({ name, what }));
  return { ...earlier, contenders, skipped: earlier.skipped.filter(({ contender }) => !known.has(contender)) };
}

/** Runs the benchmark with command-line words. @throws with one line if they or the machine do not allow it. */
export async function e2eMain(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...argv], options: OPTIONS });
  const rounds = wholeNumber('rounds', values.rounds);
  const seconds = positive('seconds', values.seconds);
  const whole = plan(rounds, select(list(values.only)));
  if (whole.length === 0) throw new Error(`--only=${values.only}: these words have nothing in common to measure`);
  if (!canMakeNamespaces()) throw new Error('network namespaces need root: run this benchmark as root');
  const missing = missingPrograms(...PROGRAMS);
  if (missing.length > 0) throw new Error(`missing ${missing.join(', ')}: run npm run bench, which installs them`);
  const folder = resolve(values.out);
  mkdirSync(folder, { recursive: true });
  const words = argv.filter((word) => !word.startsWith('--out'));
  const fresh = emptyResults(whole, ['npm run bench -- e2e', ...words].join(' '));
  const results = values.resume ? resumedResults(join(folder, `${NAME}.json`), fresh) : fresh;
  const blocks = values.resume ? remaining(whole, results) : whole;
  const steps = blocks.reduce((sum, { cells }) => sum + cells.length, 0) + fresh.contenders.length;
  const progress = startProgress(steps);
  const save = () => void saveJson(folder, NAME, results);
  await runSession(blocks, results, { session: fresh.environment.date, seconds, save, progress });
  progress.end();
  const page = e2ePage(results, seconds);
  for (const { heading, table } of page.sections)
    if (table !== undefined) process.stdout.write(`\n${heading}\n\n${markdownTable(table)}\n`);
  process.stdout.write(`\nWritten: ${writeReport(folder, NAME, results, page).join(', ')}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await e2eMain(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`e2e: ${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
