/**
 * `stages/show`: what each stage of each packet worker costs, measured for a moment and told as a table. The workers count
 * (dataplane/stage-meter.ts); here it is begun, waited for and ended, one measurement at a time, early if the daemon ends.
 */
import { type StageCost, stageCosts, stageTotals } from '../../dataplane/index.ts';
import { integer } from '../config/value-formats.ts';
import type { Timers } from '../ovsdb/timers.ts';
import { CommandError } from '../unixctl/command.ts';

export const STAGES_USAGE = '[seconds]';
const DEFAULT_SECONDS = 1;
const MOST_SECONDS = 10;

export interface StageMeasurementOptions {
  readonly workers: number;
  /** Tells the workers; undefined: no longer. Resolves when all of them have heard it. */
  readonly set: (totals: Float64Array | undefined) => Promise<void>;
  readonly nowMs: () => number;
  readonly timers: Timers;
}

/** @throws CommandError with one line. */
export function readSeconds(text: string | undefined): number {
  const seconds = text === undefined ? DEFAULT_SECONDS : integer(1, MOST_SECONDS)(text);
  if (seconds === undefined)
    throw new CommandError(`seconds is ${JSON.stringify(text)}, expected 1 to ${MOST_SECONDS}, for instance 1`);
  return seconds;
}

export class StageMeasurement {
  readonly #options: StageMeasurementOptions;
  #running: Promise<string> | undefined;
  #end: () => void = () => {};
  #isStopped = false;

  constructor(options: StageMeasurementOptions) {
    this.#options = options;
  }

  /** @throws CommandError when one runs already, or none will any more. */
  async run(seconds: number): Promise<string> {
    if (this.#isStopped) throw new CommandError('the daemon is ending');
    if (this.#running !== undefined) throw new CommandError('a measurement runs already; ask again when it has ended');
    this.#running = this.#measure(seconds);
    try {
      return await this.#running;
    } finally {
      this.#running = undefined;
    }
  }

  /** Ends the measurement that runs: whoever asked for it gets what there is. Resolves when the workers measure no more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#end();
    // Its failure is for who asked for it.
    await Promise.allSettled([this.#running]);
  }

  async #measure(seconds: number): Promise<string> {
    const { workers, set, nowMs, timers } = this.#options;
    const totals = stageTotals(workers);
    const over = new Promise<void>((resolve) => {
      this.#end = resolve;
    });
    let elapsedMs: number;
    try {
      await set(totals);
      const begun = nowMs();
      const cancel = timers.after(seconds * 1000, this.#end);
      await over;
      cancel();
      elapsedMs = nowMs() - begun;
    } finally {
      // Also when only some of the workers have heard of it.
      await set(undefined);
    }
    return Array.from({ length: workers }, (_, worker) =>
      workerTable(worker, stageCosts(totals, worker), elapsedMs),
    ).join('');
  }
}

/** One worker's stages. Shares are of the time that was measured. */
export function workerTable(worker: number, costs: readonly StageCost[], elapsedMs: number): string {
  const share = (ms: number): string => `${((100 * ms) / elapsedMs).toFixed(1)} %`;
  const busy = costs.reduce((sum, { ms }) => sum + ms, 0);
  const lines = [`worker ${worker}: ${share(busy)} of ${(elapsedMs / 1000).toFixed(2)} s in the stages below`];
  if (costs.length > 0) lines.push(row('', 'packets', 'ns/packet', 'cycles/packet', 'share'));
  for (const { direction, stage, packets, ms, cycles } of costs) {
    const each = (total: number): string => (packets === 0 || total === 0 ? '-' : (total / packets).toFixed(0));
    lines.push(row(`${direction.padEnd(3)} ${stage}`, String(packets), each(ms * 1e6), each(cycles), share(ms)));
  }
  return `${lines.join('\n')}\n`;
}

function row(stage: string, ...cells: readonly string[]): string {
  return `  ${stage.padEnd(16)}${cells.map((cell) => cell.padStart(15)).join('')}`;
}
