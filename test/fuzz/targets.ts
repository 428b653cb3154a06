/** All targets of the guided fuzzer, each with its share of the inputs. */
import { Coverage } from './coverage.ts';
import { type GuidedReport, guide, type Target } from './guided.ts';
import { PARSER_TARGETS } from './parser-targets.ts';
import { Random } from './random.ts';
import { WORKER_TARGETS } from './worker-targets.ts';

const TARGETS: Readonly<Record<string, (random: Random) => Target>> = { ...WORKER_TARGETS, ...PARSER_TARGETS };
export const GUIDED = Object.keys(TARGETS);
/** Of the whole; those not named have 4. An input for the workers costs as much as dozens for a parser. */
const SHARES: Readonly<Record<string, number>> = { packet: 1, inside: 1, frame: 1, certificate: 1, gro: 2 };

/** Code that counts: the product's, compiled or not. */
const OURS = /\/(dataplane|ike|control|native-shims)\/(?!.*node_modules).*\.[jt]s$/;
const isOurs = (url: string): boolean => OURS.test(url) && !url.includes('/test/') && !url.includes('/node_modules/');

export interface TargetReport extends GuidedReport {
  readonly name: string;
  /** Characters of our code that have run, in this and the targets before it. */
  readonly characters: number;
  readonly seconds: number;
}

/** `inputs` among the targets of these names, one after the other. @throws Error that names target, seed and input */
export function* guideAll(names: readonly string[], inputs: number, seed: number): Generator<TargetReport> {
  const coverage = new Coverage(isOurs);
  const shareOf = (name: string) => SHARES[name] ?? 4;
  const whole = names.reduce((sum, name) => sum + shareOf(name), 0);
  try {
    for (const name of names) {
      const random = new Random(seed + GUIDED.indexOf(name));
      const started = performance.now();
      const report = guide(TARGETS[name]!(random), {
        random,
        inputs: Math.ceil((inputs * shareOf(name)) / whole),
        coverage,
      });
      yield { name, ...report, characters: coverage.size(), seconds: (performance.now() - started) / 1000 };
    }
  } catch (error) {
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    coverage.close();
  }
}
