import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import {
  ADDRESS_SLOT,
  loadNative,
  type Native,
  type ReceivedSegments,
  type SentSegments,
} from '../../native-shims/index.ts';
import { column, frames, guardedArena, writeIpv4Slot } from './columns.ts';

const native = loadNative();
const LOOPBACK = '127.0.0.1';
const ECONNREFUSED = 111;
const EMSGSIZE = 90;
let opened: number[] = [];

afterEach(() => {
  opened.forEach(native.close);
  opened = [];
});

function keep(fd: number): number {
  opened.push(fd);
  return fd;
}

/** A UDP socket and its port: the first free one. */
function bound(options: Partial<Parameters<Native['openUdpSocket']>[0]>): { fd: number; port: number } {
  for (let port = 40_000 + (process.pid % 10_000); port < 65_536; port++) {
    try {
      return { fd: keep(native.openUdpSocket({ family: 4, address: LOOPBACK, port, ...options })), port };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    }
  }
  throw new Error('no free UDP port');
}

function waitFor(fd: number): void {
  expect(native.poll(Int32Array.of(fd), column(1), 1, 2000)).toBe(1);
}

/** Rows of the given lengths, row i filled with i + 1; each a message of its own to slot 0. */
function sentRows(lengths: readonly number[]): SentSegments {
  const columns = frames(lengths.length, 1500);
  lengths.forEach((length, i) => {
    columns.length[i] = length;
    columns.arena.fill(i + 1, columns.offset[i], columns.offset[i] + length);
  });
  const rows = lengths.length;
  const unset = () => column(rows).fill(-1);
  const toIndex = column(rows);
  return { ...columns, group: column(rows).fill(1), toIndex, tos: unset(), ttl: unset(), errors: column(rows) };
}

function receivedRows(rows: number): ReceivedSegments {
  const slots = () => new Uint8Array(rows * ADDRESS_SLOT).fill(0xee);
  return { ...frames(rows, 65_535), segment: column(rows), tos: column(rows), from: slots(), local: slots() };
}

function slotsTo(port: number, from?: string): { to: Uint8Array; from: Uint8Array } {
  const slots = { to: new Uint8Array(ADDRESS_SLOT), from: new Uint8Array(ADDRESS_SLOT) };
  writeIpv4Slot(slots.to, 0, LOOPBACK, port);
  if (from !== undefined) writeIpv4Slot(slots.from, 0, from, 0);
  return slots;
}

/** Everything that arrives until `bytes` came: [byte value, length] of each datagram, joined ones told apart. */
function receiveAll(
  fd: number,
  bytes: number,
): { datagrams: [number, number][]; rows: number; last: ReceivedSegments } {
  const datagrams: [number, number][] = [];
  const last = receivedRows(8);
  let rows = 0;
  for (let missing = bytes; missing > 0; ) {
    waitFor(fd);
    const got = native.receiveSegments(fd, last, 0, 8, 65_535);
    rows += got;
    for (let row = 0; row < got; row++) {
      const end = last.offset[row] + last.length[row];
      const step = last.segment[row] === 0 ? last.length[row] : last.segment[row];
      for (let at = last.offset[row]; at < end; at += step) datagrams.push([last.arena[at], Math.min(step, end - at)]);
      missing -= last.length[row];
    }
  }
  return { datagrams, rows, last };
}

describe('sendSegments and receiveSegments', () => {
  it('send a group as one message, which arrives joined, with the size of its segments', () => {
    const receiver = bound({ joined: true, receiveTos: true, packetInfo: true });
    const sender = bound({});
    const sent = sentRows([1000, 1000, 1000, 700]);
    sent.group[0] = 4;
    const { to, from } = slotsTo(receiver.port);
    expect(native.sendSegments(sender.fd, sent, 0, 4, to, from)).toBe(4);
    expect([...sent.errors]).toEqual([0, 0, 0, 0]);

    const { datagrams, rows, last } = receiveAll(receiver.fd, 3700);
    expect(datagrams).toEqual([
      [1, 1000],
      [2, 1000],
      [3, 1000],
      [4, 700],
    ]);
    expect(rows).toBe(1);
    expect(last.segment[0]).toBe(1000);
  });

  it('tell where a datagram is from, where to, and its TOS', () => {
    const receiver = bound({ joined: true, receiveTos: true, packetInfo: true, address: '0.0.0.0' });
    const sender = bound({ address: '0.0.0.0' });
    const sent = sentRows([10, 20]);
    sent.tos.set([0xb9, 3]);
    sent.ttl.set([9, -1]);
    const { to, from } = slotsTo(receiver.port, '127.0.0.9');
    expect(native.sendSegments(sender.fd, sent, 0, 2, to, from)).toBe(2);
    const { datagrams, last } = receiveAll(receiver.fd, 30);
    expect(datagrams).toEqual([
      [1, 10],
      [2, 20],
    ]);
    expect([...last.tos.slice(0, 2)]).toEqual([0xb9, 3]);
    expect([...last.segment.slice(0, 2)]).toEqual([0, 0]);
    const expected = slotsTo(sender.port, '127.0.0.1');
    writeIpv4Slot(expected.to, 0, '127.0.0.9', sender.port);
    for (const row of [0, 1]) {
      const slot = [row * ADDRESS_SLOT, (row + 1) * ADDRESS_SLOT];
      expect(last.from.slice(...slot)).toEqual(expected.to);
      expect(last.local.slice(...slot)).toEqual(expected.from);
    }
  });

  it('work over IPv6, with source address and traffic class', () => {
    const receiver = bound({ family: 6, address: '::', joined: true, receiveTos: true, packetInfo: true });
    const sender = bound({ family: 6, address: '::' });
    const to = new Uint8Array(ADDRESS_SLOT);
    new Uint16Array(to.buffer)[0] = 10;
    to.set([receiver.port >> 8, receiver.port & 255], 2);
    to[23] = 1;
    const sent = sentRows([50, 50, 1]);
    sent.group[0] = 3;
    sent.tos[0] = 0x2e;
    sent.ttl[0] = 3;
    const from = to.slice().fill(0, 2, 4);
    expect(native.sendSegments(sender.fd, sent, 0, 3, to, from)).toBe(3);
    const { datagrams, last } = receiveAll(receiver.fd, 101);
    expect(datagrams).toEqual([
      [1, 50],
      [2, 50],
      [3, 1],
    ]);
    expect(last.tos[0]).toBe(0x2e);
    expect(last.local.slice(0, ADDRESS_SLOT)).toEqual(from);
  });

  it('take any mix of groups and give every datagram as it was sent', () => {
    const receiver = bound({ joined: true, receiveTos: true, receiveBuffer: 4 << 20 });
    const sender = bound({ sendBuffer: 4 << 20 });
    const { to, from } = slotsTo(receiver.port);
    const group = fc.record({
      rows: fc.integer({ min: 1, max: 40 }),
      length: fc.integer({ min: 1, max: 1472 }),
      last: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    fc.assert(
      fc.property(fc.array(group, { minLength: 1, maxLength: 12 }), (groups) => {
        const lengths = groups.flatMap(({ rows, length, last }) => [
          ...new Array<number>(rows - 1).fill(length),
          Math.max(1, Math.round(last * length)),
        ]);
        const sent = sentRows(lengths);
        let row = 0;
        for (const { rows } of groups) {
          sent.group[row] = rows;
          row += rows;
        }
        expect(native.sendSegments(sender.fd, sent, 0, lengths.length, to, from)).toBe(lengths.length);
        expect(sent.errors.every((errno) => errno === 0)).toBe(true);
        const total = lengths.reduce((sum, length) => sum + length, 0);
        const { datagrams } = receiveAll(receiver.fd, total);
        expect(datagrams).toEqual(lengths.map((length, i) => [(i + 1) & 255, length]));
      }),
      { numRuns: 50 },
    );
  });

  it('report the errno of a refused message in each of its rows and go on behind it', () => {
    const receiver = bound({ joined: true, receiveTos: true });
    const sender = bound({});
    const sent = sentRows([1472, 1472, 8]);
    sent.group.set([2, 0, 1]);
    const { to, from } = slotsTo(receiver.port);
    // More than a UDP datagram holds, in two rows.
    const huge = { ...sent, length: Int32Array.of(40_000, 40_000, 8), arena: new Uint8Array(90_000) };
    huge.offset.set([0, 40_000, 80_000]);
    expect(native.sendSegments(sender.fd, huge, 0, 3, to, from)).toBe(3);
    expect([...huge.errors]).toEqual([EMSGSIZE, EMSGSIZE, 0]);
    expect(receiveAll(receiver.fd, 8).datagrams).toEqual([[0, 8]]);
  });

  it('pass over an ICMP error that an earlier message has caused', () => {
    const nobody = bound({});
    const sender = bound({ joined: true, receiveTos: true });
    const { to, from } = slotsTo(nobody.port);
    native.close(nobody.fd);
    opened = opened.filter((fd) => fd !== nobody.fd);
    const sent = sentRows([8]);
    expect(native.sendSegments(sender.fd, sent, 0, 1, to, from)).toBe(1);
    expect(native.receiveSegments(sender.fd, receivedRows(1), 0, 1, 65_535)).toBe(0);
    expect([0, ECONNREFUSED]).toContain(sent.errors[0]);
  });

  it.each([
    ['an empty group', [0, 1, 1], [8, 8, 8]],
    ['a group beyond the rows', [4, 1, 1], [8, 8, 8]],
    ['a longer row in a group', [2, 1, 1], [8, 9, 8]],
    ['a shorter row within a group', [3, 1, 1], [8, 7, 8]],
    ['an empty row in a group', [2, 1, 1], [8, 0, 8]],
  ])('%s: RangeError, and nothing is sent', (_, group, lengths) => {
    const receiver = bound({ joined: true, receiveTos: true });
    const sender = bound({});
    const sent = sentRows(lengths);
    sent.group.set(group);
    const { to, from } = slotsTo(receiver.port);
    expect(() => native.sendSegments(sender.fd, sent, 0, 3, to, from)).toThrow(RangeError);
    expect(native.receiveSegments(receiver.fd, receivedRows(1), 0, 1, 65_535)).toBe(0);
  });

  it('more rows in a group than the kernel takes: RangeError', () => {
    const sender = bound({});
    const sent = sentRows(new Array<number>(65).fill(8));
    sent.group[0] = 65;
    const { to, from } = slotsTo(9);
    expect(() => native.sendSegments(sender.fd, sent, 0, 65, to, from)).toThrow('expected 1 to 64 rows');
  });

  it('slots, TOS and TTL that are wrong: RangeError', () => {
    const sender = bound({});
    const { to, from } = slotsTo(9);
    const send = (change: Partial<SentSegments>, fromSlots = from) =>
      native.sendSegments(sender.fd, { ...sentRows([8]), ...change }, 0, 1, to, fromSlots);
    expect(() => send({ toIndex: Int32Array.of(1) })).toThrow('there are 1 address slots');
    expect(() => send({ toIndex: Int32Array.of(-1) })).toThrow('a datagram needs a destination');
    expect(() => send({ tos: Int32Array.of(256) })).toThrow('TOS 256');
    expect(() => send({ ttl: Int32Array.of(-2) })).toThrow('TTL -2');
    expect(() => send({}, new Uint8Array(27))).toThrow('from has 0 address slots, to has 1');
    const received = receivedRows(2);
    expect(() => native.receiveSegments(sender.fd, { ...received, local: new Uint8Array(55) }, 0, 2, 10)).toThrow(
      'local has 1 address slots',
    );
    expect(() => native.receiveSegments(sender.fd, received, 1, 1, 65_536)).toThrow(RangeError);
  });
});

describe('writeGroups', () => {
  const ROWS = 6;
  const place = fc.integer({ min: -2, max: 80 });
  const places = fc.array(place, { minLength: ROWS, maxLength: ROWS });
  const groups = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: ROWS, maxLength: ROWS });

  it('writes the pieces of each frame in order, or throws before the first if a row or group is wrong', () => {
    const path = join(tmpdir(), `write-groups-${process.pid}`);
    fc.assert(
      fc.property(places, places, groups, fc.nat(ROWS), (offset, length, group, count) => {
        const { arena, intact } = guardedArena(100);
        arena.forEach((_, i) => {
          arena[i] = i;
        });
        const fd = openSync(path, 'w');
        const columns = { arena, offset: column(ROWS), length: column(ROWS) };
        columns.offset.set(offset);
        columns.length.set(length);
        let end = 0;
        while (end < count && group[end] > 0) end += group[end];
        const isGood =
          end === count && offset.slice(0, count).every((at, i) => at >= 0 && length[i] >= 0 && at + length[i] <= 100);
        const write = () => native.writeGroups(fd, columns, Int32Array.from(group), 0, count, column(ROWS));
        try {
          if (isGood) expect(write()).toBe(count);
          else expect(write).toThrow(RangeError);
        } finally {
          closeSync(fd);
        }
        const written = isGood ? offset.slice(0, count).flatMap((at, i) => [...arena.slice(at, at + length[i])]) : [];
        expect([...readFileSync(path)]).toEqual(written);
        expect(intact()).toBe(true);
      }),
    );
    rmSync(path);
  });
});

describe('copyBatch', () => {
  it('copies each row and sums what it copied, in order; ranges outside or onto themselves throw before any copy', () => {
    const BYTES = 400;
    const at = fc.oneof({ weight: 9, arbitrary: fc.nat(BYTES) }, { weight: 1, arbitrary: fc.integer() });
    const copy = fc.record({ from: at, to: at, length: fc.oneof(fc.nat(200), at) });
    fc.assert(
      fc.property(
        fc.array(copy, { maxLength: 4 }),
        fc.uint8Array({ minLength: BYTES, maxLength: BYTES }),
        (rows, bytes) => {
          const { arena, intact } = guardedArena(BYTES);
          arena.set(bytes);
          const columns = {
            arena,
            offset: Int32Array.from(rows, (row) => row.from),
            length: Int32Array.from(rows, (row) => row.length),
          };
          const sum = column(4);
          const run = () =>
            native.copyBatch(
              columns,
              Int32Array.from(rows, (row) => row.to),
              sum,
              0,
              rows.length,
            );
          const isGood = rows.every(
            ({ from, to, length }) =>
              Math.min(from, to, length) >= 0 && Math.max(from, to) + length <= BYTES && Math.abs(from - to) >= length,
          );
          const expected = bytes.slice();
          if (isGood) {
            run();
            rows.forEach(({ from, to, length }, i) => {
              expected.copyWithin(to, from, from + length);
              expect(sum[i]).toBe(native.checksum(expected, to, length, 0));
            });
          } else expect(run).toThrow(RangeError);
          expect([...arena]).toEqual([...expected]);
          expect(intact()).toBe(true);
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe('readFrames', () => {
  it('ends once its budget is read', () => {
    const zero = openSync('/dev/zero', 'r');
    const columns = frames(4, 100);
    expect(native.readFrames(zero, columns, 0, 4, 99, 201)).toBe(3);
    expect(native.readFrames(zero, columns, 0, 4, 99, 200)).toBe(2);
    expect(native.readFrames(zero, columns, 0, 4, 99, 0)).toBe(0);
    closeSync(zero);
  });
});
