/**
 * A batch: the packets that a worker handles together, as a struct of typed arrays over one arena.
 *
 * Row i of the batch is element i of every column. A stage walks rows 0 to count-1, passes over those whose
 * `verdict` is not 0, and either moves `offset`/`length` (pushing or popping a header) or writes a drop reason
 * (drops.ts) into `verdict`. Rows are never removed, so a row keeps its number from one end of the path to the
 * other. What goes to one native call is collected in a dense list: AeadList for seal and open, FrameList for
 * writing, sending and checksums; their `row` column leads back. Nothing here allocates after construction.
 */

import type { AeadColumns, FrameColumns } from '../native-shims/types.ts';

/** Bytes free in front of a packet as it is read: the largest header stack is 332 (design.md). */
export const HEADROOM = 384;
/** Bytes free behind the largest packet: ESP padding (at most 3), trailer (2) and ICV (16). */
export const TAILROOM = 32;

/** Length of an Ethernet header without tags: the shortest frame there is here. */
export const ETHERNET_HEADER = 14;

/** Verdicts below 0 are no drops: stages pass over the row, and nothing is counted. */
/** The packet has left the batch: it was sent, answered, or kept until the rest of its frame comes. */
export const GONE = -1;
/** The frame waits until there are free rows for its segments (stt/outbound.ts). */
export const LATER = -2;

export class Batch implements FrameColumns {
  /** All packet bytes of the worker. `view` is over the same bytes. */
  readonly arena: Uint8Array;
  readonly view: DataView;
  /** Rows that the columns have. */
  readonly capacity: number;
  /** Rows in use. */
  count = 0;

  /** Start of the packet in the arena and its length: headers are pushed by lowering offset. */
  readonly offset: Int32Array;
  readonly length: Int32Array;
  /** 0: goes on; above 0 the number of a drop reason; GONE or LATER. */
  readonly verdict: Int32Array;

  /** Payload bytes of each segment of a frame that is to be cut (offload/segment.ts); 0: the frame is a whole one. */
  readonly gso: Int32Array;

  /** Port the packet came in through, and the one it leaves through; -1 is none. */
  readonly port: Int32Array;
  readonly output: Int32Array;
  readonly bridge: Int32Array;
  /** VLAN that the frame is in, 0 of one without: what the switch found, and kept when its tag changes. */
  readonly vlan: Int32Array;
  /** Index of the tunnel in the tunnel table, id of its protection, slot of the SA used; -1 is none. */
  readonly tunnel: Int32Array;
  readonly protection: Int32Array;
  readonly sa: Int32Array;
  /** Firewall mark (SO_MARK) of a packet that leaves. Compared as unsigned 32 bits. */
  readonly mark: Int32Array;
  /** Hash of the inner addresses and ports; gives the UDP source port of a tunnel packet. */
  readonly flowHash: Int32Array;

  /**
   * The outer IP header, as parsed or to be written: its addresses (an id of address-pairs.ts, -1 is a pair that nobody
   * has asked for), their part of the pseudo-header's sum, the protocol of what stands at `offset`, and the DSCP/ECN byte.
   */
  readonly pair: Int32Array;
  readonly addressSum: Int32Array;
  readonly protocol: Int32Array;
  readonly tos: Int32Array;
  /** TTL or hop limit of the outer header to be written. */
  readonly ttl: Int32Array;
  /** Where the outer IP header of a received packet begins. */
  readonly outer: Int32Array;
  /** The peer's UDP port of ESP in UDP, 0 of a packet that came in without. */
  readonly udpPort: Int32Array;

  /** Key or VNI of a decapsulated packet, and 1 in keyPresent where the header carried one. */
  readonly tunnelKey: Int32Array;
  readonly keyPresent: Int32Array;
  /** Type of the decapsulated packet, a number of TUNNEL_TYPES, and its UDP destination port (0 for GRE). */
  readonly tunnelType: Int32Array;
  readonly tunnelPort: Int32Array;

  /** Sequence number of the row's ESP packet, low and high 32 bits. */
  readonly sequenceLow: Int32Array;
  readonly sequenceHigh: Int32Array;

  constructor(arena: Uint8Array, capacity: number) {
    this.arena = arena;
    this.view = new DataView(arena.buffer, arena.byteOffset, arena.byteLength);
    this.capacity = capacity;
    this.offset = new Int32Array(capacity);
    this.length = new Int32Array(capacity);
    this.verdict = new Int32Array(capacity);
    this.gso = new Int32Array(capacity);
    this.port = new Int32Array(capacity);
    this.output = new Int32Array(capacity);
    this.bridge = new Int32Array(capacity);
    this.vlan = new Int32Array(capacity);
    this.tunnel = new Int32Array(capacity);
    this.protection = new Int32Array(capacity);
    this.sa = new Int32Array(capacity);
    this.mark = new Int32Array(capacity);
    this.flowHash = new Int32Array(capacity);
    this.pair = new Int32Array(capacity);
    this.addressSum = new Int32Array(capacity);
    this.protocol = new Int32Array(capacity);
    this.tos = new Int32Array(capacity);
    this.ttl = new Int32Array(capacity);
    this.outer = new Int32Array(capacity);
    this.udpPort = new Int32Array(capacity);
    this.tunnelKey = new Int32Array(capacity);
    this.keyPresent = new Int32Array(capacity);
    this.tunnelType = new Int32Array(capacity);
    this.tunnelPort = new Int32Array(capacity);
    this.sequenceLow = new Int32Array(capacity);
    this.sequenceHigh = new Int32Array(capacity);
  }

  /** What a tunnel packet's row says of its way out, for another packet of the same frame in row `to`. */
  copyColumns(from: number, to: number): void {
    this.verdict[to] = this.verdict[from];
    this.port[to] = this.port[from];
    this.output[to] = this.output[from];
    this.bridge[to] = this.bridge[from];
    this.tunnel[to] = this.tunnel[from];
    this.protection[to] = this.protection[from];
    this.sa[to] = this.sa[from];
    this.mark[to] = this.mark[from];
    this.flowHash[to] = this.flowHash[from];
    this.pair[to] = this.pair[from];
    this.addressSum[to] = this.addressSum[from];
    this.protocol[to] = this.protocol[from];
    this.tos[to] = this.tos[from];
    this.ttl[to] = this.ttl[from];
  }
}

/** The numbers in the `tunnelType` column. */
export const TUNNEL_TYPES = ['gre', 'geneve', 'vxlan', 'stt'] as const;

/**
 * Rows of one seal or open call, without gaps: entry j belongs to batch row `row[j]`. The columns are those of
 * native-shims AeadColumns; `key` is what the AEAD backend's prepare call gave for the SA.
 */
export class AeadList implements AeadColumns {
  readonly arena: Uint8Array;
  readonly capacity: number;
  count = 0;
  readonly row: Int32Array;
  readonly key: Int32Array;
  readonly aadOffset: Int32Array;
  readonly aadLength: Int32Array;
  readonly ivOffset: Int32Array;
  readonly textOffset: Int32Array;
  readonly textLength: Int32Array;
  readonly result: Int32Array;
  /**
   * Where the additional data of entry j may be built when they are not contiguous in the packet (ESN puts
   * the high half between SPI and sequence number, RFC 4106 §5): 16 bytes of the arena at scratchOffset[j].
   */
  readonly scratchOffset: Int32Array;

  /** `scratch`: arena offset of a region of 16 * capacity bytes that no packet uses. */
  constructor(arena: Uint8Array, capacity: number, scratch: number) {
    this.arena = arena;
    this.capacity = capacity;
    this.row = new Int32Array(capacity);
    this.key = new Int32Array(capacity);
    this.aadOffset = new Int32Array(capacity);
    this.aadLength = new Int32Array(capacity);
    this.ivOffset = new Int32Array(capacity);
    this.textOffset = new Int32Array(capacity);
    this.textLength = new Int32Array(capacity);
    this.result = new Int32Array(capacity);
    this.scratchOffset = new Int32Array(capacity);
    for (let j = 0; j < capacity; j++) this.scratchOffset[j] = scratch + 16 * j;
  }
}

/** Rows of one write, send or checksum call, without gaps: entry j belongs to batch row `row[j]`. */
export class FrameList implements FrameColumns {
  readonly arena: Uint8Array;
  readonly capacity: number;
  count = 0;
  readonly row: Int32Array;
  readonly offset: Int32Array;
  readonly length: Int32Array;
  /** Index of the destination in a table of socket addresses; -1 is none (AF_PACKET, TAP). */
  readonly toIndex: Int32Array;
  /** errno of a refused entry, 0 where it went out. */
  readonly errors: Int32Array;
  /** Initial and resulting sums of native checksumBatch. */
  readonly sum: Int32Array;
  /** Entries that are written as one frame, where this one is the first. */
  readonly group: Int32Array;
  /** 1: other lists have these bytes too, so nobody may change them. */
  readonly shared: Int32Array;

  constructor(arena: Uint8Array, capacity: number) {
    this.arena = arena;
    this.capacity = capacity;
    this.row = new Int32Array(capacity);
    this.offset = new Int32Array(capacity);
    this.length = new Int32Array(capacity);
    this.toIndex = new Int32Array(capacity).fill(-1);
    this.errors = new Int32Array(capacity);
    this.sum = new Int32Array(capacity);
    this.group = new Int32Array(capacity).fill(1);
    this.shared = new Int32Array(capacity);
  }

  /** Appends a range of the arena that belongs to batch row `row`. The caller has seen to it that there is room. */
  add(row: number, offset: number, length: number): void {
    const j = this.count++;
    this.row[j] = row;
    this.offset[j] = offset;
    this.length[j] = length;
  }
}
