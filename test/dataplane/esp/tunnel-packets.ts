/** Tunnel packets of ours for the tests against scapy and tshark: an ICMP echo request in Ethernet, in each tunnel type. */

import type { TunnelType } from '../../../dataplane/commands.ts';
import { encapState, encapsulationOf } from '../../../dataplane/encap/encap.ts';
import { flowHash } from '../../../dataplane/encap/flow-hash.ts';
import { checksumOf, sumBytes } from '../../../dataplane/wire/checksum.ts';
import { writeEthernet } from '../../../dataplane/wire/ethernet.ts';
import { ipv4FromText, writeIpv4 } from '../../../dataplane/wire/ipv4.ts';
import { writeUint16 } from '../../../dataplane/wire/octets.ts';
import { tunnelSettings } from '../encap/tunnel-settings.ts';
import { ALICE, BOB } from './sa-rig.ts';

export const TYPES = ['gre', 'vxlan', 'geneve'] as const satisfies readonly TunnelType[];
export const KEY = 4711;
export const INNER_SOURCE = '10.1.0.1';
export const INNER_DESTINATION = '10.1.0.2';

function echoRequest(dataLength: number): Uint8Array {
  const bytes = new Uint8Array(14 + 20 + 8 + dataLength).map((_, i) => i);
  writeEthernet(bytes, 0, 0x0200, 2, 0x0200, 1, 0x0800);
  writeIpv4(bytes, 14, bytes.length - 14, 0, 1, 0, 64, 1, ipv4FromText(INNER_SOURCE), ipv4FromText(INNER_DESTINATION));
  bytes.set([8, 0, 0, 0, 0, 7, 0, 1], 34);
  writeUint16(bytes, 36, checksumOf(sumBytes(bytes, 34, bytes.length - 34, 0)));
  return bytes;
}

/** GRE or UDP header with key KEY, then an echo request with so many bytes of data. */
export function tunnelPacket(
  type: (typeof TYPES)[number],
  dataLength: number,
): { bytes: Uint8Array; protocol: number } {
  const encapsulation = encapsulationOf(type)!;
  const state = encapState(encapsulation, tunnelSettings(type, { outKey: { kind: 'fixed', key: KEY } }));
  const frame = echoRequest(dataLength);
  const room = new Uint8Array(64 + frame.length);
  room.set(frame, 64);
  const at = encapsulation.push(room, 64, frame.length, state, flowHash(frame, 0, frame.length));
  return { bytes: room.slice(at), protocol: encapsulation.protocol };
}

/** Puts the outer IPv4 header from Alice to Bob in front. */
export function withIpv4(packet: Uint8Array, protocol: number): Uint8Array {
  const bytes = new Uint8Array(20 + packet.length);
  writeIpv4(bytes, 0, bytes.length, 0, 0, 0x4000, 64, protocol, ipv4FromText(ALICE), ipv4FromText(BOB));
  bytes.set(packet, 20);
  return bytes;
}
