// Long work that lets others have their turn.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { inOneGo, inSlices } from '../../control/slices.ts';

const STEP_MS = 4;

function* work(steps: number): Generator<undefined, number> {
  for (let step = 0; step < steps; step++) {
    const until = performance.now() + STEP_MS;
    while (performance.now() < until);
    yield;
  }
  return steps;
}

it('work in slices lets events have their turn every few milliseconds, and gives its result', async () => {
  let longest = 0;
  let isDone = false;
  const others = (async () => {
    let last = performance.now();
    while (!isDone) {
      await nextTurn();
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }
  })();
  const began = performance.now();
  expect(await inSlices(work(50))).toBe(50);
  const took = performance.now() - began;
  isDone = true;
  await others;
  expect(took).toBeGreaterThanOrEqual(50 * STEP_MS);
  // A slice, not the whole.
  expect(longest).toBeLessThan(took / 2);
});

it('work in one go gives nobody a turn', () => {
  let turns = 0;
  setImmediate(() => turns++);
  expect(inOneGo(work(5))).toBe(5);
  expect(turns).toBe(0);
});
