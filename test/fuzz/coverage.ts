/**
 * What of our code has run so far, down to the block, as V8 counts it (precise coverage with block counts, over the
 * inspector's Profiler domain): how the guided fuzzer knows an input that reached something new.
 *
 * V8 merges a block with the one around it when both ran equally often, so the ranges that it reports differ from time to
 * time; characters of the source do not: each is marked once it has run.
 */
import { type Profiler, Session } from 'node:inspector';

/** Characters of a script: bit 0 is whether it ran since the last look, a byte each. */
type Marks = Uint8Array;

export interface Block {
  readonly url: string;
  readonly at: number;
}

export class Coverage {
  private readonly session = new Session();
  private readonly isOurs: (url: string) => boolean;
  private readonly seen = new Map<string, Marks>();

  /** `isOurs`: whether the script of that URL counts. */
  constructor(isOurs: (url: string) => boolean) {
    this.isOurs = isOurs;
    this.session.connect();
    this.session.post('Profiler.enable');
    this.session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** Where code begins that has run since the last look and never before. */
  fresh(): Block[] {
    const blocks: Block[] = [];
    for (const { url, marks } of this.take()) {
      const seen = this.seenOf(url, marks.length);
      let inside = false;
      for (let at = 0; at < marks.length; at++) {
        const isNew = marks[at] === 1 && seen[at] === 0;
        if (isNew) {
          if (!inside) blocks.push({ url, at });
          seen[at] = 1;
        }
        inside = isNew;
      }
    }
    return blocks;
  }

  /** Those of `blocks` that have run since the last look. */
  among(blocks: readonly Block[]): Block[] {
    const taken = new Map(this.take().map(({ url, marks }) => [url, marks]));
    return blocks.filter(({ url, at }) => taken.get(url)?.[at] === 1);
  }

  /** Characters of code that have run. */
  size(): number {
    let sum = 0;
    for (const marks of this.seen.values()) for (const mark of marks) sum += mark;
    return sum;
  }

  close(): void {
    this.session.post('Profiler.stopPreciseCoverage');
    this.session.disconnect();
  }

  private take(): { readonly url: string; readonly marks: Marks }[] {
    let result: readonly Profiler.ScriptCoverage[] | undefined;
    // In-process, the answer comes before the call returns.
    this.session.post('Profiler.takePreciseCoverage', (error, answer) => {
      if (error !== null) throw new Error(`V8 gives no coverage: ${error.message}`);
      result = answer.result;
    });
    if (result === undefined) throw new Error('V8 gave no coverage in time');
    return result.filter(({ url }) => this.isOurs(url)).map(({ url, functions }) => ({ url, marks: paint(functions) }));
  }

  private seenOf(url: string, length: number): Marks {
    const seen = this.seen.get(url);
    if (seen !== undefined && seen.length >= length) return seen;
    const longer = new Uint8Array(length);
    if (seen !== undefined) longer.set(seen);
    this.seen.set(url, longer);
    return longer;
  }
}

/** Functions come outer first, and so do the ranges of each: what is inside is painted over it. */
function paint(functions: readonly Profiler.FunctionCoverage[]): Marks {
  const end = Math.max(0, ...functions.map(({ ranges }) => ranges[0]?.endOffset ?? 0));
  const marks = new Uint8Array(end);
  for (const { ranges } of functions)
    for (const { startOffset, endOffset, count } of ranges) marks.fill(count > 0 ? 1 : 0, startOffset, endOffset);
  return marks;
}
