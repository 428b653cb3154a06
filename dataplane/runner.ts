/**
 * Who runs packet workers: a pool of threads (pool.ts), or the main thread itself (inline.ts). Both carry out
 * the same commands in the order they were posted.
 */

import type { EngineCommand, EngineEvent } from './commands.ts';
import type { UplinkDescriptors } from './io/uplink.ts';

/** What a worker is told: the engine's commands, and which descriptors its uplink has. */
export type WorkerCommand = EngineCommand | { readonly op: 'set-uplink'; readonly uplink: UplinkDescriptors };

export interface Runner {
  /** One command for every worker, or one for each. Resolves when all have carried it out; rejects with the first error. */
  post(commandOf: (worker: number) => WorkerCommand): Promise<void>;
  /** Ends all workers and resolves when none touches a descriptor any more. */
  stop(): Promise<void>;
}

/** What a runner asks of the engine. */
export interface RunnerHost {
  onEvent(event: EngineEvent): void;
  /** The whole state for a worker that starts anew. */
  stateOf(worker: number): readonly WorkerCommand[];
}
