/**
 * What tunnels are to each other: the same port twice, one pre-shared key for one pair of addresses, and one
 * IPsec connection for all tunnels that the SPD cannot tell apart.
 *
 * When two exclude each other, the one that was in force before stays, then the first by name: so the
 * outcome does not hang on the order of rows, and adding a wrong tunnel never takes a right one down.
 */
import { isDeepStrictEqual } from 'node:util';
import type { TunnelKey } from '../../dataplane/commands.ts';
import { copyWith } from '../copy.ts';
import type { ConnectionState, DesiredState, IpsecAuth, TunnelState } from './desired-state.ts';
import { sameIpsecOptions } from './ipsec-options.ts';
import type { Issue } from './issue.ts';
import { sameAuth, sameWish } from './trust.ts';
import type { TunnelDraft } from './tunnel.ts';

type Settings = NonNullable<TunnelState['settings']>;

/** For instance `gre:10.0.0.1-10.0.0.2` or `geneve:10.0.0.1-10.0.0.2:6081`. */
export function connectionKey(settings: Pick<Settings, 'type' | 'local' | 'remote' | 'destinationPort'>): string {
  const port = settings.type === 'gre' ? '' : `:${settings.destinationPort}`;
  return `${settings.type}:${settings.local}-${settings.remote}${port}`;
}

export interface JoinedTunnels {
  /** By name. */
  readonly tunnels: readonly TunnelState[];
  readonly connections: readonly ConnectionState[];
  readonly issues: readonly Issue[];
}

export function joinTunnels(drafts: readonly TunnelDraft[], previous: DesiredState | undefined): JoinedTunnels {
  const issues: Issue[] = drafts.flatMap((draft) => draft.issues);
  const ports = new Map<string, string>();
  const pairs = new Map<string, { readonly name: string; readonly draft: TunnelDraft }>();
  const connections = new Map<string, ConnectionState & { readonly tunnels: string[] }>();
  const judged: TunnelState[] = [];
  const closed = new Map<string, string>();
  for (const { tunnel } of drafts) if (tunnel.flowBased?.closed) closed.set(kindKey(tunnel.flowBased), tunnel.name);

  for (const draft of inPrecedence(drafts, previous)) {
    const { tunnel } = draft;
    const { settings, name } = tunnel;
    if (settings === undefined || tunnel.state === 'INVALID') {
      judged.push(judge(tunnel, { ipsec: undefined, connection: undefined }));
      continue;
    }
    const port = `${connectionKey(settings)} ${keyText(settings.inKey)}`;
    const twin = ports.get(port);
    if (twin !== undefined) {
      const reason = `same type, addresses, key and port as interface ${twin}: give one of them another options:key`;
      judged.push(judge(tunnel, { ...invalid(reason), settings: undefined }));
      continue;
    }
    const { ipsec } = draft;
    const flowBased = ipsec === undefined ? closed.get(kindKey(settings)) : undefined;
    if (flowBased !== undefined) {
      judged.push({ ...tunnel, ...invalid(underFlowBased(flowBased, settings)) });
      continue;
    }
    const pair = `${settings.local} ${settings.remote}`;
    const other = pairs.get(pair);
    if (ipsec !== undefined && other?.draft.ipsec !== undefined && !sameAuth(ipsec.auth, other.draft.ipsec.auth)) {
      judged.push(judge(tunnel, invalid(differingAuth(ipsec.auth, name, other.name, settings))));
      continue;
    }
    ports.set(port, name);
    if (ipsec === undefined) {
      judged.push(judge(tunnel, { ipsec: undefined, connection: undefined }));
      continue;
    }
    if (other === undefined) pairs.set(pair, { name, draft });
    const key = connectionKey(settings);
    const shared = connections.get(key);
    if (shared === undefined) connections.set(key, newConnection(key, settings, draft));
    else shared.tunnels.push(name);
    if (shared !== undefined && !sameIpsecOptions(shared.options, ipsec.options)) {
      issues.push(optionsIgnored(name, shared.tunnels[0] ?? ''));
    }
    const options = shared?.options ?? ipsec.options;
    judged.push(judge(tunnel, { ipsec: { connection: key, auth: ipsec.auth, options }, connection: key }));
  }

  const tunnels = judged.map((tunnel) => travelsUnder(tunnel, connections, issues));
  return { tunnels: tunnels.sort(byName), connections: [...connections.values()], issues };
}

type Verdict = Pick<TunnelState, 'ipsec' | 'connection'> & Partial<TunnelState>;

function judge(tunnel: TunnelDraft['tunnel'], verdict: Verdict): TunnelState {
  return copyWith(tunnel, verdict);
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

/** First those that were CONFIGURED before with the same port and wish, then by name. */
function inPrecedence(drafts: readonly TunnelDraft[], previous: DesiredState | undefined): TunnelDraft[] {
  const before = new Map(previous?.tunnels.map((tunnel) => [tunnel.uuid, tunnel]));
  const wasInForce = ({ tunnel, ipsec }: TunnelDraft): boolean => {
    const then = before.get(tunnel.uuid);
    if (then?.state !== 'CONFIGURED' || then.settings === undefined || tunnel.settings === undefined) return false;
    if (connectionKey(then.settings) !== connectionKey(tunnel.settings)) return false;
    if (!isDeepStrictEqual(then.settings.inKey, tunnel.settings.inKey)) return false;
    if (ipsec === undefined || then.ipsec === undefined) return (ipsec === undefined) === (then.ipsec === undefined);
    return sameWish(ipsec.auth, then.ipsec.auth);
  };
  const sorted = [...drafts].sort((a, b) => byName(a.tunnel, b.tunnel));
  return [...sorted.filter(wasInForce), ...sorted.filter((draft) => !wasInForce(draft))];
}

function invalid(reason: string): Pick<TunnelState, 'state' | 'reason' | 'ipsec' | 'connection'> {
  return { state: 'INVALID', reason, ipsec: undefined, connection: undefined };
}

/** What tells tunnels apart whose peers flows choose. */
function kindKey({ type, destinationPort }: Pick<Settings, 'type' | 'destinationPort'>): string {
  return `${type} ${destinationPort}`;
}

function underFlowBased(flowBased: string, { remote }: Settings): string {
  return `flow-based interface ${flowBased} of the same type and port asks for IPsec, and its packets to ${remote} look like those of this one: ask for IPsec here too, or give it another dst_port`;
}

function differingAuth(
  auth: IpsecAuth,
  name: string,
  other: string,
  { local, remote }: Pick<Settings, 'local' | 'remote'>,
): string {
  const [key, what] =
    auth.method === 'psk'
      ? ['options:psk', 'one pre-shared key only']
      : ['options:remote_cert and remote_name', 'one certificate of the peer only'];
  return `${key} of interface ${name} differs from that of interface ${other}, but ${local} and ${remote} can have ${what}; set the same on both`;
}

function keyText(key: TunnelKey): string {
  // A received packet without a key and one with key 0 are the same to OVS, so the two settings collide.
  if (key.kind === 'flow') return 'flow';
  return String(key.kind === 'fixed' ? key.key : 0);
}

function newConnection(key: string, settings: Settings, draft: TunnelDraft): ConnectionState & { tunnels: string[] } {
  const { type, local, remote, destinationPort } = settings;
  const { auth, options } = draft.ipsec!;
  return { key, type, local, remote, port: destinationPort, auth, options, tunnels: [draft.tunnel.name] };
}

function optionsIgnored(name: string, owner: string): Issue {
  return {
    subject: `interface ${name}`,
    key: 'options:ipsec_*',
    value: '(ignored)',
    expected: `what interface ${owner} has, for both share one IPsec connection`,
    mend: 'set the same ipsec_* options on both',
  };
}

/** A tunnel that did not ask for IPsec, but whose packets a connection's selectors cover. */
function travelsUnder(
  tunnel: TunnelState,
  connections: ReadonlyMap<string, ConnectionState>,
  issues: Issue[],
): TunnelState {
  if (tunnel.state === 'INVALID' || tunnel.wantsIpsec || tunnel.settings === undefined) return tunnel;
  const connection = connections.get(connectionKey(tunnel.settings));
  if (connection === undefined) return tunnel;
  issues.push({
    subject: `interface ${tunnel.name}`,
    key: 'options:psk',
    value: undefined,
    expected: `what interface ${connection.tunnels[0]} has, for both have the same type, addresses and port`,
    mend: 'its packets are protected together with that one; set the same psk to say so',
  });
  return copyWith(tunnel, { connection: connection.key });
}
