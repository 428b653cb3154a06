/**
 * Encapsulation: what a tunnel type must state. The table of those there are is encap.ts.
 *
 * A type is one file: its header between the outer IP header and the inner Ethernet frame, its options and its
 * traffic selectors. `push` puts the header in front of the frame, `pop` reads it; the outer IP header is a stage
 * of its own, and comes after ESP. Checksums over the payload are left open by push and pop and done for
 * the whole batch in checksums.ts.
 */

import type { TunnelSettings, TunnelType } from '../commands.ts';

/** What `push` needs to know of a tunnel: its settings as numbers, made once by `encapState`. */
export interface EncapState {
  /** GRE key or VNI as int32; `keyPresent` is false where the header shall have none (GRE only). */
  readonly key: number;
  readonly keyPresent: boolean;
  /** GRE checksum, or that of the outer UDP or TCP header. */
  readonly checksum: boolean;
  /** UDP or TCP destination port; 0 for GRE. */
  readonly port: number;
  /** Bytes that `push` puts in front of a frame. */
  readonly overhead: number;
}

/** Indices of what `pop` writes into its result array. */
export const POP_KEY = 0;
/** 1 if the header carried a key or VNI. */
export const POP_KEY_PRESENT = 1;
/** UDP or TCP destination port; 0 for GRE. */
export const POP_PORT = 2;
/** Where the packet ends: the length that UDP states may be less than what IP carried. */
export const POP_END = 3;
/** 1 if the header carries a checksum: it must be verified over the packet from its start to POP_END. */
export const POP_CHECKSUM = 4;
/** 1 if the header has an extension that a tunnel must have been told to accept (VXLAN group policy). */
export const POP_EXTENSION = 5;
export const POP_RESULTS = 6;

/** The traffic selectors of one child SA, without addresses (as ovs-monitor-ipsec makes them; RFC 7296 §2.9). */
export interface ChildSelectors {
  /** Suffix of the connection's name: '' for the only child, else 'in' or 'out'. */
  readonly suffix: '' | 'in' | 'out';
  readonly protocol: number;
  /** The one port of our end, of the peer's end; undefined is any. */
  readonly localPort: number | undefined;
  readonly remotePort: number | undefined;
}

/** What decides how long a header is. */
export type OverheadSettings = Pick<TunnelSettings, 'type' | 'outKey' | 'checksum'>;

export interface Encapsulation {
  readonly type: TunnelType;
  /** Protocol field of the outer IP header. */
  readonly protocol: number;
  /** UDP or TCP port if options:dst_port is not set; 0 for GRE. */
  readonly defaultPort: number;
  /** Largest key: 2^32-1 for GRE and STT, 2^24-1 for a VNI. */
  readonly maximumKey: number;
  /** Whether it has a checksum even if options:csum asks for none. */
  readonly alwaysChecksum: boolean;
  /** Bytes in front of the frame with these settings, outer IP header not counted. */
  overhead(settings: OverheadSettings): number;
  /**
   * Writes the header in front of the frame of `length` bytes at `offset`; returns the offset of the header.
   * The headroom must be there. A checksum field is left 0.
   */
  push(bytes: Uint8Array, offset: number, length: number, state: EncapState, flowHash: number): number;
  /**
   * Reads the header at `offset` of a packet that ends at `end`. Returns its length and fills `out`
   * (POP_RESULTS numbers), or returns minus a drop reason.
   */
  pop(bytes: Uint8Array, offset: number, end: number, out: Int32Array): number;
  /** The child SAs that protect a tunnel with this port. */
  selectors(port: number): readonly ChildSelectors[];
}
