/** Keys by number, as the AEAD backends in JavaScript keep them. */
import { describe, expect, it } from 'vitest';
import { KeySlots } from '../../../dataplane/esp/aead.ts';

const key = (name: string) => ({ name });

describe('numbers of keys', () => {
  it('count from 0, and are given out again once their key is dropped', () => {
    const slots = new KeySlots<{ name: string }>();
    expect(['a', 'b', 'c'].map((name) => slots.add(key(name)))).toEqual([0, 1, 2]);
    expect(slots.take(0)).toEqual(key('a'));
    expect(slots.take(1)).toEqual(key('b'));
    expect(['d', 'e', 'f'].map((name) => slots.add(key(name)))).toEqual([0, 1, 3]);
    expect([0, 1, 2, 3].map((number) => slots.get(number).name)).toEqual(['d', 'e', 'c', 'f']);
  });

  it('of no key, or of one that was dropped, are refused', () => {
    const slots = new KeySlots<{ name: string }>();
    slots.take(slots.add(key('a')));
    for (const number of [0, 1, -1]) {
      const refused = new RangeError(`AEAD key ${number}: not prepared, or dropped already`);
      expect(() => slots.get(number)).toThrow(refused);
      expect(() => slots.take(number)).toThrow(refused);
    }
  });
});
