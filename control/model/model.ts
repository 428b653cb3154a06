/**
 * The state of the daemon as one plain object: what the metrics, the live page and `top` show. Made at the moment of
 * asking from what status.ts sees and from the counters that the workers write into shared memory, so that asking
 * costs the packet path nothing. It survives JSON and holds no secret.
 */
import type { DropName, Engine, WORKER_COUNTERS } from '../../dataplane/index.ts';
import type { TunnelState } from '../config/desired-state.ts';
import type { MainThreadDelays } from '../metrics/main-thread.ts';
import { childViews, type IndexedStatus, indexStatus, type StatusSources, tunnelView } from '../status.ts';
import type { ChildView, TunnelView } from '../tunnels-show.ts';
import { PROGRAM, VERSION } from '../version.ts';
import type { NewsLine } from './news.ts';
import { type PolicyRowId, policyRowOf } from './policy-rows.ts';

export interface ModelTunnel extends Omit<TunnelView, 'certificates' | 'customOptions' | 'pskSet'> {
  readonly bridge: string;
  readonly wantsIpsec: boolean;
  /** The row of the policy table (policy-rows.ts) that its packets meet. */
  readonly policyRow: PolicyRowId;
}

/** A row of the SPD with its SAs; tunnels of one kind between two addresses share it. */
export interface ModelProtection {
  readonly key: string;
  readonly state: string;
  readonly children: readonly ChildView[];
}

export interface StatusModel {
  readonly program: string;
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly startedAtMs: number;
  readonly nowMs: number;
  /** False before the database has been read for the first time: there are no tunnels then. */
  readonly isConfigured: boolean;
  readonly tunnels: readonly ModelTunnel[];
  readonly protections: readonly ModelProtection[];
  /** `ipsec_skb_mark` as configured. */
  readonly skbMark: string | undefined;
  /** Packets dropped by reason, one number for each worker; reasons that never happened are left out. */
  readonly drops: Readonly<Partial<Record<DropName, readonly number[]>>>;
  readonly workers: readonly Readonly<Record<(typeof WORKER_COUNTERS)[number], number>>[];
  readonly ikeCounters: Readonly<Record<string, number>>;
  /** How long its events had to wait for the main thread, ms, since the start. */
  readonly mainThread: MainThreadDelays;
  /** IKE SAs by state, in lower case. */
  readonly ikeSas: Readonly<Record<string, number>>;
  /** What IKE has said of late, the newest last. */
  readonly news: readonly NewsLine[];
}

export interface ModelSources {
  /** Undefined before the first reconciliation. */
  readonly status: StatusSources | undefined;
  readonly engine: Engine;
  readonly ikeCounters: Readonly<Record<string, number>>;
  readonly news: readonly NewsLine[];
  readonly mainThread: MainThreadDelays;
  readonly startedAtMs: number;
  readonly nowMs: number;
}

export function modelOf({
  status,
  engine,
  ikeCounters,
  news,
  mainThread,
  startedAtMs,
  nowMs,
}: ModelSources): StatusModel {
  const counters = engine.counters();
  const index = status === undefined ? undefined : indexStatus(status);
  const ikeSas: Record<string, number> = {};
  for (const { state } of status?.ike.flatMap((connection) => connection.ikeSas) ?? [])
    ikeSas[state] = (ikeSas[state] ?? 0) + 1;
  return {
    ...{ program: PROGRAM, version: VERSION, startedAtMs, nowMs, isConfigured: status !== undefined },
    tunnels: index === undefined ? [] : index.sources.desired.tunnels.map((tunnel) => modelTunnel(tunnel, index)),
    protections: index === undefined ? [] : modelProtections(index),
    skbMark: status?.desired.global.skbMark,
    drops: Object.fromEntries(counters.drops()),
    workers: counters.workers(),
    ...{ ikeCounters, ikeSas, news, mainThread },
  };
}

/** The state in one line, for `systemctl status`. */
export function statusLine({ isConfigured, tunnels }: StatusModel): string {
  if (!isConfigured) return 'waiting for the database';
  const count = (row: PolicyRowId): number => tunnels.filter(({ policyRow }) => policyRow === row).length;
  const rows = {
    up: 'with an SA',
    down: 'dropping for want of an SA',
    'never-up': 'without an SA yet',
    invalid: 'INVALID',
  };
  const parts = Object.entries(rows).map(([row, text]) => [count(row as PolicyRowId), text] as const);
  const told = parts.filter(([number]) => number > 0).map(([number, text]) => `${number} ${text}`);
  return [`${tunnels.length} tunnel${tunnels.length === 1 ? '' : 's'}`, ...told].join(', ');
}

function modelTunnel(tunnel: TunnelState, index: IndexedStatus): ModelTunnel {
  const { certificates, customOptions, pskSet, ...view } = tunnelView(tunnel, index);
  const { protections, children } = index.sources;
  const protection = tunnel.connection === undefined ? undefined : protections.get(tunnel.connection);
  const sends = protection !== undefined && children.sendingChild(protection.id) !== undefined;
  return {
    ...view,
    bridge: tunnel.bridge,
    wantsIpsec: tunnel.wantsIpsec,
    policyRow: policyRowOf(tunnel.state === 'INVALID', protection?.state, sends),
  };
}

function modelProtections(index: IndexedStatus): ModelProtection[] {
  return [...index.sources.protections.all()].map(({ id, key, state }) => ({
    ...{ key, state },
    children: childViews(id, index),
  }));
}
