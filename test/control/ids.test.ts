import { expect, it } from 'vitest';
import { Ids } from '../../control/ids.ts';

it('gives each number once, and one that was given back only after all others', () => {
  const ids = new Ids(1, 4);
  expect([ids.take('x'), ids.take('x')]).toEqual([1, 2]);
  ids.release(1);
  expect([ids.take('x'), ids.take('x')]).toEqual([3, 1]);
  expect(() => ids.take('tunnels')).toThrow('tunnels: there are 3 already, and that is the limit');
  ids.release(3);
  expect(ids.take('x')).toBe(3);
});
