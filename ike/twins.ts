/** The same child twice, because both ends set it up at once: which one stays, and when the other goes (collisions.ts says why). */

import { redundantOf } from './collisions.ts';
import type { ConnectionState } from './connection.ts';
import type { Child } from './sa/child-sa.ts';
import type { ChildKeys } from './sa/child-table.ts';

/** A redundant child is deleted when the other one is surely up at both ends. */
const TWIN_MS = 1000;

/**
 * Installs a child that we initiated and that is not the successor of another. If the peer set up the same one
 * while our request was on its way, one of the two stays, chosen as in a rekeying. The peer may not know that they
 * crossed, so the other is deleted here, whoever made it.
 */
export function installCreated(connection: ConnectionState, child: Child, keys: ChildKeys): void {
  const { children } = connection.context;
  const rival = connection.rivalOf(child);
  const ours = rival !== undefined && redundantOf(child.nonces, rival.nonces) === 'ours';
  children.install(child, keys, ours ? 'when-seen' : 'now');
  connection.childUp(child);
  if (rival !== undefined) connection.context.count('collisions: child creation');
  settleTwins(connection, child);
}

/**
 * Lets one of two go, if there is another child of the same kind. After a rekeying as well: what both ends created at once
 * may have been rekeyed before either knew, and would be for ever.
 */
export function settleTwins(connection: ConnectionState, child: Child): void {
  const { timers } = connection.context;
  const twin = connection.rivalOf(child);
  if (twin === undefined) return;
  const loser = redundantOf(child.nonces, twin.nonces) === 'ours' ? child : twin;
  timers.at(connection.context.nowMs() + TWIN_MS, () => deleteTwin(connection, loser, 'both ends set it up at once'));
}

/** Deletes a redundant child, unless the other one has gone meanwhile. */
export function deleteTwin(connection: ConnectionState, child: Child, reason: string): void {
  if (connection.rivalOf(child) !== undefined) connection.deleteChild(child, reason);
}
