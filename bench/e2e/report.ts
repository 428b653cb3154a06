/** The end-to-end report: claims with their verdicts, then a table and a chart for each kind of measurement. */
import { interval, number, type Page, type Section } from '../report/page.ts';
import { type Estimate, estimate, median, ratio } from '../report/statistics.ts';
import { CLAIMS, type Claim, CONTROLS, ratioOf, verdict } from './claims.ts';
import { BASELINES } from './lineup.ts';
import { MEASUREMENTS, type Measurement } from './measurements.ts';
import { COLUMNS, type Column, type Results, type Sample, samplesOf } from './results.ts';

type Cells = readonly (readonly [head: string, cell: (contender: string) => string])[];

const numbers = (samples: readonly Sample[], quantity?: string): number[] =>
  samples
    .map(({ value, values }) => (quantity === undefined ? value : values[quantity]))
    .filter((one) => one !== undefined);

function estimateOf(results: Results, contender: string, id: string, column: Column, quantity?: string) {
  const values = numbers(samplesOf(results, contender, id, column), quantity);
  return values.length === 0 ? undefined : estimate(values);
}

function claimSection(results: Results): Section {
  const bound = ({ atLeast, atMost }: Claim) =>
    atLeast !== undefined ? `at least ${atLeast}` : atMost !== undefined ? `at most ${atMost}` : '1';
  const rows = [...CLAIMS, ...CONTROLS].map((claim) => {
    const found = ratioOf(results, claim);
    return [claim.what, claim.column, bound(claim), interval(found), verdict(claim, found)];
  });
  return {
    heading: 'What the project holds itself to',
    text: [
      'Median of the ratios within each block, with its 95 % interval; one TCP stream where nothing else is said. *Held* means that the whole interval keeps the bound.',
    ].map((text) => text.replaceAll('*', '')),
    table: { head: ['ratio', 'column', 'bound', 'measured', 'verdict'], rows },
  };
}

function section(results: Results, measurement: Measurement, columns: readonly Column[], cells: Cells): Section[] {
  const contenders = results.contenders
    .map(({ name }) => name)
    .filter((name) => columns.some((column) => samplesOf(results, name, measurement.id, column).length > 0));
  if (contenders.length === 0) return [];
  const series = columns.map((column) => ({
    name: column,
    values: contenders.map((name) => estimateOf(results, name, measurement.id, column)),
  }));
  return [
    {
      heading: measurement.title,
      table: {
        head: ['path', ...cells.map(([head]) => head)],
        rows: contenders.map((name) => [name, ...cells.map(([, cell]) => cell(name))]),
      },
      charts: [{ kind: 'bars', title: measurement.title, unit: measurement.unit, labels: contenders, series }],
    },
  ];
}

function tcpSection(results: Results, measurement: Measurement): Section[] {
  const { id } = measurement;
  const blocked = (name: string, column: Column) => samplesOf(results, name, id, column);
  const against = (baseline: string, column: Column) => (name: string) =>
    interval(ratio(blocked(name, column), blocked(baseline, column)), '×');
  const cells = COLUMNS.flatMap(
    (column): Cells => [
      [`${column}, Gbit/s`, (name) => interval(estimateOf(results, name, id, column))],
      ['÷ kernel-libipsec', against(BASELINES.libipsec, column)],
      ['÷ kernel VXLAN', against(BASELINES.kernelVxlan, column)],
      ['Gbit per CPU second', (name) => interval(estimateOf(results, name, id, column, 'gigabitsPerCpuSecond'))],
    ],
  );
  return section(results, measurement, COLUMNS, cells);
}

function udpSection(results: Results, measurement: Measurement): Section[] {
  const column = 'wire-honest';
  const { id } = measurement;
  const loss = (name: string) => {
    const values = numbers(samplesOf(results, name, id, column), 'loss');
    return values.length === 0 ? '–' : `${number(median(values) * 100)} %`;
  };
  const blocked = (name: string) => samplesOf(results, name, id, column);
  const size = Number(id.split('-')[1]);
  const gigabits = (found: Estimate | undefined) =>
    found === undefined ? '–' : number((found.median * size * 8) / 1e6);
  return section(
    results,
    measurement,
    [column],
    [
      ['received, kpackets/s', (name) => interval(estimateOf(results, name, id, column))],
      ['Gbit/s of IP packets', (name) => gigabits(estimateOf(results, name, id, column))],
      ['÷ kernel-libipsec', (name) => interval(ratio(blocked(name), blocked(BASELINES.libipsec)), '×')],
      ['offered, kpackets/s', (name) => interval(estimateOf(results, name, id, column, 'offered'))],
      ['lost', loss],
    ],
  );
}

const PERCENTILES = [
  ['p50', 50],
  ['p90', 90],
  ['p99', 99],
  ['p999', 99.9],
] as const;

function latencySection(results: Results, measurement: Measurement): Section[] {
  const column = 'wire-honest';
  const { id } = measurement;
  const at = (name: string, quantity: string) => estimateOf(results, name, id, column, quantity);
  const wireguard = (quantity: string) => (contender: string) => {
    const claim = { what: '', contender, baseline: BASELINES.wireguard, measurement: id, column, quantity } as const;
    return interval(ratioOf(results, claim), '×');
  };
  const sections = section(
    results,
    measurement,
    [column],
    [
      ...PERCENTILES.map(
        ([quantity, share]) => [`${share} %, ms`, (name: string) => interval(at(name, quantity))] as const,
      ),
      ['50 % ÷ wireguard-go', wireguard('p50')],
      ['99 % ÷ wireguard-go', wireguard('p99')],
    ],
  );
  return sections.map((one) => ({
    ...one,
    charts: [
      {
        kind: 'lines',
        title: measurement.title,
        xTitle: 'round trips slower than this: one in …',
        yTitle: 'ms',
        logarithmicX: true,
        logarithmicY: true,
        series: (one.table?.rows ?? []).map(([name = '']) => ({
          name,
          points: PERCENTILES.flatMap(([quantity, share]) => {
            const found = at(name, quantity);
            return found === undefined ? [] : [[100 / (100 - share), found.median] as const];
          }),
        })),
      },
    ],
  }));
}

const SECTIONS: Readonly<Record<string, (results: Results, measurement: Measurement) => Section[]>> = {
  tcp: tcpSection,
  udp: udpSection,
  latency: latencySection,
};

function summary(results: Results): string[] {
  const busiest = results.background.length === 0 ? 0 : Math.max(...results.background);
  const usual = results.background.length === 0 ? 0 : median(results.background);
  const percent = (share: number) => `${(share * 100).toFixed(0)} %`;
  const quiet = `Before each block the machine was looked at: other work took ${percent(usual)} of it at the median, ${percent(busiest)} at most.`;
  return [
    'Two hosts in network namespaces on one veth pair of MTU 1500, both ends and the traffic generator on the same cores. Column **offload**: the veth as Linux makes it, which passes 64 KB segmentation frames whole. Column **wire-honest**: segmentation and receive offloads off at both ends of the underlay, as on a real wire; claims are made there.',
    'All contenders stand at once and are measured in turns, block by block, every other round backwards. Intervals are 95 %, by bootstrap over the blocks.',
    busiest > 0.1 ? `${quiet} **The machine was not quiet: absolute figures are too low, intervals too wide.**` : quiet,
    ...(results.discarded > 0
      ? [`${results.discarded} samples were thrown away because the hypervisor took more than 1 % of the time.`]
      : []),
  ];
}

/** The report as data. */
export function e2ePage(results: Results, seconds: number): Page {
  const skipped = results.skipped.map(({ contender, measurement = 'everything', reason }) => [
    contender,
    measurement,
    reason,
  ]);
  const measured = MEASUREMENTS.filter(({ id }) => results.samples.some((sample) => sample.measurement === id));
  return {
    title: 'ovs-espd end to end, beside its peers',
    environment: results.environment,
    command: results.command,
    summary: summary(results),
    sections: [
      claimSection(results),
      ...measured.flatMap((measurement) => SECTIONS[measurement.id.split('-')[0]!]!(results, measurement)),
      ...(skipped.length === 0
        ? []
        : [{ heading: 'Left out', table: { head: ['path', 'measurement', 'reason'], rows: skipped } }]),
      {
        heading: 'What they are',
        table: { head: ['path', 'what it is'], rows: results.contenders.map(({ name, what }) => [name, what]) },
      },
      {
        heading: 'Commands of the traffic',
        table: {
          head: ['measurement', 'command'],
          rows: measured.map(({ title, command }) => [title, command(seconds)]),
        },
      },
    ],
  };
}
