/**
 * Lets one unknown-spi event a second through for each source, in constant memory: sources that share a
 * cell share its second, so a flood from many addresses gives at most CELLS events a second.
 */

const CELLS = 64;
const INTERVAL_MS = 1000;

export class UnknownSpis {
  private readonly reportedAt = new Float64Array(CELLS).fill(Number.NEGATIVE_INFINITY);

  /** Whether ESP with an unknown SPI from a source, the low word of its address, is to be reported now. */
  admits(source: number, now: number): boolean {
    const cell = (Math.imul(source, 0x9e3779b1) >>> 26) % CELLS;
    if (now - this.reportedAt[cell] < INTERVAL_MS) return false;
    this.reportedAt[cell] = now;
    return true;
  }
}
