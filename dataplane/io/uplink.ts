/**
 * The uplink: whole IP packets out and in, tunnels' own and nothing else.
 *
 * Two halves. The backend lives on the main thread, opens what tunnels need and closes what they no longer
 * need; its descriptors are plain data that a command carries to the workers. The uplink lives in the worker and moves
 * batches. What crosses is always a complete IP packet that begins with its header, IPv4 or IPv6; of an
 * IPv4 header the kernel fills in the checksum and, where it is 0, the id.
 */

import type { FrameColumns } from '../../native-shims/types.ts';
import type { Family } from '../address-pairs.ts';
import type { FrameList } from '../batch.ts';
import type { DirectSockets } from './direct-sender.ts';

export const IP_PROTOCOL = { tcp: 6, udp: 17, gre: 47, esp: 50, raw: 255 } as const;

/** errno numbers of Linux that the engine tells apart. */
export const ERRNO = {
  EPERM: 1,
  EAGAIN: 11,
  EINVAL: 22,
  EMSGSIZE: 90,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ENOBUFS: 105,
  EHOSTUNREACH: 113,
} as const;

/** What the tunnels over one address family need. */
export interface FamilyDemand {
  readonly esp: boolean;
  /** ESP in UDP to port 4500 can come in (RFC 3948). */
  readonly espInUdp: boolean;
  /** Plaintext GRE can come in. */
  readonly gre: boolean;
  /** UDP ports on which plaintext tunnel packets can come in, ascending. */
  readonly udpPorts: readonly number[];
  /** TCP ports on which plaintext STT can come in, ascending. */
  readonly tcpPorts: readonly number[];
}

/** What the tunnels of the moment need. ESP over IPv4 is always received. */
export interface UplinkDemand {
  readonly ipv4: FamilyDemand;
  /** Undefined: no tunnel goes over IPv6, and nothing of it is opened, so a host without IPv6 does as well. */
  readonly ipv6: FamilyDemand | undefined;
  /** Firewall marks that packets leave with, as unsigned numbers; 0 is always there. */
  readonly marks: readonly number[];
}

/** Descriptors of one worker. */
export interface UplinkDescriptors {
  /** `protocol` is that of the raw socket. */
  readonly receive: readonly { readonly family: Family; readonly protocol: number; readonly fd: number }[];
  readonly send: readonly { readonly family: Family; readonly mark: number; readonly fd: number }[];
  /** UDP sockets of port 4500, in place of a raw one that receives ESP in UDP. */
  readonly espInUdp: readonly { readonly family: Family; readonly fd: number }[];
  /** ESP may leave past the IP stack; the same descriptors as long as the backend is open. */
  readonly direct?: DirectSockets;
}

export const NO_DESCRIPTORS: UplinkDescriptors = { receive: [], send: [], espInUdp: [] };

/** Main thread. */
export interface UplinkBackend {
  /** Opens what the demand lacks and returns what each worker is to use. Throws one clear line when it can't. */
  open(demand: UplinkDemand): readonly UplinkDescriptors[];
  /** Closes what the last open() replaced; called when every worker has taken the new descriptors. */
  settle(): void;
  /** The worker's half; only for backends that need the main thread (`workers` 0). */
  uplink?(): Uplink;
  close(): void;
}

/** Packet worker. No method throws for a packet, blocks, or allocates. */
export interface Uplink {
  /** Something was received that receive() has not handed out yet, and that no poll will tell of. */
  readonly holdsMore?: boolean;
  /** Descriptors to poll; empty where `watch` is the only way. */
  descriptors(): readonly number[];
  /** Takes over new descriptors. */
  use(descriptors: UplinkDescriptors): void;
  /**
   * Receives into rows first..first+count-1 of `columns`, each up to `capacity` bytes at offset[i], and sets length[i]; -1: it
   * was longer, and its beginning stands in the slot. Returns rows filled.
   */
  receive(columns: FrameColumns, first: number, count: number, capacity: number): number;
  /**
   * Sends all entries with this mark. errors[j] is 0 or the errno; what a full queue did not take has EAGAIN.
   * toIndex is not used: the destination stands in the IP header.
   */
  send(list: FrameList, mark: number): void;
  /** Calls back on this thread when something arrives, not for what had arrived before; returns a function that stops it. */
  watch(callback: () => void): () => void;
}
