/**
 * What a seed decides: the network, the tunnels, how the ends authenticate, whether there is a NAT, and what happens
 * to them while it is bad. The same seed with the same choices gives the same run.
 */

import {
  type ChildConfig,
  type Connection,
  type EngineSettings,
  parseEspProposal,
  parseIkeProposal,
} from '../../../ike/index.ts';
import type { CredentialPair } from './credentials.ts';
import { Nat } from './nat.ts';
import { A, B, connectionOf, greChild, udpChildren, withFurther } from './tunnels.ts';
import { type Host, type NetworkConditions, seededRandom, TEST_SETTINGS, World } from './world.ts';

export interface SimulationChoices {
  /** 0 to 1; undefined: of the seed's choosing, up to 0.35. */
  readonly loss?: number | undefined;
  /** Undefined: no certificates in any seed. */
  readonly credentials?: CredentialPair | undefined;
}

/** A's address as B sees it when there is a NAT. */
export const OUTSIDE = '192.0.2.9';
const ELSEWHERE = '192.0.2.77';
export const HALF_OPEN_LIMIT = TEST_SETTINGS.halfOpenLimit;

export interface Scenario {
  readonly world: World;
  readonly a: Host;
  readonly b: Host;
  readonly nat: Nat | undefined;
  readonly conditions: NetworkConditions;
  /** In words, for the report. */
  readonly traits: readonly string[];
  readonly childNames: readonly string[];
  /** Child SAs beside each of those that have none of their own in `childNames`: which of them is the ends' matter. */
  readonly further: number;
  /** Those of both ends; sometimes with another secret than before. */
  readonly connections: () => readonly [Connection, Connection];
}

export function makeScenario(seed: number, choices: SimulationChoices): Scenario {
  const world = new World(seed);
  const chance = (): number => world.fraction();
  const traits: string[] = [];
  const trait = (name: string, probability: number): boolean => {
    const has = chance() < probability;
    if (has) traits.push(name);
    return has;
  };

  // 1. The network.
  const minimumMs = 1 + Math.floor(chance() * 50);
  const drawnLoss = chance() * 0.35;
  const conditions: NetworkConditions = {
    loss: choices.loss ?? drawnLoss,
    duplication: chance() * 0.2,
    corruption: trait('corruption', 0.5) ? chance() * 0.05 : 0,
    minimumMs,
    maximumMs: minimumMs + chance() * (trait('long delays', 0.3) ? 4000 : 100),
  };
  const nat = trait('NAT', 0.25) ? new Nat(A, OUTSIDE) : undefined;
  if (nat !== undefined) world.translate = nat.translate;

  // 2. The ends.
  const settingsOf = (name: string): EngineSettings => ({
    ...TEST_SETTINGS,
    ...(trait(`small packets ${name}`, 0.3) && { fragmentBytes: 200 + Math.floor(chance() * 400) }),
    ...(trait(`computes elsewhere ${name}`, 0.5) && { computations: 1 + Math.floor(chance() * 8) }),
  });
  const a = world.addHost(A, settingsOf('A'));
  const b = world.addHost(B, settingsOf('B'));

  world.computing = { maximumMs: chance() < 0.5 ? 20 : 8000, failure: trait('computing fails', 0.2) ? 0.2 : 0 };

  // 3. The tunnels.
  const kind = Math.floor(chance() * 3);
  const starts = nat === undefined ? Math.floor(chance() * 3) : Math.floor(chance() * 2) * 2;
  const startOfA: ChildConfig['start'] = starts === 1 ? 'wait' : 'initiate';
  const startOfB: ChildConfig['start'] = starts === 0 ? 'wait' : 'initiate';
  const mode: ChildConfig['mode'] = nat === undefined && trait('tunnel mode', 0.2) ? 'tunnel' : 'transport';
  const childrenOf = (local: string, remote: string, start: ChildConfig['start']): ChildConfig[] =>
    [
      ...(kind !== 1 ? [greChild(local, remote, start)] : []),
      ...(kind !== 0 ? udpChildren(local, remote, start) : []),
    ].map((child) => ({ ...child, mode }));
  const shortLives = trait('short lives', 0.6);
  const common = {
    lifetimes: {
      ikeSeconds: shortLives ? 200 : 10_800,
      childSeconds: shortLives ? 120 : 3600,
      marginSeconds: shortLives ? 50 : 540,
      // Without jitter both ends rekey at once, time and again.
      fuzzPercent: trait('no jitter', 0.5) ? 0 : 100,
      childPackets: 0,
      childBytes: 0,
    },
    encapsulation: nat === undefined && trait('forced encapsulation', 0.15) ? 'yes' : 'auto',
    pfs: !trait('no PFS', 0.2),
  } satisfies Partial<Connection>;
  const suites = drawSuites(trait);
  const ppk = trait('PPK', 0.2)
    ? { id: 'simulated', secret: new Uint8Array(32).fill(7), required: chance() < 0.5 }
    : undefined;
  const [anewA, anewB] = [trait('A reauthenticates', 0.2), trait('B reauthenticates', 0.2)];
  const furtherA = trait('RFC 9611', 0.25) ? 1 + Math.floor(chance() * 2) : 0;
  const furtherB = furtherA > 0 && trait('RFC 9611 unequal', 0.3) ? Math.floor(chance() * 3) : furtherA;
  // Of a generator of its own: without it, a seed is what it was.
  const room = seededRandom(~seed);
  if (room() < 0.25) {
    traits.push('no room');
    for (const host of [a, b])
      host.refuses = ({ child, replaces }) =>
        replaces === undefined && host.childrenOf(child).length === 0 && room() < 0.5 ? 'there is no room' : undefined;
  }
  const signs = choices.credentials !== undefined && trait('certificates', 0.25);

  let psk = 'swordfish';
  const remoteOfB = nat === undefined ? A : OUTSIDE;
  const connections = (): readonly [Connection, Connection] => [
    connectionOf(A, B, {
      psk,
      ...common,
      ...suites.a,
      ...(ppk && { ppk }),
      reauthenticate: anewA,
      children: withFurther(childrenOf(A, B, startOfA), furtherA),
      ...(signs && choices.credentials?.a),
    }),
    connectionOf(B, remoteOfB, {
      psk,
      ...common,
      ...suites.b,
      ...(ppk && { ppk: { ...ppk, required: false } }),
      reauthenticate: anewB,
      remoteId: { type: 'ipv4', value: A },
      children: withFurther(childrenOf(B, remoteOfB, startOfB), furtherB),
      ...(signs && choices.credentials?.b),
    }),
  ];
  return {
    world,
    a,
    b,
    nat,
    conditions,
    traits,
    childNames: withFurther(childrenOf(A, B, 'wait'), furtherA === furtherB ? furtherA : 0).map(({ name }) => name),
    further: Math.min(furtherA, furtherB),
    connections: () => {
      if (chance() < 0.1) psk = `${psk}!`;
      return connections();
    },
  };
}

const HYBRID = parseIkeProposal('aes256gcm16-sha256-x25519-ke1_mlkem512');
const TWICE = parseIkeProposal('aes256gcm16-sha256-x25519-ke1_mlkem512-ke3_ecp256,aes256gcm16-sha256-x25519');
const HYBRID_ESP = parseEspProposal('aes256gcm16-x25519-ke1_mlkem512');

/** Additional key exchanges: of IKE at both ends or offered by one, and of children. ECP_256 stands for others that cost less. */
function drawSuites(trait: (name: string, probability: number) => boolean): {
  readonly a: Partial<Connection>;
  readonly b: Partial<Connection>;
} {
  const esp = trait('ML-KEM for children', 0.15) ? { espProposals: HYBRID_ESP } : {};
  if (trait('ML-KEM', 0.2)) return { a: { ikeProposals: HYBRID, ...esp }, b: { ikeProposals: HYBRID, ...esp } };
  if (trait('two additional key exchanges', 0.1)) {
    return { a: { ikeProposals: TWICE, ...esp }, b: { ikeProposals: TWICE, ...esp } };
  }
  const offers = trait('ML-KEM offered by one end', 0.1) ? { ikeProposals: TWICE } : {};
  return { a: { ...offers, ...esp }, b: esp };
}

/** What can happen to a running pair, with its weight. */
const EVENTS: readonly (readonly [string, number, (scenario: Scenario, host: Host) => void])[] = [
  [
    'reboot',
    5,
    ({ a, b, connections }, host) => {
      host.reboot();
      const [ofA, ofB] = connections();
      a.set(ofA);
      b.set(ofB);
    },
  ],
  [
    'change',
    3,
    ({ world, a, b, connections }) => {
      const [ofA, ofB] = connections();
      a.set(ofA);
      world.run(world.fraction() * 5000);
      b.set(ofB);
    },
  ],
  [
    'removed and added',
    4,
    ({ world, a, b, connections }) => {
      // As del-port and add-port at each end, in any order, with as little between them as may be.
      const both = [a, b].map((host, index) => ({ host, index }));
      const waits = both.map(() => world.fraction() * world.fraction() * 4000);
      const [first, second] = world.fraction() < 0.5 ? both : both.toReversed();
      remove(first!.host);
      world.run(waits[0]!);
      remove(second!.host);
      world.run(waits[1]!);
      const anew = connections();
      const [next, last] = world.fraction() < 0.5 ? both : both.toReversed();
      next!.host.set(anew[next!.index]!);
      world.run(world.fraction() * world.fraction() * 4000);
      last!.host.set(anew[last!.index]!);
    },
  ],
  ['acquire', 3, (_, host) => acquire(host)],
  [
    'soft limit',
    4,
    (_, host) => {
      for (const id of [...host.installed.keys()]) host.command({ command: 'child-soft-limit', id });
    },
  ],
  [
    'exhausted',
    2,
    (_, host) => {
      const [id] = host.installed.keys();
      if (id !== undefined) host.command({ command: 'child-exhausted', id });
    },
  ],
  [
    'reauthenticate',
    2,
    (_, host) => {
      for (const { connection } of host.engine.status()) host.command({ command: 'reauthenticate', connection });
    },
  ],
  [
    'traffic',
    2,
    (_, host) => {
      for (const id of [...host.installed.keys()]) host.command({ command: 'child-traffic-seen', id });
    },
  ],
  ['NAT rebinds', 3, ({ nat, world }) => nat?.rebind(world.fraction() < 0.5 ? OUTSIDE : ELSEWHERE)],
  ['flood', 2, (scenario, host) => flood(scenario, host)],
  [
    'outage',
    2,
    ({ world }) => {
      const before = world.pass;
      world.pass = () => false;
      world.run(world.fraction() * 300_000);
      world.pass = before;
    },
  ],
];

/** One of the events, drawn; gives its name. */
export function disturb(scenario: Scenario): string {
  const { world, a, b } = scenario;
  let draw = world.fraction() * EVENTS.reduce((sum, [, weight]) => sum + weight, 0);
  const [name, , happen] = EVENTS.find(([, weight]) => {
    draw -= weight;
    return draw < 0;
  })!;
  happen(scenario, world.fraction() < 0.5 ? a : b);
  return name;
}

export function acquire(host: Host): void {
  for (const { connection } of host.engine.status()) host.command({ command: 'acquire', connection });
}

/** Somebody repeats an IKE_SA_INIT request with other SPIs, in the peer's name, so often that cookies are asked for. */
function flood({ world }: Scenario, host: Host): void {
  const genuine = world.sent.find(({ data, remote }) => remote.address === host.address && data[18] === 34);
  if (genuine === undefined) return;
  for (let index = 0; index < 2 * HALF_OPEN_LIMIT; index++) {
    const data = genuine.data.slice();
    data.set(world.bytes(8), 0);
    world.deliver(genuine, data);
  }
}

function remove(host: Host): void {
  for (const { connection } of host.engine.status()) host.command({ command: 'remove-connection', name: connection });
}
