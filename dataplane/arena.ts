/**
 * The packet arena of one worker: a buffer cut into equal slots, one for each row of a batch.
 *
 * A batch is handled to its end before the next is read, so row i always uses slot i and there is no free
 * list. The first rows receive packets, those behind them take the copies of flooded frames.
 *
 *     slot: | headroom 384 | packet, 4-aligned | tailroom 32 |
 *
 * Behind the slots lie the additional data of the AEAD list, the frames that STT puts together (stt/reassembly.ts), and a
 * region of large slots, for what the kernel hands over in up to 64 KB. A batch is read either into slots or into large
 * slots, one for each readable row; what is cut out of a large frame goes to slots of rows behind. No page takes memory
 * before it is used.
 */

import { AeadList, Batch, HEADROOM, TAILROOM } from './batch.ts';
import { VNET_HEADER_LENGTH } from './offload/vnet-header.ts';
import { STT_MEMORY } from './stt/reassembly.ts';

const CACHE_LINE = 64;
/** Bytes of additional data that an AeadList entry may build outside the packet (12 are needed with ESN). */
const SCRATCH = 16;

export interface ArenaSize {
  /** Rows of the batch: received packets and copies of flooded ones. */
  readonly rows: number;
  /** Rows that one read may fill. */
  readonly reads: number;
  /** Largest packet in bytes, as read from a TAP or an uplink. */
  readonly frameBytes: number;
}

/** Largest frame that a large slot takes: an IP packet of 64 KB behind an Ethernet header with two tags. */
const LARGE_FRAME = 22 + 65535;

/** 64 packets a read, as many copies again and then some, jumbo frames of 9600 bytes. */
export const DEFAULT_ARENA: ArenaSize = { rows: 256, reads: 64, frameBytes: 9600 };

/**
 * Bytes from one slot to the next: an odd number of cache lines, so that the headers of neighbouring slots
 * fall into different cache sets.
 */
export function slotStride(frameBytes: number): number {
  const lines = Math.ceil((HEADROOM + frameBytes + TAILROOM) / CACHE_LINE);
  return (lines | 1) * CACHE_LINE;
}

/** A batch and its AEAD list over a fresh arena. */
export class Arena {
  readonly size: ArenaSize;
  readonly bytes: Uint8Array;
  readonly stride: number;
  readonly batch: Batch;
  readonly aead: AeadList;
  /** Where the large slots begin, and how far each is from the next. */
  private readonly large: number;
  private readonly largeStride = slotStride(LARGE_FRAME);
  /** Where STT_MEMORY bytes begin. */
  readonly reassembly: number;

  /** `hasLarge`: there are large slots. `memory` gives bytes that are 0. */
  constructor(
    size: ArenaSize = DEFAULT_ARENA,
    hasLarge = false,
    memory = (length: number): Uint8Array => new Uint8Array(length),
  ) {
    if (size.reads < 1 || size.rows < size.reads)
      throw new RangeError(`arena of ${size.rows} rows for reads of ${size.reads}: rows must be at least reads`);
    this.size = size;
    this.stride = slotStride(size.frameBytes);
    const slots = this.stride * size.rows;
    this.reassembly = Math.ceil((slots + SCRATCH * size.rows) / CACHE_LINE) * CACHE_LINE;
    this.large = this.reassembly + STT_MEMORY;
    this.bytes = memory(this.large + (hasLarge ? this.largeStride * size.reads : 0));
    this.batch = new Batch(this.bytes, size.rows);
    this.aead = new AeadList(this.bytes, size.rows, slots);
  }

  /** Where a packet read into row i begins. */
  packetStart(row: number): number {
    return row * this.stride + HEADROOM;
  }

  /** Empties the batch and points every readable row at its slot. */
  reset(): void {
    const batch = this.batch;
    const offset = batch.offset;
    for (let i = 0, at = HEADROOM; i < this.size.reads; i++, at += this.stride) offset[i] = at;
    batch.count = 0;
    batch.gso.fill(0, 0, this.size.reads);
    this.aead.count = 0;
  }

  /**
   * Empties the batch and points every readable row to where a frame with a vnet header in front is read: into a large
   * slot, so that the frame itself begins where headroom ends. Returns the bytes that each may have, vnet header included.
   */
  resetLarge(): number {
    const { batch, largeStride } = this;
    const { offset } = batch;
    const first = this.large + HEADROOM - VNET_HEADER_LENGTH;
    for (let i = 0, at = first; i < this.size.reads; i++, at += largeStride) offset[i] = at;
    batch.count = 0;
    this.aead.count = 0;
    return VNET_HEADER_LENGTH + LARGE_FRAME;
  }
}
