/**
 * An index from four 32-bit integers to a small integer, for lookups on the packet path: no string, no
 * object, no allocation. Open addressing over one Int32Array; built when the configuration changes.
 */

const WIDTH = 5;
const EMPTY = -1;

export class TupleIndex {
  private readonly cells: Int32Array;
  private readonly mask: number;

  /** For at most `entries` tuples; the table is at most half full. */
  constructor(entries: number) {
    let size = 8;
    while (size < 2 * entries) size *= 2;
    this.mask = size - 1;
    this.cells = new Int32Array(size * WIDTH);
    for (let cell = WIDTH - 1; cell < this.cells.length; cell += WIDTH) this.cells[cell] = EMPTY;
  }

  /** Enters a tuple unless it is there already: the first one stays. `value` is 0 or more. */
  add(a: number, b: number, c: number, d: number, value: number): void {
    const cell = this.find(a, b, c, d);
    if (this.cells[cell + 4] !== EMPTY) return;
    this.cells.set([a, b, c, d, value], cell);
  }

  /** The value of a tuple, or -1. */
  get(a: number, b: number, c: number, d: number): number {
    return this.cells[this.find(a, b, c, d) + 4];
  }

  /** The cell of the tuple, or the empty cell where it would stand. */
  private find(a: number, b: number, c: number, d: number): number {
    const cells = this.cells;
    let at = mix(a, b, c, d) & this.mask;
    for (;;) {
      const cell = at * WIDTH;
      if (cells[cell + 4] === EMPTY) return cell;
      if (
        cells[cell] === (a | 0) &&
        cells[cell + 1] === (b | 0) &&
        cells[cell + 2] === (c | 0) &&
        cells[cell + 3] === (d | 0)
      )
        return cell;
      at = (at + 1) & this.mask;
    }
  }
}

/** Multiplies and folds each word in turn, so that neighbouring addresses and keys spread over the table. */
function mix(a: number, b: number, c: number, d: number): number {
  let hash = Math.imul(a ^ 0x2545f491, 0x9e3779b1);
  hash = Math.imul((hash ^ (hash >>> 15) ^ b) | 0, 0x85ebca6b);
  hash = Math.imul((hash ^ (hash >>> 13) ^ c) | 0, 0xc2b2ae35);
  hash = Math.imul((hash ^ (hash >>> 16) ^ d) | 0, 0x27d4eb2f);
  return hash ^ (hash >>> 15);
}
