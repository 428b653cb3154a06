/** A token bucket: so many at once, then so many a second. */

export class Allowance {
  readonly #burst: number;
  readonly #perSecond: number;
  #tokens: number;
  #atMs = Number.NEGATIVE_INFINITY;

  constructor(burst: number, perSecond: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#tokens = burst;
  }

  /** Whether one more is allowed at this time; takes it if so. */
  take(nowMs: number): boolean {
    const earned = Math.max(0, nowMs - this.#atMs) * (this.#perSecond / 1000);
    this.#tokens = Math.min(this.#burst, this.#tokens + earned);
    this.#atMs = Math.max(this.#atMs, nowMs);
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
