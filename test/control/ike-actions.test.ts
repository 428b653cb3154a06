// The order in which actions of IKE are carried out while some of them wait for the disk.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { IkeActions } from '../../control/ike-actions.ts';
import type { IkeAction } from '../../ike/index.ts';

/** Actions are told apart by a word: those that begin with `sa` have to wait until they are released. */
function queue() {
  const done: string[] = [];
  const asked: string[] = [];
  const bugs: unknown[] = [];
  const releases = new Map<string, { resolve: () => void; reject: (error: Error) => void }>();
  const said = (action: IkeAction): string => (action.action === 'log' ? action.message : '');
  const actions = new IkeActions({
    carryOut: (action) => {
      if (said(action) === 'throws') throw new Error('a bug');
      done.push(said(action));
    },
    prepare: (action) => {
      const word = said(action);
      if (!word.startsWith('sa')) return undefined;
      asked.push(word);
      return new Promise((resolve, reject) => releases.set(word, { resolve, reject }));
    },
    onBug: (error) => bugs.push(error),
  });
  const add = (...words: string[]): void =>
    actions.add(words.map((message): IkeAction => ({ action: 'log', level: 'info', connection: undefined, message })));
  const release = async (word: string): Promise<void> => {
    releases.get(word)?.resolve();
    await nextTurn();
  };
  return { actions, add, release, releases, done, asked, bugs };
}

describe('actions of IKE', () => {
  it('are carried out within the call when none has to wait', () => {
    const { add, done } = queue();
    add('log', 'send');
    expect(done).toEqual(['log', 'send']);
  });

  it('that come behind an SA, the message that lets the peer use it above all, wait until it is installed', async () => {
    const { add, release, done } = queue();
    add('log', 'sa 1', 'send 1');
    add('send 2');
    expect(done).toEqual(['log']);
    await release('sa 1');
    expect(done).toEqual(['log', 'sa 1', 'send 1', 'send 2']);
    add('send 3');
    expect(done.at(-1)).toBe('send 3');
  });

  it('ask for what they wait for at once, and keep their order when it comes in another one', async () => {
    const { add, release, done, asked } = queue();
    add('sa 1', 'send 1');
    add('sa 2', 'send 2');
    expect(asked).toEqual(['sa 1', 'sa 2']);
    await release('sa 2');
    expect(done).toEqual([]);
    await release('sa 1');
    expect(done).toEqual(['sa 1', 'send 1', 'sa 2', 'send 2']);
  });

  it('that come of carrying one out stand behind those that are there already', () => {
    const done: string[] = [];
    const said = (message: string): IkeAction => ({ action: 'log', level: 'info', connection: undefined, message });
    const actions = new IkeActions({
      carryOut: (action) => {
        if (action.action !== 'log') return;
        done.push(action.message);
        if (action.message === 'sa') actions.add([said('sa refused'), said('delete')]);
      },
      prepare: () => undefined,
      onBug: (error) => expect.unreachable(String(error)),
    });
    actions.add(['sa', 'send', 'log'].map(said));
    expect(done).toEqual(['sa', 'send', 'log', 'sa refused', 'delete']);
  });

  it('are all carried out at once when the runner ends, in the same order', async () => {
    const { actions, add, release, done } = queue();
    add('sa 1', 'send 1', 'sa 2');
    actions.flush();
    expect(done).toEqual(['sa 1', 'send 1', 'sa 2']);
    await release('sa 1');
    expect(done).toHaveLength(3);
  });

  it('wait in a bounded number: beyond it whoever carries them out waits for the disk', () => {
    const { add, done } = queue();
    add('sa 1');
    for (let index = 0; index < 5000; index++) add(`send ${index}`);
    expect(done).toHaveLength(5001);
    expect(done.slice(0, 3)).toEqual(['sa 1', 'send 0', 'send 1']);
    expect(done.at(-1)).toBe('send 4999');
  });

  it('of which one cannot be prepared, or fails, are a bug that somebody hears of', async () => {
    const { add, releases, done, bugs } = queue();
    add('sa 1', 'send 1');
    releases.get('sa 1')?.reject(new Error('disk full'));
    await nextTurn();
    expect(bugs).toEqual([new Error('disk full')]);
    expect(done).toEqual([]);
    expect(() => queue().add('throws')).toThrow('a bug');
  });
});
