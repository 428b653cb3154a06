/**
 * Many tunnels that come up at once, each with an IKE SA of its own: how long it takes and how long the main thread blocks,
 * with strongSwan's charon beside it in the same run.
 *
 *     node dist/bench/tunnels/main.js [--tunnels=1000] [--rounds=3] [--patience=60] [--only=WORDS] [--out=FOLDER]
 *
 * `patience` is how many seconds they have. Contenders take turns; `only` takes parts of their names.
 */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { canMakeNamespaces, createRig } from '../../test/rig/rig.ts';
import { list, positive, wholeNumber } from '../options.ts';
import { startProgress } from '../progress.ts';
import { readEnvironment } from '../report/environment.ts';
import { markdownTable } from '../report/markdown.ts';
import { RESULTS, writeReport } from '../report/write.ts';
import { charonPair } from './charon.ts';
import { espd } from './espd.ts';
import { tunnelsPage } from './report.ts';
import { createSite, type Outcome } from './site.ts';

const CONTENDERS = [
  espd('ovs-espd, x25519', 'aes256gcm16-prfsha256-x25519'),
  espd('ovs-espd, x25519 and ML-KEM-768', 'aes256gcm16-prfsha256-x25519-ke1_mlkem768'),
  charonPair,
];

const OPTIONS = {
  tunnels: { type: 'string', default: '1000' },
  rounds: { type: 'string', default: '3' },
  patience: { type: 'string', default: '60' },
  only: { type: 'string', default: '' },
  out: { type: 'string', default: RESULTS },
} as const;

async function tunnelsMain(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...argv], options: OPTIONS });
  const tunnels = wholeNumber('tunnels', values.tunnels);
  const rounds = wholeNumber('rounds', values.rounds);
  const patience = positive('patience', values.patience);
  const words = values.only === '' ? [] : list(values.only);
  const chosen = CONTENDERS.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)));
  if (chosen.length === 0)
    throw new Error(`--only=${values.only}: expected parts of ${CONTENDERS.map(({ name }) => name).join(', ')}`);
  if (!canMakeNamespaces()) throw new Error('network namespaces need root');
  const environment = readEnvironment();
  const progress = startProgress(rounds * chosen.length);
  const skipped = new Map<string, string>();
  const outcomes = new Map(chosen.map(({ name }) => [name, [] as Outcome[]]));
  for (let round = 0; round < rounds; round++) {
    for (const contender of chosen) {
      const rig = createRig();
      try {
        const site = await createSite(rig, tunnels);
        outcomes.get(contender.name)!.push(await contender.establish(site, patience));
      } catch (error) {
        skipped.set(contender.name, `${contender.name}: ${(error as Error).message.split('\n')[0]}`);
      } finally {
        await rig.close();
      }
      progress.step(contender.name);
    }
  }
  progress.end();
  const command = ['npm run bench -- tunnels', ...argv.filter((word) => !word.startsWith('--out'))].join(' ');
  const contenders = chosen.map(({ name, what }) => ({ name, what, outcomes: outcomes.get(name)! }));
  const data = { environment, command, tunnels, contenders, skipped: [...skipped.values()] };
  const page = tunnelsPage(data);
  for (const line of data.skipped) process.stdout.write(`left out: ${line}\n`);
  for (const { table } of page.sections) if (table !== undefined) process.stdout.write(`\n${markdownTable(table)}\n`);
  process.stdout.write(`\nWritten: ${writeReport(resolve(values.out), 'tunnels', data, page).join(', ')}\n`);
}

try {
  await tunnelsMain(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`tunnels: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
