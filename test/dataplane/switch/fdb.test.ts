import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fdb, fdbHigh } from '../../../dataplane/switch/fdb.ts';

const AGEING = 300_000;

function table(limit = 64, cells = 64): Fdb {
  const fdb = new Fdb({ cells, bridges: 4 });
  fdb.setBridge(0, AGEING, limit);
  fdb.setBridge(1, AGEING, limit);
  return fdb;
}

describe('the forwarding database', () => {
  it('finds what it learned, by bridge, VLAN and address', () => {
    const fdb = table();
    fdb.learn(0, fdbHigh(5, 0x0200), 0x1234, 7, 1000);
    expect(fdb.lookup(0, fdbHigh(5, 0x0200), 0x1234, 1000)).toBe(7);
    expect(fdb.lookup(1, fdbHigh(5, 0x0200), 0x1234, 1000)).toBe(-1);
    expect(fdb.lookup(0, fdbHigh(0, 0x0200), 0x1234, 1000)).toBe(-1);
    expect(fdb.lookup(0, fdbHigh(5, 0x0201), 0x1234, 1000)).toBe(-1);
    expect(fdb.lookup(0, fdbHigh(5, 0x0200), 0x1235, 1000)).toBe(-1);
  });

  it('follows an address that moves', () => {
    const fdb = table();
    fdb.learn(0, 1, 2, 7, 0);
    fdb.learn(0, 1, 2, 8, 0);
    expect(fdb.lookup(0, 1, 2, 0)).toBe(8);
    expect(fdb.count(0)).toBe(1);
    expect(fdb.counters()).toMatchObject({ learned: 1, moved: 1 });
  });

  it('forgets an address that was not seen for the ageing time, and keeps one that was', () => {
    const fdb = table();
    fdb.learn(0, 1, 2, 7, 0);
    fdb.learn(0, 1, 3, 7, 0);
    fdb.learn(0, 1, 3, 7, 200_000);
    expect(fdb.lookup(0, 1, 2, AGEING)).toBe(7);
    expect(fdb.lookup(0, 1, 2, AGEING + 1)).toBe(-1);
    expect(fdb.lookup(0, 1, 3, AGEING + 1)).toBe(7);
    expect(fdb.sweep(AGEING + 1)).toBe(1);
    expect(fdb.count(0)).toBe(1);
    expect(fdb.counters().expired).toBe(1);
  });

  it('goes on over the wrap of its clock', () => {
    const fdb = table();
    const late = 0x7fffffff;
    fdb.learn(0, 1, 2, 7, late);
    expect(fdb.lookup(0, 1, 2, (late + 1000) | 0)).toBe(7);
    expect(fdb.lookup(0, 1, 2, (late + AGEING + 1) | 0)).toBe(-1);
  });

  it('forgets a port, or a bridge, and nothing else', () => {
    const fdb = table();
    fdb.learn(0, 1, 1, 7, 0);
    fdb.learn(0, 1, 2, 8, 0);
    fdb.learn(1, 1, 1, 9, 0);
    expect(fdb.flushPort(7)).toBe(1);
    expect([fdb.lookup(0, 1, 1, 0), fdb.lookup(0, 1, 2, 0), fdb.lookup(1, 1, 1, 0)]).toEqual([-1, 8, 9]);
    expect(fdb.flushBridge(0)).toBe(1);
    expect([fdb.lookup(0, 1, 2, 0), fdb.lookup(1, 1, 1, 0)]).toEqual([-1, 9]);
    expect(fdb.counters().flushed).toBe(2);
  });

  it('keeps a bridge within its limit, and says what it evicted or refused', () => {
    const fdb = table(10, 64);
    for (let i = 0; i < 1000; i++) fdb.learn(0, 1, i, 7, i);
    expect(fdb.count(0)).toBeLessThanOrEqual(10);
    const { learned, evicted, refused } = fdb.counters();
    expect(learned - evicted).toBe(fdb.count(0));
    expect(learned + refused).toBe(1000);
    expect(refused).toBeGreaterThan(0);
    expect(evicted).toBeGreaterThan(0);
  });

  it('lets no flood of addresses on one bridge displace those of another', () => {
    const fdb = table(1000, 64);
    for (let i = 0; i < 8; i++) fdb.learn(1, 2, i, 9, 0);
    for (let i = 0; i < 5000; i++) fdb.learn(0, 1, i, 7, i % 1000);
    for (let i = 0; i < 8; i++) expect(fdb.lookup(1, 2, i, 1000)).toBe(9);
  });

  it('evicts the oldest of its own entries when its cells are taken', () => {
    const fdb = new Fdb({ cells: 16, bridges: 1 });
    fdb.setBridge(0, AGEING, 16);
    for (let i = 0; i < 16; i++) fdb.learn(0, 1, i, 7, i * 10);
    for (let i = 0; i < 5; i++) {
      fdb.learn(0, 1, 100 + i, 8, 1000);
      expect(fdb.lookup(0, 1, i, 1000)).toBe(-1);
      expect(fdb.lookup(0, 1, i + 1, 1000)).toBe(7);
      expect(fdb.lookup(0, 1, 100 + i, 1000)).toBe(8);
    }
    expect(fdb.count(0)).toBe(16);
  });

  it('is one table for all workers', () => {
    const fdb = table();
    const other = new Fdb(fdb.size, fdb.buffer);
    fdb.learn(0, 1, 2, 7, 0);
    expect(other.lookup(0, 1, 2, 0)).toBe(7);
    other.learn(0, 1, 2, 8, 0);
    expect(fdb.lookup(0, 1, 2, 0)).toBe(8);
  });

  it('takes a cell that somebody is writing for empty, and takes over the lock of a thread that died', () => {
    const fdb = new Fdb({ cells: 16, bridges: 1 });
    fdb.setBridge(0, AGEING, 16);
    fdb.learn(0, 1, 2, 7, 0);
    const words = new Int32Array(fdb.buffer, 0, 16 * 8);
    const cell = Array.from({ length: 16 }, (_, i) => i * 8).find((at) => words[at + 1] !== 0)!;
    words[cell] |= 1;
    expect(fdb.lookup(0, 1, 2, 0)).toBe(-1);
    fdb.learn(0, 1, 2, 8, 0);
    expect(fdb.entries(0)).toEqual([]);
    expect(fdb.flushPort(7)).toBe(1);
    fdb.learn(0, 1, 2, 9, 0);
    expect(fdb.lookup(0, 1, 2, 0)).toBe(9);
  });

  it('lists its entries for fdb/show, by bridge, VLAN and address', () => {
    const fdb = table();
    fdb.learn(1, fdbHigh(0, 0x0200), 0x0a0b0c0d, 4, 1000);
    fdb.learn(0, fdbHigh(20, 0xfe00), 0xf0000001 | 0, 3, 2000);
    fdb.learn(0, fdbHigh(0, 0xfe00), 0x00000001, 3, 500);
    expect(fdb.entries(3000)).toEqual([
      { bridge: 0, port: 3, vlan: 0, mac: 'fe:00:00:00:00:01', ageMs: 2500 },
      { bridge: 0, port: 3, vlan: 20, mac: 'fe:00:f0:00:00:01', ageMs: 1000 },
      { bridge: 1, port: 4, vlan: 0, mac: '02:00:0a:0b:0c:0d', ageMs: 2000 },
    ]);
    expect(fdb.entries(3000, 1)).toHaveLength(1);
  });

  it('does what a map does as long as there is room', () => {
    const step = fc.tuple(fc.nat(1), fc.nat(30), fc.nat(5));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const fdb = table(1024, 1024);
        const model = new Map<string, number>();
        for (const [bridge, address, port] of steps) {
          if (port === 5) {
            fdb.flushPort(address % 5);
            for (const [key, value] of model) if (value === address % 5) model.delete(key);
          } else {
            fdb.learn(bridge, 1, address, port, 0);
            model.set(`${bridge} ${address}`, port);
          }
          for (const [key, value] of model) {
            const [b, a] = key.split(' ').map(Number);
            expect(fdb.lookup(b, 1, a, 0)).toBe(value);
          }
          expect(fdb.count(0) + fdb.count(1)).toBe(model.size);
        }
      }),
      { numRuns: 30 },
    );
  });

  it('refuses sizes that it cannot have', () => {
    expect(() => new Fdb({ cells: 100, bridges: 1 })).toThrow(/power of two/);
    expect(() => new Fdb({ cells: 64, bridges: 1 }, new SharedArrayBuffer(8))).toThrow(/expected a buffer of/);
    expect(() => table().setBridge(4, 1, 1)).toThrow(/bridge id: expected 0 to 3, got 4/);
  });
});
