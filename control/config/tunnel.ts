/**
 * One Interface row of a tunnel type as a draft of TunnelState. What depends on other tunnels (the same
 * port twice, shared connections) is connections.ts.
 */
import type { FlowTunnel, TunnelKey, TunnelType } from '../../dataplane/commands.ts';
import { ENCAPSULATIONS, encapsulationOf } from '../../dataplane/encap/encap.ts';
import { PROTOCOL_UDP } from '../../dataplane/wire/ipv4.ts';
import type { Credentials } from '../credentials/credentials.ts';
import { booleanOf, mapOf, numberOf, type Row, textOf } from '../ovsdb/database.ts';
import { escapeControls } from '../vlog.ts';
import type { GlobalSettings, IpsecAuth, IpsecOptions, TunnelState } from './desired-state.ts';
import { IPSEC_KEYS } from './ipsec-keys.ts';
import { judgeAuth, type ProposalParser, readIpsecOptions } from './ipsec-options.ts';
import type { Issue } from './issue.ts';
import type { OvsdbKey } from './key-row.ts';
import { TUNNEL_KEYS } from './keys.ts';
import { OptionReader } from './option-reader.ts';
import { type HostCredentials, judgeCertificates } from './trust.ts';
import type { VlansRead } from './vlans.ts';

const DEFAULT_TTL = 64;
const IPSEC_PREFIX = 'ipsec_';
/** Keys whose values may be shown. */
const PLAIN_KEYS = new Set(
  Object.values<OvsdbKey<unknown>>(IPSEC_KEYS).flatMap(({ secret, key, aliases = [] }) =>
    secret === true ? [] : [key, ...aliases],
  ),
);
/** A mistyped key of a secret has a secret as value all the same. */
const LIKE_A_SECRET = /psk|ppk|secret|key|pass/i;
const NO_OPTIONS: ReadonlyMap<string, string> = new Map();

export function isTunnelType(type: string): type is TunnelType {
  return Object.hasOwn(ENCAPSULATIONS, type);
}

export interface TunnelPlace {
  readonly uuid: string;
  readonly portUuid: string;
  readonly bridgeUuid: string;
  readonly bridge: string;
  readonly vlans: VlansRead;
}

export interface TunnelSurroundings {
  readonly global: GlobalSettings;
  readonly host: HostCredentials;
  readonly credentials: Credentials;
  /** Source address of the route to `remote`, or undefined: no route. */
  readonly defaultLocalAddress: (remote: string) => string | undefined;
  /** Whether an address is one of this host's. */
  readonly isOwnAddress: (address: string) => boolean;
  readonly parseProposals: ProposalParser;
  /** Somebody else encapsulates, so addresses and keys may come from flows. */
  readonly isBeside: boolean;
}

/** A tunnel by itself; `ipsec` lacks its connection, and `state` may still turn INVALID. */
export interface TunnelDraft {
  readonly tunnel: Omit<TunnelState, 'ipsec' | 'connection'>;
  readonly ipsec: { readonly auth: IpsecAuth; readonly options: IpsecOptions } | undefined;
  readonly issues: readonly Issue[];
}

export function draftTunnel(
  type: TunnelType,
  row: Row,
  place: TunnelPlace,
  surroundings: TunnelSurroundings,
): TunnelDraft {
  const given = textOf(row, 'name') ?? '';
  // Names go into lines that people and scripts read: nothing in one may make a line of its own.
  const name = escapeControls(given);
  const options = mapOf(row, 'options');
  const reader = new OptionReader(`interface ${name}`, `ovs-vsctl set interface ${name}`, options);
  const text = (key: OvsdbKey<unknown>): string => reader.take(key) ?? '';

  const wantsIpsec = ['psk', 'remote_cert', 'remote_name'].some((key) => options.has(key));
  const psk = text(TUNNEL_KEYS.psk);
  const remoteCert = text(TUNNEL_KEYS.remoteCert);
  const remoteName = text(TUNNEL_KEYS.remoteName);
  const remoteIp = text(TUNNEL_KEYS.remoteIp);
  const localIp = text(TUNNEL_KEYS.localIp);

  // 1. Authentication, by the rules of ovs-monitor-ipsec. 2. Encapsulation. 3. The ipsec_* options.
  const asked = wantsIpsec ? judgeAuth({ remoteIp, psk, remoteCert, remoteName }, surroundings.global) : undefined;
  const verdict = asked === 'certificates' ? judgeCertificates({ remoteCert, remoteName }, surroundings) : asked;
  const auth = verdict !== undefined && 'auth' in verdict ? verdict.auth : undefined;
  for (const warning of verdict?.warnings ?? []) {
    reader.warn(TUNNEL_KEYS.remoteCert, remoteCert, TUNNEL_KEYS.remoteCert.expected, warning);
  }
  const isFlowBased = surroundings.isBeside && remoteIp === 'flow';
  const settings = readSettings(type, reader, { ...surroundings, isFlowBased });
  const encapsulationFault = reader.fault;
  if (name !== given)
    reader.refuseFor(`the name ${JSON.stringify(name)} has control characters, expected none; choose another`);
  const ipsecOptions = wantsIpsec ? readIpsecOptions(reader, surroundings.parseProposals) : undefined;
  const reason = verdict !== undefined && 'reason' in verdict ? verdict.reason : reader.fault;
  reader.warnOfTheRest('options', `an option of ${type} tunnels`, (key) => !wantsIpsec && key.startsWith(IPSEC_PREFIX));

  return {
    tunnel: {
      name,
      ...place,
      type,
      state: reason === undefined ? 'CONFIGURED' : 'INVALID',
      reason,
      wantsIpsec,
      settings: encapsulationFault === undefined && !isFlowBased ? settings : undefined,
      flowBased:
        encapsulationFault === undefined && isFlowBased
          ? flowTunnelOf(settings, reason !== undefined || wantsIpsec)
          : undefined,
      customOptions: customOptions(options),
      localIp: localIp || undefined,
      remoteIp: remoteIp || undefined,
      pskSet: psk !== '',
      remoteCert: remoteCert || undefined,
      remoteName: (auth?.method === 'certificate' ? auth.authentication.peerName : remoteName) || undefined,
      ofport: numberOf(row, 'ofport'),
      cfmFault: booleanOf(row, 'cfm_fault'),
      ofportRequest: numberOf(row, 'ofport_request'),
    },
    ipsec:
      reason === undefined && !isFlowBased && auth !== undefined && ipsecOptions !== undefined
        ? { auth, options: ipsecOptions }
        : undefined,
    issues: reader.warnings,
  };
}

function customOptions(options: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const custom = [...options].filter(([key]) => key.startsWith(IPSEC_PREFIX));
  if (custom.length === 0) return NO_OPTIONS;
  return new Map(
    custom.map(([key, value]) => [
      key.slice(IPSEC_PREFIX.length),
      PLAIN_KEYS.has(key) || !LIKE_A_SECRET.test(key) ? value : '(set)',
    ]),
  );
}

/** The encapsulation; undefined or not to be used when the reader has a fault. */
function readSettings(
  type: TunnelType,
  reader: OptionReader,
  surroundings: TunnelSurroundings & { readonly isFlowBased: boolean },
): TunnelState['settings'] {
  const addresses = surroundings.isFlowBased ? flowAddresses(reader) : readAddresses(reader, surroundings);
  const both = readKey(type, reader, TUNNEL_KEYS.key);
  const inKey = readKey(type, reader, TUNNEL_KEYS.inKey) ?? both ?? { kind: 'none' };
  const outKey = readKey(type, reader, TUNNEL_KEYS.outKey) ?? both ?? { kind: 'none' };
  // As OVS: without the key outer UDP checksums are on over IPv6, all others off.
  const udp = encapsulationOf(type).protocol === PROTOCOL_UDP;
  const checksum = reader.read(TUNNEL_KEYS.checksum) ?? (udp && addresses?.remote.includes(':') === true);
  const dontFragment = reader.read(TUNNEL_KEYS.dontFragment) ?? true;
  const ttl = reader.read(TUNNEL_KEYS.ttl) || DEFAULT_TTL;
  const tos = reader.read(TUNNEL_KEYS.tos) ?? 0;
  const destinationPort = readIfOf(type, reader, TUNNEL_KEYS.destinationPort) ?? encapsulationOf(type).defaultPort;
  const gbp = readIfOf(type, reader, TUNNEL_KEYS.extensions) === 'gbp';
  reader.read(TUNNEL_KEYS.packetType);
  const egressMark = reader.read(TUNNEL_KEYS.egressMark);
  if (addresses === undefined) return undefined;
  return { type, ...addresses, inKey, outKey, checksum, dontFragment, ttl, tos, destinationPort, gbp, egressMark };
}

function readAddresses(
  reader: OptionReader,
  { defaultLocalAddress, isOwnAddress }: TunnelSurroundings,
): { readonly local: string; readonly remote: string } | undefined {
  const { remoteIp, localIp } = TUNNEL_KEYS;
  const remoteText = reader.take(remoteIp) ?? '';
  const localText = reader.take(localIp) ?? '';
  if (remoteText === '') {
    reader.refuseFor("'remote_ip' is not set");
    return undefined;
  }
  for (const [key, text] of [
    [remoteIp, remoteText],
    [localIp, localText],
  ] as const) {
    if (text === 'flow') {
      reader.refuse(key, text, key.expected, 'flow-based tunnels are supported beside a real ovs-vswitchd only');
      return undefined;
    }
  }
  const remote = reader.read(remoteIp);
  if (remote === undefined) return undefined;
  const given = localText === '' ? undefined : reader.read(localIp);
  if (localText !== '' && given === undefined) return undefined;
  if (given !== undefined && given.family !== remote.family) {
    reader.refuse(
      localIp,
      given.text,
      `an IPv${remote.family} address, as remote_ip ${remote.text} is one`,
      'give both ends addresses of one family',
    );
    return undefined;
  }
  const local = given?.text ?? defaultLocalAddress(remote.text);
  if (local === undefined) {
    reader.refuse(localIp, undefined, `one while there is no route to remote_ip ${remote.text}`);
    return undefined;
  }
  if (local === remote.text || isOwnAddress(remote.text)) {
    reader.refuse(
      remoteIp,
      remote.text,
      'an address of another host; this one is ours',
      'a tunnel to oneself leads nowhere: set it to the address of the other end',
    );
    return undefined;
  }
  return { local, remote: remote.text };
}

/** The addresses of a flow-based tunnel are those of its packets; what stands in `remote_ip` and `local_ip` was read. */
function flowAddresses(reader: OptionReader): { readonly local: string; readonly remote: string } {
  const { remoteIp, localIp } = TUNNEL_KEYS;
  reader.take(remoteIp);
  const local = reader.take(localIp) ?? 'flow';
  if (local !== 'flow') reader.read(localIp);
  return { local, remote: 'flow' };
}

function flowTunnelOf(settings: TunnelState['settings'], closed: boolean): FlowTunnel | undefined {
  if (settings === undefined) return undefined;
  const { type, destinationPort, egressMark } = settings;
  return { type, destinationPort, closed, egressMark };
}

function readKey(type: TunnelType, reader: OptionReader, row: OvsdbKey<TunnelKey>): TunnelKey | undefined {
  const key = reader.read(row);
  const largest = encapsulationOf(type).maximumKey;
  if (key?.kind === 'fixed' && key.key > largest) {
    reader.refuse(row, String(key.key), `0 to ${largest} for ${type}, or flow`);
  }
  return key;
}

/** Undefined for a tunnel type that does not have the key; then it ends among the unknown ones. */
function readIfOf<T>(type: TunnelType, reader: OptionReader, row: OvsdbKey<T>): T | undefined {
  return row.types === undefined || row.types.includes(type) ? reader.read(row) : undefined;
}
