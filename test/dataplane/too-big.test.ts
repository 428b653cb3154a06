import { describe, expect, it } from 'vitest';
import { Arena } from '../../dataplane/arena.ts';
import { type Batch, HEADROOM } from '../../dataplane/batch.ts';
import { AnswerLimit, answerTooBig } from '../../dataplane/too-big.ts';
import { foldSum, sumBytes } from '../../dataplane/wire/checksum.ts';

const A = [2, 0, 0, 0, 0, 1];
const B = [2, 0, 0, 0, 0, 2];
const TAG = [0x81, 0, 0x20, 5];
const IP_A = [10, 0, 0, 1];
const IP_B = [10, 0, 0, 2];
const NET6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const ROOM = 1400;

interface Packet {
  readonly tags?: readonly number[];
  readonly to?: readonly number[];
  readonly fragment?: number;
  readonly source?: readonly number[];
  readonly destination?: readonly number[];
  readonly protocol?: number;
  readonly first?: number;
  readonly length?: number;
}

function ipv4({
  tags = [],
  to = B,
  fragment = 0x4000,
  source = IP_A,
  destination = IP_B,
  protocol = 17,
  first = 9,
  length = 1500,
}: Packet = {}): Uint8Array {
  const bytes = new Uint8Array(14 + tags.length + length).fill(0x5a);
  bytes.set([...to, ...A, ...tags, 8, 0]);
  bytes.set(
    [
      0x45,
      0,
      length >> 8,
      length & 255,
      1,
      2,
      fragment >> 8,
      fragment & 255,
      9,
      protocol,
      0,
      0,
      ...source,
      ...destination,
      first,
    ],
    14 + tags.length,
  );
  return bytes;
}

function ipv6({
  tags = [],
  to = B,
  source = [...NET6, 1],
  destination = [...NET6, 2],
  protocol = 17,
  first = 200,
  length = 1500,
}: Packet = {}): Uint8Array {
  const bytes = new Uint8Array(14 + tags.length + length).fill(0x5a);
  bytes.set([...to, ...A, ...tags, 0x86, 0xdd]);
  bytes.set(
    [0x60, 0, 0, 0, (length - 40) >> 8, (length - 40) & 255, protocol, 9, ...source, ...destination, first],
    14 + tags.length,
  );
  return bytes;
}

function batchOf(frame: Uint8Array): Batch {
  const arena = new Arena({ rows: 1, reads: 1, frameBytes: 2048 });
  arena.reset();
  arena.batch.count = 1;
  arena.batch.arena.set(frame, arena.batch.offset[0]);
  arena.batch.length[0] = frame.length;
  return arena.batch;
}

function answer(frame: Uint8Array, room = ROOM): Uint8Array | undefined {
  const batch = batchOf(frame);
  if (!answerTooBig(batch, 0, room, new AnswerLimit(), 0)) {
    expect(batch.arena.slice(batch.offset[0], batch.offset[0] + batch.length[0])).toEqual(frame);
    return undefined;
  }
  return batch.arena.slice(batch.offset[0], batch.offset[0] + batch.length[0]);
}

describe('a frame that is too big for its tunnel', () => {
  it.each([[[]], [TAG]])('is answered with "fragmentation needed" from whom it was for, tags %j', (tags) => {
    const frame = ipv4({ tags });
    const at = 14 + tags.length;
    const got = answer(frame)!;
    expect([...got.subarray(0, at)]).toEqual([...A, ...B, ...tags, 8, 0]);
    const packet = got.subarray(at);
    expect(packet.length).toBe(576);
    expect([...packet.subarray(0, 10)]).toEqual([0x45, 0, 576 >> 8, 576 & 255, 0, 0, 0x40, 0, 64, 1]);
    expect([...packet.subarray(12, 20)]).toEqual([...IP_B, ...IP_A]);
    expect(sumBytes(packet, 0, 20, 0)).toBe(0xffff);
    const mtu = ROOM - at;
    expect([...packet.subarray(20, 22), ...packet.subarray(24, 28)]).toEqual([3, 4, 0, 0, mtu >> 8, mtu & 255]);
    expect(sumBytes(packet, 20, 556, 0)).toBe(0xffff);
    expect(packet.subarray(28)).toEqual(frame.subarray(at, at + 548));
  });

  it.each([[[]], [TAG]])('is answered with "packet too big", tags %j', (tags) => {
    const frame = ipv6({ tags });
    const at = 14 + tags.length;
    const got = answer(frame)!;
    expect([...got.subarray(0, at)]).toEqual([...A, ...B, ...tags, 0x86, 0xdd]);
    const packet = got.subarray(at);
    expect(packet.length).toBe(1280);
    expect([...packet.subarray(0, 8)]).toEqual([0x60, 0, 0, 0, 1240 >> 8, 1240 & 255, 58, 64]);
    expect([...packet.subarray(8, 40)]).toEqual([...NET6, 2, ...NET6, 1]);
    const mtu = ROOM - at;
    expect([...packet.subarray(40, 42), ...packet.subarray(44, 48)]).toEqual([2, 0, 0, 0, mtu >> 8, mtu & 255]);
    expect(sumBytes(packet, 40, 1240, foldSum(sumBytes(packet, 8, 32, 0) + 58 + 1240))).toBe(0xffff);
    expect(packet.subarray(48)).toEqual(frame.subarray(at, at + 1232));
  });

  const silent: { name: string; frame: Uint8Array; room?: number }[] = [
    { name: 'without DF', frame: ipv4({ fragment: 0 }) },
    { name: 'that is a first fragment', frame: ipv4({ fragment: 0x6000 }) },
    { name: 'that is a later fragment', frame: ipv4({ fragment: 0x4010 }) },
    { name: 'to a group of stations', frame: ipv4({ to: [1, 0, 0x5e, 0, 0, 1] }) },
    { name: 'to a group of hosts', frame: ipv4({ destination: [224, 0, 0, 1] }) },
    { name: 'to all hosts', frame: ipv4({ destination: [255, 255, 255, 255] }) },
    { name: 'from nobody', frame: ipv4({ source: [0, 0, 0, 0] }) },
    { name: 'from a loopback', frame: ipv4({ source: [127, 0, 0, 1] }) },
    { name: 'that is an ICMP error', frame: ipv4({ protocol: 1, first: 3 }) },
    { name: 'that is not IP', frame: Uint8Array.of(...B, ...A, 8, 6, ...new Array<number>(1486).fill(1)) },
    { name: 'whose IP packet would have fitted', frame: ipv4({ length: 1300 }) },
    { name: 'whose MTU would be below what IPv4 knows', frame: ipv4(), room: 14 + 67 },
    { name: 'that is an ICMPv6 error', frame: ipv6({ protocol: 58, first: 2 }) },
    { name: 'from an IPv6 group', frame: ipv6({ source: [0xff, 2, ...new Array<number>(14).fill(0)] }) },
    { name: 'from the unspecified IPv6 address', frame: ipv6({ source: new Array<number>(16).fill(0) }) },
    { name: 'whose MTU would be below what IPv6 knows', frame: ipv6(), room: 14 + 1279 },
  ];
  it.each(silent)('is not answered $name, and stays as it was', ({ frame, room }) => {
    expect(answer(frame, room)).toBeUndefined();
  });

  it('is answered when it is an echo request, of either version', () => {
    expect(answer(ipv4({ protocol: 1, first: 8 }))).toBeDefined();
    expect(answer(ipv6({ protocol: 58, first: 128 }))).toBeDefined();
  });

  it('is not answered more often than a limit, and again after a while', () => {
    const limit = new AnswerLimit();
    const batch = batchOf(ipv4({ length: 1450 }));
    const put = (frame: Uint8Array): void => {
      batch.offset[0] = HEADROOM;
      batch.length[0] = frame.length;
      batch.arena.set(frame, HEADROOM);
    };
    const tries = (now: number): number => {
      let answered = 0;
      for (let i = 0; i < 1000; i++) {
        put(ipv4({ length: 1450 }));
        if (answerTooBig(batch, 0, ROOM, limit, now)) answered++;
      }
      return answered;
    };
    expect(tries(1000)).toBe(50);
    expect(tries(1000)).toBe(0);
    expect(tries(1100)).toBe(10);
    expect(tries(99_000)).toBe(50);
    // What cannot be answered uses nothing up.
    put(ipv4({ fragment: 0 }));
    for (let i = 0; i < 1000; i++) expect(answerTooBig(batch, 0, ROOM, limit, 200_000)).toBe(false);
    expect(tries(200_000)).toBe(50);
  });
});
