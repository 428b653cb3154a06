/** Ethernet frames with IP packets between the two ends of a tunnel, as a userspace datapath would give them. */
import { addressWords } from '../../../dataplane/address-pairs.ts';
import { writeIpv4 } from '../../../dataplane/wire/ipv4.ts';
import { writeIpv6 } from '../../../dataplane/wire/ipv6.ts';

export const MACS = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
export const VLAN = [0x81, 0x00, 0x00, 0x2a];

/** An Ethernet frame with an IPv4 packet from a to b. `rest` is written over the header's fields. */
export function ipv4Frame(
  protocol: number,
  payload: readonly number[],
  { tags = [] as number[], tos = 0, from = '10.1.0.1', to = '10.1.0.2', fragment = 0, trailer = 0 } = {},
): Uint8Array {
  const header = 12 + tags.length + 2;
  const bytes = new Uint8Array(header + 20 + payload.length + trailer);
  bytes.set([...MACS, ...tags, 0x08, 0x00]);
  const [source, destination] = [addressWords(from)[0]!, addressWords(to)[0]!];
  writeIpv4(bytes, header, 20 + payload.length, tos, 0x1234, fragment, 63, protocol, source, destination);
  bytes.set(payload, header + 20);
  return bytes;
}

export function ipv6Frame(protocol: number, payload: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(54 + payload.length);
  bytes.set([...MACS, 0x86, 0xdd]);
  const words = Int32Array.of(...addressWords('fd00::1'), ...addressWords('fd00::2'));
  writeIpv6(bytes, 14, payload.length, 0, 63, protocol, words, 0, 4);
  bytes.set(payload, 54);
  return bytes;
}

/** A UDP packet: ports, length, no checksum, then bytes of text. */
export function udp(destination: number, text = 'secret payload of a guest'): number[] {
  const body = [...Buffer.from(text)];
  const length = 8 + body.length;
  return [0xc3, 0x50, destination >> 8, destination & 255, length >> 8, length & 255, 0, 0, ...body];
}
