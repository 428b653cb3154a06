/**
 * ESP in UDP (RFC 3948): the UDP header that lets ESP pass NATs, put in front of sealed packets and taken off received ones.
 *
 * Who else talks on port 4500: IKE, whose messages begin with four zero bytes where ESP has its SPI (§2.2), and keepalives of
 * one byte 0xff (§2.3). The uplink hands up neither IKE nor what is for other workers; keepalives have done their work
 * when the NAT has seen them, and are counted. Over IPv4 the checksum is 0 (§2.1), over IPv6 it is computed, as Linux
 * does; what comes in is not verified, for the ICV covers all that matters.
 */

import type { AddressPairs } from '../address-pairs.ts';
import type { Batch, FrameList } from '../batch.ts';
import { DROP } from '../drops.ts';
import { fillChecksums, noteChecksum } from '../encap/checksums.ts';
import type { ChecksumBatch } from '../wire/checksum.ts';
import { PROTOCOL_ESP, PROTOCOL_UDP } from '../wire/ipv4.ts';
import { readInt32 } from '../wire/octets.ts';
import { checkUdp, UDP_HEADER_LENGTH, udpDestinationPort, udpSourcePort, writeUdp } from '../wire/udp.ts';
import type { OutboundSas } from './sa-table.ts';

/** Of IKE and ESP behind NATs, at our end; the peer's may be any (RFC 3948 §2.1). */
export const NAT_TRAVERSAL_PORT = 4500;
/** Bytes of the SPI, or of the non-ESP marker in its place. */
const SPI_LENGTH = 4;
const KEEPALIVE = 0xff;

const NAT_KEEPALIVE = DROP['nat-keepalive'];
const TOO_SHORT = DROP['esp-too-short'];
const NON_ESP = DROP['non-esp-marker'];

/** Rows that are UDP to port 4500 become ESP, with the peer's port in `udpPort`; all others have 0 there. */
export function takeOffUdpEncapsulation(batch: Batch): void {
  const { arena, offset, length, udpPort, verdict } = batch;
  for (let row = 0; row < batch.count; row++) {
    udpPort[row] = 0;
    if (verdict[row] !== 0 || batch.protocol[row] !== PROTOCOL_UDP || length[row] < UDP_HEADER_LENGTH) continue;
    const start = offset[row];
    if (udpDestinationPort(arena, start) !== NAT_TRAVERSAL_PORT) continue;
    const stated = checkUdp(arena, start, length[row]);
    const payload = start + UDP_HEADER_LENGTH;
    if (stated < 0) verdict[row] = -stated;
    else if (stated === UDP_HEADER_LENGTH + 1 && arena[payload] === KEEPALIVE) verdict[row] = NAT_KEEPALIVE;
    else if (stated < UDP_HEADER_LENGTH + SPI_LENGTH) verdict[row] = TOO_SHORT;
    else if (readInt32(arena, payload) === 0) verdict[row] = NON_ESP;
    else {
      udpPort[row] = udpSourcePort(arena, start);
      batch.protocol[row] = PROTOCOL_ESP;
      offset[row] = payload;
      length[row] = stated - UDP_HEADER_LENGTH;
    }
  }
}

/** Puts the header in front of the sealed rows whose SA asks for it. */
export function putOnUdpEncapsulation(
  batch: Batch,
  sas: OutboundSas,
  pairs: AddressPairs,
  checksums: FrameList,
  checksum: ChecksumBatch,
): void {
  if (sas.encapsulated === 0) return;
  const { arena, offset, length } = batch;
  for (let row = 0; row < batch.count; row++) {
    const slot = batch.sa[row];
    if (slot < 0 || batch.verdict[row] !== 0 || sas.remotePort[slot] === 0) continue;
    offset[row] -= UDP_HEADER_LENGTH;
    length[row] += UDP_HEADER_LENGTH;
    writeUdp(arena, offset[row], sas.localPort[slot], sas.remotePort[slot], length[row]);
    batch.protocol[row] = PROTOCOL_UDP;
    const pair = batch.pair[row];
    if (pairs.family[pair] !== 6) continue;
    batch.addressSum[row] = pairs.addressSum[pair];
    noteChecksum(batch, checksums, row, offset[row], length[row]);
  }
  fillChecksums(batch, checksums, checksum);
}
