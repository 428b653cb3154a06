/**
 * An index from three 32-bit integers to a small integer, for lookups on the packet path: no string, no
 * object, no allocation. Open addressing over one Int32Array, at most half full; a change costs as little as a lookup.
 */

const WIDTH = 4;
const VALUE = 3;
const EMPTY = -1;

export class TupleIndex {
  private cells = emptyCells(8);
  private mask = 7;
  private used = 0;

  /** Enters a tuple or gives it another value. `value` is 0 or more. */
  set(a: number, b: number, c: number, value: number): void {
    const cell = this.find(a, b, c);
    if (this.cells[cell + VALUE] === EMPTY) this.used++;
    this.put(cell, a, b, c, value);
    if (2 * this.used > this.mask) this.grow();
  }

  /** The value of a tuple, or -1. */
  get(a: number, b: number, c: number): number {
    return this.cells[this.find(a, b, c) + VALUE];
  }

  /** Takes a tuple out, if it is there, and enters what stands behind it anew, so that no search ends too early. */
  delete(a: number, b: number, c: number): void {
    const { cells, mask } = this;
    let cell = this.find(a, b, c);
    if (cells[cell + VALUE] === EMPTY) return;
    cells[cell + VALUE] = EMPTY;
    this.used--;
    for (;;) {
      cell = ((cell / WIDTH + 1) & mask) * WIDTH;
      const value = cells[cell + VALUE];
      if (value === EMPTY) return;
      cells[cell + VALUE] = EMPTY;
      const [x, y, z] = [cells[cell], cells[cell + 1], cells[cell + 2]];
      this.put(this.find(x, y, z), x, y, z, value);
    }
  }

  /** The cell of the tuple, or the empty cell where it would stand. */
  private find(a: number, b: number, c: number): number {
    const cells = this.cells;
    let at = mix(a, b, c) & this.mask;
    for (;;) {
      const cell = at * WIDTH;
      if (cells[cell + VALUE] === EMPTY) return cell;
      if (cells[cell] === (a | 0) && cells[cell + 1] === (b | 0) && cells[cell + 2] === (c | 0)) return cell;
      at = (at + 1) & this.mask;
    }
  }

  private put(cell: number, a: number, b: number, c: number, value: number): void {
    this.cells[cell] = a;
    this.cells[cell + 1] = b;
    this.cells[cell + 2] = c;
    this.cells[cell + VALUE] = value;
  }

  private grow(): void {
    const { cells } = this;
    this.mask = 2 * this.mask + 1;
    this.cells = emptyCells(this.mask + 1);
    for (let cell = 0; cell < cells.length; cell += WIDTH) {
      const [a, b, c, value] = [cells[cell], cells[cell + 1], cells[cell + 2], cells[cell + VALUE]];
      if (value !== EMPTY) this.put(this.find(a, b, c), a, b, c, value);
    }
  }
}

function emptyCells(size: number): Int32Array {
  const cells = new Int32Array(size * WIDTH);
  for (let cell = VALUE; cell < cells.length; cell += WIDTH) cells[cell] = EMPTY;
  return cells;
}

/** Multiplies and folds each word in turn, so that neighbouring addresses and keys spread over the table. */
function mix(a: number, b: number, c: number): number {
  let hash = Math.imul(a ^ 0x2545f491, 0x9e3779b1);
  hash = Math.imul((hash ^ (hash >>> 15) ^ b) | 0, 0x85ebca6b);
  hash = Math.imul((hash ^ (hash >>> 13) ^ c) | 0, 0xc2b2ae35);
  return hash ^ (hash >>> 15);
}
