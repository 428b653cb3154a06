/**
 * Geneve tunnels (RFC 8926; OVS type=geneve).
 *
 * Options: key (the VNI; absent is 0), dst_port, outer UDP checksum. Sent without options; received options are passed over.
 * Two child SAs, one for each direction of the UDP port.
 */

import { checkGeneve, GENEVE_BASE_LENGTH, geneveVni, writeGeneve } from '../wire/geneve.ts';
import { PROTOCOL_UDP } from '../wire/ipv4.ts';
import { UDP_HEADER_LENGTH } from '../wire/udp.ts';
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
  const at = offset - GENEVE_BASE_LENGTH;
  writeGeneve(bytes, at, state.key);
  return pushUdp(bytes, at, length + GENEVE_BASE_LENGTH, state.port, flowHash);
}

function pop(bytes: Uint8Array, offset: number, end: number, out: Int32Array): number {
  const udp = popUdp(bytes, offset, end, out);
  if (udp < 0) return udp;
  const at = offset + udp;
  const header = checkGeneve(bytes, at, out[POP_END] - at);
  if (header < 0) return header;
  out[POP_KEY] = geneveVni(bytes, at);
  out[POP_KEY_PRESENT] = 1;
  out[POP_EXTENSION] = 0;
  return udp + header;
}

export const geneve: Encapsulation = {
  type: 'geneve',
  protocol: PROTOCOL_UDP,
  defaultPort: 6081,
  maximumKey: 0xffffff,
  alwaysChecksum: false,
  overhead: () => UDP_HEADER_LENGTH + GENEVE_BASE_LENGTH,
  push,
  pop,
  selectors: udpSelectors,
};
