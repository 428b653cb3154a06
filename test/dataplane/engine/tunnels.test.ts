import { describe, expect, it } from 'vitest';
import type { EspAlgorithm, TunnelType } from '../../../dataplane/commands.ts';
import { ESP_ALGORITHMS } from '../../../dataplane/esp/algorithms.ts';
import { frame, LOCAL_PORT, openPair, type Pair, type PairOptions, TUNNEL_PORT, until } from './pair.ts';

const TYPES: readonly TunnelType[] = ['gre', 'vxlan', 'geneve', 'stt'];
const ALGORITHMS = Object.keys(ESP_ALGORITHMS) as EspAlgorithm[];
const LENGTHS = [14, 15, 60, 61, 62, 63, 64, 1514, 8000];

async function withPair(options: PairOptions, body: (pair: Pair) => Promise<void>): Promise<void> {
  const pair = await openPair(options);
  try {
    await body(pair);
  } finally {
    await pair.stop();
  }
}

/** Frames of all lengths there and back, byte for byte. */
async function exchange({ a, b }: Pair): Promise<void> {
  for (const length of LENGTHS) {
    const there = frame(2, 1, Math.max(length, 34)).slice(0, length);
    a.port.put(there);
    expect(await b.frame()).toEqual(there);
    const back = frame(1, 2, Math.max(length, 34), length & 255).slice(0, length);
    b.port.put(back);
    expect(await a.frame()).toEqual(back);
  }
  expect(a.drops()).toEqual({});
  expect(b.drops()).toEqual({});
}

/** Protocols that travel behind the outer header, and how to watch them. */
function protocolsOnWire(): { protocols: Set<number>; tap: (packet: Uint8Array) => boolean } {
  const protocols = new Set<number>();
  return { protocols, tap: (packet) => protocols.add(packet[packet[0] >>> 4 === 6 ? 6 : 9]) !== undefined };
}

const COMBINATIONS = TYPES.flatMap((type) => ([4, 6] as const).map((family) => ({ type, family })));

describe.each(COMBINATIONS)('a $type tunnel over IPv$family between two engines', ({ type, family }) => {
  it.each([false, true])('carries frames in the clear (checksum %s)', async (checksum) => {
    const { protocols, tap } = protocolsOnWire();
    await withPair({ type, family, tunnel: { checksum }, tap }, exchange);
    expect([...protocols]).toEqual([{ gre: 47, stt: 6, vxlan: 17, geneve: 17 }[type]]);
  });

  for (const aead of ['native', 'node', 'noble'] as const) {
    it.each(ALGORITHMS)(
      `carries frames in ESP %s sealed by ${aead}, and nothing else is on the wire`,
      async (algorithm) => {
        const { protocols, tap } = protocolsOnWire();
        const tunnel = { checksum: true };
        await withPair({ type, family, aead, protection: 'never-up', tunnel, tap }, async (pair) => {
          await pair.protect(algorithm, algorithm !== 'aes128gcm16');
          await exchange(pair);
        });
        expect([...protocols]).toEqual([50]);
      },
    );
  }
});

describe('the outer header', () => {
  it('carries addresses, TTL, DSCP and DF of the tunnel and a right checksum', async () => {
    const seen: Uint8Array[] = [];
    const tap = (packet: Uint8Array): boolean => seen.push(packet.slice()) > 0;
    await withPair({ type: 'vxlan', tunnel: { ttl: 3, tos: 0x28, dontFragment: false }, tap }, async ({ a, b }) => {
      a.port.put(frame(255, 1));
      await b.frame();
    });
    const packet = seen[0];
    expect([...packet.slice(0, 2)]).toEqual([0x45, 0x28]);
    expect((packet[2] << 8) | packet[3]).toBe(packet.length);
    expect([...packet.slice(6, 10)]).toEqual([0, 0, 3, 17]);
    expect([...packet.slice(12, 20)]).toEqual([192, 0, 2, 1, 192, 0, 2, 2]);
    let sum = 0;
    for (let i = 0; i < 20; i += 2) sum += (packet[i] << 8) | packet[i + 1];
    expect(((sum & 0xffff) + (sum >>> 16)) & 0xffff).toBe(0xffff);
  });

  it('is sent with the egress mark of the tunnel, else with the mark of the uplink', async () => {
    const marks: number[] = [];
    const tap = (_packet: Uint8Array, mark: number): boolean => marks.push(mark >>> 0) > 0;
    await withPair(
      { tunnel: { egressMark: 0xdeadbeef }, tunnelB: { egressMark: undefined }, tap },
      async ({ a, b }) => {
        await b.engine.apply({ op: 'set-mark-policy', drop: undefined, uplinkMark: 7 });
        a.port.put(frame(255, 1));
        await b.frame();
        b.port.put(frame(255, 2));
        await a.frame();
      },
    );
    expect(marks).toEqual([0xdeadbeef, 7]);
  });
});

describe('counters', () => {
  it('count frames and bytes of each port and each SA', async () => {
    await withPair({ protection: 'never-up' }, async (pair) => {
      await pair.protect();
      const { a, b } = pair;
      for (let i = 0; i < 5; i++) a.port.put(frame(2, 1, 100));
      for (let i = 0; i < 5; i++) await b.frame();
      expect(a.engine.counters().port(LOCAL_PORT)).toEqual({ rxPackets: 5, rxBytes: 500, txPackets: 0, txBytes: 0 });
      expect(a.engine.counters().port(TUNNEL_PORT)).toEqual({ rxPackets: 0, rxBytes: 0, txPackets: 5, txBytes: 500 });
      expect(b.engine.counters().port(TUNNEL_PORT)).toEqual({ rxPackets: 5, rxBytes: 500, txPackets: 0, txBytes: 0 });
      expect(b.engine.counters().port(LOCAL_PORT)).toEqual({ rxPackets: 0, rxBytes: 0, txPackets: 5, txBytes: 500 });
      expect(b.engine.counters().sa('in', 0)).toMatchObject({ packets: 5, sequence: 5, seenPacket: true });
    });
  });
});

describe('the outer IPv6 header', () => {
  it('carries addresses, hop limit and traffic class of the tunnel, and the length of what follows', async () => {
    const seen: Uint8Array[] = [];
    const tap = (packet: Uint8Array): boolean => seen.push(packet.slice()) > 0;
    await withPair({ type: 'vxlan', family: 6, tunnel: { ttl: 9, tos: 0xb8 }, tap }, async ({ a, b }) => {
      a.port.put(frame(2, 1));
      await b.frame();
    });
    const [packet] = seen;
    expect(Buffer.from(packet.subarray(0, 40)).toString('hex')).toBe(
      `6b800000${(packet.length - 40).toString(16).padStart(4, '0')}1109` +
        '20010db8000000000000000000000001' +
        '20010db8000000000000000000000002',
    );
  });

  it('is what ESP over IPv6 is found by: a packet from another address is refused', async () => {
    let change = true;
    const tap = (packet: Uint8Array): boolean => {
      if (change) packet[23] ^= 0xff;
      return true;
    };
    await withPair({ type: 'gre', family: 6, protection: 'never-up', tap }, async (pair) => {
      await pair.protect();
      pair.a.port.put(frame(2, 1));
      await until(() => pair.b.drops()['sa-address'] === 1);
      change = false;
      pair.a.port.put(frame(2, 1));
      await pair.b.frame();
    });
  });

  it('says of whom an unknown SPI came', async () => {
    await withPair({ type: 'gre', family: 6, protection: 'never-up' }, async ({ wire, a }) => {
      const packet = new Uint8Array(80);
      packet.set([0x60, 0, 0, 0, 0, 40, 50, 64], 0);
      packet.set([0x20, 1, 0xd, 0xb8], 8);
      packet[23] = 0x77;
      packet.set([0x20, 1, 0xd, 0xb8], 24);
      packet[39] = 1;
      packet.set([1, 2, 3, 4], 40);
      wire.inject(packet);
      await until(() => a.events.length > 0);
      expect(a.events).toContainEqual({ event: 'unknown-spi', spi: 0x01020304, remote: '2001:db8::77' });
    });
  });
});
