/**
 * `node dist/bench/micro/run.js [--seconds=S] [--only=TEXT]`: all micro-benchmarks, a table to standard output and
 * JSON to bench/results/micro.json. S is the time for each case (default 1); TEXT chooses cases by part of their name.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { loadNative } from '../../native-shims/index.ts';
import { aeadSuite } from './aead.ts';
import { stageSuite } from './stages.ts';
import { type Result, runSuite, tableHead, tableRow } from './suite.ts';

const RESULTS = 'bench/results';

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '1' }, only: { type: 'string', default: '' } },
});
const seconds = Number(values.seconds);
if (!(seconds > 0)) {
  process.stderr.write(`micro: --seconds=${values.seconds}, expected a number above 0\n`);
  process.exit(1);
}

const native = loadNative();
process.stdout.write(`${tableHead()}\n`);
const results: Result[] = [];
for (const suite of [stageSuite(native), aeadSuite(native)]) {
  const cases = suite.cases.filter((candidate) => `${suite.name}: ${candidate.name}`.includes(values.only));
  results.push(...runSuite({ ...suite, cases }, seconds, (result) => process.stdout.write(`${tableRow(result)}\n`)));
}
mkdirSync(RESULTS, { recursive: true });
const machine = {
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: cpus().length,
  node: process.version,
  openssl: native.opensslVersion,
};
writeFileSync(
  `${RESULTS}/micro.json`,
  `${JSON.stringify({ at: new Date().toISOString(), machine, seconds, results }, null, 2)}\n`,
);
