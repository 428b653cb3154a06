// When reconciliations begin and end.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import { Reconciliations } from '../../control/reconciliations.ts';

describe('reconciliations', () => {
  /** What the configuration says, and what was read of it by each reconciliation. */
  let configured: number;
  let read: number[];
  let bugs: unknown[];
  /** Ends the one that is under way. */
  let finish: (error?: Error) => void;
  let reconciliations: Reconciliations;
  beforeEach(() => {
    configured = 0;
    read = [];
    bugs = [];
    reconciliations = new Reconciliations(
      () =>
        new Promise((resolve, reject) => {
          read.push(configured);
          finish = (error) => (error === undefined ? resolve() : reject(error));
        }),
      (error) => bugs.push(error),
    );
  });

  const change = (to: number) => {
    configured = to;
    reconciliations.soon();
  };

  it('are one for what changes in the same turn', async () => {
    for (const to of [1, 2, 3]) change(to);
    await nextTurn();
    expect(read).toEqual([3]);
    finish();
    await reconciliations.settled();
    expect(read).toEqual([3]);
    expect(reconciliations.isRunning).toBe(false);
  });

  it('are one at a time, and what changes meanwhile is carried out by the next, as it is then', async () => {
    change(1);
    await nextTurn();
    for (const to of [2, 3, 4]) {
      change(to);
      await nextTurn();
    }
    expect(read).toEqual([1]);
    finish();
    await nextTurn();
    expect(read).toEqual([1, 4]);
    // In the very moment in which one ends.
    finish();
    change(5);
    await nextTurn();
    await nextTurn();
    expect(read).toEqual([1, 4, 5]);
    finish();
    await reconciliations.settled();
    expect(read).toEqual([1, 4, 5]);
  });

  it('that come to their end wait for the one under way, and begin no other', async () => {
    change(1);
    await nextTurn();
    change(2);
    let isOver = false;
    const ended = reconciliations.end(60_000).then(() => {
      isOver = true;
    });
    await nextTurn();
    expect(isOver).toBe(false);
    finish();
    await ended;
    change(3);
    await nextTurn();
    await nextTurn();
    expect(read).toEqual([1]);
  });

  it('do not hold up the end for ever', async () => {
    change(1);
    await nextTurn();
    await reconciliations.end(20);
    expect(reconciliations.isRunning).toBe(true);
  });

  it('that fail are told, and the next change begins another', async () => {
    change(1);
    await nextTurn();
    change(2);
    finish(new Error('why'));
    await reconciliations.settled();
    expect(bugs).toEqual([new Error('why')]);
    expect(read).toEqual([1]);
    change(3);
    await nextTurn();
    expect(read).toEqual([1, 3]);
    finish();
    await reconciliations.settled();
  });
});
