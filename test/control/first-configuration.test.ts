/** When a start counts as done. */
import { describe, expect, it } from 'vitest';
import { FirstConfiguration } from '../../control/first-configuration.ts';
import type { Timers } from '../../control/ovsdb/timers.ts';
import type { Logger } from '../../control/vlog.ts';

function started() {
  const warnings: string[] = [];
  let late: (() => void) | undefined;
  const timers = {
    after: (_ms: number, callback: () => void) => {
      late = callback;
      return () => {
        late = undefined;
      };
    },
  };
  const first = new FirstConfiguration(
    timers as unknown as Timers,
    () => ({ warn: (line: string) => warnings.push(line) }) as unknown as Logger,
  );
  return { first, warnings, patienceIsOver: () => late?.() };
}

describe('a start', () => {
  it('is done when the first configuration is decided, and nothing is said of patience then', async () => {
    const { first, warnings, patienceIsOver } = started();
    first.decided();
    await first.awaited;
    patienceIsOver();
    expect(warnings).toEqual([]);
  });

  it('is done without one after some seconds, and the log says so', async () => {
    const { first, warnings, patienceIsOver } = started();
    patienceIsOver();
    await first.awaited;
    expect(warnings).toEqual([expect.stringMatching(/^no configuration is in force 5 s after the start/)]);
  });
});
