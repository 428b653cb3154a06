/**
 * Long work of the main thread in slices: a generator that yields between its steps is run until its slice is over, then events
 * have their turn (OVSDB, IKE, control socket), then it goes on. Whatever it is about may change between two slices.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

const SLICE_MS = 10;

/** Runs the steps and gives what they come to. */
export async function inSlices<T>(steps: Generator<undefined, T>): Promise<T> {
  let until = performance.now() + SLICE_MS;
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    if (performance.now() < until) continue;
    await nextTurn();
    until = performance.now() + SLICE_MS;
  }
}

/** Runs the steps at once. */
export function inOneGo<T>(steps: Generator<undefined, T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
