/**
 * The lists of packets that leave with one mark each, and which of them a tunnel port's packets go to.
 *
 * Tunnels with one mark share a list. A list is given to another mark when its last tunnel has gone, so a change costs
 * the same whatever the number of tunnels, and there are never more lists than marks in use at once.
 */

import { FrameList } from './batch.ts';

/** Packets of the batch at hand that leave with one mark. */
export interface Sender {
  /** As int32. */
  mark: number;
  readonly list: FrameList;
}

/** In `ofPort`: no tunnel. */
const NONE = -1;

export class Senders {
  /** All lists; those that nobody uses are empty. */
  readonly all: Sender[] = [];
  /** Index into `all` by port id. */
  readonly ofPort: Int32Array;
  private readonly users: number[] = [];
  private readonly indexOfMark = new Map<number, number>();
  private readonly free: number[] = [];
  private readonly arena: Uint8Array;
  private readonly rows: number;

  /** `ports`: ids are below this; `rows`: of a batch over `arena`. */
  constructor(ports: number, arena: Uint8Array, rows: number) {
    this.ofPort = new Int32Array(ports).fill(NONE);
    this.arena = arena;
    this.rows = rows;
  }

  /** The packets of a tunnel port leave with this mark (int32). */
  assign(port: number, mark: number): void {
    const index = this.indexOfMark.get(mark) ?? this.make(mark);
    this.users[index]!++;
    this.release(port);
    this.ofPort[port] = index;
  }

  /** The port is no tunnel any more. */
  release(port: number): void {
    const index = this.ofPort[port];
    if (index === undefined || index === NONE) return;
    this.ofPort[port] = NONE;
    this.users[index]!--;
    if (this.users[index]! > 0) return;
    this.indexOfMark.delete(this.all[index]!.mark);
    this.free.push(index);
  }

  private make(mark: number): number {
    const index = this.free.pop() ?? this.all.length;
    const sender = this.all[index];
    if (sender === undefined) this.all.push({ mark, list: new FrameList(this.arena, this.rows) });
    else sender.mark = mark;
    this.users[index] = 0;
    this.indexOfMark.set(mark, index);
    return index;
  }
}
