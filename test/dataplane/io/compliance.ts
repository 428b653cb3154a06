/**
 * What every uplink must do, whatever carries its packets: each backend's test runs this suite over two ends
 * that can reach each other.
 */

import { expect, it } from 'vitest';
import { FrameList } from '../../../dataplane/batch.ts';
import { ERRNO, type Uplink, type UplinkBackend, type UplinkDemand } from '../../../dataplane/io/uplink.ts';

const CAPACITY = 2048;
const ROWS = 32;

export interface UplinkEnd {
  readonly backend: UplinkBackend;
  readonly uplink: Uplink;
  /** IPv4 address of this end. */
  readonly address: readonly [number, number, number, number];
}

export interface UplinkPair {
  readonly a: UplinkEnd;
  readonly b: UplinkEnd;
  /** A packet longer than this does not fit onto the path. */
  readonly mtu: number;
  close(): void;
}

export const QUIET: UplinkDemand = {
  ipv4: { esp: true, espInUdp: false, gre: false, udpPorts: [], tcpPorts: [] },
  ipv6: undefined,
  marks: [],
};

/** Rows to receive into, or to send from. */
export class Packets extends FrameList {
  constructor() {
    super(new Uint8Array(new SharedArrayBuffer(ROWS * CAPACITY)), ROWS);
    this.empty();
  }

  empty(): void {
    this.count = 0;
    for (let row = 0; row < ROWS; row++) this.offset[row] = row * CAPACITY;
    this.length.fill(0);
  }

  push(packet: Uint8Array): void {
    const row = this.count++;
    this.arena.set(packet, this.offset[row]);
    this.length[row] = packet.length;
  }

  packet(row: number): Uint8Array {
    return this.arena.slice(this.offset[row], this.offset[row] + this.length[row]);
  }
}

/** A whole IPv4 packet from one end to the other, DF set, header checksum and id left to the kernel. */
export function ipv4(from: UplinkEnd, to: UplinkEnd, protocol: number, payload: Uint8Array): Uint8Array {
  const packet = new Uint8Array(20 + payload.length);
  packet.set([0x45, 0, packet.length >> 8, packet.length & 255, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
  packet.set(from.address, 12);
  packet.set(to.address, 16);
  packet.set(payload, 20);
  return packet;
}

export function udp(port: number, body: number): Uint8Array {
  return Uint8Array.of(0x12, 0x34, port >> 8, port & 255, 0, 9, 0, 0, body);
}

function use(end: UplinkEnd, demand: UplinkDemand): void {
  end.uplink.use(end.backend.open(demand)[0]);
  end.backend.settle();
}

export function send(end: UplinkEnd, packets: readonly Uint8Array[], mark = 0): readonly number[] {
  const list = new Packets();
  for (const packet of packets) list.push(packet);
  end.uplink.send(list, mark);
  return [...list.errors.subarray(0, list.count)];
}

/** Tries until it works, each time that the uplink says that something has come. */
async function waitFor(end: UplinkEnd, attempt: () => boolean): Promise<void> {
  let wake = (): void => {};
  const stop = end.uplink.watch(() => wake());
  try {
    while (!attempt())
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
  } finally {
    stop();
  }
}

/** Waits until `count` packets have come. */
async function receive(end: UplinkEnd, count: number): Promise<Uint8Array[]> {
  const got: Uint8Array[] = [];
  await waitFor(end, () => {
    const list = new Packets();
    const filled = end.uplink.receive(list, 0, ROWS, CAPACITY);
    for (let row = 0; row < filled; row++) got.push(list.packet(row));
    return got.length >= count;
  });
  return got;
}

/** `open` makes a fresh pair; `kernel`: packets pass a real network stack. */
export function uplinkCompliance(open: () => Promise<UplinkPair>, kernel: boolean): void {
  const withPair = (body: (pair: UplinkPair) => Promise<void>) => async (): Promise<void> => {
    const pair = await open();
    try {
      use(pair.a, QUIET);
      use(pair.b, QUIET);
      await body(pair);
    } finally {
      pair.close();
    }
  };
  const esp = (from: UplinkEnd, to: UplinkEnd, number: number): Uint8Array =>
    ipv4(from, to, 50, Uint8Array.of(0, 1, 0, 0, 0, 0, 0, number, 9, 9, 9, 9));

  it(
    'carries whole IPv4 packets in order and in both directions',
    withPair(async ({ a, b }) => {
      const sent = [1, 2, 3].map((number) => esp(a, b, number));
      expect(send(a, sent)).toEqual([0, 0, 0]);
      const got = await receive(b, 3);
      expect(got.map((packet) => packet.length)).toEqual([32, 32, 32]);
      got.forEach((packet, index) => {
        expect(packet.slice(8, 10)).toEqual(sent[index].slice(8, 10));
        expect(packet.slice(12)).toEqual(sent[index].slice(12));
      });
      send(b, [esp(b, a, 7)]);
      expect((await receive(a, 1))[0].slice(12)).toEqual(esp(b, a, 7).slice(12));
    }),
  );

  it(
    'does not see plaintext tunnel packets that no tunnel asked for',
    withPair(async ({ a, b }) => {
      send(a, [ipv4(a, b, 47, Uint8Array.of(0, 0, 0x65, 0x58)), ipv4(a, b, 17, udp(4789, 1)), esp(a, b, 1)]);
      expect((await receive(b, 1)).map((packet) => packet[9])).toEqual([50]);
    }),
  );

  it(
    'sees plaintext GRE and the UDP ports of tunnels while they are asked for',
    withPair(async ({ a, b }) => {
      use(b, { ...QUIET, ipv4: { esp: true, espInUdp: false, gre: true, udpPorts: [4789, 6081], tcpPorts: [] } });
      send(a, [ipv4(a, b, 17, udp(4788, 0))]);
      send(a, [
        ipv4(a, b, 17, udp(4789, 1)),
        ipv4(a, b, 17, udp(6081, 2)),
        ipv4(a, b, 47, Uint8Array.of(0, 0, 0x65, 0x58)),
      ]);
      const got = await receive(b, 3);
      expect(got.map((packet) => packet[9]).sort()).toEqual([17, 17, 47]);
      use(b, QUIET);
      send(a, [ipv4(a, b, 47, Uint8Array.of(0, 0, 0x65, 0x58)), ipv4(a, b, 17, udp(4789, 1)), esp(a, b, 1)]);
      expect((await receive(b, 1)).map((packet) => packet[9])).toEqual([50]);
    }),
  );

  it(
    'sends with each mark that was asked for',
    withPair(async ({ a, b }) => {
      use(a, { ...QUIET, marks: [7, 0xffffffff] });
      expect(send(a, [esp(a, b, 1)], 7)).toEqual([0]);
      expect(send(a, [esp(a, b, 2)], -1)).toEqual([0]);
      expect((await receive(b, 2)).map((packet) => packet[27])).toEqual([1, 2]);
    }),
  );

  it(
    'takes a full batch and leaves the rest for the next receive',
    withPair(async ({ a, b }) => {
      send(
        a,
        [...Array(ROWS).keys()].map((number) => esp(a, b, number)),
      );
      const got = await receive(b, ROWS);
      expect(got.map((packet) => packet[27])).toEqual([...Array(ROWS).keys()]);
    }),
  );

  it(
    'says that a packet was longer than its slot',
    withPair(async ({ a, b }) => {
      send(a, [ipv4(a, b, 50, new Uint8Array(200))]);
      const list = new Packets();
      await waitFor(b, () => b.uplink.receive(list, 0, 1, 100) === 1);
      expect(list.length[0]).toBe(-1);
    }),
  );

  if (kernel) return;
  it(
    'reports a packet that is too big for the path and sends the others',
    withPair(async ({ a, b, mtu }) => {
      const big = ipv4(a, b, 50, new Uint8Array(mtu));
      expect(send(a, [esp(a, b, 1), big, esp(a, b, 2)])).toEqual([0, ERRNO.EMSGSIZE, 0]);
      expect((await receive(b, 2)).map((packet) => packet[27])).toEqual([1, 2]);
    }),
  );
}
