/**
 * Who takes part, and how often. Lead contenders are measured in every round; the breadth (every encapsulation in every
 * protection, no offloads, more workers) in every third. The same tunnel stands twice (A/A): how far its ratio to itself is from 1 is
 * the noise that any other ratio has to exceed.
 */
import { availableParallelism } from 'node:os';
import { kernelVxlan } from '../peers/kernel-vxlan.ts';
import { ovsEspd, PROTECTIONS, type TunnelType } from '../peers/ovs-espd.ts';
import { ovsUserspace } from '../peers/ovs-userspace.ts';
import { ovsUserspaceEspd } from '../peers/ovs-userspace-espd.ts';
import type { Peer } from '../peers/peer.ts';
import { strongswanLibipsec } from '../peers/strongswan.ts';
import { wireguardGo } from '../peers/wireguard-go.ts';
import { MEASUREMENTS, type Measurement } from './measurements.ts';
import { COLUMNS, type Column } from './results.ts';

const TYPES: readonly TunnelType[] = ['geneve', 'gre', 'vxlan', 'stt'];
const SUFFIX = ' (again: A/A)';
/** Raw ESP past the IP stack. */
const PACKET = '--uplink-io=packet';
/** Rounds between two of those in which everything is measured. */
const BREADTH_EVERY = 3;

/** The contenders that others are compared with, by the name they have in the tables. */
export const BASELINES = {
  libipsec: strongswanLibipsec.name,
  kernelVxlan: kernelVxlan({ gso: true }).name,
  wireguard: wireguardGo.name,
  rawEsp: ovsEspd({ type: 'geneve', protection: 'raw ESP' }).name,
  udpEsp: ovsEspd({ type: 'geneve', protection: 'ESP in UDP' }).name,
  packet: ovsEspd({ type: 'geneve', protection: 'raw ESP', args: [PACKET] }).name,
  again: ovsEspd({ type: 'geneve', protection: 'raw ESP', suffix: SUFFIX }).name,
} as const;

const lead: readonly Peer[] = [
  ovsEspd({ type: 'geneve', protection: 'raw ESP' }),
  ovsEspd({ type: 'geneve', protection: 'ESP in UDP' }),
  strongswanLibipsec,
  wireguardGo,
  kernelVxlan({ gso: true }),
  ovsUserspace,
  ovsUserspaceEspd,
];
/** Only for one TCP stream, in every round. */
const control: readonly Peer[] = [
  kernelVxlan({ gso: false }),
  ovsEspd({ type: 'geneve', protection: 'raw ESP', args: [PACKET] }),
  ovsEspd({ type: 'geneve', protection: 'raw ESP', suffix: SUFFIX }),
];
const breadth: readonly Peer[] = [
  ...PROTECTIONS.flatMap((protection) => TYPES.map((type) => ovsEspd({ type, protection }))).filter(
    ({ name }) => !lead.some((peer) => peer.name === name),
  ),
  ovsEspd({ type: 'geneve', protection: 'raw ESP', args: ['--offload=none'] }),
  ovsEspd({ type: 'geneve', protection: 'raw ESP', workers: Math.max(2, availableParallelism()) }),
];

/** All contenders, in the order of the tables. */
export const CONTENDERS: readonly Peer[] = [...lead, ...control, ...breadth];

/** One thing to do: measure this contender so. */
export type Cell = {
  readonly peer: Peer;
  readonly measurement: Measurement;
  readonly column: Column;
  /** The round, from 1 on. */
  readonly round: number;
};

/** Cells that are measured in turns, within seconds of each other. */
export type Block = { readonly name: string; readonly cells: readonly Cell[] };

/** Datagrams and pings are never joined or cut: the two columns are the same for them. */
const ONE_COLUMN: readonly Column[] = ['wire-honest'];
const columnsOf = ({ id }: Measurement): readonly Column[] => (id.startsWith('tcp') ? COLUMNS : ONE_COLUMN);

function peersOf({ id }: Measurement, round: number): readonly Peer[] {
  const everything = (round - 1) % BREADTH_EVERY === 0;
  if (id === 'tcp-1') return everything ? [...lead, ...control, ...breadth] : [...lead, ...control];
  return everything ? lead : [];
}

/** Which contenders, measurements and columns a run is confined to; undefined: all. */
export type Selection = {
  readonly contenders: readonly string[] | undefined;
  readonly measurements: readonly string[] | undefined;
  readonly columns: readonly Column[] | undefined;
};

/**
 * Sorts the words of --only: an id of a measurement or the part of one before the dash, a column, or a part of a
 * contender's name. Words of one kind widen the choice, those of different kinds narrow it.
 * @throws with what is known if a word is nothing of that.
 */
export function select(words: readonly string[]): Selection {
  const found = { contenders: [] as string[], measurements: [] as string[], columns: [] as Column[] };
  for (const word of words) {
    const measurements = MEASUREMENTS.filter(({ id }) => id === word || id.split('-')[0] === word);
    const columns = COLUMNS.filter((column) => column === word);
    const contenders = CONTENDERS.filter(({ name }) => name.toLowerCase().includes(word.toLowerCase()));
    if (measurements.length > 0) found.measurements.push(...measurements.map(({ id }) => id));
    else if (columns.length > 0) found.columns.push(...columns);
    else if (contenders.length > 0) found.contenders.push(...contenders.map(({ name }) => name));
    else {
      const known = [...MEASUREMENTS.map(({ id }) => id), ...COLUMNS].join(', ');
      throw new Error(`--only=${word}: no measurement (${known}) and no part of a contender's name`);
    }
  }
  const unless = <T>(list: T[]) => (list.length === 0 ? undefined : list);
  return {
    contenders: unless(found.contenders),
    measurements: unless(found.measurements),
    columns: unless(found.columns),
  };
}

/** The blocks of `rounds` rounds, every other one backwards (A B C, C B A, …), so that a drift meets all alike. */
export function plan(rounds: number, selection: Selection): Block[] {
  const { contenders, measurements, columns } = selection;
  const blocks: Block[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    for (const measurement of MEASUREMENTS.filter(({ id }) => measurements?.includes(id) ?? true)) {
      for (const column of columnsOf(measurement).filter((one) => columns?.includes(one) ?? true)) {
        const peers = peersOf(measurement, round).filter(({ name }) => contenders?.includes(name) ?? true);
        const cells = peers.map((peer) => ({ peer, measurement, column, round }));
        if (round % 2 === 0) cells.reverse();
        if (cells.length > 0) blocks.push({ name: `${round}/${measurement.id}/${column}`, cells });
      }
    }
  }
  return blocks;
}
