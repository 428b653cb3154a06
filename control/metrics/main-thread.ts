/**
 * How long events had to wait for the main thread: OVSDB, IKE and the control socket share it, and what computes for long holds
 * up the others. Node's own histogram of a timer that is due every few milliseconds; what it is late by is the delay.
 */
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';

/** Of the timer, ms. What it costs is a wake-up each. */
const RESOLUTION_MS = 20;
const NANOSECONDS = 1e6;

/** Since it was started, in milliseconds. */
export interface MainThreadDelays {
  readonly median: number;
  readonly p99: number;
  readonly longest: number;
}

export class MainThreadMonitor {
  readonly #histogram: IntervalHistogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

  start(): void {
    this.#histogram.enable();
  }

  stop(): void {
    this.#histogram.disable();
  }

  delays(): MainThreadDelays {
    // The histogram has the time between two turns of the timer, the pause that was asked for included.
    const late = (nanoseconds: number): number => Math.max(0, nanoseconds / NANOSECONDS - RESOLUTION_MS);
    return {
      median: late(this.#histogram.percentile(50)),
      p99: late(this.#histogram.percentile(99)),
      longest: late(this.#histogram.max),
    };
  }
}
