/**
 * The VXLAN header, RFC 7348 §5: 8 bytes behind UDP, then an Ethernet frame.
 *
 *     |R|R|R|R|I|R|R|R|            Reserved                           |
 *     |                VXLAN Network Identifier (VNI) |   Reserved    |
 *
 * RFC 7348 tells receivers to ignore reserved bits. Like the userspace datapath of OVS we refuse them
 * instead: with a bit set, this is one of the extensions that put another meaning on the header. Of those one is
 * known, the group policy (draft-smith-vxlan-group-policy-05 §2.1), which a tunnel has to allow:
 *
 *     |G|R|R|R|I|R|R|R|R|D|R|R|A|R|R|R|        Group Policy ID        |
 */

import { DROP } from '../drops.ts';
import { readInt32, readUint24, writeInt32 } from './octets.ts';

export const VXLAN_FLAGS = 0;
export const VXLAN_VNI = 4;
export const VXLAN_RESERVED = 7;
export const VXLAN_HEADER_LENGTH = 8;
/** The first word: I bit, all else 0. */
export const VXLAN_FLAG_VNI = 0x08000000;

const TOO_SHORT = -DROP['vxlan-too-short'];
const WRONG_FLAGS = -DROP['vxlan-flags'];

/** G: the header carries a group policy; then D (don't learn), A (applied) and the group's id may be set. */
const FLAG_GROUP_POLICY = 0x80000000 | 0;
const GROUP_POLICY_BITS = FLAG_GROUP_POLICY | 0x0048ffff;

/** Whether a header that checkVxlan took carries a group policy. */
export function hasGroupPolicy(bytes: Uint8Array, offset: number): boolean {
  return (bytes[offset + VXLAN_FLAGS] & 0x80) !== 0;
}

/** Length of the header at `offset`, or minus a drop reason. `length` is what the UDP datagram holds. */
export function checkVxlan(bytes: Uint8Array, offset: number, length: number): number {
  if (length < VXLAN_HEADER_LENGTH) return TOO_SHORT;
  const first = readInt32(bytes, offset + VXLAN_FLAGS);
  if (first !== VXLAN_FLAG_VNI) {
    if ((first & FLAG_GROUP_POLICY) === 0 || (first & ~GROUP_POLICY_BITS) !== VXLAN_FLAG_VNI) return WRONG_FLAGS;
  }
  if (bytes[offset + VXLAN_RESERVED] !== 0) return WRONG_FLAGS;
  return VXLAN_HEADER_LENGTH;
}

export function vxlanVni(bytes: Uint8Array, offset: number): number {
  return readUint24(bytes, offset + VXLAN_VNI);
}

export function writeVxlan(bytes: Uint8Array, offset: number, vni: number): void {
  writeInt32(bytes, offset + VXLAN_FLAGS, VXLAN_FLAG_VNI);
  writeInt32(bytes, offset + VXLAN_VNI, vni << 8);
}
