/**
 * Copies packets out of a worker's batches while somebody asked for a capture, each with what became of it.
 *
 * A packet is copied at its point and kept until its verdict is known: at the end of the batch, or, for what is sent,
 * after the send call. Then it becomes a pcapng block with the drop reason as its comment. Inside: frames as a port has
 * given them, and as they come out of tunnels. Outside: packets as they are sent and as they were received, before
 * they are opened. A budget of packets a second bounds what this costs; what goes beyond it is counted.
 */

import type { Batch } from '../batch.ts';
import type { EngineEvent } from '../commands.ts';
import { DROP_REASONS } from '../drops.ts';
import type { Stage, StageObserver } from '../observer.ts';
import type { WorkerState } from '../worker-state.ts';
import { CAPTURE_POINTS, type CapturePoint, concat, packetBlock } from './pcapng.ts';

export interface CaptureSettings {
  readonly points: readonly CapturePoint[];
  /** Only packets that were dropped. */
  readonly dropsOnly: boolean;
  /** Packets that each worker hands over in a second at most. */
  readonly packetsPerSecond: number;
}

interface Pending {
  readonly row: number;
  readonly point: CapturePoint;
  readonly outbound: boolean;
  readonly micros: number;
  readonly bytes: Uint8Array;
}

type Tally = Record<CapturePoint, number>;
const zero = (): Tally => Object.fromEntries(CAPTURE_POINTS.map(({ name }) => [name, 0])) as Tally;

export class Capture implements StageObserver {
  private readonly settings: CaptureSettings;
  private readonly emit: (event: EngineEvent) => void;
  private pending: Pending[] = [];
  private sending: Pending[] = [];
  private blocks: Uint8Array[] = [];
  private seen = zero();
  private skipped = zero();
  private budget: number;
  private budgetSince = 0;

  constructor(settings: CaptureSettings, emit: (event: EngineEvent) => void) {
    this.settings = settings;
    this.emit = emit;
    this.budget = settings.packetsPerSecond;
  }

  after(stage: Stage, state: WorkerState): void {
    const { batch } = state;
    switch (stage) {
      case 'read':
        this.renewBudget(state.now);
        this.collect('inside', true, this.pending, batch, () => true);
        return;
      case 'receive':
        this.renewBudget(state.now);
        this.collect('outside', false, this.pending, batch, () => true);
        return;
      case 'decapsulate':
        this.collect('inside', false, this.pending, batch, (row) => batch.verdict[row] === 0);
        return;
      case 'outer-header':
        this.collect('outside', true, this.sending, batch, (row) => batch.verdict[row] === 0 && batch.tunnel[row] >= 0);
        return;
      case 'send':
        this.settle(this.sending, batch);
        this.sending = [];
        return;
      case 'finish':
        this.settle(this.pending, batch);
        this.pending = [];
        this.flush();
        return;
      default:
    }
  }

  private renewBudget(now: number): void {
    if (now - this.budgetSince < 1000) return;
    this.budgetSince = now;
    this.budget = this.settings.packetsPerSecond;
  }

  private collect(
    point: CapturePoint,
    outbound: boolean,
    into: Pending[],
    batch: Batch,
    isMeant: (row: number) => boolean,
  ): void {
    if (!this.settings.points.includes(point)) return;
    const micros = (performance.timeOrigin + performance.now()) * 1000;
    for (let row = 0; row < batch.count; row++) {
      if (!isMeant(row)) continue;
      this.seen[point]++;
      if (this.budget <= into.length && !this.settings.dropsOnly) {
        this.skipped[point]++;
        continue;
      }
      const start = batch.offset[row];
      // A packet that did not fit into its slot has length -1: it is recorded without bytes.
      const bytes = batch.arena.slice(start, start + Math.max(0, batch.length[row]));
      into.push({ row, point, outbound, micros, bytes });
    }
  }

  private settle(packets: readonly Pending[], batch: Batch): void {
    for (const { row, ...packet } of packets) {
      const reason = DROP_REASONS[batch.verdict[row]];
      const dropped = batch.verdict[row] !== 0;
      if (!dropped && this.settings.dropsOnly) continue;
      if (this.budget <= 0) {
        this.skipped[packet.point]++;
        continue;
      }
      this.budget--;
      this.blocks.push(
        packetBlock({ ...packet, comment: dropped ? `dropped, ${reason.name}: ${reason.sentence}` : undefined }),
      );
    }
  }

  private flush(): void {
    const { blocks, seen, skipped } = this;
    const isIdle = CAPTURE_POINTS.every(({ name }) => seen[name] === 0);
    if (isIdle) return;
    this.blocks = [];
    this.seen = zero();
    this.skipped = zero();
    this.emit({ event: 'captured', blocks: concat(blocks), packets: blocks.length, seen, skipped });
  }
}
