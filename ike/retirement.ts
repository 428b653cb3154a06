/**
 * IKE SAs and children of a connection that are to be replaced: redundant IKE SAs, of two that crossed on the way, and
 * whatever a changed configuration outdates. They go when their successors are up, or after a limit.
 */

import { redundantOf } from './collisions.ts';
import type { EngineContext } from './context.ts';
import type { Child } from './sa/child-sa.ts';
import type { IkeSa } from './sa/ike-sa.ts';
import type { ChildConfig, Connection } from './types.ts';

/** A redundant IKE SA that its initiator should delete, but doesn't, becomes ours to delete after this time. */
export const REDUNDANT_MS = 30_000;
/** What a new configuration replaces stays at most this long, if the replacement does not come up. */
export const OUTDATED_MS = 60_000;
/** A response of ours is there after this time, or will be asked for again. */
const RESPONSE_MS = 1000;

/** What retirement needs of the connection. */
export interface Retiring {
  readonly context: EngineContext;
  readonly config: Connection;
  readonly name: string;
  readonly ikeSas: readonly IkeSa[];
  readonly slots: { configured(child: Child): ChildConfig | undefined; isDone(config: ChildConfig): boolean };
  usableSa(): IkeSa | undefined;
  close(sa: IkeSa, reason: string): void;
  deleteChild(child: Child, reason: string): void;
  reconcile(): void;
}

/** Each end initiated one of the two before the other was established: they crossed on the way. */
export function crossed(a: IkeSa, b: IkeSa): boolean {
  if (a.initiator === b.initiator || a.establishedAtMs === undefined || b.establishedAtMs === undefined) return false;
  return a.createdAtMs <= b.establishedAtMs && b.createdAtMs <= a.establishedAtMs;
}

/** Both ends set up an IKE SA at once: one goes, its initiator moves the children (collisions.ts says which). */
export function retireOneOf(connection: Retiring, sa: IkeSa, other: IkeSa): void {
  const { context, name } = connection;
  const loser = redundantOf(sa.nonces, other.nonces) === 'ours' ? sa : other;
  context.count('collisions: initial exchange');
  context.log('info', name, `both ends set up an IKE SA at once: ${loser.label} will be deleted`);
  retire(connection, loser, loser.initiator ? 'ours' : 'peers', REDUNDANT_MS);
}

/**
 * Lets an IKE SA go as soon as its children have successors. `peers`: the other end does that, until it proves not
 * to. After limitMs it is deleted in any case. An older IKE SA beside a new one is left to the peer first, too: it may be
 * authenticating anew, and deletes the old one when its children have moved.
 */
export function retire(connection: Retiring, sa: IkeSa, by: 'ours' | 'peers', limitMs: number): void {
  const { context } = connection;
  sa.retiring = by;
  context.timers.at(context.nowMs() + limitMs, () => {
    if (sa.retiring === undefined || !connection.ikeSas.includes(sa)) return;
    if (sa.retiring === 'peers') {
      retire(connection, sa, 'ours', limitMs);
      connection.reconcile();
    } else connection.close(sa, 'nothing came up in its place in time');
  });
}

/** The configuration that the IKE SA was made with has changed: it goes when its successor is up, or after limitMs. */
export function outdate(connection: Retiring, sa: IkeSa, limitMs: number): void {
  if (sa.state === 'connecting') connection.close(sa, 'the configuration changed');
  else if (sa.state === 'established' || sa.state === 'rekeying') {
    sa.outdated = true;
    retire(connection, sa, 'ours', limitMs);
  }
}

/**
 * Replaces an IKE SA by one that authenticates anew (RFC 7296 §2.8.3), make before break: the new one and its children
 * come up beside it, then it goes. Until its end of life it is given up for nothing but them.
 */
export function reauthenticate(connection: Retiring, sa: IkeSa): void {
  if (!sa.usable || sa.expiresAtMs === undefined) return;
  const { context } = connection;
  context.count('reauthenticated: IKE SAs');
  context.log('info', connection.name, `reauthenticating ${sa.label}`);
  retire(connection, sa, 'ours', sa.expiresAtMs - context.nowMs());
  connection.reconcile();
}

/** An IKE SA on its way out was rekeyed all the same, by a peer that did not know: the new one goes in its place. */
export function inheritRetirement(connection: Retiring, sa: IkeSa, old: IkeSa): void {
  if (old.retiring === undefined) return;
  const nowMs = connection.context.nowMs();
  const lifeMs = sa.expiresAtMs === undefined ? REDUNDANT_MS : sa.expiresAtMs - nowMs;
  sa.outdated = old.outdated;
  if (sa.outdated) retire(connection, sa, old.retiring, OUTDATED_MS);
  else retire(connection, sa, old.retiring, old.retiring === 'ours' ? lifeMs : REDUNDANT_MS);
  connection.reconcile();
}

/** The configuration of the child has changed. */
export function outdateChild(connection: Retiring, child: Child): void {
  const { context } = connection;
  child.outdated = true;
  context.timers.at(context.nowMs() + OUTDATED_MS, () => connection.deleteChild(child, 'its configuration changed'));
}

/**
 * Whether the peer surely has this SA too: what it asked for comes up there only with our response, and until then nothing that has
 * been in use may be given up for it. If not, the question is asked again when it has.
 */
function isUpThere(connection: Retiring, initiator: boolean, sinceMs: number): boolean {
  const { context } = connection;
  const fromMs = sinceMs + RESPONSE_MS;
  if (initiator || context.nowMs() >= fromMs) return true;
  context.timers.at(fromMs, () => connection.reconcile());
  return false;
}

/** Deletes what has been replaced, at both ends. */
export function finishRetiring(connection: Retiring): void {
  const isReplaced = (child: Child): boolean => {
    const config = connection.slots.configured(child);
    if (config === undefined) return true;
    if (!connection.slots.isDone(config)) return false;
    const heir = connection.context.children
      .of(connection.name, child.config.name)
      .findLast((other) => other !== child && other.usable);
    return heir === undefined || isUpThere(connection, heir.initiator, heir.installedAtMs);
  };
  for (const child of connection.context.children.ofConnection(connection.name)) {
    if (!child.outdated || child.ikeSa.retiring !== undefined || !isReplaced(child)) continue;
    connection.deleteChild(child, 'it was replaced');
  }
  for (const sa of connection.ikeSas) {
    const heir = connection.usableSa();
    if (sa.retiring !== 'ours' || heir?.establishedAtMs === undefined) continue;
    if (!isUpThere(connection, heir.initiator, heir.establishedAtMs)) continue;
    if ([...sa.children].every(isReplaced)) connection.close(sa, 'it was replaced');
  }
}

/** A redundant IKE SA whose better twin went is the only one again. */
export function reinstate(connection: Retiring): void {
  if (connection.usableSa() !== undefined) return;
  const spare = connection.ikeSas.findLast(
    (sa) => sa.retiring !== undefined && !sa.outdated && sa.establishedAtMs !== undefined,
  );
  if (spare !== undefined) spare.retiring = undefined;
}
