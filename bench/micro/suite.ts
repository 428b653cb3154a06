/**
 * Micro-benchmarks by benchmark.js: a suite is a list of cases that each handle `packets` packets a call; the result is
 * nanoseconds a packet.
 *
 * Every case returns a number that depends on its work, which is added up, so that nothing can be optimised away. An A/A
 * pair (the same work under two names) shows how large a difference must be to mean anything.
 */

import Benchmark from 'benchmark';
import { type Estimate, estimate } from '../report/statistics.ts';

export interface Case {
  readonly name: string;
  /** Packets that one call of `run` handles. */
  readonly packets: number;
  run(): number;
}

export interface Suite {
  readonly name: string;
  readonly cases: readonly Case[];
}

export interface Result {
  readonly suite: string;
  readonly name: string;
  /** Median over benchmark.js's samples: its mean takes in every moment in which other work had the core. */
  readonly nsPerPacket: Estimate;
}

/** Runs all cases in turn; `seconds` is the time for each. Calls back with each result as it comes. */
export function runSuite(suite: Suite, seconds: number, onResult: (result: Result) => void): Result[] {
  const results: Result[] = [];
  let consumed = 0;
  for (const { name, packets, run } of suite.cases) {
    const benchmark = new Benchmark(name, {
      fn: () => {
        consumed = (consumed + run()) | 0;
      },
      maxTime: seconds,
      minSamples: 20,
    });
    benchmark.run({ async: false });
    const failure = (benchmark as unknown as { error?: Error }).error;
    if (failure !== undefined) throw new Error(`${suite.name}, ${name}: ${failure.message}`);
    const nsPerPacket = estimate(benchmark.stats.sample.map((seconds: number) => (seconds * 1e9) / packets));
    const result = { suite: suite.name, name, nsPerPacket };
    results.push(result);
    onResult(result);
  }
  if (Number.isNaN(consumed)) throw new Error(`${suite.name}: a case returned no number`);
  return results;
}

/** Packets in a second, in millions. */
export function megapackets({ nsPerPacket }: Pick<Result, 'nsPerPacket'>): number {
  return 1e3 / nsPerPacket.median;
}

export function tableHead(): string {
  return `${'case'.padEnd(52)} ${'ns/packet'.padStart(10)} ${'Mpackets/s'.padStart(11)} ${'±%'.padStart(6)}`;
}

export function tableRow(result: Result): string {
  const { median, low, high } = result.nsPerPacket;
  const name = `${result.suite}: ${result.name}`.padEnd(52);
  const margin = (50 * (high - low)) / median;
  return `${name} ${median.toFixed(median < 100 ? 1 : 0).padStart(10)} ${megapackets(result).toFixed(3).padStart(11)} ${margin.toFixed(1).padStart(6)}`;
}
