/**
 * In memory, without kernel: every stage of the packet path, every AEAD backend (both by benchmark.js), and the engine
 * whole in both directions.
 *
 *     node dist/bench/micro/main.js [--seconds=0.5] [--only=TEXT] [--out=FOLDER]
 *
 * `seconds` is the time for each case; TEXT chooses cases by a part of their name as the table shows it.
 */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { loadNative } from '../../native-shims/index.ts';
import { positive } from '../options.ts';
import { readEnvironment } from '../report/environment.ts';
import { RESULTS, writeReport } from '../report/write.ts';
import { aeadSuite } from './aead.ts';
import { type PipelineResult, pipelineCases, runPipelineCase } from './pipeline.ts';
import { microPage } from './report.ts';
import { stageSuite } from './stages.ts';
import { type Result, runSuite, tableHead, tableRow } from './suite.ts';

const OPTIONS = {
  seconds: { type: 'string', default: '0.5' },
  only: { type: 'string', default: '' },
  out: { type: 'string', default: RESULTS },
} as const;

async function microMain(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...argv], options: OPTIONS });
  const seconds = positive('seconds', values.seconds);
  const chosen = (suite: string, name: string) => `${suite}: ${name}`.includes(values.only);
  const environment = readEnvironment();
  const show = (result: Result) => process.stdout.write(`${tableRow(result)}\n`);
  process.stdout.write(`${tableHead()}\n`);
  const native = loadNative();
  const results: Result[] = [];
  for (const suite of [stageSuite(native), aeadSuite(native)]) {
    const cases = suite.cases.filter(({ name }) => chosen(suite.name, name));
    results.push(...runSuite({ ...suite, cases }, seconds, show));
  }
  const pipeline: PipelineResult[] = [];
  for (const one of pipelineCases().filter(({ name }) => chosen('engine', name))) {
    const result = await runPipelineCase(one, seconds);
    pipeline.push(result);
    show({ suite: 'engine', name: one.name, nsPerPacket: result.nsPerPacket });
  }
  if (results.length + pipeline.length === 0) throw new Error(`--only=${values.only}: no case has this in its name`);
  const command = ['npm run bench -- micro', ...argv.filter((word) => !word.startsWith('--out'))].join(' ');
  const data = { environment, command, seconds, results, pipeline };
  const files = writeReport(resolve(values.out), 'micro', data, microPage(data));
  process.stdout.write(`\nWritten: ${files.join(', ')}\n`);
}

try {
  await microMain(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`micro: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
