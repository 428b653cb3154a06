/** The report of the benchmark of scale. */
import type { Environment } from '../report/environment.ts';
import { interval, number, type Page, type Section } from '../report/page.ts';
import type { DaemonPoint } from './daemon.ts';
import type { MemoryPoint } from './memory.ts';

export type ScaleResults = {
  readonly environment: Environment;
  readonly command: string;
  readonly memory: readonly MemoryPoint[];
  readonly daemon: DaemonPoint | undefined;
  /** Parts that gave nothing, and why. */
  readonly skipped: readonly string[];
};

const kilobytes = (bytes: number) => number(bytes / 1024);

function memorySection(memory: readonly MemoryPoint[]): Section[] {
  if (memory.length === 0) return [];
  const line = (name: string, of: (point: MemoryPoint) => number) => ({
    name,
    points: memory.map((point) => [point.tunnels, of(point)] as const),
  });
  return [
    {
      heading: 'The engine in memory',
      text: [
        'Look-ups: a tunnel by type, addresses and key; an SA by SPI; an address in the FDB. Sending: a frame of 1400 bytes, each to another tunnel and sealed with its SA (AES-256-GCM), so with many tunnels no key is in the cache. Memory: a tunnel with one SA in each direction, of the engine alone.',
      ],
      table: {
        head: ['tunnels', 'tunnel, ns', 'SA, ns', 'FDB, ns', 'send, ns a packet', 'KB a tunnel', 'ms to add one'],
        rows: memory.map((point) => [
          String(point.tunnels),
          interval(point.tunnelLookup),
          interval(point.saLookup),
          interval(point.fdbLookup),
          interval(point.send),
          point.tunnels < 1000 ? '–' : kilobytes(point.bytes),
          number(point.setUpMs),
        ]),
      },
      charts: [
        {
          kind: 'lines',
          title: 'Look-up by the number of tunnels',
          xTitle: 'tunnels',
          yTitle: 'ns',
          logarithmicX: true,
          series: [
            line('tunnel by addresses and key', ({ tunnelLookup }) => tunnelLookup.median),
            line('SA by SPI', ({ saLookup }) => saLookup.median),
            line('FDB', ({ fdbLookup }) => fdbLookup.median),
          ],
        },
        {
          kind: 'lines',
          title: 'Sending through tunnels chosen evenly, 1400 bytes, ESP',
          xTitle: 'tunnels',
          yTitle: 'ns a packet',
          logarithmicX: true,
          series: [line('send', ({ send }) => send.median)],
        },
      ],
    },
  ];
}

function daemonSection(point: DaemonPoint | undefined): Section[] {
  if (point === undefined) return [];
  const { tunnels, alone, starting, settled, residentAlone, residentAmongAll, setUpSeconds } = point;
  const each = (residentAmongAll - residentAlone) / Math.max(1, tunnels - 1);
  return [
    {
      heading: 'The daemon',
      text: [
        `One TCP stream through one Geneve tunnel in raw ESP, wire-honest, while ${tunnels - 1} more tunnels want IPsec with peers that never answer: when they begin, and when each has been given up once.`,
      ],
      table: {
        head: ['configured tunnels', 'Gbit/s', '÷ alone', 'resident memory, MB', 'KB a tunnel', 'seconds to add all'],
        rows: [
          ['1', interval(alone), '1', number(residentAlone / 2 ** 20), '–', '–'],
          [`${tunnels}, begun just now`, interval(starting.rate), interval(starting.ratio), '', '', ''],
          [
            `${tunnels}, settled`,
            interval(settled.rate),
            interval(settled.ratio),
            number(residentAmongAll / 2 ** 20),
            kilobytes(each),
            number(setUpSeconds),
          ],
        ],
      },
    },
  ];
}

/** The report as data. */
export function scalePage({ environment, command, memory, daemon, skipped }: ScaleResults): Page {
  return {
    title: 'ovs-espd with many tunnels',
    environment,
    command,
    summary: [
      'Held to: with 10,000 tunnels configured, throughput within 10 % of that with one, at most 16 KB of resident memory a tunnel, look-ups in constant time.',
      ...skipped.map((reason) => `**Left out:** ${reason}.`),
    ],
    sections: [...memorySection(memory), ...daemonSection(daemon)],
  };
}
