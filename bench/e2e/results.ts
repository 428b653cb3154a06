/**
 * What the end-to-end benchmark writes to its JSON file: the environment, what was asked for, every sample, and what was
 * skipped and why. The file is saved after every block, so an interrupted run can be resumed.
 */
import { existsSync, readFileSync } from 'node:fs';
import type { Environment } from '../report/environment.ts';
import type { CpuUse } from '../traffic/cpu.ts';

/** The two columns of every table: with the veth's segmentation offloads, and as a wire would be (none). */
export const COLUMNS = ['offload', 'wire-honest'] as const;
export type Column = (typeof COLUMNS)[number];

/** One measurement of one contender. */
export type Sample = {
  readonly contender: string;
  /** Id of the measurement, such as tcp-1. */
  readonly measurement: string;
  readonly column: Column;
  /** Contenders measured in the same block took turns within seconds: ratios are formed within it. */
  readonly block: string;
  /** In the unit of the measurement; the first of `values` in the table. */
  readonly value: number;
  /** Everything else that the run told, by name. */
  readonly values: Readonly<Record<string, number>>;
  readonly cpu: CpuUse;
  /** Milliseconds since the epoch. */
  readonly at: number;
};

/** A contender or a measurement that gave nothing, and why. */
export type Skipped = { readonly contender: string; readonly measurement: string | undefined; readonly reason: string };

/** A contender as the report names it. */
export type ContenderNote = { readonly name: string; readonly what: string };

export type Results = {
  readonly version: 1;
  readonly environment: Environment;
  /** The command that makes such a file again. */
  readonly command: string;
  readonly contenders: ContenderNote[];
  readonly samples: Sample[];
  readonly skipped: Skipped[];
  /** Share of the machine busy with other work before each block, 0 to 1. */
  readonly background: number[];
  /** Samples thrown away because the hypervisor took more than 1 % of the time. */
  discarded: number;
};

/** Reads an earlier run's file to go on with. @throws if there is none or it is of another form. */
export function readResults(file: string): Results {
  if (!existsSync(file)) throw new Error(`--resume: there is no ${file} to go on with: run without --resume`);
  const results = JSON.parse(readFileSync(file, 'utf8')) as Results;
  if (results.version !== 1) throw new Error(`--resume: ${file} has version ${results.version}, expected 1`);
  return results;
}

/** The samples of one contender in one cell of a table. */
export function samplesOf(
  results: Pick<Results, 'samples'>,
  contender: string,
  measurement: string,
  column: Column,
): Sample[] {
  return results.samples.filter(
    (sample) => sample.contender === contender && sample.measurement === measurement && sample.column === column,
  );
}
