/**
 * Ends of an engine that cost next to nothing: a port that gives the same frames again and again and takes delivered ones for
 * counted, and an uplink that gives prepared packets and takes sent ones for counted. What is left is the engine.
 */
import type { FrameList } from '../../dataplane/batch.ts';
import { MemoryPort, MemoryUplink, MemoryWire } from '../../dataplane/io/memory.ts';
import type { FrameColumns } from '../../native-shims/types.ts';

/** Hands out prepared packets, at most `most` a read, until its budget is used up. */
class Supply {
  packets: readonly Uint8Array[] = [];
  budget = 0;
  most = Number.MAX_SAFE_INTEGER;
  private next = 0;

  /** Begins again with the first packet. */
  start(packets: readonly Uint8Array[], budget: number): void {
    this.packets = packets;
    this.budget = budget;
    this.next = 0;
  }

  fill(columns: FrameColumns, first: number, count: number): number {
    const { packets } = this;
    const filled = Math.min(count, this.budget, this.most);
    for (let row = first; row < first + filled; row++) {
      const packet = packets[this.next]!;
      this.next = this.next + 1 === packets.length ? 0 : this.next + 1;
      columns.arena.set(packet, columns.offset[row]!);
      columns.length[row] = packet.length;
    }
    this.budget -= filled;
    return filled;
  }
}

/** A port whose frames come from a supply; delivered ones are counted. */
export class SupplyPort extends MemoryPort {
  readonly supply = new Supply();
  taken = 0;

  override read(columns: FrameColumns, first: number, count: number): number {
    return this.supply.fill(columns, first, count);
  }

  override write(list: FrameList): void {
    list.errors.fill(0, 0, list.count);
    this.taken += list.count;
  }
}

/** An uplink whose packets come from a supply; sent ones are counted, and kept while `kept` is a list. */
export class SupplyUplink extends MemoryUplink {
  readonly supply = new Supply();
  taken = 0;
  kept: Uint8Array[] | undefined;

  constructor() {
    super(new MemoryWire(), 1, 64);
  }

  override receive(columns: FrameColumns, first: number, count: number): number {
    return this.supply.fill(columns, first, count);
  }

  override send(list: FrameList): void {
    list.errors.fill(0, 0, list.count);
    this.taken += list.count;
    if (this.kept === undefined) return;
    for (let j = 0; j < list.count; j++)
      this.kept.push(list.arena.slice(list.offset[j], list.offset[j]! + list.length[j]!));
  }
}
