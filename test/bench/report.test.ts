// Reports: Markdown, web page, charts, and what a run's samples become.
import { describe, expect, it } from 'vitest';
import { CLAIMS, ratioOf, verdict } from '../../bench/e2e/claims.ts';
import { BASELINES } from '../../bench/e2e/lineup.ts';
import { e2ePage } from '../../bench/e2e/report.ts';
import type { Results, Sample } from '../../bench/e2e/results.ts';
import { microPage } from '../../bench/micro/report.ts';
import { progressLine } from '../../bench/progress.ts';
import { toSvg } from '../../bench/report/charts.ts';
import { type Environment, readEnvironment } from '../../bench/report/environment.ts';
import { toHtml } from '../../bench/report/html.ts';
import { markdownTable, toMarkdown } from '../../bench/report/markdown.ts';
import { type Chart, interval, number, type Page } from '../../bench/report/page.ts';
import type { Estimate } from '../../bench/report/statistics.ts';
import { ROOT } from '../rig/root.ts';

const environment: Environment = {
  date: '2026-11-25T01:02:03.000Z',
  cpu: 'a processor',
  cores: 2,
  memoryGiB: 4,
  hypervisor: 'none',
  kernel: '6.0',
  node: 'v20',
  openssl: '3.0',
  commit: 'abc',
  load: 0,
  programs: { iperf3: '3.12' },
  settings: {},
};
const at = (median: number, low = median, high = median): Estimate => ({ median, low, high, count: 5 });
const bars: Chart = {
  kind: 'bars',
  title: 'Rates & <limits>',
  unit: 'Gbit/s',
  labels: ['ours', 'theirs'],
  series: [{ name: 'offload', values: [at(2.5, 2, 3), undefined] }],
};
const page: Page = {
  title: 'A <report>',
  environment,
  command: 'npm run bench -- "x"',
  summary: ['It is **fast** & `small`.'],
  sections: [{ heading: 'One', table: { head: ['a|b', 'c'], rows: [['<script>', '1']] }, charts: [bars] }],
};

describe('numbers', () => {
  it('have three significant digits and no exponent', () => {
    expect([0, 0.00123, 0.1234, 1.2345, 12.345, 1234.5, Number.NaN].map(number)).toEqual([
      '0',
      '0.0012',
      '0.123',
      '1.23',
      '12.3',
      '1235',
      '–',
    ]);
  });

  it('are shown with their interval if there is more than one value', () => {
    expect(interval(at(2, 1.5, 2.5), '×')).toBe('2.00× (1.50 to 2.50)');
    expect(interval({ ...at(2), count: 1 })).toBe('2.00');
    expect(interval(undefined)).toBe('–');
  });
});

describe('Markdown', () => {
  it('keeps a pipe in a cell from ending it', () => {
    expect(markdownTable({ head: ['a|b'], rows: [['c']] }).split('\n')).toEqual(['| a\\|b |', '| --- |', '| c |']);
  });

  it('says when, on what machine, and by which command', () => {
    const text = toMarkdown(page);
    expect(text).toContain('2026-11-25 01:02 UTC. 2 cores of a processor, 4 GiB; Linux 6.0; Node v20');
    expect(text).toContain('\n    npm run bench -- "x"\n');
  });
});

describe('the web page', () => {
  it('is complete in itself: no script, nothing fetched, and text of others is text', () => {
    const html = toHtml(page);
    expect(html).not.toMatch(/<script|<link|src=|@import|url\((?!#)/);
    expect(html).toContain('&lt;script&gt;');
    expect(html).toContain('<strong>fast</strong> &amp; <code>small</code>');
    expect(html.match(/<svg/g)).toHaveLength(1);
  });
});

describe('a chart', () => {
  it('of bars draws a bar for what was measured, its whisker, and the names, escaped', () => {
    const svg = toSvg(bars);
    expect(svg).toMatch(/^<svg role="img" aria-label="Rates &amp; &lt;limits&gt;" [^>]*>/);
    expect(svg).not.toContain('<style');
    for (const text of ['ours', 'theirs', 'Rates &amp; &lt;limits&gt;', '>2.50<']) expect(svg).toContain(text);
    // Without a value there is no bar: with one there is one more filled path.
    const count = (chart: Chart) => toSvg(chart).match(/fill="#0072b2"/g)?.length ?? 0;
    const both: Chart = { ...bars, series: [{ name: 'offload', values: [at(2.5), at(1)] }] };
    expect(count(both)).toBe(count(bars) + 1);
  });

  it('of lines draws a line for each series', () => {
    const points = [
      [1, 2],
      [10, 3],
    ] as const;
    const series = ['one', 'two'].map((name) => ({ name, points }));
    const svg = toSvg({ kind: 'lines', title: 't', xTitle: 'x', yTitle: 'y', series, logarithmicX: true });
    for (const colour of ['#0072b2', '#e69f00'])
      expect(svg).toMatch(new RegExp(`d="M[^Z"]*" fill="none"[^>]* stroke="${colour}"`));
  });
});

const sample = (contender: string, block: string, value: number): Sample => ({
  contender,
  measurement: 'tcp-1',
  column: 'wire-honest',
  block,
  value,
  values: {},
  cpu: { endpoints: 1, machine: 2, softirq: 0, steal: 0 },
  at: 0,
});
const results = (samples: Sample[], background = [0]): Results => ({
  version: 1,
  environment,
  command: 'npm run bench -- e2e',
  contenders: [BASELINES.rawEsp, BASELINES.libipsec].map((name) => ({ name, what: 'a tunnel' })),
  samples,
  skipped: [{ contender: BASELINES.udpEsp, measurement: undefined, reason: 'the daemon refuses the tunnel: why' }],
  background,
  discarded: 0,
});
const blocks = (ours: number, theirs: number) =>
  ['1', '2', '3', '4'].flatMap((block) => [
    sample(BASELINES.rawEsp, block, ours),
    sample(BASELINES.libipsec, block, theirs),
  ]);

describe('a claim', () => {
  const claim = CLAIMS[0]!;

  it.each([
    ['held', 7, 1],
    ['missed', 5, 1],
  ] as const)('is %s with %d to %d', (expected, ours, theirs) => {
    const found = ratioOf(results(blocks(ours, theirs)), claim);
    expect(found?.median).toBe(ours / theirs);
    expect(verdict(claim, found)).toBe(expected);
  });

  it('is not shown while its interval holds the bound, and not measured without both contenders', () => {
    expect(verdict(claim, at(6.5, 5.9, 7))).toBe('not shown');
    expect(verdict(claim, ratioOf(results([sample(BASELINES.rawEsp, '1', 9)]), claim))).toBe('not measured');
  });

  it('of a largest value is held below it', () => {
    const latency = CLAIMS.find(({ atMost }) => atMost === 0.6)!;
    expect(verdict(latency, at(0.5, 0.4, 0.6))).toBe('held');
    expect(verdict(latency, at(0.7, 0.61, 0.8))).toBe('missed');
  });
});

describe('the end-to-end report', () => {
  it('has a row for each contender with its ratio, the verdicts, and what was left out and why', () => {
    const text = toMarkdown(e2ePage(results(blocks(7, 1)), 2));
    expect(text).toMatch(/\| raw ESP ÷ kernel-libipsec \| wire-honest \| at least 6 \| 7\.00 .*\| held \|/);
    expect(text).toMatch(/\| ovs-espd geneve, raw ESP \| – \|.*7\.00×/);
    expect(text).toContain('| ovs-espd geneve, ESP in UDP | everything | the daemon refuses the tunnel: why |');
  });

  it('says so if the machine was busy with other work', () => {
    expect(toMarkdown(e2ePage(results(blocks(7, 1), [0.02]), 2))).not.toContain('not quiet');
    expect(toMarkdown(e2ePage(results(blocks(7, 1), [0.5]), 2))).toContain('The machine was not quiet');
  });
});

it('the environment tells versions and settings and no path of the machine', () => {
  const text = JSON.stringify(readEnvironment());
  expect(text).toContain(process.version);
  expect(text).not.toContain(ROOT);
});

it('the progress tells what is done, what is left, and how long that takes at the pace so far', () => {
  expect(progressLine(1, 4, 10_000, 'x')).toBe(`[${'█'.repeat(6)}${'·'.repeat(18)}] 1/4 0:30 left  x`);
});

describe('the report of the benchmarks in memory', () => {
  it('has a row for each case, and the packets a second that follow from its nanoseconds', () => {
    const one = { name: 'out, Geneve, ESP, 1400 B', direction: 'out', protection: 'ESP', length: 1400 } as const;
    const pipeline = [1, 64].map((batch) => ({ ...one, batch, nsPerPacket: at(1000 / batch) }));
    const results = [{ suite: 'stages', name: 'flow hash', nsPerPacket: at(50) }];
    const page = microPage({ environment, command: 'npm run bench -- micro', results, pipeline });
    const text = toMarkdown(page);
    expect(text).toContain('| flow hash | 50.0 (50.0 to 50.0) | 20.0 |');
    expect(text).toContain('| out, Geneve, ESP, 1400 B | 1000 (1000 to 1000) | 1.00 | 11.2 |');
    expect(toHtml(page).match(/<svg/g)).toHaveLength(3);
  });
});
