/**
 * Counters of the packet path, in one SharedArrayBuffer that every worker writes its own part of.
 *
 * A worker adds with plain stores, because nobody else writes its cells; whoever reads sums over the
 * workers. 64-bit floats count exactly to 2^53. Reading costs the packet path nothing. A cell belongs to a port's
 * id, not to its name: the main thread clears it when the id is given to something new.
 */

import { DROP_REASONS, type DropName } from './drops.ts';
import type { InboundStatus, OutboundStatus, SaMemory } from './esp/sa-memory.ts';
import type { EngineLimits } from './limits.ts';

/** Counters of a worker that belong to no id, in the order of their cells. */
export const WORKER_COUNTERS = [
  'turns',
  'sleeps',
  'framesRead',
  'packetsReceived',
  'packetsSent',
  'framesWritten',
  'tfcPadded',
] as const;
export const [TURNS, SLEEPS, FRAMES_READ, PACKETS_RECEIVED, PACKETS_SENT, FRAMES_WRITTEN, TFC_PADDED] = [
  0, 1, 2, 3, 4, 5, 6,
];
export type WorkerCounter = (typeof WORKER_COUNTERS)[number];

/** Cells of a port: what came in through it, what left through it. */
export const PORT_CELLS = { rxPackets: 0, rxBytes: 1, txPackets: 2, txBytes: 3 } as const;

const PORT_WIDTH = 4;
/** Cells between the parts of two workers, so that they share no cache line (128 bytes: two lines are fetched). */
const GUARD = 16;

export function countersBytes(workers: number, limits: EngineLimits): number {
  return 8 * workers * cellsPerWorker(limits);
}

function cellsPerWorker(limits: EngineLimits): number {
  const cells =
    WORKER_COUNTERS.length + DROP_REASONS.length + (PORT_WIDTH + DROP_REASONS.length) * limits.ports + GUARD;
  return Math.ceil(cells / GUARD) * GUARD;
}

/** The part of one worker. All arrays are views of the shared buffer. */
export class WorkerCounters {
  readonly worker: Float64Array;
  readonly drops: Float64Array;
  readonly ports: Float64Array;
  /** A row of drop reasons for each port. */
  readonly portDrops: Float64Array;

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
  }

  add(cell: number, count: number): void {
    this.worker[cell] += count;
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

  /** Counts dropped packets; `port` -1: they belong to no port. */
  dropped(reason: number, port: number, count = 1): void {
    this.drops[reason] += count;
    if (port >= 0) this.portDrops[port * DROP_REASONS.length + reason] += count;
  }

  clearPort(port: number): void {
    this.portDrops.fill(0, port * DROP_REASONS.length, (port + 1) * DROP_REASONS.length);
    this.ports.fill(0, port * PORT_WIDTH, (port + 1) * PORT_WIDTH);
  }
}

export interface PortCounters {
  readonly rxPackets: number;
  readonly rxBytes: number;
  readonly txPackets: number;
  readonly txBytes: number;
}

/** Reads what all workers have counted, SAs included, whose counters live in their own memory (esp/sa-memory.ts). */
export class CounterReader {
  private readonly parts: readonly WorkerCounters[];
  private readonly sas: SaMemory;

  constructor(shared: SharedArrayBuffer, workers: number, limits: EngineLimits, sas: SaMemory) {
    this.sas = sas;
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

  /** Packets, bytes, last sequence number and flags of the SA in a slot. */
  sa(direction: 'in', slot: number): InboundStatus;
  sa(direction: 'out', slot: number): OutboundStatus;
  sa(direction: 'in' | 'out', slot: number): InboundStatus | OutboundStatus {
    return direction === 'in' ? this.sas.inboundStatus(slot) : this.sas.outboundStatus(slot);
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

  private sum(array: 'ports' | 'portDrops', cell: number): number {
    let total = 0;
    for (const part of this.parts) total += part[array][cell];
    return total;
  }
}
