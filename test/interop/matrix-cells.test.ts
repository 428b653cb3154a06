/** Which cells a run of the matrix takes. */
import { describe, expect, it } from 'vitest';
import { allCells, type Cell, cellName, pairwise, selectCells } from './matrix-cells.ts';

const names = (cells: readonly Cell[]) => cells.map(cellName);
const meet = (cells: readonly Cell[]) =>
  new Set(
    names(cells).flatMap((name) =>
      name.split('/').flatMap((a, index, words) => words.slice(index + 1).map((b) => `${a} ${b}`)),
    ),
  );

describe('The cells of the matrix', () => {
  it('are narrowed down by words, of which those of one axis are alternatives', () => {
    expect(names(selectCells(['trixie', 'Libreswan', 'gre', 'psk']))).toEqual([
      'trixie/Libreswan/gre/psk/we-start/ipv4',
      'trixie/Libreswan/gre/psk/they-start/ipv4',
    ]);
    expect(selectCells(['gre', 'vxlan'])).toHaveLength(2 * 2 * (3 * 2 + 3 * 4) + 2);
    expect(selectCells([])).toHaveLength(allCells().length);
  });

  it('are taken by their names, alone or beside words', () => {
    const a = 'bookworm/strongSwan/vxlan/ca-signed/we-start/ipv6';
    const b = 'trixie/Libreswan/gre/psk/they-start/ipv4';
    expect(names(selectCells([b, a]))).toEqual([a, b]);
    expect(names(selectCells([a, 'trixie', 'Libreswan', 'gre', 'psk']))).toHaveLength(3);
  });

  it('are refused by words and names that there are not', () => {
    expect(() => selectCells(['greneve'])).toThrow('--only=greneve: expected words of bookworm');
    // GRE over IPv6 is not in the kernel datapath.
    expect(() => selectCells(['trixie/Libreswan/gre/psk/they-start/ipv6'])).toThrow('no such cell');
  });

  it('need few for every two values to meet, the one that brings most first', () => {
    const few = pairwise(allCells());
    expect(meet(few)).toEqual(meet(allCells()));
    expect(few.length).toBeLessThan(16);
    // It has a word more than those of the matrix.
    expect(names(few)[0]).toBe('forky/strongSwan/gre/psk/we-start/ipv4/mlkem768');
  });

  it('need fewer where some have met before, and none where all have', () => {
    const few = pairwise(allCells());
    const [first, ...others] = few as [Cell, ...Cell[]];
    const rest = pairwise(allCells(), others);
    expect(rest.length).toBeGreaterThan(0);
    expect(rest.length).toBeLessThan(few.length);
    expect(meet([...rest, ...others])).toEqual(meet(allCells()));
    expect(pairwise([first], few)).toEqual([]);
  });
});
