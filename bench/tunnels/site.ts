/** Two hosts with as many addresses as tunnels, since all tunnels between two addresses share one IKE SA; and what a contender is. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createLan, ip, type Lan } from '../../test/rig/namespace.ts';
import type { Rig } from '../../test/rig/rig.ts';

export const PSK = 'swordfish';
const NEWLINE = 0x0a;
/** Between two looks at the logs. */
const LOOK_MS = 100;

/** Both ends of a tunnel. */
export type Pair = { readonly name: string; readonly a: string; readonly b: string };

export type Site = { readonly rig: Rig; readonly lan: Lan; readonly pairs: readonly Pair[] };

/** What a daemon at each end made of all tunnels of a site. */
export type Outcome = {
  /** From before the daemons were started until the last tunnel was up at both ends. */
  readonly seconds: number;
  /** Processor time of both daemons until then. */
  readonly cpuSeconds: number;
  /** How long the busier one of the main threads kept an event waiting at most, and 99 of 100; undefined: nobody measures that. */
  readonly longestMs?: number;
  readonly p99Ms?: number;
};

/** Starts a daemon at each end and resolves when all tunnels are up. @throws if they are not in time. */
export type Contender = {
  readonly name: string;
  readonly what: string;
  establish(site: Site, patienceSeconds: number): Promise<Outcome>;
};

const NETS = { a: 32, b: 48 } as const;

const addressOf = (end: 'a' | 'b', index: number): string =>
  `10.${NETS[end] + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;

export async function createSite(rig: Rig, tunnels: number): Promise<Site> {
  const lan = await createLan(rig);
  for (const [end, other] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const) {
    const { namespace, device } = lan[end];
    const lines = Array.from(
      { length: tunnels },
      (_, index) => `address add ${addressOf(end, index)}/32 dev ${device}`,
    );
    const file = join(rig.directory, `addresses-${end}`);
    writeFileSync(file, `${lines.join('\n')}\n`);
    await ip(namespace, '-batch', file);
    await ip(namespace, 'route', 'add', `10.${NETS[other]}.0.0/12`, 'via', lan[other].address);
  }
  const pairs = Array.from({ length: tunnels }, (_, index) => ({
    name: `t${index}`,
    a: addressOf('a', index),
    b: addressOf('b', index),
  }));
  return { rig, lan, pairs };
}

/**
 * How many different tunnels the lines of a log that grows say are up: `pattern` has the name in its first group. Reads only what
 * is new, so that counting costs those it watches little.
 */
export function watchUp(path: string, pattern: RegExp): () => number {
  const names = new Set<string>();
  let read = 0;
  return () => {
    if (!existsSync(path)) return 0;
    const added = readFileSync(path).subarray(read);
    const whole = added.subarray(0, added.lastIndexOf(NEWLINE) + 1);
    read += whole.length;
    for (const [, name] of whole.toString().matchAll(pattern)) if (name !== undefined) names.add(name);
    return names.size;
  };
}

/** Waits until every log says that all tunnels are up. @throws Error with how many are not in time. */
export async function waitForAll(
  site: Site,
  watches: readonly (() => number)[],
  patienceSeconds: number,
): Promise<void> {
  const deadline = performance.now() + patienceSeconds * 1000;
  for (;;) {
    const up = Math.min(...watches.map((count) => count()));
    if (up >= site.pairs.length) return;
    if (performance.now() > deadline) {
      throw new Error(`${up} of ${site.pairs.length} tunnels were up after ${patienceSeconds} s`);
    }
    await pause(LOOK_MS);
  }
}
