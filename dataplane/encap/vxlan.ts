/**
 * VXLAN tunnels (RFC 7348; OVS type=vxlan).
 *
 * Options: key (the VNI; absent is 0), dst_port, outer UDP checksum, exts=gbp. A group policy that comes in is passed over, as there
 * are no flows that could match it; none is sent, as Linux sends none for policy 0. No GPE.
 * Two child SAs, one for each direction of the UDP port.
 */

import { PROTOCOL_UDP } from '../wire/ipv4.ts';
import { UDP_HEADER_LENGTH } from '../wire/udp.ts';
import { checkVxlan, hasGroupPolicy, VXLAN_HEADER_LENGTH, vxlanVni, writeVxlan } from '../wire/vxlan.ts';
import {
  type EncapState,
  type Encapsulation,
  POP_END,
  POP_EXTENSION,
  POP_KEY,
  POP_KEY_PRESENT,
} from './encapsulation.ts';
import { popUdp, pushUdp, udpSelectors } from './udp-tunnel.ts';

function push(bytes: Uint8Array, offset: number, length: number, state: EncapState, flowHash: number): number {
  const at = offset - VXLAN_HEADER_LENGTH;
  writeVxlan(bytes, at, state.key);
  return pushUdp(bytes, at, length + VXLAN_HEADER_LENGTH, state.port, flowHash);
}

function pop(bytes: Uint8Array, offset: number, end: number, out: Int32Array): number {
  const udp = popUdp(bytes, offset, end, out);
  if (udp < 0) return udp;
  const at = offset + udp;
  const header = checkVxlan(bytes, at, out[POP_END] - at);
  if (header < 0) return header;
  out[POP_KEY] = vxlanVni(bytes, at);
  out[POP_KEY_PRESENT] = 1;
  out[POP_EXTENSION] = hasGroupPolicy(bytes, at) ? 1 : 0;
  return udp + header;
}

export const vxlan: Encapsulation = {
  type: 'vxlan',
  protocol: PROTOCOL_UDP,
  defaultPort: 4789,
  maximumKey: 0xffffff,
  alwaysChecksum: false,
  overhead: () => UDP_HEADER_LENGTH + VXLAN_HEADER_LENGTH,
  push,
  pop,
  selectors: udpSelectors,
};
