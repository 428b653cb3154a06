/**
 * What fits through the path to each peer, on the main thread: the uplink's MTU, and less where a router says so (RFC 1191, RFC 8201).
 *
 * An ICMP message is believed when it quotes a packet that we may have sent: both addresses and the protocol are those of a
 * tunnel, the ports are its own, the quoted packet is longer than the MTU told; for ESP, an SA of ours has the SPI, and its sequence
 * number was used lately (RFC 4301 §8.2.1). Plaintext is quoted in vain where the tunnel does not send any. An MTU is never taken
 * to be below what every path must carry, never raised by a message, and forgotten after ten minutes (RFC 1191 §6.3): then larger packets
 * find out whether the path has changed. The kernel's own path MTU cache, which checks less, is not asked.
 */

import { addressWords } from './address-pairs.ts';
import type { OutboundSa, ProtectionState, TunnelSettings } from './commands.ts';
import { encapsulationOf } from './encap/encap.ts';
import { SOURCE_PORT_COUNT, SOURCE_PORT_FIRST } from './encap/flow-hash.ts';
import { ETHERTYPE_TEB } from './wire/ethernet.ts';
import { ICMP_HEADER_LENGTH, icmpMtu, icmpv6Mtu } from './wire/icmp.ts';
import {
  IPV4_HEADER_LENGTH,
  ipv4Destination,
  ipv4Protocol,
  ipv4Source,
  ipv4ToText,
  ipv4TotalLength,
  PROTOCOL_ESP,
  PROTOCOL_GRE,
  PROTOCOL_UDP,
} from './wire/ipv4.ts';
import {
  IPV6_DESTINATION,
  IPV6_HEADER_LENGTH,
  IPV6_SOURCE,
  ipv6NextHeader,
  ipv6PayloadLength,
  ipv6ToText,
} from './wire/ipv6.ts';
import { readInt32, readUint16 } from './wire/octets.ts';

/** Every path carries so much (RFC 791; RFC 8200 §5). */
export const SMALLEST_PATH_MTU = { 4: 576, 6: 1280 } as const;
export const PATH_MTU_LIFE_MS = 600_000;
/** How far the sequence number of a quoted ESP packet may lie behind the last one sent. */
export const RECENT_SEQUENCES = 65_536;

/** Bytes behind the quoted IP header that must be there: RFC 792 promises so many. */
const QUOTED = 8;
const UDP_HEADER = 8;
/** RFC 1191 §7: likely MTUs below the quoted length, for routers that tell none. */
const PLATEAUS = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006];

/** A message as it was parsed: about a packet from `local` to `remote`. */
export interface TooBig {
  readonly family: 4 | 6;
  readonly mtu: number;
  readonly local: string;
  readonly remote: string;
  readonly protocol: number;
  /** Length of the quoted packet as its header told it. */
  readonly length: number;
  /** What stands behind the quoted IP header, at least 8 bytes. */
  readonly quoted: Uint8Array;
}

/** Reads an ICMP message, IPv4 with its IP header, IPv6 without; undefined if it is none of "too big" or cut. */
export function parseTooBig(family: 4 | 6, message: Uint8Array): TooBig | undefined {
  const icmp = family === 4 ? ((message[0] ?? 0) & 0xf) << 2 : 0;
  const ip = icmp + ICMP_HEADER_LENGTH;
  const expected = family === 4 ? 0x0304 : 0x0200;
  const header = family === 4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH;
  if (message.length < ip + header + QUOTED || readUint16(message, icmp) !== expected) return undefined;
  if (message[ip] >>> 4 !== family) return undefined;
  if (family === 6) {
    return {
      family,
      mtu: icmpv6Mtu(message, icmp),
      local: ipv6ToText(message, ip + IPV6_SOURCE),
      remote: ipv6ToText(message, ip + IPV6_DESTINATION),
      protocol: ipv6NextHeader(message, ip),
      length: IPV6_HEADER_LENGTH + ipv6PayloadLength(message, ip),
      quoted: message.subarray(ip + header),
    };
  }
  const length = ipv4TotalLength(message, ip);
  return {
    family,
    // The headers we write have no options: what is quoted with some is not ours and fails on its first bytes.
    mtu: icmpMtu(message, icmp) || (PLATEAUS.find((plateau) => plateau < length) ?? SMALLEST_PATH_MTU[4]),
    local: ipv4ToText(ipv4Source(message, ip)),
    remote: ipv4ToText(ipv4Destination(message, ip)),
    protocol: ipv4Protocol(message, ip),
    length,
    quoted: message.subarray(ip + header),
  };
}

/** What was sent lately in ESP, and what may be sent in the clear. */
export interface SentPackets {
  /** Outbound SAs with this SPI, as unsigned number. */
  outboundSas(spi: number): readonly OutboundSa[];
  /** Last sequence number of the SA in a slot. */
  lastSequence(slot: number): number;
  protectionState(protection: number): ProtectionState | undefined;
}

interface PortPath {
  readonly port: number;
  readonly tunnel: TunnelSettings;
  readonly uplinkMtu: number;
}

interface Learned {
  readonly mtu: number;
  readonly until: number;
}

/** The MTU of each tunnel port's path. */
export class PathMtus {
  private readonly byPort = new Map<number, PortPath>();
  /** By path, then by port. */
  private readonly byPath = new Map<string, Map<number, PortPath>>();
  private readonly learned = new Map<string, Learned>();

  /** The MTU of a tunnel port's uplink. */
  setUplink(port: number, tunnel: TunnelSettings, uplinkMtu: number): void {
    this.take(port);
    const path = pathOf(tunnel);
    const row = { port, tunnel, uplinkMtu };
    this.byPort.set(port, row);
    const others = this.byPath.get(path);
    if (others === undefined) this.byPath.set(path, new Map([[port, row]]));
    else others.set(port, row);
  }

  /** What was learned of a path goes with its last tunnel. */
  remove(port: number): void {
    const path = this.take(port);
    if (path !== undefined && !this.byPath.has(path)) this.learned.delete(path);
  }

  /** All ports that have an uplink. */
  ports(): readonly number[] {
    return [...this.byPort.keys()];
  }

  /** Of a port that has an uplink. */
  mtuOf(port: number): number {
    const { tunnel, uplinkMtu } = this.byPort.get(port)!;
    const learned = heedsPath(tunnel) ? this.learned.get(pathOf(tunnel))?.mtu : undefined;
    return Math.min(uplinkMtu, learned ?? uplinkMtu);
  }

  /** Heeds a message if it is to be believed. Gives the ports whose MTU is less now; none if it tells nothing new. */
  learn(message: TooBig, sent: SentPackets, now: number): readonly number[] {
    const path = this.pathQuoted(message, sent);
    if (path === undefined) return [];
    const mtu = Math.max(message.mtu, SMALLEST_PATH_MTU[message.family]);
    const concerned = this.portsOf(path).filter(({ port, tunnel }) => heedsPath(tunnel) && mtu < this.mtuOf(port));
    if (concerned.length > 0) this.learned.set(path, { mtu, until: now + PATH_MTU_LIFE_MS });
    return concerned.map(({ port }) => port);
  }

  /** Forgets what is old. Gives the ports whose MTU is more again. */
  age(now: number): readonly number[] {
    const changed: number[] = [];
    for (const [path, { until }] of this.learned) {
      if (until > now) continue;
      this.learned.delete(path);
      for (const { port } of this.portsOf(path)) changed.push(port);
    }
    return changed;
  }

  /** The path of the tunnels that may have sent the quoted packet. */
  private pathQuoted(message: TooBig, sent: SentPackets): string | undefined {
    if (message.length <= message.mtu) return undefined;
    const { protocol, quoted } = message;
    if (protocol === PROTOCOL_ESP) return pathOfEsp(message, quoted, sent);
    if (protocol === PROTOCOL_UDP && quoted.length >= UDP_HEADER + QUOTED) {
      const path = pathOfEsp(message, quoted.subarray(UDP_HEADER), sent, readUint16(quoted, 0), readUint16(quoted, 2));
      if (path !== undefined) return path;
    }
    const path = pathOf(message);
    const isOurs = this.portsOf(path).some(({ tunnel }) => quotesPlaintext(message, tunnel, sent));
    return isOurs ? path : undefined;
  }

  private take(port: number): string | undefined {
    const known = this.byPort.get(port);
    if (known === undefined) return undefined;
    const path = pathOf(known.tunnel);
    const others = this.byPath.get(path);
    others?.delete(port);
    if (others?.size === 0) this.byPath.delete(path);
    this.byPort.delete(port);
    return path;
  }

  private portsOf(path: string): PortPath[] {
    return [...(this.byPath.get(path)?.values() ?? [])];
  }
}

/** Path of the tunnels that send on the SA of a quoted ESP packet. In UDP its addresses may be others than theirs. */
function pathOfEsp(
  message: TooBig,
  quoted: Uint8Array,
  sent: SentPackets,
  localPort?: number,
  remotePort?: number,
): string | undefined {
  const sequence = readInt32(quoted, 4) >>> 0;
  const found = sent.outboundSas(readInt32(quoted, 0) >>> 0).find((sa) => {
    const { udp } = sa;
    if (udp?.local.port !== localPort || udp?.remote.port !== remotePort) return false;
    const ends = udp === undefined ? sa : { local: udp.local.address, remote: udp.remote.address };
    if (pathOf(ends) !== pathOf(message)) return false;
    const last = sent.lastSequence(sa.slot);
    return sequence > 0 && sequence <= last && last - sequence < RECENT_SEQUENCES;
  });
  return found === undefined ? undefined : pathOf(found);
}

function quotesPlaintext({ protocol, quoted }: TooBig, tunnel: TunnelSettings, sent: SentPackets): boolean {
  if (encapsulationOf(tunnel.type).protocol !== protocol) return false;
  if (tunnel.protection !== undefined && sent.protectionState(tunnel.protection) !== 'never-up') return false;
  if (protocol === PROTOCOL_GRE) return readUint16(quoted, 2) === ETHERTYPE_TEB;
  const source = readUint16(quoted, 0) - SOURCE_PORT_FIRST;
  return readUint16(quoted, 2) === tunnel.destinationPort && source >= 0 && source < SOURCE_PORT_COUNT;
}

/** Routers fragment IPv4 packets without DF, and say nothing. */
function heedsPath(tunnel: TunnelSettings): boolean {
  return tunnel.dontFragment || tunnel.remote.includes(':');
}

/** IPv6 addresses can be spelled in many ways, so a path is named by their words. */
function pathOf({ local, remote }: { readonly local: string; readonly remote: string }): string {
  return `${addressWords(local).join()} ${addressWords(remote).join()}`;
}
