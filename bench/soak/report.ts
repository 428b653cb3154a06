/** The report of a soak: memory over time, and the books. */
import type { Environment } from '../report/environment.ts';
import { number, type Page } from '../report/page.ts';
import { type Balance, growth, type HostBooks } from './books.ts';

/** Resident memory of both daemons at a moment of the run, in bytes. */
export type MemorySample = { readonly seconds: number; readonly a: number; readonly b: number };

export type SoakResults = {
  readonly environment: Environment;
  readonly command: string;
  readonly what: string;
  readonly load: {
    readonly seconds: number;
    readonly megabits: number;
    readonly size: number;
    /** Share of the datagrams that did not arrive, 0 to 1. */
    readonly loss: number;
    readonly kilopackets: number;
  };
  readonly memory: readonly MemorySample[];
  readonly a: HostBooks;
  readonly b: HostBooks;
  readonly balances: readonly Balance[];
};

/** A peak in the second half of the run that is higher by more than this counts as growth. */
const MOST_GROWTH = 0.05;

const growthOf = ({ memory }: SoakResults, side: 'a' | 'b') => growth(memory.map((sample) => sample[side]));

/** True if the memory of a daemon grew in the second half. */
export function memoryGrew(results: SoakResults): boolean {
  return (['a', 'b'] as const).some((side) => growthOf(results, side) > MOST_GROWTH);
}

/** True if a packet is missing that no counter explains. */
export function vanished({ balances }: SoakResults): boolean {
  return balances.some(({ unexplained }) => unexplained !== 0);
}

function dropRows({ a, b }: SoakResults): string[][] {
  return [
    ...(
      [
        ['a', a],
        ['b', b],
      ] as const
    ).flatMap(([name, { daemon, kernel }]) => [
      ...Object.entries(daemon.drops).map(([reason, count]) => [name, reason, String(count)]),
      ...(kernel.tapSendDropped > 0 ? [[name, 'queue of the TAP full (kernel)', String(kernel.tapSendDropped)]] : []),
      ...(kernel.udpDropped > 0
        ? [[name, 'UDP socket of the traffic generator full (kernel), behind the tunnel', String(kernel.udpDropped)]]
        : []),
      ...(kernel.socketDropped > 0 ? [[name, 'raw socket full (kernel)', String(kernel.socketDropped)]] : []),
    ]),
  ];
}

/** The report as data. */
export function soakPage(results: SoakResults): Page {
  const { environment, command, what, load, memory, balances } = results;
  const megabytes = (side: 'a' | 'b') => memory.map((sample) => [sample.seconds, sample[side] / 2 ** 20] as const);
  const drops = dropRows(results);
  const percent = (side: 'a' | 'b') => `${number(100 * growthOf(results, side))} %`;
  return {
    title: 'ovs-espd under steady load',
    environment,
    command,
    summary: [
      `${what}; ${load.megabits} Mbit/s of UDP with ${load.size} bytes for ${load.seconds} s from a to b, wire-honest: ${number(load.kilopackets)} thousand packets a second arrived, ${number(100 * load.loss)} % were lost.`,
      `Memory: the peak in the second half of the run was ${percent('a')} above that in the first for the daemon on a, ${percent('b')} for that on b: **${memoryGrew(results) ? 'it grows' : 'flat'}**.`,
      `Packets that no counter explains: **${vanished(results) ? 'there are some, see the books' : 'none'}**.`,
    ],
    sections: [
      {
        heading: 'Resident memory',
        charts: [
          {
            kind: 'lines',
            title: 'Resident memory of the daemons',
            xTitle: 'seconds',
            yTitle: 'MB',
            series: [
              { name: 'a (sends)', points: megabytes('a') },
              { name: 'b (receives)', points: megabytes('b') },
            ],
          },
        ],
      },
      {
        heading: 'The books',
        table: {
          head: ['from where to where', 'before', 'after', 'counted drops', 'unexplained'],
          rows: balances.map(({ what: row, before, after, counted, unexplained }) => [
            row,
            ...[before, after, counted, unexplained].map(String),
          ]),
        },
      },
      ...(drops.length === 0
        ? []
        : [{ heading: 'Drops', table: { head: ['host', 'reason', 'packets'], rows: drops } }]),
    ],
  };
}
