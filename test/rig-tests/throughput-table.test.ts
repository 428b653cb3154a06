// The table that the throughput benchmark prints: medians, ranges, ratios to the baseline.
import { expect, it } from 'vitest';
import { median, type Sample } from '../../bench/e2e/interleaved.ts';
import { throughputMain, throughputTable } from '../../bench/e2e/throughput.ts';

const sample = (peer: string, column: Sample['column'], gigabitsPerSecond: number): Sample => ({
  peer,
  column,
  round: 1,
  gigabitsPerSecond,
  retransmits: 0,
  roundTripMs: 0.1,
});

it('takes the middle of an odd number of values, and the mean of the two middle ones of an even number', () => {
  expect(median([5, 1, 3])).toBe(3);
  expect(median([10, 9, 1, 2])).toBe(5.5);
});

it('gives each contender a row with median, range and the ratio of medians in each column', () => {
  const samples = [
    ...[2, 1, 3].map((rate) => sample('ours', 'offload', rate)),
    ...[0.5, 0.4, 0.6].map((rate) => sample('theirs', 'offload', rate)),
    sample('ours', 'wire-honest', 1.5),
    sample('theirs', 'wire-honest', 0.5),
  ];
  expect(throughputTable(samples, ['offload', 'wire-honest'], 'theirs').split('\n')).toEqual([
    '| path | offload, Gbit/s | ratio | wire-honest, Gbit/s | ratio |',
    '| --- | --- | --- | --- | --- |',
    '| ours | 2.00 (1.00 to 3.00) | 4.00× | 1.50 (1.50 to 1.50) | 3.00× |',
    '| theirs | 0.50 (0.40 to 0.60) | 1.00× | 0.50 (0.50 to 0.50) | 1.00× |',
  ]);
});

it.each([
  ['--rounds=0', '--rounds=0: expected a whole number from 1 on'],
  ['--type=gre,stt', "--type=gre,stt: 'stt' is not one of gre, geneve, vxlan"],
  ['--column=all', "--column=all: 'all' is not one of offload, wire-honest"],
])('refuses %s with what came and what was expected', async (option, message) => {
  await expect(throughputMain([option])).rejects.toThrow(message);
});
