/**
 * What the status commands show, gathered from configuration, IKE and packet engine at the moment of asking.
 * Read-only and free of side effects; the texts are made by tunnels-show.ts and status-text.ts.
 */
import type { Engine } from '../dataplane/index.ts';
import type { ConnectionStatus } from '../ike/index.ts';
import type { AttachedBridge, AttachedPort, PortFailure } from './attach.ts';
import type { ChildSaInstaller, InstalledChild } from './child-sas.ts';
import type { ConnectionState, DesiredState, TunnelState } from './config/desired-state.ts';
import type { ConnectionPlan } from './connections.ts';
import type { Protections } from './protections.ts';
import type { ChildView, IkeView, TunnelView } from './tunnels-show.ts';

export interface StatusSources {
  readonly desired: DesiredState;
  /** Configuration changes of each tunnel, by interface name. */
  readonly versions: ReadonlyMap<string, number>;
  readonly plans: readonly ConnectionPlan[];
  readonly protections: Protections;
  readonly children: ChildSaInstaller;
  readonly ike: readonly ConnectionStatus[];
  readonly bridges: ReadonlyMap<string, AttachedBridge>;
  readonly ports: ReadonlyMap<string, AttachedPort>;
  readonly failures: ReadonlyMap<string, PortFailure>;
  readonly engine: Engine;
  /** Monotonic ms, of the clock that IKE runs by. */
  readonly nowMs: number;
}

/** The sources by what they are looked up by, so that ten thousand tunnels are not searched ten thousand times. */
export interface IndexedStatus {
  readonly sources: StatusSources;
  readonly connections: ReadonlyMap<string, ConnectionState>;
  /** By the key of the connection state that a plan carries out. */
  readonly plans: ReadonlyMap<string, ConnectionPlan>;
  readonly ike: ReadonlyMap<string, ConnectionStatus>;
  /** By protection id. */
  readonly children: ReadonlyMap<number, readonly InstalledChild[]>;
  /** Monotonic ms by child SA id. */
  readonly rekeyAt: ReadonlyMap<number, number | undefined>;
}

export function indexStatus(sources: StatusSources): IndexedStatus {
  const children = new Map<number, InstalledChild[]>();
  for (const child of sources.children.installed()) {
    const list = children.get(child.protection);
    if (list === undefined) children.set(child.protection, [child]);
    else list.push(child);
  }
  return {
    sources,
    connections: new Map(sources.desired.connections.map((state) => [state.key, state])),
    plans: new Map(sources.plans.flatMap((plan) => plan.children.map((child) => [child.key, plan]))),
    ike: new Map(sources.ike.map((status) => [status.connection, status])),
    children,
    rekeyAt: new Map(sources.ike.flatMap((status) => status.children.map((child) => [child.id, child.rekeyAtMs]))),
  };
}

/** The tunnels that want IPsec, in order of their rows. */
export function tunnelViews(sources: StatusSources): TunnelView[] {
  const index = indexStatus(sources);
  return sources.desired.tunnels.filter((tunnel) => tunnel.wantsIpsec).map((tunnel) => tunnelView(tunnel, index));
}

/** Any tunnel; one without IPsec has no policies and no SAs. */
export function tunnelView(tunnel: TunnelState, index: IndexedStatus): TunnelView {
  const { sources } = index;
  const { desired } = sources;
  const port = sources.ports.get(tunnel.uuid);
  const failure = sources.failures.get(tunnel.uuid);
  const connection = index.connections.get(tunnel.ipsec?.connection ?? '');
  const plan = index.plans.get(connection?.key ?? '');
  const status = index.ike.get(plan?.connection.name ?? '');
  const protection = connection === undefined ? undefined : sources.protections.get(connection.key);
  const remote = tunnel.settings?.remote ?? tunnel.remoteIp;
  return {
    name: tunnel.name,
    version: sources.versions.get(tunnel.name) ?? 1,
    state: failure === undefined ? tunnel.state : 'INVALID',
    reason: tunnel.reason ?? failure?.reason,
    type: tunnel.type,
    localIp: tunnel.localIp,
    remoteIp: tunnel.remoteIp,
    family: remote === undefined ? undefined : remote.includes(':') ? 'IPv6' : 'IPv4',
    skbMark: desired.global.skbMark,
    certificates: {
      localCert: desired.global.certificate,
      localName: desired.global.localName,
      localKey: desired.global.privateKey,
      caCert: desired.global.caCert,
      remoteCert: tunnel.remoteCert,
      remoteName: tunnel.remoteName,
    },
    pskSet: tunnel.pskSet,
    customOptions: Object.fromEntries(tunnel.customOptions),
    ofport: port?.ofport,
    cfmFault: tunnel.cfmFault,
    policies: connection === undefined ? [] : policyLines(connection, index),
    saState: saState(
      failure === undefined ? tunnel : { ...tunnel, state: 'INVALID' },
      protection?.state,
      protection === undefined ? undefined : sources.children.sendingChild(protection.id),
    ),
    lastFailure: status?.lastFailure,
    ike: status === undefined ? [] : ikeViews(status, sources.nowMs),
    children: protection === undefined ? [] : childViews(protection.id, index),
    traffic:
      port === undefined
        ? { rxPackets: 0, rxBytes: 0, txPackets: 0, txBytes: 0 }
        : sources.engine.counters().port(port.id),
    drops: port === undefined ? {} : Object.fromEntries(sources.engine.counters().portDrops(port.id)),
  };
}

function saState(tunnel: TunnelState, state: string | undefined, sending: InstalledChild | undefined): string {
  if (tunnel.flowBased !== undefined && tunnel.state === 'CONFIGURED')
    return 'that of the tunnel to each peer (nothing is sent to or accepted from an address without one)';
  if (tunnel.state === 'INVALID' || state === undefined || state === 'invalid')
    return 'none (the configuration is invalid: nothing is sent or accepted)';
  if (sending !== undefined) return 'up';
  return state === 'protected'
    ? 'down (dropping until there is an SA again)'
    : 'not up yet (plaintext as ipsec_skb_mark says)';
}

/** One line for each child's selectors, as `ip xfrm policy` begins its lines. */
export function policyLines(connection: ConnectionState, { plans }: IndexedStatus): string[] {
  const lines: string[] = [];
  const plan = plans.get(connection.key);
  for (const child of plan?.children ?? []) {
    // Those for single workers have the selectors of the one that all fall back to.
    if (child.key !== connection.key || (child.share ?? 0) > 0) continue;
    const config = plan?.connection.children.find((candidate) => candidate.name === child.child);
    const [local, remote] = [config?.tsLocal[0], config?.tsRemote[0]];
    if (local === undefined || remote === undefined) continue;
    lines.push(
      `src ${local.startAddress}/32 dst ${remote.startAddress}/32 proto ${protocolName(local.protocol)}${portText('sport', local)}${portText('dport', remote)}`,
    );
  }
  return lines;
}

function portText(label: string, selector: { startPort: number; endPort: number }): string {
  return selector.startPort === selector.endPort ? ` ${label} ${selector.startPort}` : '';
}

function protocolName(protocol: number): string {
  return { 6: 'tcp', 17: 'udp', 47: 'gre' }[protocol] ?? String(protocol);
}

function ikeViews(status: ConnectionStatus, nowMs: number): IkeView[] {
  return status.ikeSas.map((sa) => ({
    state: sa.state.toUpperCase(),
    suite: sa.suite,
    localId: `${sa.local.address}[${sa.localId}]`,
    remoteId: `${sa.remote.address}[${sa.remoteId}]`,
    ageSeconds: sa.establishedAtMs === undefined ? undefined : seconds(nowMs - sa.establishedAtMs),
    rekeyInSeconds: sa.rekeyAtMs === undefined ? undefined : seconds(sa.rekeyAtMs - nowMs),
  }));
}

/** The installed children of one protection, with their counters. */
export function childViews(protection: number, index: IndexedStatus): ChildView[] {
  const { sources } = index;
  const counters = sources.engine.counters();
  return (index.children.get(protection) ?? []).map((child) => {
    const rekeyAt = index.rekeyAt.get(child.sa.id);
    const inbound = counters.sa('in', child.inboundSlot);
    const outbound = counters.sa('out', child.outboundSlot);
    return {
      name: child.sa.child,
      inboundSpi: child.sa.inboundSpi,
      outboundSpi: child.sa.outboundSpi,
      algorithm: child.sa.algorithm,
      esn: child.sa.esn,
      sends: sources.children.isSending(child),
      worker: child.worker,
      rekeyInSeconds: rekeyAt === undefined ? undefined : seconds(rekeyAt - sources.nowMs),
      packetsIn: inbound.packets,
      bytesIn: inbound.bytes,
      packetsOut: outbound.packets,
      bytesOut: outbound.bytes,
    };
  });
}

function seconds(ms: number): number {
  return Math.max(0, Math.round(ms / 1000));
}
