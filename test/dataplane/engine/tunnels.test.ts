import { describe, expect, it } from 'vitest';
import type { EspAlgorithm, TunnelType } from '../../../dataplane/commands.ts';
import { ESP_ALGORITHMS } from '../../../dataplane/esp/algorithms.ts';
import { frame, LOCAL_PORT, openPair, type Pair, type PairOptions, TUNNEL_PORT } from './pair.ts';

const TYPES: readonly TunnelType[] = ['gre', 'vxlan', 'geneve'];
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

describe.each(TYPES)('a %s tunnel between two engines', (type) => {
  it.each([false, true])('carries frames in the clear (checksum %s)', async (checksum) => {
    const protocols = new Set<number>();
    const tap = (packet: Uint8Array): boolean => protocols.add(packet[9]) !== undefined;
    await withPair({ type, tunnel: { checksum }, tap }, exchange);
    expect([...protocols]).toEqual([type === 'gre' ? 47 : 17]);
  });

  for (const aead of ['native', 'node', 'noble'] as const) {
    it.each(ALGORITHMS)(
      `carries frames in ESP %s sealed by ${aead}, and nothing else is on the wire`,
      async (algorithm) => {
        const protocols = new Set<number>();
        const tap = (packet: Uint8Array): boolean => protocols.add(packet[9]) !== undefined;
        await withPair({ type, aead, protection: 'never-up', tunnel: { checksum: true }, tap }, async (pair) => {
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
