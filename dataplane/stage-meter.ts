/**
 * What each stage costs a worker: packets, time and cycles, while somebody has asked for it. An observer like a capture, so the stages
 * know nothing of it, and cost what they did before when it is gone.
 *
 * A stage's time runs from the end of the one before it to its own end, so that what lies between two stages counts with the
 * second; that of the first begins before packets are asked for. Neither the meter's own counting nor a capture behind it
 * is in the figures; of the clock itself about half a reading is, for each stage and batch. Totals are in memory
 * that the main thread reads, one writer for each part of it.
 */

import { FRAMES_WRITTEN } from './counters.ts';
import { STAGES, type Stage, type StageObserver } from './observer.ts';
import type { WorkerState } from './worker-state.ts';

const DIRECTIONS = ['out', 'in'] as const;
const CELL = { packets: 0, ms: 1, cycles: 2 } as const;
const CELLS = Object.keys(CELL).length;
const DIRECTION_CELLS = STAGES.length * CELLS;
const WORKER_CELLS = DIRECTIONS.length * DIRECTION_CELLS;
/** Native.cycles wraps here. */
const CYCLES_MODULUS = 2 ** 48;

const STAGE_CELL = Object.fromEntries(STAGES.map((stage, i) => [stage, i * CELLS])) as Record<Stage, number>;
/** Only rows that travel through a tunnel go through these. */
const OF_TUNNELS: ReadonlySet<Stage> = new Set(['encapsulate', 'policy-out', 'seal', 'outer-header', 'send']);

/** The clocks that a stage is measured by (Native). */
export interface StageClock {
  monotonicMs(): number;
  cycles(): number;
}

export interface StageMeterOptions {
  readonly clock: StageClock;
  /** Of all workers (stageTotals). */
  readonly totals: Float64Array;
  readonly worker: number;
  /** Another observer, told of the same stages. */
  readonly behind: StageObserver | undefined;
}

/** What one stage of one worker has cost in all. `direction`: of the batch, which may pass stages of the other one, from tunnel to tunnel. */
export interface StageCost {
  readonly direction: (typeof DIRECTIONS)[number];
  readonly stage: Stage;
  /** Those that went on after the stage; large frames count once before they are cut. */
  readonly packets: number;
  readonly ms: number;
  /** 0: the processor has no such counter. */
  readonly cycles: number;
}

/** Memory for the totals of all workers. */
export function stageTotals(workers: number): Float64Array {
  return new Float64Array(new SharedArrayBuffer(8 * WORKER_CELLS * workers));
}

/** The stages that a worker went through, in the order of the packet's way, first out, then in. */
export function stageCosts(totals: Float64Array, worker: number): readonly StageCost[] {
  return DIRECTIONS.flatMap((direction, i) =>
    STAGES.map((stage) => {
      const cell = worker * WORKER_CELLS + i * DIRECTION_CELLS + STAGE_CELL[stage];
      const read = (name: keyof typeof CELL): number => totals[cell + CELL[name]];
      return { direction, stage, packets: read('packets'), ms: read('ms'), cycles: read('cycles') };
    }),
  ).filter(({ ms }) => ms > 0);
}

export class StageMeter implements StageObserver {
  readonly #options: StageMeterOptions;
  /** Where the totals of the batch's direction begin. */
  #base = 0;
  #ms = 0;
  #cycles = 0;
  #written = 0;

  constructor(options: StageMeterOptions) {
    this.#options = options;
    this.begin();
  }

  begin(): void {
    this.#ms = this.#options.clock.monotonicMs();
    this.#cycles = this.#options.clock.cycles();
  }

  after(stage: Stage, state: WorkerState): void {
    const { clock, totals, worker, behind } = this.#options;
    const cycles = clock.cycles() - this.#cycles;
    const ms = clock.monotonicMs() - this.#ms;
    if (stage === 'read' || stage === 'receive') {
      this.#base = worker * WORKER_CELLS + (stage === 'read' ? 0 : DIRECTION_CELLS);
      this.#written = state.counters.worker[FRAMES_WRITTEN];
    }
    const cell = this.#base + STAGE_CELL[stage];
    totals[cell + CELL.packets] += this.#packets(stage, state);
    totals[cell + CELL.ms] += ms;
    totals[cell + CELL.cycles] += cycles < 0 ? cycles + CYCLES_MODULUS : cycles;
    behind?.after(stage, state);
    this.begin();
  }

  #packets(stage: Stage, { batch, counters }: WorkerState): number {
    if (stage === 'read' || stage === 'receive') return batch.count;
    if (stage === 'write') {
      const before = this.#written;
      this.#written = counters.worker[FRAMES_WRITTEN];
      return this.#written - before;
    }
    const ofTunnels = OF_TUNNELS.has(stage);
    let packets = 0;
    for (let row = 0; row < batch.count; row++)
      if (batch.verdict[row] === 0 && (!ofTunnels || batch.tunnel[row] >= 0)) packets++;
    return packets;
  }
}
