/**
 * How much the code under some folder works, counted and not timed: how often each block of its functions runs, as V8
 * itself counts for coverage. The same work gives the same number on every machine, however busy it is.
 */
import { Session } from 'node:inspector';
import { setFlagsFromString } from 'node:v8';

interface Coverage {
  readonly result: readonly {
    readonly url: string;
    readonly functions: readonly { readonly ranges: readonly { readonly count: number }[] }[];
  }[];
}

/** One at a time: V8 has one set of counters. To be closed. */
export class OperationCounter {
  private readonly where: string;
  private readonly session = new Session();

  /** Counts blocks of code whose URL contains `where`. */
  constructor(where: string) {
    this.where = where;
    // Optimized code does not count all that it does.
    setFlagsFromString('--no-opt');
    this.session.connect();
    this.session.post('Profiler.enable');
    this.session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** Blocks entered while `work` runs. */
  async count(work: () => Promise<unknown>): Promise<number> {
    this.take();
    await work();
    return this.take();
  }

  close(): void {
    this.session.post('Profiler.stopPreciseCoverage');
    this.session.disconnect();
    setFlagsFromString('--opt');
  }

  /** Since the last time. */
  private take(): number {
    let coverage: Coverage | undefined;
    // With a session of the same process the answer comes before post() returns.
    this.session.post('Profiler.takePreciseCoverage', (_error, result) => {
      coverage = result as unknown as Coverage;
    });
    if (coverage === undefined) throw new Error('V8 gave no coverage');
    let operations = 0;
    for (const { url, functions } of coverage.result) {
      if (!url.includes(this.where)) continue;
      for (const { ranges } of functions) for (const { count } of ranges) operations += count;
    }
    return operations;
  }
}
