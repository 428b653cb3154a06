/**
 * What VXLAN and Geneve have in common: the outer UDP header and the two child SAs of a UDP tunnel.
 *
 * The source port is a hash of the inner flow, so a selector can name only the destination port: one child for
 * each direction of the port, as the IKE daemons of OVS make them (`tun-in` and `tun-out`).
 */

import { PROTOCOL_UDP } from '../wire/ipv4.ts';
import { checkUdp, UDP_HEADER_LENGTH, udpChecksum, udpDestinationPort, writeUdp } from '../wire/udp.ts';
import { type ChildSelectors, POP_CHECKSUM, POP_END, POP_PORT } from './encapsulation.ts';
import { sourcePort } from './flow-hash.ts';

/** Writes the UDP header for a tunnel packet whose UDP payload is `length` bytes at `offset`; returns its offset. */
export function pushUdp(bytes: Uint8Array, offset: number, length: number, port: number, flowHash: number): number {
  const at = offset - UDP_HEADER_LENGTH;
  writeUdp(bytes, at, sourcePort(flowHash), port, length + UDP_HEADER_LENGTH);
  return at;
}

/** Reads the UDP header; fills POP_PORT, POP_END and POP_CHECKSUM. Returns 8, or minus a drop reason. */
export function popUdp(bytes: Uint8Array, offset: number, end: number, out: Int32Array): number {
  const stated = checkUdp(bytes, offset, end - offset);
  if (stated < 0) return stated;
  out[POP_PORT] = udpDestinationPort(bytes, offset);
  out[POP_END] = offset + stated;
  out[POP_CHECKSUM] = udpChecksum(bytes, offset) !== 0 ? 1 : 0;
  return UDP_HEADER_LENGTH;
}

export function udpSelectors(port: number): readonly ChildSelectors[] {
  return portSelectors(PROTOCOL_UDP, port);
}

/** The children of a tunnel on this port: `in` takes what comes to the port here, `out` what goes to it there. */
export function portSelectors(protocol: number, port: number): readonly ChildSelectors[] {
  return [
    { suffix: 'in', protocol, localPort: port, remotePort: undefined },
    { suffix: 'out', protocol, localPort: undefined, remotePort: port },
  ];
}
