/**
 * Netlink messages (RFC 3549; Linux netlink(7), rtnetlink(7)): asking the kernel for the route to an address and for the
 * link-layer address of a neighbour, and reading what it answers and tells. Of nftables only whether it has a table.
 *
 * All numbers are in host order, which is little-endian on every platform that Node's Linux builds serve. Attributes are
 * read within their message and no further; what is cut short reads as if it were not there.
 */

import { IPV4_ADDRESS_LENGTH } from './ipv4.ts';
import { IPV6_ADDRESS_LENGTH } from './ipv6.ts';

export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;

/** Message types. */
export const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
export const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;
export const RTM_NEWRULE = 32;
const RTM_GETRULE = 34;
/** Subsystem 10 in the high byte. */
const NFT_MSG_NEWTABLE = 0x0a00;
const NFT_MSG_GETTABLE = 0x0a01;
/** What a kernel without nftables answers. */
const EINVAL = 22;

const NLM_F_REQUEST = 1;
const NLM_F_DUMP = 0x300;

/** Groups by their bit: links, neighbours, IPv4 addresses, routes and rules, the same of IPv6, and next hops. */
export const ROUTE_GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | (1 << 18) | (1 << 31);
/** NFNLGRP_NFTABLES. */
export const NFTABLES_GROUP = 1 << 6;

const HEADER = 16;
const ATTRIBUTE_HEADER = 4;
const ROUTE_HEADER = 12;
const NEIGHBOUR_HEADER = 12;
const RULE_HEADER = 12;
const NETFILTER_HEADER = 4;
const AF_INET = 2;
const AF_INET6 = 10;

const RTA_DST = 1;
const RTA_SRC = 2;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_VIA = 18;
const RTA_ENCAP = 22;
const RTN_UNICAST = 1;
const NDA_DST = 1;
const NDA_LLADDR = 2;
const FRA_IP_PROTO = 22;

/** Neighbour states in which the kernel itself sends to the link-layer address; those without one (NOARP) are left out. */
const NUD_USABLE = 0x02 | 0x04 | 0x08 | 0x10 | 0x80;
const NUD_STALE = 0x04;
/** Of Ethernet. */
const LINK_ADDRESS_LENGTH = 6;

export interface NetlinkMessage {
  readonly type: number;
  /** What follows the netlink header, from `at` to `end`. */
  readonly at: number;
  readonly end: number;
}

/** Where a unicast route leads. */
export interface Route {
  readonly device: number;
  /** The next hop if it is not the destination itself; of the destination's family. */
  readonly gateway: Uint8Array | undefined;
}

export interface Neighbour {
  readonly device: number;
  readonly address: Uint8Array;
  /** Its Ethernet address, while the kernel would send to it. */
  readonly linkAddress: Uint8Array | undefined;
  /** The kernel would make sure of it, were it asked to send something. */
  readonly isStale: boolean;
}

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const aligned = (length: number) => (length + 3) & ~3;

/** The messages of one datagram; a cut one ends it. */
export function readMessages(bytes: Uint8Array, length: number): NetlinkMessage[] {
  const view = viewOf(bytes);
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at + HEADER <= length; ) {
    const whole = view.getUint32(at, true);
    if (whole < HEADER || at + whole > length) break;
    messages.push({ type: view.getUint16(at + 4, true), at: at + HEADER, end: at + whole });
    at += aligned(whole);
  }
  return messages;
}

/** RTM_GETROUTE for packets without a firewall mark, of no protocol in particular: the kernel takes none but TCP, UDP and ICMP here. */
export function routeRequest(source: Uint8Array, destination: Uint8Array): Uint8Array {
  const attributes = [attribute(RTA_DST, destination), attribute(RTA_SRC, source)];
  const bits = 8 * destination.length;
  const fixed = new Uint8Array(ROUTE_HEADER);
  fixed.set([familyOf(destination), bits, bits]);
  return request(RTM_GETROUTE, NLM_F_REQUEST, [fixed, ...attributes]);
}

/** Of RTM_NEWROUTE; undefined: it is no plain unicast route through one device. */
export function readRoute(bytes: Uint8Array, { at, end }: NetlinkMessage): Route | undefined {
  if (at + ROUTE_HEADER > end) return undefined;
  const isUnicast = bytes[at + 7] === RTN_UNICAST;
  const attributes = readAttributes(bytes, at + ROUTE_HEADER, end);
  const device = attributes.get(RTA_OIF);
  if (!isUnicast || device?.length !== 4 || attributes.has(RTA_ENCAP) || attributes.has(RTA_VIA)) return undefined;
  return { device: viewOf(device).getUint32(0, true), gateway: attributes.get(RTA_GATEWAY) };
}

/** RTM_GETNEIGH. */
export function neighbourRequest(device: number, address: Uint8Array): Uint8Array {
  const fixed = new Uint8Array(NEIGHBOUR_HEADER);
  fixed[0] = familyOf(address);
  viewOf(fixed).setInt32(4, device, true);
  return request(RTM_GETNEIGH, NLM_F_REQUEST, [fixed, attribute(NDA_DST, address)]);
}

/** Of RTM_NEWNEIGH and RTM_DELNEIGH; undefined: it is not of IP. */
export function readNeighbour(bytes: Uint8Array, { type, at, end }: NetlinkMessage): Neighbour | undefined {
  if (at + NEIGHBOUR_HEADER > end) return undefined;
  const view = viewOf(bytes);
  const attributes = readAttributes(bytes, at + NEIGHBOUR_HEADER, end);
  const address = attributes.get(NDA_DST);
  if (address === undefined || familyOf(address) !== bytes[at]) return undefined;
  const state = view.getUint16(at + 8, true);
  const linkAddress = attributes.get(NDA_LLADDR);
  const isUsable = type === RTM_NEWNEIGH && (state & NUD_USABLE) !== 0 && linkAddress?.length === LINK_ADDRESS_LENGTH;
  return {
    device: view.getInt32(at + 4, true),
    address,
    linkAddress: isUsable ? linkAddress : undefined,
    isStale: (state & NUD_STALE) !== 0,
  };
}

/** RTM_GETRULE: all policy routing rules of both families. */
export function rulesRequest(): Uint8Array {
  return request(RTM_GETRULE, NLM_F_REQUEST | NLM_F_DUMP, [new Uint8Array(RULE_HEADER)]);
}

/** Of RTM_NEWRULE: the rule asks for a protocol, so an answer to routeRequest does not say what it does to ESP. */
export function asksForProtocol(bytes: Uint8Array, { at, end }: NetlinkMessage): boolean {
  return readAttributes(bytes, at + RULE_HEADER, end).has(FRA_IP_PROTO);
}

/** NFT_MSG_GETTABLE: all tables of all families. */
export function tablesRequest(): Uint8Array {
  return request(NFT_MSG_GETTABLE, NLM_F_REQUEST | NLM_F_DUMP, [new Uint8Array(NETFILTER_HEADER)]);
}

/** Whether the answer to tablesRequest proves that there is no table; a refusal (EPERM) does not. */
export function saysNoTable(bytes: Uint8Array, length: number): boolean {
  const messages = readMessages(bytes, length);
  if (messages.some(({ type }) => type === NFT_MSG_NEWTABLE)) return false;
  return messages.some(
    ({ type, at, end }) =>
      type === NLMSG_DONE || (type === NLMSG_ERROR && at + 4 <= end && viewOf(bytes).getInt32(at, true) === -EINVAL),
  );
}

function familyOf(address: Uint8Array): number {
  if (address.length === IPV4_ADDRESS_LENGTH) return AF_INET;
  return address.length === IPV6_ADDRESS_LENGTH ? AF_INET6 : 0;
}

/** Attributes by type, each a copy; of several of one type the last. */
function readAttributes(bytes: Uint8Array, from: number, end: number): Map<number, Uint8Array> {
  const view = viewOf(bytes);
  const found = new Map<number, Uint8Array>();
  for (let at = from; at + ATTRIBUTE_HEADER <= end; ) {
    const length = view.getUint16(at, true);
    if (length < ATTRIBUTE_HEADER || at + length > end) break;
    found.set(view.getUint16(at + 2, true) & 0x3fff, bytes.slice(at + ATTRIBUTE_HEADER, at + length));
    at += aligned(length);
  }
  return found;
}

function attribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(aligned(ATTRIBUTE_HEADER + value.length));
  const view = viewOf(bytes);
  view.setUint16(0, ATTRIBUTE_HEADER + value.length, true);
  view.setUint16(2, type, true);
  bytes.set(value, ATTRIBUTE_HEADER);
  return bytes;
}

function request(type: number, flags: number, parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, HEADER);
  const bytes = new Uint8Array(length);
  const view = viewOf(bytes);
  view.setUint32(0, length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  let at = HEADER;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
