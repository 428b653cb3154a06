/**
 * Storm control: how many copies of flooded frames one worker makes. A bridge of a few ports is never limited; on one of
 * thousands each broadcast is thousands of packets, and whoever sends broadcasts must not take the worker from all others.
 *
 * A bucket of copies that time fills. A frame is flooded whole or not at all, so the work of a moment is at most what
 * the bucket holds and one flood more.
 */

/** Ports up to which a flood costs nothing: as many copies for a frame as a batch has frames. */
export const FREE_FLOOD_PORTS = 64;
export const FLOOD_COPIES_PER_MS = 200;
/** What may be flooded at once after a rest. */
export const FLOOD_BURST = 65_536;

export class FloodBudget {
  private copies = FLOOD_BURST;
  private filledAt = 0;

  /** Whether a frame may be flooded to so many ports at `now` (ms); takes them from the bucket. */
  admits(ports: number, now: number): boolean {
    if (ports <= FREE_FLOOD_PORTS) return true;
    this.copies = Math.min(FLOOD_BURST, this.copies + (now - this.filledAt) * FLOOD_COPIES_PER_MS);
    this.filledAt = now;
    if (this.copies <= 0) return false;
    this.copies -= ports;
    return true;
  }
}
