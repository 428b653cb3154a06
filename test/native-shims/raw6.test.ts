import { describe, expect, it } from 'vitest';
import { writeIpv6 } from '../../dataplane/wire/ipv6.ts';
import { ADDRESS_SLOT, loadNative } from '../../native-shims/index.ts';

const native = loadNative();
const ESP = 50;
const RAW = 255;
const LOOPBACK = Int32Array.of(0, 0, 0, 1);
const SLOT = 256;

function hasIpv6(): boolean {
  try {
    native.close(native.openRawSocket({ family: 6, protocol: ESP }));
    return true;
  } catch {
    return false;
  }
}
const why = process.getuid?.() !== 0 ? ' (skipped: needs root)' : hasIpv6() ? '' : ' (skipped: no IPv6 here)';

function columns(rows: number) {
  const offset = Int32Array.from({ length: rows }, (_, i) => i * SLOT);
  return { arena: new Uint8Array(rows * SLOT), offset, length: new Int32Array(rows) };
}

function packet(payload: readonly number[], trafficClass: number, hops: number): Uint8Array {
  const bytes = new Uint8Array(40 + payload.length);
  writeIpv6(bytes, 0, payload.length, trafficClass, hops, ESP, LOOPBACK, 0, 0);
  bytes.set(payload, 40);
  return bytes;
}

describe.skipIf(why !== '')(`raw IPv6 sockets${why}`, () => {
  it('hand up packets with the header that they had, cut ones as such, and a batch at a time', () => {
    const receiver = native.openRawSocket({ family: 6, protocol: ESP });
    const sender = native.openRawSocket({ family: 6, protocol: RAW, headerIncluded: true });
    try {
      native.reportHeaders6(receiver);
      const sent = [packet([1, 2, 3, 4, 5], 0xb9, 7), packet([], 0, 255), packet(new Array<number>(90).fill(9), 3, 64)];
      const out = columns(3);
      sent.forEach((bytes, row) => {
        out.arena.set(bytes, out.offset[row]);
        out.length[row] = bytes.length;
      });
      const to = new Uint8Array(ADDRESS_SLOT);
      to[0] = 10;
      to[23] = 1;
      const errors = new Int32Array(3).fill(-1);
      expect(native.sendBatch(sender, out, 0, 3, to, new Int32Array(3), errors)).toBe(3);
      expect([...errors]).toEqual([0, 0, 0]);
      const got = columns(4);
      // Loopback delivers before send returns.
      expect(native.poll(Int32Array.of(receiver), new Int32Array(1), 1, 5000)).toBe(1);
      expect(native.receiveBatch6(receiver, ESP, got, 0, 4, 100)).toBe(3);
      expect([...got.length]).toEqual([45, 40, -1, 0]);
      expect(got.arena.slice(0, 45)).toEqual(sent[0]);
      expect(got.arena.slice(SLOT, SLOT + 40)).toEqual(sent[1]);
      expect(native.receiveBatch6(receiver, ESP, got, 0, 4, 100)).toBe(0);
    } finally {
      native.close(receiver);
      native.close(sender);
    }
  });

  it('refuse rows outside the arena, and room for less than a header', () => {
    const receiver = native.openRawSocket({ family: 6, protocol: ESP });
    try {
      expect(() => native.receiveBatch6(receiver, ESP, columns(2), 0, 2, SLOT + 1)).toThrow(RangeError);
      expect(() => native.receiveBatch6(receiver, ESP, columns(2), 1, 2, 100)).toThrow(RangeError);
      expect(() => native.receiveBatch6(receiver, ESP, columns(2), 0, 2, 39)).toThrow(/capacity/);
      expect(() => native.receiveBatch6(receiver, 256, columns(2), 0, 2, 100)).toThrow(RangeError);
    } finally {
      native.close(receiver);
    }
  });
});

it('what is no IPv6 socket is refused', () => {
  expect(() => native.reportHeaders6(1_000_000)).toThrow(/IPV6_RECV options/);
});
