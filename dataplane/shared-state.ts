/**
 * What all workers share, as plain data that survives a structured clone: sizes, the choice of AEAD backend, and the
 * shared memory that outlives a worker — counters, sequence numbers, replay windows.
 */

import type { ArenaSize } from './arena.ts';
import { countersBytes } from './counters.ts';
import type { Aead } from './esp/aead.ts';
import { SaMemory, type SaMemorySize } from './esp/sa-memory.ts';
import type { EngineLimits } from './limits.ts';
import type { Offloads } from './offload/offloads.ts';
import { Fdb, type FdbSize } from './switch/fdb.ts';

export type AeadName = Aead['name'];

export interface SharedState {
  /** Workers there are; 1 when the engine runs on the main thread. */
  readonly workers: number;
  readonly limits: EngineLimits;
  readonly arena: ArenaSize;
  readonly aead: AeadName;
  readonly offloads: Offloads;
  readonly counters: SharedArrayBuffer;
  readonly sas: SharedArrayBuffer;
  readonly fdb: SharedArrayBuffer;
}

export function saMemorySize(workers: number, limits: EngineLimits): SaMemorySize {
  return { inboundSlots: limits.saSlots, outboundSlots: limits.saSlots, workers };
}

export function fdbSize(limits: EngineLimits): FdbSize {
  return { cells: limits.fdbCells, bridges: limits.bridges };
}

export function makeSharedState(
  options: Pick<SharedState, 'workers' | 'limits' | 'arena' | 'aead' | 'offloads'>,
): SharedState {
  const { workers, limits } = options;
  return {
    ...options,
    counters: new SharedArrayBuffer(countersBytes(workers, limits)),
    fdb: new Fdb(fdbSize(limits)).buffer,
    sas: new SaMemory(saMemorySize(workers, limits)).buffer,
  };
}
