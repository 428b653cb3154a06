/**
 * The forwarding database of all bridges: which port a MAC address was last seen on (IEEE 802.1Q §8.8), one
 * table in a SharedArrayBuffer that every worker reads and writes.
 *
 * Open addressing, an address lies within PROBES cells of its hash, so a look-up is bounded whatever was learned. A cell
 * has a sequence lock: odd while somebody writes, so a reader that sees it change takes the cell for empty,
 * and the frame is flooded. A writer that finds the lock taken gives up, the next frame will teach the same. Learning is
 * per VLAN, as OVS's. A bridge that is at its limit, or that finds no free cell, displaces its own oldest entry, else is refused.
 * Times are milliseconds of one monotonic clock modulo 2^32, passed in; `sweep` must run more often than every 24 days.
 */

const CELL_WORDS = 8;
const LOCK = 0;
/** Bridge id + 1; 0 is an empty cell. */
const OWNER = 1;
/** VLAN id in the high half, the first 16 bits of the address in the low one. */
const HIGH = 2;
const LOW = 3;
const PORT = 4;
const SEEN = 5;

const BRIDGE_WORDS = 4;
const AGEING = 0;
const LIMIT = 1;
const COUNT = 2;

const PROBES = 16;
/** An entry is younger than this in truth: times are not written for each packet. */
const REFRESH_MS = 1000;
/** Attempts to take a lock before a thread that died with it is assumed. Writers hold it for some ten instructions. */
const PATIENCE = 100_000;

/** Counters, in the order they stand in `counters`. */
export const FDB_COUNTERS = ['learned', 'moved', 'evicted', 'refused', 'expired', 'flushed'] as const;
const LEARNED = 0;
const MOVED = 1;
const EVICTED = 2;
const REFUSED = 3;
const EXPIRED = 4;
const FLUSHED = 5;
const COUNTER_WORDS = 8;

export interface FdbSize {
  /** Cells, a power of two. All bridges share them. */
  readonly cells: number;
  /** Bridge ids are below this. */
  readonly bridges: number;
}

export interface FdbEntry {
  readonly bridge: number;
  readonly port: number;
  readonly vlan: number;
  /** As aa:bb:cc:dd:ee:ff. */
  readonly mac: string;
  readonly ageMs: number;
}

/** The high word of an address in a VLAN, as the functions below take it. */
export function fdbHigh(vlan: number, macHigh: number): number {
  return (vlan << 16) | macHigh;
}

export class Fdb {
  readonly size: FdbSize;
  /** Post this and `size` to a worker, which makes its own Fdb over it. */
  readonly buffer: SharedArrayBuffer;
  private readonly cells: Int32Array;
  private readonly bridges: Int32Array;
  private readonly totals: Int32Array;

  constructor(size: FdbSize, buffer?: SharedArrayBuffer) {
    if (size.cells < PROBES || (size.cells & (size.cells - 1)) !== 0) {
      throw new RangeError(`FDB size: expected a power of two from ${PROBES}, got ${size.cells}`);
    }
    this.size = size;
    const cells = size.cells * CELL_WORDS;
    const bridges = size.bridges * BRIDGE_WORDS;
    const bytes = (cells + bridges + COUNTER_WORDS) * Int32Array.BYTES_PER_ELEMENT;
    this.buffer = buffer ?? new SharedArrayBuffer(bytes);
    if (this.buffer.byteLength !== bytes) {
      throw new RangeError(`FDB: expected a buffer of ${bytes} bytes for this size, got ${this.buffer.byteLength}`);
    }
    this.cells = new Int32Array(this.buffer, 0, cells);
    this.bridges = new Int32Array(this.buffer, cells * 4, bridges);
    this.totals = new Int32Array(this.buffer, (cells + bridges) * 4, COUNTER_WORDS);
  }

  /** Ageing time in ms (to 2^31-1) and how many addresses the bridge may have. Main thread. */
  setBridge(bridge: number, ageingMs: number, limit: number): void {
    if (!Number.isInteger(bridge) || bridge < 0 || bridge >= this.size.bridges) {
      throw new RangeError(`bridge id: expected 0 to ${this.size.bridges - 1}, got ${bridge}`);
    }
    Atomics.store(this.bridges, bridge * BRIDGE_WORDS + AGEING, Math.min(ageingMs, 0x7fffffff));
    Atomics.store(this.bridges, bridge * BRIDGE_WORDS + LIMIT, Math.min(limit, this.size.cells));
  }

  /** Port of an address, or -1. */
  lookup(bridge: number, high: number, low: number, now: number): number {
    const { cells } = this;
    const at = this.find(bridge + 1, high, low);
    if (at < 0) return -1;
    const lock = Atomics.load(cells, at + LOCK);
    const port = Atomics.load(cells, at + PORT);
    const seen = Atomics.load(cells, at + SEEN);
    if ((lock & 1) !== 0 || !this.holds(at, bridge + 1, high, low)) return -1;
    if (Atomics.load(cells, at + LOCK) !== lock) return -1;
    return this.isExpired(bridge, seen, now) ? -1 : port;
  }

  /** Notes that a frame from this address came in through `port`. */
  learn(bridge: number, high: number, low: number, port: number, now: number): void {
    const { cells } = this;
    const owner = bridge + 1;
    const at = this.find(owner, high, low);
    if (at < 0) {
      this.insert(bridge, high, low, port, now);
      return;
    }
    if (Atomics.load(cells, at + PORT) === port) {
      const age = (now - Atomics.load(cells, at + SEEN)) | 0;
      if (age >= REFRESH_MS || age < 0) Atomics.store(cells, at + SEEN, now);
      return;
    }
    if (!this.tryLock(at)) return;
    if (this.holds(at, owner, high, low)) {
      Atomics.store(cells, at + PORT, port);
      Atomics.store(cells, at + SEEN, now);
      this.total(MOVED);
    }
    this.unlock(at);
  }

  /** Removes what has aged. Returns how many entries went. Main thread, every few seconds. */
  sweep(now: number): number {
    let removed = 0;
    for (let at = 0; at < this.cells.length; at += CELL_WORDS) {
      const owner = Atomics.load(this.cells, at + OWNER);
      if (owner === 0 || !this.isExpired(owner - 1, Atomics.load(this.cells, at + SEEN), now)) continue;
      if (!this.tryLock(at)) continue;
      const current = Atomics.load(this.cells, at + OWNER);
      if (current !== 0 && this.isExpired(current - 1, Atomics.load(this.cells, at + SEEN), now)) {
        this.clear(at, current);
        this.total(EXPIRED);
        removed++;
      }
      this.unlock(at);
    }
    return removed;
  }

  /** Forgets everything learned on a port. Returns how many entries went. */
  flushPort(port: number): number {
    return this.flush(PORT, port);
  }

  /** Forgets everything learned on a bridge. */
  flushBridge(bridge: number): number {
    return this.flush(OWNER, bridge + 1);
  }

  /** Addresses that the bridge has, aged ones that no sweep has met yet included. */
  count(bridge: number): number {
    return Atomics.load(this.bridges, bridge * BRIDGE_WORDS + COUNT);
  }

  /** What has happened since the start, by the names of FDB_COUNTERS. */
  counters(): Readonly<Record<(typeof FDB_COUNTERS)[number], number>> {
    const values = FDB_COUNTERS.map((name, index) => [name, Atomics.load(this.totals, index) >>> 0]);
    return Object.fromEntries(values) as Record<(typeof FDB_COUNTERS)[number], number>;
  }

  /** The entries of one bridge, or of all, for fdb/show; sorted by bridge, VLAN and address. */
  entries(now: number, only?: number): FdbEntry[] {
    const found: FdbEntry[] = [];
    for (let at = 0; at < this.cells.length; at += CELL_WORDS) {
      const lock = Atomics.load(this.cells, at + LOCK);
      const words = this.cells.slice(at, at + CELL_WORDS);
      if ((lock & 1) !== 0 || words[OWNER] === 0 || Atomics.load(this.cells, at + LOCK) !== lock) continue;
      const bridge = words[OWNER] - 1;
      if ((only !== undefined && bridge !== only) || this.isExpired(bridge, words[SEEN], now)) continue;
      found.push({
        bridge,
        port: words[PORT],
        vlan: words[HIGH] >>> 16,
        mac: macText(words[HIGH] & 0xffff, words[LOW]),
        ageMs: Math.max(0, (now - words[SEEN]) | 0),
      });
    }
    return found.sort((a, b) => a.bridge - b.bridge || a.vlan - b.vlan || (a.mac < b.mac ? -1 : 1));
  }

  private find(owner: number, high: number, low: number): number {
    const mask = this.size.cells - 1;
    const home = hash(owner, high, low);
    for (let probe = 0; probe < PROBES; probe++) {
      const at = ((home + probe) & mask) * CELL_WORDS;
      if (this.holds(at, owner, high, low)) return at;
    }
    return -1;
  }

  private holds(at: number, owner: number, high: number, low: number): boolean {
    return (
      Atomics.load(this.cells, at + LOW) === low &&
      Atomics.load(this.cells, at + HIGH) === high &&
      Atomics.load(this.cells, at + OWNER) === owner
    );
  }

  private isExpired(bridge: number, seen: number, now: number): boolean {
    return ((now - seen) | 0) > Atomics.load(this.bridges, bridge * BRIDGE_WORDS + AGEING);
  }

  private insert(bridge: number, high: number, low: number, port: number, now: number): void {
    const { cells } = this;
    const at = this.placeFor(bridge, high, low, now);
    if (at < 0) {
      this.total(REFUSED);
      return;
    }
    if (!this.tryLock(at)) return;
    const before = Atomics.load(cells, at + OWNER);
    if (before !== 0) {
      this.total(this.isExpired(before - 1, Atomics.load(cells, at + SEEN), now) ? EXPIRED : EVICTED);
      this.clear(at, before);
    }
    Atomics.store(cells, at + OWNER, bridge + 1);
    Atomics.store(cells, at + HIGH, high);
    Atomics.store(cells, at + LOW, low);
    Atomics.store(cells, at + PORT, port);
    Atomics.store(cells, at + SEEN, now);
    Atomics.add(this.bridges, bridge * BRIDGE_WORDS + COUNT, 1);
    this.total(LEARNED);
    this.unlock(at);
  }

  /** The cell a new address may take: a free or aged one, else the bridge's own oldest; -1 if there is none. */
  private placeFor(bridge: number, high: number, low: number, now: number): number {
    const { cells } = this;
    const mask = this.size.cells - 1;
    const home = hash(bridge + 1, high, low);
    const settings = bridge * BRIDGE_WORDS;
    const full = Atomics.load(this.bridges, settings + COUNT) >= Atomics.load(this.bridges, settings + LIMIT);
    let oldest = -1;
    let oldestAge = -1;
    for (let probe = 0; probe < PROBES; probe++) {
      const at = ((home + probe) & mask) * CELL_WORDS;
      if ((Atomics.load(cells, at + LOCK) & 1) !== 0) continue;
      const owner = Atomics.load(cells, at + OWNER);
      if (owner === 0) {
        if (!full) return at;
        continue;
      }
      const seen = Atomics.load(cells, at + SEEN);
      if (this.isExpired(owner - 1, seen, now) && (!full || owner === bridge + 1)) return at;
      const age = (now - seen) | 0;
      if (owner === bridge + 1 && age > oldestAge) {
        oldest = at;
        oldestAge = age;
      }
    }
    return oldest;
  }

  private flush(field: number, value: number): number {
    let removed = 0;
    for (let at = 0; at < this.cells.length; at += CELL_WORDS) {
      if (Atomics.load(this.cells, at + OWNER) === 0 || Atomics.load(this.cells, at + field) !== value) continue;
      this.lock(at);
      const owner = Atomics.load(this.cells, at + OWNER);
      if (owner !== 0 && Atomics.load(this.cells, at + field) === value) {
        this.clear(at, owner);
        this.total(FLUSHED);
        removed++;
      }
      this.unlock(at);
    }
    return removed;
  }

  private clear(at: number, owner: number): void {
    Atomics.store(this.cells, at + OWNER, 0);
    Atomics.sub(this.bridges, (owner - 1) * BRIDGE_WORDS + COUNT, 1);
  }

  private total(counter: number): void {
    Atomics.add(this.totals, counter, 1);
  }

  private tryLock(at: number): boolean {
    const lock = Atomics.load(this.cells, at + LOCK);
    return (lock & 1) === 0 && Atomics.compareExchange(this.cells, at + LOCK, lock, lock + 1) === lock;
  }

  /** Waits for the lock; takes it over from a thread that must have died with it. Not for the packet path. */
  private lock(at: number): void {
    for (let i = 0; i < PATIENCE; i++) if (this.tryLock(at)) return;
    Atomics.or(this.cells, at + LOCK, 1);
  }

  private unlock(at: number): void {
    Atomics.add(this.cells, at + LOCK, 1);
  }
}

function hash(owner: number, high: number, low: number): number {
  let h = Math.imul(low ^ (low >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12) ^ high, 0x297a2d39);
  h = Math.imul(h ^ (h >>> 15) ^ owner, 0x85ebca6b);
  // An int32: where this is not inlined, V8 puts a larger number on the heap, two for each frame.
  return h ^ (h >>> 13);
}

function macText(high: number, low: number): string {
  const digits = high.toString(16).padStart(4, '0') + (low >>> 0).toString(16).padStart(8, '0');
  return digits.match(/../g)!.join(':');
}
