/** STT between two engines: cut on the way out, put together on the way in, with and without ESP, and what a hostile sender gets. */
import { describe, expect, it } from 'vitest';
import { checksumOf, foldSum, sumBytes } from '../../../dataplane/wire/checksum.ts';
import {
  BRIDGE,
  frame,
  openPair,
  type Pair,
  type PairOptions,
  settle,
  TUNNEL_PORT,
  tunnelSettings,
} from '../engine/pair.ts';

const MTU = 1500;

async function withPair(options: PairOptions, body: (pair: Pair) => Promise<void>): Promise<void> {
  const pair = await openPair({ type: 'stt', ...options });
  try {
    for (const side of [pair.a, pair.b]) await side.engine.apply({ op: 'set-path-mtu', port: TUNNEL_PORT, mtu: MTU });
    await body(pair);
  } finally {
    await pair.stop();
  }
}

interface Sent {
  readonly packets: Uint8Array[];
  readonly tap: (packet: Uint8Array) => boolean;
}

function recorder(): Sent {
  const packets: Uint8Array[] = [];
  return { packets, tap: (packet) => packets.push(packet.slice()) > 0 };
}

const IPV4_TCP_SUM = (packet: Uint8Array): number =>
  sumBytes(packet, 20, packet.length - 20, foldSum(sumBytes(packet, 12, 8, 0) + 6 + packet.length - 20));

describe('an STT tunnel', () => {
  it.each(['plaintext', 'esp'] as const)(
    'carries frames of every length over a path of 1500 bytes, in %s',
    async (kind) => {
      const { packets, tap } = recorder();
      await withPair({ tap, mtu: MTU, ...(kind === 'esp' ? { protection: 'never-up' } : {}) }, async (pair) => {
        if (kind === 'esp') await pair.protect();
        for (const length of [34, 60, 1400, 1405, 1406, 1440, 1441, 1442, 1443, 1514, 3000, 9600]) {
          const there = frame(2, 1, length, length & 255);
          pair.a.port.put(there);
          expect(await pair.b.frame(), `${length} bytes`).toEqual(there);
          const back = frame(1, 2, length, 255 - (length & 255));
          pair.b.port.put(back);
          expect(await pair.a.frame(), `${length} bytes back`).toEqual(back);
        }
        expect([pair.a.drops(), pair.b.drops()]).toEqual([{}, {}]);
      });
      expect(new Set(packets.map((packet) => packet[9]))).toEqual(new Set([kind === 'esp' ? 50 : 6]));
      expect(Math.max(...packets.map((packet) => packet.length))).toBeLessThanOrEqual(MTU);
      expect(packets.length).toBeGreaterThan(24);
    },
  );

  it('fills the path: a segment is as long as the MTU, and a frame that fits is not cut', async () => {
    const { packets, tap } = recorder();
    await withPair({ tap }, async ({ a, b }) => {
      a.port.put(frame(255, 1, MTU - 58));
      await b.frame();
      expect(packets.map((packet) => packet.length)).toEqual([1500]);
      packets.length = 0;
      a.port.put(frame(255, 1, MTU - 57));
      await b.frame();
      expect(packets.map((packet) => packet.length)).toEqual([1500, 41]);
    });
  });

  it('gives the segments of a frame one id, one source port and right checksums, and the next frame another id', async () => {
    const { packets, tap } = recorder();
    await withPair({ tap }, async ({ a, b }) => {
      a.port.put(frame(255, 1, 4000));
      a.port.put(frame(255, 1, 4000));
      await b.frame();
      await b.frame();
    });
    const ids = packets.map((packet) => new DataView(packet.buffer).getInt32(28));
    expect(packets).toHaveLength(6);
    expect(new Set(ids).size).toBe(2);
    expect(new Set(packets.map((packet) => (packet[20] << 8) | packet[21])).size).toBe(1);
    for (const packet of packets) {
      expect(IPV4_TCP_SUM(packet)).toBe(0xffff);
      expect((packet[24] << 8) | packet[25]).toBe(4018);
    }
  });

  it('carries a batch of long frames although they need more rows than there are', async () => {
    await withPair({}, async ({ a, b }) => {
      const frames = Array.from({ length: 64 }, (_, i) => frame(255, 1, 9600, i));
      for (const one of frames) a.port.put(one);
      for (const one of frames) expect(await b.frame()).toEqual(one);
      expect([a.drops(), b.drops()]).toEqual([{}, {}]);
    });
  });

  it('keeps the order of frames, long and short ones', async () => {
    await withPair({}, async ({ a, b }) => {
      const frames = Array.from({ length: 40 }, (_, i) => frame(255, 1, i % 3 === 0 ? 3000 : 100, i));
      for (const one of frames) a.port.put(one);
      for (const one of frames) expect(await b.frame()).toEqual(one);
    });
  });

  it('is flooded to beside others, each frame whole', async () => {
    await withPair({}, async ({ a, b }) => {
      const others = [1, 2, 3, 4, 5];
      for (const i of others) {
        // Each ends in a bridge of its own, so that nothing comes back.
        await b.engine.apply({ op: 'set-bridge', bridge: BRIDGE + i, name: `br${i}`, ageingMs: 300_000, fdbSize: 512 });
        for (const side of [a, b]) {
          const key = { kind: 'fixed', key: 77 + i } as const;
          const remote = side === a ? b.address : a.address;
          const tunnel = { ...tunnelSettings('stt', side.address, remote), inKey: key, outKey: key };
          const port = TUNNEL_PORT + i;
          const bridge = side === a ? BRIDGE : BRIDGE + i;
          await side.engine.apply({ op: 'set-tunnel-port', port, bridge, name: `tun${i}`, tunnel });
          await side.engine.apply({ op: 'set-path-mtu', port, mtu: MTU });
        }
      }
      const frames = Array.from({ length: 40 }, (_, i) => frame(255, 1, 5000, i));
      for (const one of frames) {
        a.port.put(one);
        expect(await b.frame()).toEqual(one);
      }
      await settle();
      expect(a.drops()).toEqual({});
      for (const i of others) {
        expect(b.engine.counters().port(TUNNEL_PORT + i).rxPackets, `tunnel ${i}`).toBe(40);
        expect(b.engine.counters().port(TUNNEL_PORT + i).rxBytes, `tunnel ${i}`).toBe(40 * 5000);
      }
    });
  });

  /** The packets of two frames, as they would have been on the wire. */
  async function segmentsOfTwo(): Promise<readonly Uint8Array[]> {
    const { packets, tap } = recorder();
    await withPair({ tap }, async ({ a, b }) => {
      for (const fill of [1, 2]) {
        a.port.put(frame(255, 1, 4000, fill));
        await b.frame();
      }
    });
    expect(packets).toHaveLength(6);
    return packets;
  }

  it('puts frames together whatever order their segments come in', async () => {
    const segments = await segmentsOfTwo();
    await withPair({}, async ({ b, wire }) => {
      for (const packet of [...segments].reverse()) wire.inject(packet);
      const fills = [(await b.frame())[3999], (await b.frame())[3999]];
      expect(fills.sort()).toEqual([1, 2]);
      expect(b.drops()).toEqual({});
    });
  });

  it('loses the frame of a lost segment only, and counts the others of that frame after the timeout', async () => {
    const segments = await segmentsOfTwo();
    let time = 1000;
    await withPair({ now: () => time }, async ({ b, wire }) => {
      for (const packet of segments.slice(1)) wire.inject(packet);
      expect(await b.frame()).toEqual(frame(255, 1, 4000, 2));
      time += 5000;
      wire.inject(segments[0]!);
      await settle();
      expect(b.drops()).toEqual({ 'stt-timeout': 2 });
      expect(b.port.delivered).toBe(0);
    });
  });

  it('refuses a second copy, a wrong checksum, real TCP and strangers, each under its own name', async () => {
    const [first, second, third] = await segmentsOfTwo();
    await withPair({}, async ({ b, wire }) => {
      const changed = (at: number, value: number, fix = false): Uint8Array => {
        const packet = second!.slice();
        packet[at] = value;
        if (fix) {
          packet.set([0, 0], 36);
          const sum = checksumOf(IPV4_TCP_SUM(packet));
          packet.set([sum >> 8, sum & 255], 36);
        }
        return packet;
      };
      wire.inject(first!);
      wire.inject(first!);
      wire.inject(changed(200, 0xee));
      wire.inject(changed(33, 0x02, true));
      wire.inject(changed(23, 0xee));
      wire.inject(changed(15, 99, true));
      wire.inject(second!);
      wire.inject(third!);
      expect(await b.frame()).toEqual(frame(255, 1, 4000, 1));
      await settle();
      expect(b.drops()).toEqual({
        'stt-duplicate': 1,
        'stt-checksum': 1,
        'stt-flags': 1,
        'no-tunnel': 1,
      });
    });
  });
});

describe('the frame header of a peer', () => {
  const INNER_CHECKSUM = 40;

  /** A whole STT packet to side b around a TCP frame whose checksum is `sum`, with this frame header. */
  function packetWith(
    header: readonly number[],
    sum: readonly number[],
    tcp = true,
  ): { packet: Uint8Array; inner: Uint8Array } {
    const inner = frame(255, 1, 100, 0x5c);
    inner[23] = tcp ? 6 : 17;
    inner.set(sum, tcp ? 14 + 20 + 16 : INNER_CHECKSUM);
    const total = 18 + inner.length;
    const stt = [...header, 0, 0, 0, 0, 0, 0, 0, 77, 0, 0];
    const tcpHeader = [
      0x90,
      0,
      7471 >> 8,
      7471 & 255,
      total >> 8,
      total & 255,
      0,
      0,
      1,
      2,
      3,
      4,
      0x50,
      0x18,
      0xff,
      0xff,
      0,
      0,
      0,
      0,
    ];
    const length = 40 + total;
    const outer = [0x45, 0, length >> 8, length & 255, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    const packet = Uint8Array.of(...outer, ...tcpHeader, ...stt, ...inner);
    const checksum = checksumOf(IPV4_TCP_SUM(packet));
    packet.set([checksum >> 8, checksum & 255], 36);
    return { packet, inner };
  }

  /** Sum over pseudo-header and TCP or UDP of the inner packet at 14: 0xffff if its checksum is right. */
  function innerSum(inner: Uint8Array, at = 14): number {
    const length = inner.length - at - 20;
    return sumBytes(inner, at + 20, length, foldSum(sumBytes(inner, at + 12, 8, 0) + inner[at + 9]! + length));
  }

  it.each([true, false])('that says so gets the inner checksum finished, TCP: %s', async (tcp) => {
    await withPair({}, async ({ b, wire }) => {
      // Partial, IPv4, TCP or UDP at byte 34.
      const { packet, inner } = packetWith([0, tcp ? 0x0e : 0x06, 34, 0, 0, 0, 0, 0], [0x12, 0x34], tcp);
      wire.inject(packet);
      const got = await b.frame();
      expect(innerSum(inner)).not.toBe(0xffff);
      expect(innerSum(got)).toBe(0xffff);
      const field = tcp ? 50 : INNER_CHECKSUM;
      expect([...got.subarray(0, field), ...got.subarray(field + 2)]).toEqual([
        ...inner.subarray(0, field),
        ...inner.subarray(field + 2),
      ]);
    });
  });

  it('with a VLAN tag gets it put into the frame, its checksum finished as well', async () => {
    await withPair({}, async ({ b, wire }) => {
      const { packet, inner } = packetWith([0, 0x0e, 34, 0, 0, 0, 0x70, 0x05], [0, 0]);
      wire.inject(packet);
      const got = await b.frame();
      expect(got.length).toBe(inner.length + 4);
      expect([...got.subarray(0, 18)]).toEqual([
        ...inner.subarray(0, 12),
        0x81,
        0,
        0x60,
        0x05,
        ...inner.subarray(12, 14),
      ]);
      expect(innerSum(got, 18)).toBe(0xffff);
    });
  });

  it.each([
    ['before the end of the IP header', 33],
    ['where too little of the packet is left', 81],
    ['beyond the frame', 255],
  ])('is refused when it puts TCP %s', async (_where, at) => {
    await withPair({}, async ({ b, wire }) => {
      wire.inject(packetWith([0, 0x0e, at, 0, 0, 0, 0, 0], [0, 0]).packet);
      await settle();
      expect(b.drops()).toEqual({ 'stt-offload': 1 });
    });
  });

  it('leaves a frame alone that asks for nothing', async () => {
    await withPair({}, async ({ b, wire }) => {
      const { packet, inner } = packetWith([0, 0x01, 34, 0, 0, 0, 0, 0], [1, 2]);
      wire.inject(packet);
      expect(await b.frame()).toEqual(inner);
    });
  });
});
