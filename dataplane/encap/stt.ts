/**
 * STT tunnels (draft-davie-stt-08; OVS type=stt up to 3.5).
 *
 * Options: key (the low 32 bits of the context id; absent is 0), dst_port. `push` and `pop` handle a frame in one segment; a
 * frame that the path does not take in one is cut by stt/segment.ts, and stt/reassembly.ts has put segments together before `pop`.
 * The TCP checksum is always sent and verified. Two child SAs, one for each direction of the port, as ovs-monitor-ipsec had them.
 */

import { DROP } from '../drops.ts';
import { PROTOCOL_TCP } from '../wire/ipv4.ts';
import {
  checkSttHeader,
  checkSttSegment,
  STT_HEADER_LENGTH,
  STT_MAX_LENGTH,
  STT_SEGMENT_HEADER_LENGTH,
  sttFragmentOffset,
  sttFrameLength,
  sttKey,
  writeSttHeader,
} from '../wire/stt.ts';
import { TCP_ACK, TCP_PSH, tcpDestinationPort, writeTcp } from '../wire/tcp.ts';
import {
  type EncapState,
  type Encapsulation,
  POP_CHECKSUM,
  POP_END,
  POP_EXTENSION,
  POP_KEY,
  POP_KEY_PRESENT,
  POP_PORT,
} from './encapsulation.ts';
import { sourcePort } from './flow-hash.ts';
import { portSelectors } from './udp-tunnel.ts';

const WINDOW = 0xffff;
const WRONG_LENGTH = -DROP['stt-length'];

/** A frame longer than STT can say gets a length of 0, and is too long for an IP packet as well, so it goes no further. */
function push(bytes: Uint8Array, offset: number, length: number, state: EncapState, flowHash: number): number {
  const header = offset - STT_HEADER_LENGTH;
  const total = length + STT_HEADER_LENGTH;
  writeSttHeader(bytes, header, state.key);
  const at = header - STT_SEGMENT_HEADER_LENGTH;
  const sequence = total > STT_MAX_LENGTH ? 0 : total << 16;
  writeTcp(bytes, at, sourcePort(flowHash), state.port, sequence, 0, TCP_ACK | TCP_PSH, WINDOW);
  return at;
}

function pop(bytes: Uint8Array, offset: number, end: number, out: Int32Array): number {
  const segment = checkSttSegment(bytes, offset, end - offset);
  if (segment < 0) return segment;
  const at = offset + segment;
  if (sttFragmentOffset(bytes, offset) !== 0 || sttFrameLength(bytes, offset) !== end - at) return WRONG_LENGTH;
  const header = checkSttHeader(bytes, at, end - at);
  if (header < 0) return header;
  out[POP_KEY] = sttKey(bytes, at);
  out[POP_KEY_PRESENT] = 1;
  out[POP_PORT] = tcpDestinationPort(bytes, offset);
  out[POP_END] = end;
  out[POP_CHECKSUM] = 1;
  out[POP_EXTENSION] = 0;
  return segment + header;
}

export const stt: Encapsulation = {
  type: 'stt',
  protocol: PROTOCOL_TCP,
  defaultPort: 7471,
  maximumKey: 0xffffffff,
  alwaysChecksum: true,
  overhead: () => STT_SEGMENT_HEADER_LENGTH + STT_HEADER_LENGTH,
  push,
  pop,
  selectors: (port) => portSelectors(PROTOCOL_TCP, port),
};
