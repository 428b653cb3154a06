/**
 * Our inbound SPIs, and who handles a packet that comes in: an SPI names its worker and its slot.
 *
 *     bits 31..26 worker | 25..16 generation, never 0 | 15..0 slot
 *
 * So finding the SA is an array access, and a classic BPF program hands each worker its packets. The generation is
 * random and a slot rests before it is used again, so that a late packet for a removed SA does not meet its successor.
 * A generation other than 0 also keeps clear of the reserved SPIs 0 to 255 (RFC 4303 §2.1).
 */

export const MAX_WORKERS = 64;
const WORKER_SHIFT = 26;
const GENERATION_SHIFT = 16;
const GENERATION_MASK = 0x3ff;
export const SLOT_MASK = 0xffff;

export function workerOfSpi(spi: number): number {
  return spi >>> WORKER_SHIFT;
}

export function slotOfSpi(spi: number): number {
  return spi & SLOT_MASK;
}

/** An SPI as unsigned 32-bit number. */
export function makeSpi(worker: number, generation: number, slot: number): number {
  return ((worker << WORKER_SHIFT) | (generation << GENERATION_SHIFT) | slot) >>> 0;
}

export interface SpiAllocatorOptions {
  readonly workers: number;
  /** Number of slots, at most 65536. */
  readonly slots: number;
  /** Random bytes (cryptographic). */
  random(bytes: number): Uint8Array;
  /** Milliseconds of a monotonic clock. */
  now(): number;
  /** How long a released slot rests. */
  readonly quarantineMs?: number;
}

/** Longer than any packet of a removed SA may still be under way (RFC 793's maximum segment lifetime). */
export const QUARANTINE_MS = 120_000;

export class SpiAllocator {
  private readonly options: SpiAllocatorOptions;
  private readonly quarantineMs: number;
  private readonly spiOfSlot: Uint32Array;
  /** Slots never used yet begin here. */
  private fresh = 0;
  /** Until when each released slot rests; -1: it does not. */
  private readonly restsUntil: Float64Array;
  /** Resting slots in the order of their release, a ring: none is in it twice. */
  private readonly resting: Int32Array;
  private oldest = 0;
  private restingCount = 0;
  private nextWorker = 0;

  constructor(options: SpiAllocatorOptions) {
    this.options = options;
    this.quarantineMs = options.quarantineMs ?? QUARANTINE_MS;
    this.spiOfSlot = new Uint32Array(options.slots);
    this.restsUntil = new Float64Array(options.slots).fill(-1);
    this.resting = new Int32Array(options.slots);
  }

  /** A fresh SPI of this worker, or else of workers in turn. Throws when every slot is in use or resting. */
  allocate(of?: number): number {
    const slot = this.freeSlot();
    const workers = Math.max(1, this.options.workers);
    const worker = of === undefined ? this.nextWorker : of % workers;
    if (of === undefined) this.nextWorker = (worker + 1) % workers;
    const spi = makeSpi(worker, this.generation(this.spiOfSlot[slot]!), slot);
    this.spiOfSlot[slot] = spi;
    return spi;
  }

  /** Takes an SPI that a process before ours had allocated. False: it is of a worker or slot that is not there, or in use. */
  adopt(spi: number): boolean {
    const slot = slotOfSpi(spi);
    if (workerOfSpi(spi) >= Math.max(1, this.options.workers) || slot >= this.spiOfSlot.length) return false;
    if (this.spiOfSlot[slot] !== 0) return false;
    this.spiOfSlot[slot] = spi;
    return true;
  }

  /** Gives an SPI back. One that is not allocated is left alone. */
  release(spi: number): void {
    const slot = slotOfSpi(spi);
    if (slot >= this.spiOfSlot.length || this.spiOfSlot[slot] !== spi) return;
    if (this.isResting(slot)) return;
    this.restsUntil[slot] = this.options.now() + this.quarantineMs;
    this.resting[(this.oldest + this.restingCount) % this.resting.length] = slot;
    this.restingCount++;
  }

  /** Whether the SPI is allocated and not released. */
  holds(spi: number): boolean {
    const slot = slotOfSpi(spi);
    return this.spiOfSlot[slot] === spi && !this.isResting(slot);
  }

  private isResting(slot: number): boolean {
    return this.restsUntil[slot]! >= 0;
  }

  private freeSlot(): number {
    const oldest = this.resting[this.oldest]!;
    if (this.restingCount > 0 && this.restsUntil[oldest]! <= this.options.now()) {
      this.oldest = (this.oldest + 1) % this.resting.length;
      this.restingCount--;
      this.restsUntil[oldest] = -1;
      return oldest;
    }
    while (this.fresh < this.spiOfSlot.length) {
      const slot = this.fresh++;
      if (this.spiOfSlot[slot] === 0) return slot;
    }
    throw new Error(
      `no free SPI: all ${this.spiOfSlot.length} slots are in use or resting for ${this.quarantineMs} ms; remove tunnels or wait`,
    );
  }

  /** Never 0 and never that of the slot's last SPI. */
  private generation(last: number): number {
    const previous = (last >>> GENERATION_SHIFT) & GENERATION_MASK;
    for (;;) {
      const bytes = this.options.random(2);
      const generation = ((bytes[0]! << 8) | bytes[1]!) & GENERATION_MASK;
      if (generation !== 0 && generation !== previous) return generation;
    }
  }
}
