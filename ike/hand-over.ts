/**
 * IKE SAs that go from one process to its successor, as they are: keys, message ids, IVs, times, children. The peer notices
 * nothing.
 *
 * Only an IKE SA at rest can go: established, no exchange under way in either direction, none of its children being replaced.
 * The others are deleted at their peers, as in a shutdown, and negotiated anew. What must never be used twice goes
 * forward: message ids go on where they were, and the IV counter of an AEAD (RFC 5282 §3.1) is taken far ahead.
 *
 * A snapshot holds keys. Times are those of a monotonic clock that both processes read (CLOCK_MONOTONIC of one boot).
 */

import type { ConnectionState } from './connection.ts';
import type { IkeKeys, IkeSuite } from './crypto/prf.ts';
import type { NatView } from './nat-detection.ts';
import { Child } from './sa/child-sa.ts';
import type { ChildKeys } from './sa/child-table.ts';
import { IkeSa } from './sa/ike-sa.ts';
import type { Endpoint, EspMode, TrafficSelector } from './types.ts';

/** IVs that are skipped: a count that was wrong by less would do no harm. */
const IV_JUMP = 1 << 20;

export interface ChildSnapshot {
  readonly child: string;
  readonly inboundSpi: number;
  readonly outboundSpi: number;
  readonly mode: EspMode;
  readonly tsLocal: readonly TrafficSelector[];
  readonly tsRemote: readonly TrafficSelector[];
  readonly initiator: boolean;
  readonly nonces: readonly Uint8Array[];
  readonly installedAtMs: number;
  readonly rekeyAtMs: number | undefined;
  readonly expiresAtMs: number;
  readonly isSending: boolean;
}

export interface IkeSaSnapshot {
  readonly connection: string;
  readonly initiator: boolean;
  readonly ourSpi: string;
  readonly peerSpi: string;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly nat: NatView;
  readonly fragmentation: boolean;
  readonly suite: IkeSuite;
  readonly ppk: boolean;
  readonly keys: IkeKeys;
  readonly ivsUsed: number;
  readonly nonces: readonly Uint8Array[];
  readonly nextRequestId: number;
  readonly expectedRequestId: number;
  /** The last request that was answered, by its SHA-256, and the answer, should the peer repeat it. */
  readonly lastAnswer: { readonly requestDigest: Uint8Array; readonly response: readonly Uint8Array[] } | undefined;
  readonly establishedAtMs: number;
  readonly rekeyAtMs: number;
  readonly expiresAtMs: number;
  readonly reauthenticateByMs: number | undefined;
  readonly lastHeardMs: number;
  readonly children: readonly ChildSnapshot[];
}

/** The same with the keys of its children, which IKE does not keep: whoever installed them has them. */
export interface InheritedIkeSa extends Omit<IkeSaSnapshot, 'children'> {
  readonly children: readonly (ChildSnapshot & ChildKeys)[];
}

/** Undefined: it is not at rest. */
export function snapshotOf(sa: IkeSa): IkeSaSnapshot | undefined {
  const { protection, connection, establishedAtMs, rekeyAtMs, expiresAtMs } = sa;
  const atRest = sa.state === 'established' && sa.retiring === undefined && sa.followUp === undefined;
  const children = [...sa.children];
  if (!atRest || !sa.tasks.isIdle || children.some(({ state, outdated }) => state !== 'installed' || outdated))
    return undefined;
  if (protection === undefined || connection === undefined) return undefined;
  if (establishedAtMs === undefined || rekeyAtMs === undefined || expiresAtMs === undefined) return undefined;
  const { keys, suite } = protection;
  return {
    connection: connection.name,
    ...{ initiator: sa.initiator, ourSpi: sa.ourSpi, peerSpi: sa.peerSpi, local: sa.local, remote: sa.remote },
    ...{ nat: sa.nat, fragmentation: sa.fragmentation, suite, ppk: sa.ppk, nonces: sa.nonces, ivsUsed: sa.ivsUsed },
    keys: {
      ...{ skD: keys.skD.slice(), skAi: keys.skAi.slice(), skAr: keys.skAr.slice() },
      ...{ skEi: keys.skEi.slice(), skEr: keys.skEr.slice(), skPi: keys.skPi.slice(), skPr: keys.skPr.slice() },
    },
    nextRequestId: sa.requests.id,
    expectedRequestId: sa.responses.expectedId,
    lastAnswer: sa.responses.last,
    ...{ establishedAtMs, rekeyAtMs, expiresAtMs, reauthenticateByMs: sa.reauthenticateByMs },
    lastHeardMs: sa.lastHeardMs,
    children: children.map((child) => ({
      ...{ child: child.config.name, inboundSpi: child.inboundSpi, outboundSpi: child.outboundSpi },
      ...{ mode: child.mode, tsLocal: child.tsLocal, tsRemote: child.tsRemote, initiator: child.initiator },
      ...{ nonces: child.nonces, installedAtMs: child.installedAtMs, rekeyAtMs: child.rekeyAtMs },
      ...{ expiresAtMs: child.expiresAtMs, isSending: sa.context.children.isSending(child) },
    })),
  };
}

/** Puts an IKE SA and its children among those of a connection that has the same configuration as when it was taken. */
export function inherit(connection: ConnectionState, from: InheritedIkeSa): void {
  const { context, config } = connection;
  const sa = new IkeSa(context, {
    ...{ initiator: from.initiator, ourSpi: from.ourSpi, peerSpi: from.peerSpi },
    ...{ local: from.local, remote: from.remote, firstRequestId: from.expectedRequestId },
  });
  sa.nat = from.nat;
  sa.fragmentation = from.fragmentation;
  sa.nonces = from.nonces;
  sa.requests.resumeAt(from.nextRequestId);
  sa.responses.resume(from.lastAnswer);
  sa.protect({ suite: from.suite, keys: from.keys }, { ivsUsed: from.ivsUsed + IV_JUMP });
  sa.ppk = from.ppk;
  sa.connection = connection;
  sa.state = 'established';
  sa.establishedAtMs = from.establishedAtMs;
  sa.reauthenticateByMs = from.reauthenticateByMs;
  sa.lastHeardMs = from.lastHeardMs;
  connection.inherit(sa, from);
  for (const { algorithm, inboundKey, outboundKey, esn, ...child } of from.children) {
    const childConfig = config.children.find(({ name }) => name === child.child);
    if (childConfig === undefined) throw new Error(`${config.name}: a child ${child.child} was handed over`);
    const id = context.children.nextId();
    const inherited = new Child({ ...child, id, connection: config, config: childConfig, replaces: undefined }, sa);
    const keys = { algorithm, inboundKey, outboundKey, esn };
    context.children.inherit(inherited, keys, child);
    connection.childUp(inherited);
  }
}
