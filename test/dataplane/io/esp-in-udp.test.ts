import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { FrameList } from '../../../dataplane/batch.ts';
import { EspInUdp } from '../../../dataplane/io/esp-in-udp.ts';
import { ERRNO } from '../../../dataplane/io/uplink.ts';
import { writeIpv4 } from '../../../dataplane/wire/ipv4.ts';
import { ipv6FromText, writeIpv6 } from '../../../dataplane/wire/ipv6.ts';
import { writeUdp } from '../../../dataplane/wire/udp.ts';
import { loadNative } from '../../../native-shims/index.ts';

const native = loadNative();
const CAPACITY = 1600;
const ROWS = 200;
const DF = 0x4000;
const ADDRESS = { 4: 0x7f000001, 6: ipv6FromText('::1') } as const;
let opened: number[] = [];

afterEach(() => {
  opened.forEach(native.close);
  opened = [];
});

interface End {
  readonly uplink: EspInUdp;
  readonly fd: number;
  readonly port: number;
}

/** An end on the first free port: the number 4500 stands in the packets, whatever the sockets have. */
function open(family: 4 | 6, joined: boolean): End {
  for (let port = 50_000 + (process.pid % 10_000); port < 65_536; port++) {
    try {
      const fd = native.openUdpSocket({
        family,
        address: family === 6 ? '::' : '0.0.0.0',
        port,
        packetInfo: true,
        receiveTos: true,
        dontFragment: true,
        joined,
        receiveBuffer: 4 << 20,
        sendBuffer: 4 << 20,
      });
      opened.push(fd);
      const uplink = new EspInUdp(native, ROWS);
      uplink.use([{ family, fd }]);
      return { uplink, fd, port };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    }
  }
  throw new Error('no free UDP port');
}

function list(): FrameList {
  const rows = new FrameList(new Uint8Array(ROWS * CAPACITY), ROWS);
  for (let row = 0; row < ROWS; row++) rows.offset[row] = row * CAPACITY;
  return rows;
}

interface Packet {
  readonly length: number;
  readonly tos: number;
  readonly body: number;
}

/** An IP packet with ESP in UDP from port 4500. */
function add(rows: FrameList, family: 4 | 6, to: number, { length, tos, body }: Packet): void {
  const header = family === 6 ? 40 : 20;
  const at = rows.count * CAPACITY;
  if (family === 4) writeIpv4(rows.arena, at, 28 + length, tos, 0, DF, 64, 17, ADDRESS[4], ADDRESS[4]);
  else writeIpv6(rows.arena, at, 8 + length, tos, 64, 17, ADDRESS[6], 0, 0);
  writeUdp(rows.arena, at + header, 4500, to, 8 + length);
  rows.arena.fill(body, at + header + 8, at + header + 8 + length);
  rows.add(rows.count, at, header + 8 + length);
}

/** What comes in, as sent: payload length, TOS, body; and the ports in its UDP header. */
function receive(end: End, count: number, most = ROWS): { packets: Packet[]; ports: Set<string> } {
  const packets: Packet[] = [];
  const ports = new Set<string>();
  while (packets.length < count) {
    const rows = list();
    if (!end.uplink.holdsMore)
      expect(native.poll(Int32Array.of(end.fd), new Int32Array(1), 1, 2000), `${packets.length} came`).toBe(1);
    const got = end.uplink.receive(rows, 0, most, CAPACITY);
    for (let row = 0; row < got; row++) {
      const bytes = rows.arena.subarray(rows.offset[row], rows.offset[row] + rows.length[row]);
      const isIpv6 = bytes[0] >>> 4 === 6;
      const header = isIpv6 ? 40 : 20;
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const tos = isIpv6 ? (view.getUint16(0) >>> 4) & 255 : bytes[1];
      expect(view.getUint16(isIpv6 ? 4 : 2)).toBe(isIpv6 ? bytes.length - 40 : bytes.length);
      expect(view.getUint16(header + 4)).toBe(bytes.length - header);
      ports.add(`${view.getUint16(header)} to ${view.getUint16(header + 2)}`);
      const body = bytes[header + 8];
      expect(bytes.subarray(header + 8).every((byte) => byte === body)).toBe(true);
      packets.push({ length: bytes.length - header - 8, tos, body });
    }
  }
  return { packets, ports };
}

/** Runs of packets of one length, the last shorter, with TOS and body. */
const runs = fc
  .array(
    fc.record({
      count: fc.integer({ min: 1, max: 30 }),
      length: fc.integer({ min: 2, max: 1400 }),
      last: fc.integer({ min: 1, max: 1400 }),
      tos: fc.constantFrom(0, 2, 0xb8),
      body: fc.nat(255),
    }),
    { minLength: 1, maxLength: 6 },
  )
  .map((all) =>
    all.flatMap(({ count, length, last, tos, body }) =>
      Array.from({ length: count }, (_, i) => ({
        length: i === count - 1 ? Math.min(last, length) : length,
        tos,
        body: (body + i) & 255,
      })),
    ),
  );

describe.each([4, 6] as const)('ESP in UDP over IPv%i', (family) => {
  it.each([
    ['joined', true],
    ['one by one', false],
  ])('arrives as it was sent, packet by packet and in order, received %s', (_, joined) => {
    const sender = open(family, false);
    const receiver = open(family, joined);
    fc.assert(
      fc.property(runs, fc.constantFrom(ROWS, 7), (packets, most) => {
        const rows = list();
        for (const packet of packets) add(rows, family, receiver.port, packet);
        expect(sender.uplink.senderOf(rows, 0)).toBe(sender.fd);
        sender.uplink.send(sender.fd, rows, 0, rows.count, 0);
        expect([...rows.errors.subarray(0, rows.count)]).toEqual(packets.map(() => 0));
        const got = receive(receiver, packets.length, most);
        expect(got.packets).toEqual(packets);
        expect([...got.ports]).toEqual([`${sender.port} to 4500`]);
        expect(receiver.uplink.holdsMore).toBe(false);
      }),
      { numRuns: 60 },
    );
  });

  it('tells of a datagram that does not fit into a row, and hands out those behind it', () => {
    const sender = open(family, false);
    const receiver = open(family, true);
    const rows = list();
    for (const length of [300, 100]) add(rows, family, receiver.port, { length, tos: 0, body: 1 });
    sender.uplink.send(sender.fd, rows, 0, 2, 0);
    const into = list();
    native.poll(Int32Array.of(receiver.fd), new Int32Array(1), 1, 2000);
    let got = 0;
    while (got < 2) got += receiver.uplink.receive(into, got, 2 - got, 200);
    expect([...into.length.subarray(0, 2)]).toEqual([-1, 100 + (family === 6 ? 48 : 28)]);
  });

  it('reports a message that is too big, and sends the others', () => {
    const sender = open(family, false);
    const receiver = open(family, true);
    const rows = new FrameList(new Uint8Array(200_000), 3);
    const header = family === 6 ? 48 : 28;
    for (const [at, length] of [
      [0, 10],
      [1000, 65_507 + 20],
      [100_000, 20],
    ]) {
      if (family === 4) writeIpv4(rows.arena, at, 0, 0, 0, DF, 64, 17, ADDRESS[4], ADDRESS[4]);
      else writeIpv6(rows.arena, at, 0, 0, 64, 17, ADDRESS[6], 0, 0);
      writeUdp(rows.arena, at + header - 8, 4500, receiver.port, 0);
      rows.add(0, at, header + length);
    }
    sender.uplink.send(sender.fd, rows, 0, 3, 0);
    expect([...rows.errors]).toEqual([0, ERRNO.EMSGSIZE, 0]);
    expect(receive(receiver, 2).packets.map((packet) => packet.length)).toEqual([10, 20]);
  });

  it('leaves other packets to the raw sockets: another source port, another protocol, no socket of the family', () => {
    const { uplink } = open(family, false);
    const rows = list();
    const at = family === 6 ? 40 : 20;
    for (let row = 0; row < 4; row++) add(rows, family, 4500, { length: 50, tos: 0, body: 0 });
    writeUdp(rows.arena, rows.offset[0] + at, 4501, 4500, 58);
    rows.arena[rows.offset[1] + (family === 6 ? 6 : 9)] = 50;
    if (family === 4) rows.arena[rows.offset[2] + 6] = 0;
    else uplink.use([{ family: 4, fd: opened[0] }]);
    expect([0, 1, 2].map((row) => uplink.senderOf(rows, row))).toEqual([-1, -1, -1]);
    if (family === 4) expect(uplink.senderOf(rows, 3)).toBe(opened[0]);
  });
});
