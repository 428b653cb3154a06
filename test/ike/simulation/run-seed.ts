/**
 * One seed: two hosts on a bad network, then on a good one. While the network loses, repeats, corrupts, delays and reorders,
 * peers reboot and tunnels change, nothing may break the rules that Host checks and `excesses` lists; when it has been good
 * for a while, both ends hold the same child SAs with crossed keys, each configured child once, on one IKE SA, nothing leaks
 * and nothing still waits.
 */

import { excesses, faults, type Rename, unfinished } from './invariants.ts';
import {
  acquire,
  disturb,
  HALF_OPEN_LIMIT,
  makeScenario,
  OUTSIDE,
  type Scenario,
  type SimulationChoices,
} from './scenario.ts';
import { A } from './tunnels.ts';
import { type Host, PERFECT } from './world.ts';

/** Retransmission gives a peer up after 165 s, liveness checks begin after 30 s, redundant IKE SAs go after 60 s. */
const RECOVERY_MS = 400_000;
const AT_REST_WITHIN_MS = 60_000;
/** Once all is well, and nothing is due, for so long: what waited for an answer has given up. */
const QUIET_MS = 300_000;
/** The rules for all times are looked at every so many events. */
const EVERY = 25;

export interface SeedResult {
  readonly seed: number;
  /** Empty if all held. */
  readonly faults: readonly string[];
  readonly traits: readonly string[];
  readonly events: readonly string[];
  /** Of both ends together. */
  readonly counters: Readonly<Record<string, number>>;
  /** Pairs of states seen: `A established/B rekeying`. */
  readonly states: readonly string[];
  readonly log: () => string;
}

const rename: Rename = (text) => text.replaceAll(OUTSIDE, A);

export function runSeed(seed: number, choices: SimulationChoices = {}): SeedResult {
  const scenario = makeScenario(seed, choices);
  const { a, b, traits } = scenario;
  const found: string[] = [];
  const events: string[] = [];
  const states = new Set<string>();
  const earlier: Record<string, number> = {};
  try {
    found.push(...play(scenario, events, states));
  } catch (error) {
    found.push(error instanceof Error ? error.message : String(error));
  }
  for (const host of [a, b]) {
    for (const counters of [...host.formerCounters, host.engine.counters()]) {
      for (const [name, count] of Object.entries(counters)) earlier[name] = (earlier[name] ?? 0) + count;
    }
  }
  return {
    seed,
    faults: found,
    traits,
    events,
    counters: earlier,
    states: [...states],
    log: () => `${a.logs.join('\n')}\n-----\n${b.logs.join('\n')}`,
  };
}

function play(scenario: Scenario, events: string[], states: Set<string>): string[] {
  const { world, a, b, nat, conditions, childNames, further } = scenario;
  let steps = 0;
  let broken: string[] = [];
  const watch = (): boolean => {
    if (steps++ % EVERY !== 0) return broken.length > 0;
    states.add(`${stateOf(a)} / ${stateOf(b)}`);
    broken = [a, b].flatMap((host) => excesses(host, HALF_OPEN_LIMIT));
    return broken.length > 0;
  };
  const ends = [
    { host: a, peer: b, children: childNames, further },
    { host: b, peer: a, children: childNames, further },
  ];
  const faultsNow = (): string[] => faults(ends, rename);

  // 1. The bad network.
  world.conditions = conditions;
  const [ofA, ofB] = scenario.connections();
  a.set(ofA);
  world.run(world.fraction() < 0.5 ? 0 : world.fraction() * 3000, watch);
  b.set(ofB);
  const rounds = Math.floor(world.fraction() * 6);
  for (let round = 0; round < rounds && broken.length === 0; round++) {
    world.run(world.fraction() * 120_000, watch);
    events.push(disturb(scenario));
  }
  world.run(world.fraction() * 200_000, watch);
  if (broken.length > 0) return broken;

  // 2. The good one. Traffic wants the tunnel: children that wait are asked for.
  world.conditions = PERFECT;
  world.computing = { maximumMs: 0, failure: 0 };
  for (const host of [a, b]) host.refuses = () => undefined;
  if (nat !== undefined && nat.outside !== OUTSIDE) nat.rebind(OUTSIDE);
  for (const host of [a, b]) acquire(host);
  world.run(RECOVERY_MS, watch);
  if (!world.run(AT_REST_WITHIN_MS, () => faultsNow().length === 0)) return faultsNow();
  const quiet = world.run(QUIET_MS, () => [a, b].every((host) => unfinished(host).length === 0));
  if (!quiet) return [a, b].flatMap(unfinished);
  return nat === undefined ? [] : offPath(scenario);
}

/** Where ESP goes in UDP, each end sends to where the other one is. */
function offPath({ a, b, nat }: Scenario): string[] {
  if (nat === undefined) return [];
  const problems: string[] = [];
  for (const { sa } of b.installed.values()) {
    const twin = [...a.installed.values()].find((child) => child.sa.inboundSpi === sa.outboundSpi);
    const path = twin?.sa.udpEncapsulation;
    if (path === undefined || sa.udpEncapsulation === undefined) {
      problems.push(`${sa.child}{${sa.id}} is not encapsulated, though there is a NAT`);
      continue;
    }
    const seen = nat.translate({ from: path.local, to: path.remote })?.from;
    if (JSON.stringify(seen) !== JSON.stringify(sa.udpEncapsulation.remote)) {
      problems.push(
        `${sa.child}{${sa.id}} is sent to ${JSON.stringify(sa.udpEncapsulation.remote)}, the peer is at ${JSON.stringify(seen)}`,
      );
    }
  }
  return problems;
}

/** The states of a host's IKE SAs and children, each once. */
function stateOf(host: Host): string {
  const all = host.engine
    .status()
    .flatMap(({ ikeSas, children }) => [
      ...ikeSas.map(({ state }) => state),
      ...children.map(({ state }) => `child ${state}`),
    ]);
  return all.length === 0 ? 'nothing' : [...new Set(all)].sort().join('+');
}
