import { describe, expect, it } from 'vitest';
import { RequestWindow, ResponseWindow } from '../../../ike/sa/exchange-window.ts';
import { TimerQueue } from '../../../ike/timers.ts';

function requestWindow() {
  const timers = new TimerQueue();
  const clock = { nowMs: 0 };
  const sent: { atMs: number; again: number; data: string }[] = [];
  let givenUpMs: number | undefined;
  const window = new RequestWindow({
    timers,
    settings: { retransmitMs: 4000, retransmitFactor: 1.8, retransmitTries: 5 },
    nowMs: () => clock.nowMs,
    transmit: (data, again) => {
      sent.push({ atMs: clock.nowMs, again, data: Buffer.concat(data).toString() });
    },
    giveUp: () => {
      givenUpMs = clock.nowMs;
    },
  });
  const until = (ms: number): void => {
    for (let next = timers.nextMs(); next !== undefined && next <= ms; next = timers.nextMs()) {
      clock.nowMs = next;
      timers.run(next);
    }
    clock.nowMs = ms;
  };
  return { window, sent, until, givenUp: () => givenUpMs };
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const packets = (text: string): readonly Uint8Array[] => [bytes(text)];

describe('the window of requests', () => {
  it('sends again after 4, 7, 13, 23 and 42 seconds and gives up after 165, as strongSwan does', () => {
    const { window, sent, until, givenUp } = requestWindow();
    window.begin(packets('request'));
    until(300_000);
    expect(sent.map(({ atMs }) => Math.round(atMs / 1000))).toEqual([0, 4, 11, 24, 47, 89]);
    expect(new Set(sent.map(({ data }) => data))).toEqual(new Set(['request']));
    expect(Math.round(givenUp()! / 1000)).toBe(165);
  });

  it('stops when the response came, and counts on', () => {
    const { window, sent, until, givenUp } = requestWindow();
    window.begin(packets('one'));
    until(5000);
    window.finish();
    until(300_000);
    expect(sent).toHaveLength(2);
    expect(givenUp()).toBeUndefined();
    expect(window).toMatchObject({ id: 1, busy: false });
  });

  it('replaces the request under the same message id, for COOKIE', () => {
    const { window, sent, until } = requestWindow();
    window.begin(packets('one'));
    window.begin(packets('with cookie'));
    expect(window.id).toBe(0);
    until(4000);
    expect(sent.map(({ data }) => data)).toEqual(['one', 'with cookie', 'with cookie']);
  });

  it('is hastened at most once in the first timeout, and gives up no later for it', () => {
    const { window, sent, until, givenUp } = requestWindow();
    window.begin(packets('one'));
    until(48_000);
    const before = sent.length;
    window.hasten();
    until(60_000);
    window.hasten();
    window.hasten();
    until(62_000);
    window.hasten();
    expect(sent.length).toBe(before + 1);
    until(300_000);
    expect(Math.round(givenUp()! / 1000)).toBe(165);
  });

  it('says what is outstanding, under which id', () => {
    const { window, until } = requestWindow();
    expect(window).toMatchObject({ id: 0, busy: false, resigned: false, pending: undefined });
    window.resumeAt(7);
    window.begin(packets('one'));
    expect(window).toMatchObject({ id: 7, busy: true, resigned: false, pending: packets('one') });
    window.quiet();
    expect(window).toMatchObject({ id: 7, busy: true, resigned: true, pending: packets('one') });
    window.finish();
    expect(window).toMatchObject({ id: 8, busy: false, resigned: false, pending: undefined });
    until(10_000);
    expect(window.id).toBe(8);
  });

  it('sends nothing again after it resigned, nor without a request, however it is hastened', () => {
    const { window, sent, until, givenUp } = requestWindow();
    until(10_000);
    window.hasten();
    expect(sent).toEqual([]);
    window.begin(packets('one'));
    window.quiet();
    until(300_000);
    window.hasten();
    window.finish();
    window.hasten();
    expect(sent).toHaveLength(1);
    expect(givenUp()).toBeUndefined();
  });

  it('is hastened from the first timeout on, as the retransmission that comes next', () => {
    const { window, sent, until } = requestWindow();
    window.begin(packets('one'));
    until(4000);
    expect(sent).toHaveLength(2);
    until(7999);
    window.hasten();
    expect(sent).toHaveLength(2);
    until(8000);
    window.hasten();
    expect(sent.map(({ atMs, again }) => [atMs, again])).toEqual([
      [0, 0],
      [4000, 1],
      [8000, 2],
    ]);
  });
});

describe('the window of responses', () => {
  it('takes the expected id, repeats the response to the same bytes, and nothing else', () => {
    const window = new ResponseWindow(1);
    expect(window.classify(1, bytes('a')).kind).toBe('next');
    expect(window.classify(0, bytes('a')).kind).toBe('old');
    expect(window.classify(2, bytes('a')).kind).toBe('future');
    window.answered(bytes('a'), packets('response'));
    expect(window.classify(1, bytes('a'))).toEqual({ kind: 'repeat', response: packets('response') });
    expect(window.classify(1, bytes('b')).kind).toBe('altered');
    expect(window.classify(2, bytes('b')).kind).toBe('next');
    window.answered(bytes('b'), packets('other'));
    expect(window.classify(1, bytes('a')).kind).toBe('old');
  });

  it('goes on where another process stopped, with the response that it had given', () => {
    const before = new ResponseWindow(4);
    expect(before).toMatchObject({ expectedId: 4, last: undefined });
    before.answered(bytes('a'), packets('response'));
    expect(before.expectedId).toBe(5);
    const after = new ResponseWindow(before.expectedId);
    expect(after.classify(4, bytes('a')).kind).toBe('old');
    after.resume(before.last);
    expect(after.last).toEqual(before.last);
    expect(after.classify(4, bytes('a'))).toEqual({ kind: 'repeat', response: packets('response') });
    expect(after.classify(4, bytes('ab'))).toEqual({ kind: 'altered', response: packets('response') });
    for (const [id, kind] of [
      [3, 'old'],
      [5, 'next'],
      [6, 'future'],
      [0xffff_ffff, 'future'],
    ] as const)
      expect(after.classify(id, bytes('a')).kind).toBe(kind);
  });
});
