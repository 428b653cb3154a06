/**
 * `npm run mutants -- [--minutes N] [FILES]`: changes the code of one file of targets.ts after the other in every way that Stryker knows,
 * and tells which changes no test noticed. docs/mutants.md says which of them mean something.
 *
 * One process of Stryker for each file, with its own limit of time. It works on a copy in build/, which git ignores; Vite takes
 * nothing for code of ours that lies below node_modules.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ROOT } from '../rig/root.ts';
import { TARGETS, type Target } from './targets.ts';

const WORK = join(ROOT, 'node_modules/.cache/ovs-espd/mutants');

const STRYKER = 'test/mutants/node_modules/@stryker-mutator/core/bin/stryker.js';

/** What is read of Stryker's report, a mutation-testing-elements schema. */
interface Mutant {
  readonly mutatorName: string;
  readonly replacement?: string;
  readonly location: { readonly start: { readonly line: number; readonly column: number } };
  readonly status: 'Killed' | 'Survived' | 'NoCoverage' | 'Timeout' | 'RuntimeError' | 'Ignored';
}

function chosen(files: readonly string[]): readonly Target[] {
  const unknown = files.find((file) => !TARGETS.some((target) => target.file === file));
  if (unknown !== undefined)
    throw new Error(`${unknown} is not mutated: expected some of ${TARGETS.map(({ file }) => file).join(', ')}`);
  return files.length === 0 ? TARGETS : TARGETS.filter(({ file }) => files.includes(file));
}

function optionsFor({ file }: Target, report: string) {
  return {
    mutate: [file],
    testRunner: 'vitest',
    plugins: ['@stryker-mutator/vitest-runner'],
    vitest: { configFile: 'test/mutants/vitest.config.ts', related: false },
    disableTypeChecks: false,
    reporters: ['json'],
    jsonReporter: { fileName: report },
    logLevel: 'warn',
    tempDirName: 'build/mutants',
    ignorePatterns: ['/bench', '/build', '/dist', '/docs'],
    concurrency: 2,
    timeoutMS: 10_000,
  };
}

/** Rejects if Stryker fails or does not end in time; nothing of it is left then. */
function stryker(settings: string, tests: readonly string[], minutes: number): Promise<void> {
  const child = spawn(process.execPath, [join(ROOT, STRYKER), 'run', settings], {
    cwd: ROOT,
    // A group of its own, so that its workers end with it.
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, MUTANTS_TESTS: tests.join() },
  });
  const end = (): void => void process.kill(-child.pid!, 'SIGKILL');
  process.once('SIGINT', end);
  const limit = setTimeout(end, minutes * 60_000);
  return new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(signal === null ? `Stryker ended with ${code}` : `not done in ${minutes} minutes`));
    });
  }).finally(() => {
    clearTimeout(limit);
    process.off('SIGINT', end);
  });
}

async function run(target: Target, minutes: number): Promise<readonly Mutant[]> {
  const name = target.file.replaceAll('/', '-');
  const report = join(WORK, `${name}.report.json`);
  const settings = join(WORK, `${name}.settings.json`);
  rmSync(report, { force: true });
  writeFileSync(settings, JSON.stringify(optionsFor(target, report)));
  await stryker(settings, target.tests, minutes);
  const { files } = JSON.parse(readFileSync(report, 'utf8')) as {
    files: Record<string, { mutants: readonly Mutant[] }>;
  };
  return files[target.file]!.mutants;
}

function tell({ file }: Target, mutants: readonly Mutant[], seconds: number): void {
  const survivors = mutants.filter(({ status }) => status === 'Survived' || status === 'NoCoverage');
  const late = mutants.filter(({ status }) => status === 'Timeout').length;
  process.stdout.write(
    `${file}: ${mutants.length} mutants, ${mutants.length - survivors.length} killed (${late} by the time they took), ${survivors.length} survive; ${seconds.toFixed(0)} s\n`,
  );
  for (const { location, mutatorName, replacement, status } of survivors) {
    const place = `${file}:${location.start.line}:${location.start.column}`;
    const text = (replacement ?? '').replaceAll(/\s+/g, ' ');
    process.stdout.write(
      `  ${place} ${mutatorName}: ${text}${status === 'NoCoverage' ? ' (no test comes there)' : ''}\n`,
    );
  }
}

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { minutes: { type: 'string', default: '20' } },
  });
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new Error(`--minutes=${values.minutes}: expected a number above 0`);
  const targets = chosen(positionals);
  mkdirSync(WORK, { recursive: true });
  for (const target of targets) {
    const started = Date.now();
    tell(target, await run(target, minutes), (Date.now() - started) / 1000);
  }
} catch (error) {
  process.stderr.write(`mutants: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
