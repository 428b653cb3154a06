/**
 * `npm run simulate -- [--seeds N] [--first N] [--loss PERCENT] [--jobs N] [--log]`: runs seeds of run-seed.ts on all
 * processors, prints each one that fails, and what all of them together have reached. Exit 1 if any failed. A seed fails the
 * same way again with the same --loss.
 */

import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { Coverage } from './coverage.ts';
import { type CredentialPair, makeCredentials } from './credentials.ts';
import { runSeed, type SeedResult } from './run-seed.ts';

interface Work {
  readonly first: number;
  readonly seeds: number;
  readonly step: number;
  readonly loss: number | undefined;
  readonly log: boolean;
}

type Report = Omit<SeedResult, 'log'> & { readonly log: string | undefined };

function credentialsOrNone(): CredentialPair | undefined {
  try {
    return makeCredentials();
  } catch (error) {
    process.stderr.write(`no scenario has certificates: ${error instanceof Error ? error.message : String(error)}\n`);
    return undefined;
  }
}

function number(text: string | undefined, name: string, least: number, most: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new Error(`--${name} is "${text}", expected ${least} to ${most}`);
}

function readArguments(): Work & { readonly jobs: number } {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string' },
      first: { type: 'string' },
      loss: { type: 'string' },
      jobs: { type: 'string' },
      log: { type: 'boolean' },
    },
  });
  const percent = number(values.loss, 'loss', 0, 90);
  const seeds = number(values.seeds, 'seeds', 1, 100_000_000) ?? 1000;
  const jobs = Math.min(seeds, number(values.jobs, 'jobs', 1, 1024) ?? availableParallelism());
  return {
    first: number(values.first, 'first', 0, 0xffff_ffff) ?? 1,
    seeds,
    step: jobs,
    loss: percent === undefined ? undefined : percent / 100,
    log: values.log === true,
    jobs,
  };
}

/** In a worker: every step-th seed. */
function work({ first, seeds, step, loss, log }: Work): void {
  const credentials = credentialsOrNone();
  for (let seed = first; seed < first + seeds; seed += step) {
    const result = runSeed(seed, { loss, credentials });
    const report: Report = { ...result, log: log ? result.log() : undefined };
    parentPort?.postMessage(report);
  }
}

async function main(): Promise<number> {
  const { jobs, ...all } = readArguments();
  const coverage = new Coverage();
  const began = Date.now();
  let failed = 0;
  const show = ({ seed, faults, traits, events, log }: Report): void => {
    if (log !== undefined) process.stdout.write(`${log}\n`);
    if (faults.length === 0) return;
    failed += 1;
    const again = `--first ${seed} --seeds 1${all.loss === undefined ? '' : ` --loss ${all.loss * 100}`} --log`;
    process.stdout.write(
      `seed ${seed} failed (${[...traits, ...events].join(', ')}): ${faults.join('; ')}\n  again: npm run simulate -- ${again}\n`,
    );
  };
  const runs = Array.from({ length: jobs }, (_, index) => {
    const share: Work = { ...all, first: all.first + index, seeds: all.seeds - index };
    const worker = new Worker(new URL(import.meta.url), { workerData: share });
    worker.on('message', (report: Report) => {
      coverage.add(report);
      show(report);
      if (coverage.seeds % 1000 === 0) process.stdout.write(`${coverage.seeds} seeds, ${failed} failed\n`);
    });
    return new Promise<void>((resolve, reject) => {
      worker.on('error', reject);
      worker.on('exit', () => resolve());
    });
  });
  await Promise.all(runs);
  const lossText = all.loss === undefined ? 'loss of 0 to 35 %' : `${all.loss * 100} % loss`;
  process.stdout.write(`${coverage.report().join('\n')}\n`);
  process.stdout.write(
    `${coverage.seeds} seeds with ${lossText} in ${Math.round((Date.now() - began) / 1000)} s: ${failed} failed\n`,
  );
  return failed === 0 ? 0 : 1;
}

if (isMainThread) {
  main().then(
    (status) => {
      process.exitCode = status;
    },
    (error: unknown) => {
      process.stderr.write(`simulate: ${error instanceof Error ? error.message : String(error)}\n`);
      process.exitCode = 1;
    },
  );
} else work(workerData as Work);
