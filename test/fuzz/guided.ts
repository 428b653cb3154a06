/**
 * Coverage-guided fuzzing: inputs that reach code which none before has reached are kept, and made into further ones.
 *
 *   1. the inputs that a target brings are run
 *   2. a batch of descendants of kept inputs is run; each may throw only if something is wrong
 *   3. if the batch reached something new, it is halved and run again until it is known which inputs did; they are kept
 */
import type { Block, Coverage } from './coverage.ts';
import { damage, joined } from './damage.ts';
import type { Random } from './random.ts';

/** Something that takes any bytes. */
export interface Target {
  readonly name: string;
  /** Inputs to begin with, right ones mostly. */
  seeds(random: Random): readonly Uint8Array[];
  /** @throws whatever: a bug. */
  run(input: Uint8Array): void;
  /** Checks that are too dear for each input. */
  check?(): void;
}

export interface GuidedReport {
  readonly inputs: number;
  /** Inputs that were kept for what they reached. */
  readonly kept: number;
}

/** Inputs between two looks at the coverage, which costs as much as hundreds of them. */
const BATCH = 1024;
const LONGEST = 4096;
/** More would be descendants of descendants that reach the same. */
const CORPUS = 4000;

/** @throws Error that names target and input. */
export function guide(
  target: Target,
  { random, inputs, coverage }: { readonly random: Random; readonly inputs: number; readonly coverage: Coverage },
): GuidedReport {
  const corpus = target.seeds(random).slice(0, inputs);
  if (corpus.length === 0) throw new Error(`${target.name} brings no input`);
  for (const input of corpus) attempt(target, input);
  coverage.fresh();
  let kept = 0;
  let done = corpus.length;
  while (done < inputs) {
    const batch = Array.from({ length: Math.min(BATCH, inputs - done) }, () => descendant(random, corpus));
    for (const input of batch) attempt(target, input);
    target.check?.();
    done += batch.length;
    const blocks = coverage.fresh();
    if (blocks.length === 0) continue;
    for (const input of reachers(target, batch, blocks, coverage)) {
      kept++;
      if (corpus.length < CORPUS) corpus.push(input);
      else corpus[random.below(CORPUS)] = input;
    }
  }
  target.check?.();
  return { inputs: done, kept };
}

function attempt(target: Target, input: Uint8Array): void {
  try {
    target.run(input);
  } catch (error) {
    const bytes = Buffer.from(input).toString('hex');
    throw new Error(`${target.name}, input ${bytes}: ${error instanceof Error ? error.stack : String(error)}`);
  }
}

/** One of the kept, changed, or the beginning of one with the end of another; often of the newest, as nothing was tried on them yet. */
function descendant(random: Random, corpus: readonly Uint8Array[]): Uint8Array {
  const pick = () =>
    random.once(3) ? corpus[corpus.length - 1 - random.below(Math.min(32, corpus.length))]! : random.pick(corpus);
  const parent = pick();
  const child = random.once(8)
    ? joined(parent.subarray(0, random.below(parent.length + 1)), endOf(pick(), random))
    : parent;
  return damage(random, child).subarray(0, LONGEST);
}

function endOf(input: Uint8Array, random: Random): Uint8Array {
  return input.subarray(random.below(input.length + 1));
}

/** The inputs of a batch that reach `blocks`, one for each at most. What depends on those before it may not be found again. */
function reachers(
  target: Target,
  batch: readonly Uint8Array[],
  blocks: readonly Block[],
  coverage: Coverage,
): Uint8Array[] {
  if (batch.length === 1) return [...batch];
  const half = batch.length >> 1;
  const found: Uint8Array[] = [];
  let missing = blocks;
  for (const part of [batch.slice(0, half), batch.slice(half)]) {
    if (missing.length === 0) break;
    coverage.among([]);
    for (const input of part) attempt(target, input);
    const reached = new Set(coverage.among(missing));
    if (reached.size === 0) continue;
    found.push(...reachers(target, part, [...reached], coverage));
    missing = missing.filter((block) => !reached.has(block));
  }
  return found;
}
