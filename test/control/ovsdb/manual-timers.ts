/** Timers that go off when the test says so. */
import type { Timers } from '../../../control/ovsdb/timers.ts';

export class ManualTimers implements Timers {
  #now = 0;
  readonly #pending = new Set<{ readonly at: number; readonly callback: () => void }>();

  after(ms: number, callback: () => void): () => void {
    const entry = { at: this.#now + ms, callback };
    this.#pending.add(entry);
    return () => this.#pending.delete(entry);
  }

  advance(ms: number): void {
    this.#now += ms;
    for (const entry of [...this.#pending]) {
      if (entry.at > this.#now || !this.#pending.delete(entry)) continue;
      entry.callback();
    }
  }
}
