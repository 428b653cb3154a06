/**
 * Timers of a sans-IO engine: a binary heap of due times, run by whoever owns the clock.
 *
 * Nothing here waits. The engine asks `nextMs` when it wants to be called again and calls `run` then.
 * Timers due at the same time run in the order in which they were set, so a run is reproducible.
 */

export interface Timer {
  /** Monotonic milliseconds. */
  readonly dueMs: number;
  readonly sequence: number;
  /** Undefined once the timer has run or was cancelled. */
  callback: (() => void) | undefined;
}

const before = (a: Timer, b: Timer): boolean => a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.sequence < b.sequence);

export class TimerQueue {
  #heap: Timer[] = [];
  #sequence = 0;
  #cancelled = 0;

  /** Calls `callback` from the first `run` at or after dueMs. */
  at(dueMs: number, callback: () => void): Timer {
    const timer: Timer = { dueMs, sequence: this.#sequence++, callback };
    this.#heap.push(timer);
    this.#rise(this.#heap.length - 1);
    return timer;
  }

  /** Cancelling twice, or after it ran, does nothing. */
  cancel(timer: Timer | undefined): void {
    if (timer?.callback === undefined) return;
    timer.callback = undefined;
    this.#cancelled += 1;
    // Cancelled timers stay in the heap until they come up; most are long ones, so sweep when they are the majority.
    if (this.#cancelled > 64 && this.#cancelled * 2 > this.#heap.length) this.#sweep();
  }

  /** The earliest due time, or undefined when nothing is pending. */
  nextMs(): number | undefined {
    this.#dropCancelled();
    return this.#heap[0]?.dueMs;
  }

  /** Runs all timers due at nowMs, those included that they set for a time not after nowMs; `atMost` so many of them. */
  run(nowMs: number, atMost = Number.POSITIVE_INFINITY): void {
    for (let run = 0; run < atMost; run++) {
      this.#dropCancelled();
      const first = this.#heap[0];
      if (first === undefined || first.dueMs > nowMs) return;
      this.#pop();
      const callback = first.callback;
      first.callback = undefined;
      callback?.();
    }
  }

  /** Timers pending, cancelled ones not counted. */
  get size(): number {
    return this.#heap.length - this.#cancelled;
  }

  #dropCancelled(): void {
    while (this.#heap.length > 0 && this.#heap[0].callback === undefined) {
      this.#pop();
      this.#cancelled -= 1;
    }
  }

  #sweep(): void {
    const live = this.#heap.filter((timer) => timer.callback !== undefined);
    this.#heap = [];
    this.#cancelled = 0;
    for (const timer of live) {
      this.#heap.push(timer);
      this.#rise(this.#heap.length - 1);
    }
  }

  #pop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#sink(0);
  }

  #rise(start: number): void {
    const heap = this.#heap;
    let index = start;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!before(heap[index], heap[parent])) return;
      [heap[index], heap[parent]] = [heap[parent], heap[index]];
      index = parent;
    }
  }

  #sink(start: number): void {
    const heap = this.#heap;
    let index = start;
    for (;;) {
      const left = 2 * index + 1;
      const right = left + 1;
      let least = index;
      if (left < heap.length && before(heap[left], heap[least])) least = left;
      if (right < heap.length && before(heap[right], heap[least])) least = right;
      if (least === index) return;
      [heap[index], heap[least]] = [heap[least], heap[index]];
      index = least;
    }
  }
}
