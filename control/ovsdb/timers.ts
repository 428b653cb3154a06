/** The clock of the control plane as something that can be injected: one shot, and a way to call it off. */

export interface Timers {
  /** Calls back once after `ms`; the function it gives calls that off. */
  after(ms: number, callback: () => void): () => void;
}

export const systemTimers: Timers = {
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};
