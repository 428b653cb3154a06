/** Two engines side by side for tests of single exchanges: on a perfect network unless told otherwise. */

import type { Connection } from '../../../ike/index.ts';
import { parseMessage } from '../../../ike/wire/message.ts';
import { faults } from '../simulation/invariants.ts';
import { A, B, type ConnectionChoices, connectionOf } from '../simulation/tunnels.ts';
import { type Host, type HostHooks, type Sent, TEST_SETTINGS, World } from '../simulation/world.ts';

export interface Pair {
  readonly world: World;
  readonly a: Host;
  readonly b: Host;
}

export interface PairChoices {
  readonly seed?: number;
  readonly settingsOfB?: Partial<typeof TEST_SETTINGS>;
  readonly hooksOfA?: HostHooks;
  readonly hooksOfB?: HostHooks;
}

export function makePair({ seed = 1, settingsOfB, hooksOfA, hooksOfB }: PairChoices = {}): Pair {
  const world = new World(seed);
  const a = world.addHost(A, TEST_SETTINGS, hooksOfA);
  const b = world.addHost(B, { ...TEST_SETTINGS, ...settingsOfB }, hooksOfB);
  return { world, a, b };
}

/** Connections of both ends; by default A initiates and B waits. */
export function connect(
  { a, b }: Pair,
  ofA: ConnectionChoices = {},
  ofB: ConnectionChoices = {},
): [Connection, Connection] {
  const connections: [Connection, Connection] = [
    connectionOf(A, B, ofA),
    connectionOf(B, A, { start: 'wait', ...ofB }),
  ];
  b.set(connections[1]);
  a.set(connections[0]);
  return connections;
}

/** What does not hold between the two if these children should be up. */
export function faultsOf({ a, b }: Pair, children: readonly string[] = ['gre']): string[] {
  return faults([
    { host: a, peer: b, children },
    { host: b, peer: a, children: children.map(mirrored) },
  ]);
}

/** My `in` is the peer's `out`. */
function mirrored(child: string): string {
  return child.endsWith('-in') ? child.replace('-in', '-out') : child.replace('-out', '-in');
}

/** A pair whose tunnel is up. */
export function connectedPair(
  choices: PairChoices = {},
  ofA: ConnectionChoices = {},
  ofB: ConnectionChoices = {},
): Pair {
  const pair = makePair(choices);
  connect(pair, ofA, ofB);
  if (
    !pair.world.run(
      3000,
      () =>
        faultsOf(
          pair,
          ofA.children?.map(({ name }) => name),
        ).length === 0,
    )
  ) {
    throw new Error(`the pair did not connect: ${faultsOf(pair).join('; ')}\n${pair.a.logs.join('\n')}`);
  }
  return pair;
}

/** Header fields of a datagram. */
export function headerOf(sent: Pick<Sent, 'data'>) {
  const parsed = parseMessage(sent.data);
  if (!parsed.ok) throw new Error(`not an IKE message: ${parsed.reason}`);
  return parsed.message.header;
}

/** Request and response counts by exchange, for instance `A IKE_SA_INIT request`. */
export function conversation(world: World): string[] {
  return world.sent.map((sent) => {
    const { exchange, responseFlag } = headerOf(sent);
    return `${sent.local.address === A ? 'A' : 'B'} ${exchange}${responseFlag ? ' response' : ''}`;
  });
}

export const secondsUntil = (world: World, done: () => boolean, limit = 600): number => {
  const start = world.nowMs;
  if (!world.run(limit * 1000, done)) throw new Error(`nothing came of it in ${limit} s`);
  return (world.nowMs - start) / 1000;
};
