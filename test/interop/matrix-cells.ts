/** The cells of the interoperability matrix, their filter, and what a cell is called. */
import type { DaemonName, TunnelType } from './reference-system.ts';

/** The axes of the matrix, in the order in which a cell is spelled: `bookworm/strongSwan/gre/psk/we-start/ipv4`. */
export const AXES = {
  suite: ['bookworm', 'trixie'],
  daemon: ['strongSwan', 'Libreswan'],
  type: ['gre', 'geneve', 'vxlan'],
  method: ['psk', 'self-signed', 'ca-signed'],
  starts: ['we-start', 'they-start'],
  family: ['ipv4', 'ipv6'],
} as const;

export type Suite = (typeof AXES.suite)[number] | 'forky';
export type Method = (typeof AXES.method)[number];

export type Cell = {
  readonly suite: Suite;
  readonly daemon: DaemonName;
  readonly type: TunnelType;
  readonly method: Method;
  readonly starts: (typeof AXES.starts)[number];
  readonly family: (typeof AXES.family)[number];
  /** What both ends demand beside X25519, in IKE_INTERMEDIATE and at each rekeying (RFC 9370); the last word of the name. */
  readonly keyExchange?: 'mlkem768';
};

/** Cells beside the matrix: only strongSwan of the release to come has ML-KEM. */
const POST_QUANTUM: readonly Cell[] = (
  [
    { type: 'gre', method: 'psk', starts: 'we-start', family: 'ipv4' },
    { type: 'geneve', method: 'ca-signed', starts: 'they-start', family: 'ipv6' },
    { type: 'vxlan', method: 'self-signed', starts: 'we-start', family: 'ipv6' },
  ] as const
).map((cell) => ({ suite: 'forky', daemon: 'strongSwan', ...cell, keyExchange: 'mlkem768' }));

const wordsOf = (cell: Cell): string[] =>
  [...Object.keys(AXES), 'keyExchange'].flatMap((axis) => cell[axis as keyof Cell] ?? []);

export const cellName = (cell: Cell): string => wordsOf(cell).join('/');

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
  return [...(cells as Cell[]).filter((cell) => impossible(cell) === ''), ...POST_QUANTUM];
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
  const axes = [0, 1, 2, 3, 4, 5, 6].map((place) => new Set(cells.flatMap((cell) => wordsOf(cell)[place] ?? [])));
  const known = axes.flatMap((axis) => [...axis]);
  for (const word of words) {
    if (!known.includes(word))
      throw new Error(`--only=${word}: expected words of ${known.join(', ')}, or names of cells`);
  }
  for (const name of names) {
    if (!cells.some((cell) => cellName(cell) === name))
      throw new Error(`--only=${name}: no such cell; --list names those there are`);
  }
  const chosen = axes.map((axis) => words.filter((word) => axis.has(word)));
  const isNamed = (cell: Cell) =>
    chosen.every((some, place) => some.length === 0 || some.includes(wordsOf(cell)[place] ?? ''));
  const byWords = words.length > 0 || names.length === 0;
  return cells.filter((cell) => names.includes(cellName(cell)) || (byWords && isNamed(cell)));
}

const pairsOf = (cell: Cell): string[] => {
  const words = wordsOf(cell);
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
