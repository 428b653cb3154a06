/**
 * The text of flows: matches and actions as ovs-ofctl reads them (ovs-fields(7), ovs-actions(7)), for the flows of espd=port
 * (flows.ts) and of every other bridge (guard-flows.ts). All of them stand in table 0 and carry one cookie.
 */
import { encapsulationOf, type FlowTunnel, familyOf, type MarkMatch, type TunnelType } from '../../dataplane/index.ts';
import type { HostPort } from '../config/desired-state.ts';

/** "espd", and which flows of ours: there is one kind. */
export const COOKIE = '0x6573706400000001';
/** In reg15 of what has been judged already. */
export const BEEN_THROUGH = '0x65737064';
export const PRIORITY = 61_440;
export const LOCAL_OFPORT = 65_534;
export const PROTOCOL_UDP = 17;

/** A kind of tunnel packet. */
export interface Kind {
  readonly type: TunnelType;
  readonly port: number;
}

/** What a flow-based tunnel carries. */
export function kindOf({ type, destinationPort }: FlowTunnel): Kind {
  return { type, port: destinationPort };
}

export type HostPortInUse = HostPort & { readonly ofport: number };

export function flow(priority: number, match: readonly string[], actions: string): string {
  return [`table=0,cookie=${COOKIE},priority=${priority}`, ...match, `actions=${actions}`].join(',');
}

export function output(port: number | undefined): string {
  if (port === undefined) return 'drop';
  return port === LOCAL_OFPORT ? 'LOCAL' : `output:${port}`;
}

/** What comes in by a port, and has not been judged. */
export function fromPort(ofport: number): string[] {
  return [`in_port=${ofport === LOCAL_OFPORT ? 'LOCAL' : ofport}`, 'reg15=0'];
}

export function mark({ value, mask }: MarkMatch): string {
  return `pkt_mark=${hex(value & mask)}/${hex(mask)}`;
}

export function hex(value: number): string {
  return `0x${(value >>> 0).toString(16)}`;
}

export function ip(from: string, to: string): string {
  return `${familyOf(to) === 6 ? 'ipv6' : 'ip'},${addresses(from, to)}`;
}

export function addresses(from: string, to: string): string {
  return familyOf(to) === 6 ? `ipv6_src=${from},ipv6_dst=${to}` : `nw_src=${from},nw_dst=${to}`;
}

export function addressedTo(address: string): string {
  return `${familyOf(address) === 6 ? 'ipv6_dst' : 'nw_dst'}=${address}`;
}

export function tunnelPackets({ type, port }: Kind, from: string, to: string): string[] {
  return [...kindPackets({ type, port }, familyOf(to)), addresses(from, to)];
}

export function kindPackets({ type, port }: Kind, family: 4 | 6): string[] {
  const { protocol } = encapsulationOf(type);
  const v6 = family === 6;
  if (port === 0) return [v6 ? 'ipv6' : 'ip', `nw_proto=${protocol}`];
  return [`${protocol === PROTOCOL_UDP ? 'udp' : 'tcp'}${v6 ? '6' : ''}`, `tp_dst=${port}`];
}

/** The packets of a kind over IPv4, and those over IPv6. */
export function bothFamilies(kind: Kind): string[][] {
  return ([4, 6] as const).map((family) => kindPackets(kind, family));
}
