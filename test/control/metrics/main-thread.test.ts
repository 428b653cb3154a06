// How long the main thread keeps others waiting.
import { setTimeout as pause } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { MainThreadMonitor } from '../../../control/metrics/main-thread.ts';

const BLOCKED_MS = 200;

it('the delay of the main thread is what kept its events waiting, the longest is kept', async () => {
  const monitor = new MainThreadMonitor();
  monitor.start();
  try {
    await pause(50);
    const until = performance.now() + BLOCKED_MS;
    while (performance.now() < until);
    // The timer that was due meanwhile is late now.
    await pause(50);
    const { median, longest } = monitor.delays();
    expect(longest).toBeGreaterThan(BLOCKED_MS - 40);
    expect(median).toBeLessThan(longest);
  } finally {
    monitor.stop();
  }
});
