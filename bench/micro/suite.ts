/**
 * Micro-benchmarks by benchmark.js: a suite is a list of cases that each handle `packets` packets a call; the result is
 * a table of nanoseconds a packet and the same as JSON.
 *
 * Every case returns a number that depends on its work, which is added up, so that nothing can be optimised away. An A/A
 * pair (the same work under two names) shows how large a difference must be to mean anything.
 */

import Benchmark from 'benchmark';

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
  readonly nsPerPacket: number;
  /** Packets in a second. */
  readonly rate: number;
  /** Relative margin of error at 95 %, in percent. */
  readonly margin: number;
  readonly samples: number;
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
    const nsPerPacket = (benchmark.stats.mean * 1e9) / packets;
    const result = {
      suite: suite.name,
      name,
      nsPerPacket,
      rate: 1e9 / nsPerPacket,
      margin: benchmark.stats.rme,
      samples: benchmark.stats.sample.length,
    };
    results.push(result);
    onResult(result);
  }
  if (Number.isNaN(consumed)) throw new Error(`${suite.name}: a case returned no number`);
  return results;
}

export function tableHead(): string {
  return `${'case'.padEnd(44)} ${'ns/packet'.padStart(10)} ${'Mpackets/s'.padStart(11)} ${'±%'.padStart(6)}`;
}

export function tableRow(result: Result): string {
  const name = `${result.suite}: ${result.name}`.padEnd(44);
  const ns = result.nsPerPacket.toFixed(result.nsPerPacket < 100 ? 1 : 0).padStart(10);
  return `${name} ${ns} ${(result.rate / 1e6).toFixed(3).padStart(11)} ${result.margin.toFixed(1).padStart(6)}`;
}
