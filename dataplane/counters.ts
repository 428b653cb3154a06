/**
 * Counters of the packet path, in one SharedArrayBuffer that every worker writes its own part of.
 *
 * A worker adds with plain stores, because nobody else writes its cells; whoever reads sums over the
 * workers. 64-bit floats count exactly to 2^53. Reading costs the packet path nothing. A cell belongs to an id
 * (port, SA slot), not to a name: the main thread clears it when the id is given to something new.
 */

import { DROP_REASONS, type DropName } from './drops.ts';
import type { EngineLimits } from './limits.ts';

/** Counters of a worker that belong to no id, in the order of their cells. */
export const WORKER_COUNTERS = [
  'turns',
  'polls',
  'framesRead',
  'packetsReceived',
  'packetsSent',
  'framesWritten',
] as const;
export type WorkerCounter = (typeof WORKER_COUNTERS)[number];

/** Cells of a port: what came in through it, what left through it. */
export const PORT_CELLS = { rxPackets: 0, rxBytes: 1, txPackets: 2, txBytes: 3 } as const;
/** Cells of an SA in one direction. */
export const SA_CELLS = { packets: 0, bytes: 1 } as const;

const PORT_WIDTH = 4;
const SA_WIDTH = 2;
/** Cells between the parts of two workers, so that they share no cache line (128 bytes: two lines are fetched). */
const GUARD = 16;

export function countersBytes(workers: number, limits: EngineLimits): number {
  return 8 * workers * cellsPerWorker(limits);
}

function cellsPerWorker(limits: EngineLimits): number {
  const cells =
    WORKER_COUNTERS.length +
    DROP_REASONS.length +
    (PORT_WIDTH + DROP_REASONS.length) * limits.ports +
    2 * SA_WIDTH * limits.saSlots +
    GUARD;
  return Math.ceil(cells / GUARD) * GUARD;
}

/** The part of one worker. All arrays are views of the shared buffer. */
export class WorkerCounters {
  readonly worker: Float64Array;
  readonly drops: Float64Array;
  readonly ports: Float64Array;
  /** A row of drop reasons for each port. */
  readonly portDrops: Float64Array;
  readonly inboundSas: Float64Array;
  readonly outboundSas: Float64Array;

  constructor(shared: SharedArrayBuffer, worker: number, limits: EngineLimits) {
    let at = 8 * worker * cellsPerWorker(limits);
    const take = (cells: number): Float64Array => {
      const view = new Float64Array(shared, at, cells);
      at += 8 * cells;
      return view;
    };
    this.worker = take(WORKER_COUNTERS.length);
    this.drops = take(DROP_REASONS.length);
    this.ports = take(PORT_WIDTH * limits.ports);
    this.portDrops = take(DROP_REASONS.length * limits.ports);
    this.inboundSas = take(SA_WIDTH * limits.saSlots);
    this.outboundSas = take(SA_WIDTH * limits.saSlots);
  }

  received(port: number, bytes: number): void {
    const cell = port * PORT_WIDTH;
    this.ports[cell + PORT_CELLS.rxPackets] += 1;
    this.ports[cell + PORT_CELLS.rxBytes] += bytes;
  }

  sent(port: number, bytes: number): void {
    const cell = port * PORT_WIDTH;
    this.ports[cell + PORT_CELLS.txPackets] += 1;
    this.ports[cell + PORT_CELLS.txBytes] += bytes;
  }

  /** Counts a drop; `port` -1: it belongs to no port. */
  dropped(reason: number, port: number): void {
    this.drops[reason] += 1;
    if (port >= 0) this.portDrops[port * DROP_REASONS.length + reason] += 1;
  }

  clearPort(port: number): void {
    this.portDrops.fill(0, port * DROP_REASONS.length, (port + 1) * DROP_REASONS.length);
    this.ports.fill(0, port * PORT_WIDTH, (port + 1) * PORT_WIDTH);
  }

  clearSa(direction: 'in' | 'out', slot: number): void {
    const cells = direction === 'in' ? this.inboundSas : this.outboundSas;
    cells.fill(0, slot * SA_WIDTH, (slot + 1) * SA_WIDTH);
  }
}

export interface PortCounters {
  readonly rxPackets: number;
  readonly rxBytes: number;
  readonly txPackets: number;
  readonly txBytes: number;
}

export interface SaCounters {
  readonly packets: number;
  readonly bytes: number;
}

/** Reads what all workers have counted. */
export class CounterReader {
  private readonly parts: readonly WorkerCounters[];

  constructor(shared: SharedArrayBuffer, workers: number, limits: EngineLimits) {
    this.parts = Array.from({ length: workers }, (_, worker) => new WorkerCounters(shared, worker, limits));
  }

  port(port: number): PortCounters {
    const cell = port * PORT_WIDTH;
    return {
      rxPackets: this.sum('ports', cell + PORT_CELLS.rxPackets),
      rxBytes: this.sum('ports', cell + PORT_CELLS.rxBytes),
      txPackets: this.sum('ports', cell + PORT_CELLS.txPackets),
      txBytes: this.sum('ports', cell + PORT_CELLS.txBytes),
    };
  }

  sa(direction: 'in' | 'out', slot: number): SaCounters {
    const array = direction === 'in' ? 'inboundSas' : 'outboundSas';
    const cell = slot * SA_WIDTH;
    return { packets: this.sum(array, cell + SA_CELLS.packets), bytes: this.sum(array, cell + SA_CELLS.bytes) };
  }

  /** Drops by reason, one number for each worker; reasons that never happened are left out. */
  drops(): ReadonlyMap<DropName, readonly number[]> {
    const result = new Map<DropName, readonly number[]>();
    for (let reason = 1; reason < DROP_REASONS.length; reason++) {
      const counts = this.parts.map((part) => part.drops[reason]);
      if (counts.some((count) => count > 0)) result.set(DROP_REASONS[reason].name, counts);
    }
    return result;
  }

  /** Drops of packets that came in through or were to leave through this port; tunnel packets count at the tunnel. */
  portDrops(port: number): ReadonlyMap<DropName, number> {
    const result = new Map<DropName, number>();
    for (let reason = 1; reason < DROP_REASONS.length; reason++) {
      const count = this.sum('portDrops', port * DROP_REASONS.length + reason);
      if (count > 0) result.set(DROP_REASONS[reason].name, count);
    }
    return result;
  }

  workers(): readonly Readonly<Record<WorkerCounter, number>>[] {
    return this.parts.map(
      (part) =>
        Object.fromEntries(WORKER_COUNTERS.map((name, cell) => [name, part.worker[cell]])) as Record<
          WorkerCounter,
          number
        >,
    );
  }

  clearPort(port: number): void {
    for (const part of this.parts) part.clearPort(port);
  }

  clearSa(direction: 'in' | 'out', slot: number): void {
    for (const part of this.parts) part.clearSa(direction, slot);
  }

  private sum(array: 'ports' | 'portDrops' | 'inboundSas' | 'outboundSas', cell: number): number {
    let total = 0;
    for (const part of this.parts) total += part[array][cell];
    return total;
  }
}
