/**
 * Dear steps of key exchanges and signatures that the runner does elsewhere, so that the engine's thread stays free: a `compute` action
 * asks for one, `IkeEngine.computed` brings what came out. How many may be outstanding is a setting, and so is whether there
 * are any: with none everything is computed in place, as it is for whom there is no room.
 *
 * Who asked may lose interest meanwhile; then the late result is overwritten, and nothing else happens.
 */

import { type Job, type JobResult, wipeResult } from './crypto/jobs.ts';
import type { IkeAction } from './types.ts';

/** Something that is being computed. */
export interface Computation {
  /** Nobody waits for it any more. */
  cancel(): void;
}

/** Undefined: the runner could not do it; it has to be done in place. */
export type OnResult = (result: JobResult | undefined) => void;

export class Computations {
  readonly #limit: number;
  readonly #emit: (action: IkeAction) => void;
  readonly #waiting = new Map<number, OnResult>();
  #outstanding = 0;
  #nextId = 1;

  constructor(limit: number, emit: (action: IkeAction) => void) {
    this.#limit = limit;
    this.#emit = emit;
  }

  /** Steps are done elsewhere. */
  get inUse(): boolean {
    return this.#limit > 0;
  }

  /** With the runner, those that nobody waits for any more included: they cost as much. */
  get outstanding(): number {
    return this.#outstanding;
  }

  /** Asks for it. Undefined: there is no room. */
  start(job: Job, onResult: OnResult): Computation | undefined {
    if (this.#outstanding >= this.#limit) return undefined;
    const id = this.#nextId++;
    this.#outstanding += 1;
    this.#waiting.set(id, onResult);
    this.#emit({ action: 'compute', id, job });
    return {
      cancel: () => {
        if (this.#waiting.has(id)) this.#waiting.set(id, forget);
      },
    };
  }

  /** The runner is done with one. */
  computed(id: number, result: JobResult | undefined): void {
    const onResult = this.#waiting.get(id);
    if (onResult === undefined) throw new Error(`computation ${id} was never asked for, or is done twice`);
    this.#waiting.delete(id);
    this.#outstanding -= 1;
    onResult(result);
  }
}

const forget: OnResult = (result) => {
  if (result !== undefined) wipeResult(result);
};
