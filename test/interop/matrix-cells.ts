/** The cells of the interoperability matrix, their filter, and what a cell is called. */
import type { DaemonName, TunnelType } from './reference-system.ts';

/** The axes, in the order in which a cell is spelled: `bookworm/strongSwan/gre/psk/we-start/ipv4`. */
export const AXES = {
  suite: ['bookworm', 'trixie'],
  daemon: ['strongSwan', 'Libreswan'],
  type: ['gre', 'geneve', 'vxlan'],
  method: ['psk', 'self-signed', 'ca-signed'],
  starts: ['we-start', 'they-start'],
  family: ['ipv4', 'ipv6'],
} as const;

export type Suite = (typeof AXES.suite)[number];
export type Method = (typeof AXES.method)[number];

export type Cell = {
  readonly suite: Suite;
  readonly daemon: DaemonName;
  readonly type: TunnelType;
  readonly method: Method;
  readonly starts: (typeof AXES.starts)[number];
  readonly family: (typeof AXES.family)[number];
};

export const cellName = (cell: Cell): string =>
  Object.keys(AXES)
    .map((axis) => cell[axis as keyof Cell])
    .join('/');

/** Why a cell cannot be: what the reference system itself does not have. '' for the others. */
export function impossible({ type, family }: Partial<Cell>): string {
  // ovs-vswitchd takes such a port, its kernel datapath sends nothing: its gre_sys counts them as dropped.
  return type === 'gre' && family === 'ipv6' ? 'the kernel datapath has no GRE over IPv6' : '';
}

/** All cells, in an order in which those of one guest and one daemon stand together. */
export function allCells(): Cell[] {
  let cells: Partial<Cell>[] = [{}];
  for (const [axis, values] of Object.entries(AXES)) {
    cells = cells.flatMap((cell) => values.map((value) => ({ ...cell, [axis]: value })));
  }
  return (cells as Cell[]).filter((cell) => impossible(cell) === '');
}

/**
 * The cells that `only` names: words of the axes, `bookworm,Libreswan,gre`, of which several of one axis are alternatives; and
 * whole names of cells, in any number. Words narrow down all cells; names without words stand for themselves.
 * @throws on a word that is in no axis, and on the name of no cell
 */
export function selectCells(only: readonly string[]): Cell[] {
  const names = only.filter((word) => word.includes('/'));
  const words = only.filter((word) => !word.includes('/'));
  const cells = allCells();
  const known = Object.values(AXES).flat() as readonly string[];
  for (const word of words) {
    if (!known.includes(word))
      throw new Error(`--only=${word}: expected words of ${known.join(', ')}, or names of cells`);
  }
  for (const name of names) {
    if (!cells.some((cell) => cellName(cell) === name))
      throw new Error(`--only=${name}: no such cell; --list names those there are`);
  }
  const allowed = Object.entries(AXES).map(([axis, values]) => {
    const chosen = (values as readonly string[]).filter((value) => words.includes(value));
    return [axis as keyof Cell, chosen.length === 0 ? (values as readonly string[]) : chosen] as const;
  });
  const byWords = words.length > 0 || names.length === 0;
  return cells.filter(
    (cell) =>
      names.includes(cellName(cell)) || (byWords && allowed.every(([axis, values]) => values.includes(cell[axis]))),
  );
}

const pairsOf = (cell: Cell): string[] => {
  const words = cellName(cell).split('/');
  return words.flatMap((a, index) => words.slice(index + 1).map((b) => `${a} ${b}`));
};

/**
 * A small part of the cells in which every two values of two axes that meet in `cells` meet as well: most faults need no more.
 * What meets in `tried` counts as done. Those that bring most pairs come first.
 */
export function pairwise(cells: readonly Cell[], tried: readonly Cell[] = []): Cell[] {
  const missing = new Set(cells.flatMap(pairsOf));
  for (const pair of tried.flatMap(pairsOf)) missing.delete(pair);
  const gain = (cell: Cell) => pairsOf(cell).filter((pair) => missing.has(pair)).length;
  const chosen: Cell[] = [];
  while (missing.size > 0) {
    const best = cells.reduce((a, b) => (gain(b) > gain(a) ? b : a));
    for (const pair of pairsOf(best)) missing.delete(pair);
    chosen.push(best);
  }
  return chosen;
}
