/**
 * Classic BPF programs for the uplink's raw sockets (linux/filter.h). A raw IPv4 socket's filter sees the packet
 * from its IP header on, a raw IPv6 socket's what follows the headers; there the header is behind SKF_NET_OFF. Every raw socket of a protocol gets every packet, so each worker's filter
 * takes its own and no others; together they take all.
 */

import type { BpfInstruction } from '../../native-shims/types.ts';
import type { Family } from '../address-pairs.ts';

const LD_W_ABS = 0x20;
const LD_H_ABS = 0x28;
const LD_W_IND = 0x40;
const LD_H_IND = 0x48;
const LDX_MSH = 0xb1;
const LDX_IMM = 0x01;
const LDX_MEM = 0x61;
const ST = 0x02;
const ALU_AND_K = 0x54;
const ALU_RSH_K = 0x74;
const ALU_MOD_K = 0x94;
const ALU_XOR_X = 0xac;
const ALU_ADD_K = 0x04;
const LD_LENGTH = 0x80;
const RET_A = 0x16;
const TAX = 0x07;
const JEQ_K = 0x15;
const JGE_K = 0x35;
const JSET_K = 0x45;
const RET_K = 0x06;

/** The whole packet: more than any IPv4 packet has. */
const ACCEPT = 0x40000;

const op = (code: number, k: number, jt = 0, jf = 0): BpfInstruction => ({ code, jt, jf, k });

/** Offsets in the IPv4 header. */
const IP_FRAGMENT = 6;
const IP_SOURCE = 12;
const IP_DESTINATION = 16;
const FRAGMENT_OFFSET_MASK = 0x1fff;
/** Offsets of the last words of both addresses in the IPv6 header, seen from SKF_NET_OFF (-0x100000). */
const IPV6_SOURCE_END = 0xfff00000 + 20;
const IPV6_DESTINATION_END = 0xfff00000 + 36;

/** Takes nothing: for sockets that only send or only hold a port. */
export const DROP_ALL: readonly BpfInstruction[] = [op(RET_K, 0)];

/** Points X behind the IP header, so that offset 0 of LD_*_IND is the packet that it carries. */
function behindHeader(family: Family): BpfInstruction {
  return family === 4 ? op(LDX_MSH, 0) : op(LDX_IMM, 0);
}

/** Takes ESP whose SPI names this worker; worker 0 also takes the SPIs that name nobody, to count them. */
export function espFilter(worker: number, workers: number, family: Family = 4): readonly BpfInstruction[] {
  const spiWorker = [behindHeader(family), op(LD_W_IND, 0), op(ALU_RSH_K, 26)];
  if (worker !== 0) return [...spiWorker, op(JEQ_K, worker, 0, 1), op(RET_K, ACCEPT), op(RET_K, 0)];
  return [
    ...spiWorker,
    op(JEQ_K, 0, 2, 0), // ours
    op(JGE_K, workers, 1, 0), // nobody's
    op(RET_K, 0),
    op(RET_K, ACCEPT),
  ];
}

const NAT_TRAVERSAL_PORT = 4500;
const SPI_LENGTH = 4;
/** UDP header and SPI. */
const UDP_AND_SPI = 12;

/**
 * Takes ESP in UDP to port 4500 (RFC 3948) whose SPI names this worker, and no IKE, which has zeros in its place. Worker 0
 * also takes SPIs that name nobody, and datagrams too short for one, keepalives for instance.
 */
export function espInUdpFilter(worker: number, workers: number, family: Family): readonly BpfInstruction[] {
  const steer =
    worker === 0
      ? [
          op(LD_H_IND, 4),
          op(JGE_K, UDP_AND_SPI, 0, 6), // too short: accept
          op(LD_W_IND, 8),
          op(JEQ_K, 0, 5, 0), // IKE: drop
          op(ALU_RSH_K, 26),
          op(JEQ_K, 0, 2, 0), // ours
          op(JGE_K, workers, 1, 0), // nobody's
          op(RET_K, 0),
          op(RET_K, ACCEPT),
          op(RET_K, 0),
        ]
      : [op(LD_W_IND, 8), op(ALU_RSH_K, 26), op(JEQ_K, worker, 0, 1), op(RET_K, ACCEPT), op(RET_K, 0)];
  return [
    ...refuseFragments(family),
    behindHeader(family),
    op(LD_H_IND, 2),
    op(JEQ_K, NAT_TRAVERSAL_PORT, 1, 0),
    op(RET_K, 0),
    ...steer,
  ];
}

/**
 * For SO_ATTACH_REUSEPORT_CBPF: which of the sockets of port 4500 gets a datagram, of what stands behind the UDP header.
 * 0 is IKE's, 1 + n that of worker n; worker 0 also gets SPIs that name nobody, and what is too short for one.
 */
export function portShare(workers: number): readonly BpfInstruction[] {
  return [
    op(LD_LENGTH, 0),
    op(JGE_K, SPI_LENGTH, 0, 6), // too short: worker 0
    op(LD_W_ABS, 0),
    op(JEQ_K, 0, 5, 0), // IKE
    op(ALU_RSH_K, 26),
    op(JGE_K, workers, 2, 0), // nobody's
    op(ALU_ADD_K, 1),
    op(RET_A, 0),
    op(RET_K, 1),
    op(RET_K, 0),
  ];
}

/** Takes IKE on port 4500 and nothing else, of what a UDP socket's filter sees: the UDP header first. */
export const IKE_IN_UDP: readonly BpfInstruction[] = [
  op(LD_W_ABS, 8),
  op(JEQ_K, 0, 0, 1),
  op(RET_K, ACCEPT),
  op(RET_K, 0),
];

/** Leaves hash(source, destination) mod workers in A, then takes the packet if that is `worker`. */
function addressShare(worker: number, workers: number, family: Family): readonly BpfInstruction[] {
  if (workers <= 1) return [op(RET_K, ACCEPT)];
  return [
    op(LD_W_ABS, family === 4 ? IP_SOURCE : IPV6_SOURCE_END),
    op(TAX, 0),
    op(LD_W_ABS, family === 4 ? IP_DESTINATION : IPV6_DESTINATION_END),
    op(ALU_XOR_X, 0),
    op(ST, 0),
    op(ALU_RSH_K, 16),
    op(LDX_MEM, 0),
    op(ALU_XOR_X, 0),
    op(ALU_AND_K, 0xffff),
    op(ALU_MOD_K, workers),
    op(JEQ_K, worker, 0, 1),
    op(RET_K, ACCEPT),
    op(RET_K, 0),
  ];
}

/** Takes this worker's share of plaintext GRE. */
export function greFilter(worker: number, workers: number, family: Family = 4): readonly BpfInstruction[] {
  return addressShare(worker, workers, family);
}

/** Ports that one filter can name: jumps reach 255 instructions. */
export const MAX_FILTER_PORTS = 200;

/** A later fragment has no ports; raw IPv6 sockets never see one. */
function refuseFragments(family: Family): readonly BpfInstruction[] {
  if (family === 6) return [];
  return [op(LD_H_ABS, IP_FRAGMENT), op(JSET_K, FRAGMENT_OFFSET_MASK, 0, 1), op(RET_K, 0)];
}

/** Takes this worker's share of UDP or TCP, which have their ports in one place, to one of the tunnel ports; at most MAX_FILTER_PORTS. */
export function portFilter(
  ports: readonly number[],
  worker: number,
  workers: number,
  family: Family = 4,
): readonly BpfInstruction[] {
  if (ports.length === 0) return DROP_ALL;
  if (ports.length > MAX_FILTER_PORTS)
    throw new RangeError(`${ports.length} different tunnel ports, expected at most ${MAX_FILTER_PORTS}`);
  return [
    ...refuseFragments(family),
    behindHeader(family),
    op(LD_H_IND, 2),
    ...ports.map((port, index) => op(JEQ_K, port, ports.length - index, 0)),
    op(RET_K, 0),
    ...addressShare(worker, workers, family),
  ];
}

/** Takes ICMP "fragmentation needed" (RFC 1191), or ICMPv6 "packet too big" (RFC 4443 §3.2). */
export function tooBigFilter(family: Family): readonly BpfInstruction[] {
  const typeAndCode = family === 4 ? 0x0304 : 0x0200;
  return [behindHeader(family), op(LD_H_IND, 0), op(JEQ_K, typeAndCode, 0, 1), op(RET_K, ACCEPT), op(RET_K, 0)];
}
