/**
 * When an attempt to set up an IKE SA may begin: a few at once, then one every few milliseconds. So that a daemon with
 * thousands of tunnels neither computes a thousand key exchanges in one go when it starts, nor floods a peer that comes back.
 */

/** Attempts that begin without delay after a pause. */
export const START_BURST = 16;
/** Between two attempts beyond those, in ms: 250 a second. */
export const START_GAP_MS = 4;

export class StartGate {
  /** When the gate would be idle again if every reserved attempt took its gap. */
  #idleAtMs = Number.NEGATIVE_INFINITY;

  /** Reserves the next place and gives its time: nowMs or later. */
  reserve(nowMs: number): number {
    this.#idleAtMs = Math.max(this.#idleAtMs, nowMs) + START_GAP_MS;
    return Math.max(nowMs, this.#idleAtMs - START_BURST * START_GAP_MS);
  }
}
