/** The report of the benchmarks in memory: nanoseconds a packet for stages, AEAD backends and the whole engine. */
import type { Environment } from '../report/environment.ts';
import { interval, number, type Page, type Section } from '../report/page.ts';
import type { PipelineResult } from './pipeline.ts';
import { megapackets, type Result } from './suite.ts';

export type MicroResults = {
  readonly environment: Environment;
  readonly command: string;
  readonly results: readonly Result[];
  readonly pipeline: readonly PipelineResult[];
};

function suiteSection(heading: string, results: readonly Result[], text: readonly string[]): Section[] {
  if (results.length === 0) return [];
  return [
    {
      heading,
      text,
      table: {
        head: ['case', 'ns a packet', 'Mpackets/s'],
        rows: results.map((result) => [result.name, interval(result.nsPerPacket), number(megapackets(result))]),
      },
      charts: [
        {
          kind: 'bars',
          title: heading,
          unit: 'ns a packet',
          labels: results.map(({ name }) => name),
          series: [{ name: 'median', values: results.map(({ nsPerPacket }) => nsPerPacket) }],
          logarithmic: true,
        },
      ],
    },
  ];
}

function engineSection(pipeline: readonly PipelineResult[]): Section[] {
  if (pipeline.length === 0) return [];
  const gigabits = ({ nsPerPacket, length }: PipelineResult) => (length * 8) / nsPerPacket.median;
  const lines = (['out', 'back'] as const).map((direction) => ({
    name: direction,
    points: pipeline
      .filter((one) => one.direction === direction && one.protection === 'ESP' && one.length === 1400)
      .map(({ batch, nsPerPacket }) => [batch, 1e3 / nsPerPacket.median] as const)
      .sort(([a], [b]) => a - b),
  }));
  const series = lines.filter(({ points }) => points.length > 1);
  return [
    {
      heading: 'The engine whole, one direction, one core',
      text: [
        'Geneve; ESP is AES-256-GCM with native AEAD. Frames come from memory and packets go nowhere: what the kernel costs (TAP, socket) comes on top.',
      ],
      table: {
        head: ['case', 'ns a packet', 'Mpackets/s', 'Gbit/s of frames'],
        rows: pipeline.map((one) => [
          one.name,
          interval(one.nsPerPacket),
          number(megapackets(one)),
          number(gigabits(one)),
        ]),
      },
      charts: [
        {
          kind: 'bars',
          title: 'The engine whole, one direction, one core',
          unit: 'ns a packet',
          labels: pipeline.map(({ name }) => name),
          series: [{ name: 'median', values: pipeline.map(({ nsPerPacket }) => nsPerPacket) }],
        },
        ...(series.length > 0
          ? [
              {
                kind: 'lines' as const,
                title: 'Packets a second by the size of the batch, ESP, 1400 bytes',
                xTitle: 'packets in a batch',
                yTitle: 'Mpackets/s',
                logarithmicX: true,
                series,
              },
            ]
          : []),
      ],
    },
  ];
}

/** The report as data. */
export function microPage({ environment, command, results, pipeline }: MicroResults): Page {
  const of = (suite: string) => results.filter((result) => result.suite === suite);
  return {
    title: 'ovs-espd in memory: stages, AEAD backends, engine',
    environment,
    command,
    summary: [
      'Nanoseconds a packet in batches of 64: median and its 95 % interval by bootstrap, over the samples of benchmark.js for stages and backends, over passes of 2048 packets for the engine.',
      'The case marked A/A is the same work as the one before it: a difference smaller than theirs says nothing.',
    ],
    sections: [
      ...engineSection(pipeline),
      ...suiteSection('Stages', of('stages'), []),
      ...suiteSection('AEAD backends and the ESP stages', of('aead'), [
        'Opening puts the sealed text back before each call; that copy is part of the figure.',
      ]),
    ],
  };
}
