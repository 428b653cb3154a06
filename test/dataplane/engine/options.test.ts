/** Tunnel options end to end: what the outer header takes from the inner packet, keys, extensions, tagged frames. */
import { describe, expect, it } from 'vitest';
import type { TunnelSettings, TunnelType } from '../../../dataplane/commands.ts';
import { checksumOf, sumBytes } from '../../../dataplane/wire/checksum.ts';
import {
  BRIDGE,
  frame,
  LOCAL_PORT,
  openPair,
  type Pair,
  type PairOptions,
  settle,
  TUNNEL_PORT,
  tunnelSettings,
} from './pair.ts';

async function withPair(options: PairOptions, body: (pair: Pair) => Promise<void>): Promise<void> {
  const pair = await openPair(options);
  try {
    await body(pair);
  } finally {
    await pair.stop();
  }
}

/** A frame with this DSCP/ECN byte and TTL in its IPv4 header, and a right checksum. */
function marked(tos: number, ttl: number): Uint8Array {
  const bytes = frame(255, 1);
  bytes[15] = tos;
  bytes[22] = ttl;
  bytes.set([0, 0], 24);
  const sum = checksumOf(sumBytes(bytes, 14, 20, 0));
  bytes.set([sum >> 8, sum & 255], 24);
  return bytes;
}

function arp(): Uint8Array {
  const bytes = frame(255, 1, 42);
  bytes.set([8, 6], 12);
  return bytes;
}

describe.each<TunnelType>(['gre', 'geneve', 'vxlan', 'stt'])('the outer header of %s', (type) => {
  /** DSCP/ECN byte and TTL of the packet that carries the frame, and the frame that came out. */
  async function sent(tunnel: Partial<TunnelSettings>, inner: Uint8Array): Promise<[number, number, Uint8Array]> {
    const seen: Uint8Array[] = [];
    const tap = (packet: Uint8Array): boolean => seen.push(packet.slice()) > 0;
    let out = new Uint8Array(0);
    await withPair({ type, tunnel, tap }, async ({ a, b }) => {
      a.port.put(inner);
      out = Uint8Array.from(await b.frame());
    });
    return [seen[0][1], seen[0][8], out];
  }

  it('has the DSCP and TTL of the tunnel and the ECN of the inner packet', async () => {
    expect(await sent({ tos: 0x28, ttl: 9 }, marked(0xb8 | 1, 33))).toEqual([0x29, 9, marked(0xb9, 33)]);
  });

  it('inherits DSCP and TTL when told to, and CE goes out as ECT(0) and comes in as CE', async () => {
    expect(await sent({ tos: 'inherit', ttl: 'inherit' }, marked(0xb8 | 3, 33))).toEqual([0xba, 33, marked(0xbb, 33)]);
  });

  it('has DSCP 0 and TTL 64 where there is nothing to inherit', async () => {
    expect(await sent({ tos: 'inherit', ttl: 'inherit' }, arp())).toEqual([0, 64, arp()]);
  });
});

describe('congestion on the way', () => {
  const markAll = (packet: Uint8Array): boolean => {
    packet[1] |= 3;
    return true;
  };

  it.each([false, true])('marks the inner packet, with a tunnel checksum over it: %s', async (checksum) => {
    await withPair({ type: 'vxlan', tunnel: { checksum }, tap: markAll }, async ({ a, b }) => {
      a.port.put(marked(0x02, 64));
      expect(await b.frame()).toEqual(marked(0x03, 64));
    });
  });

  it('drops an inner packet that does not know ECN, and counts it', async () => {
    await withPair({ protection: 'never-up', tap: markAll }, async (pair) => {
      await pair.protect();
      pair.a.port.put(marked(0x28, 64));
      pair.a.port.put(marked(0x29, 64));
      expect(await pair.b.frame()).toEqual(marked(0x2b, 64));
      expect(pair.b.drops()).toEqual({ 'ecn-ce': 1 });
    });
  });
});

describe('several tunnels between two hosts', () => {
  it.each<TunnelType>(['gre', 'geneve', 'vxlan', 'stt'])('of type %s are told apart by their keys', async (type) => {
    await withPair({ type }, async ({ a, b }) => {
      // The second one ends in a bridge of its own: two tunnels between two bridges would be a loop.
      await b.engine.apply({ op: 'set-bridge', bridge: BRIDGE + 1, name: 'br1', ageingMs: 300_000, fdbSize: 512 });
      for (const side of [a, b]) {
        const other = side === a ? b : a;
        const base = tunnelSettings(type, side.address, other.address);
        await side.engine.apply({
          op: 'set-tunnel-port',
          port: TUNNEL_PORT + 1,
          bridge: side === a ? BRIDGE : BRIDGE + 1,
          name: 'second',
          tunnel: { ...base, inKey: { kind: 'fixed', key: 78 }, outKey: { kind: 'fixed', key: 78 } },
        });
      }
      a.port.put(frame(255, 1));
      await settle();
      for (const port of [TUNNEL_PORT, TUNNEL_PORT + 1]) {
        expect(b.engine.counters().port(port).rxPackets, `port ${port}`).toBe(1);
      }
    });
  });

  it('with in_key=flow takes every key, and out_key=flow sends 0', async () => {
    const flow = { inKey: { kind: 'flow' }, outKey: { kind: 'flow' } } as const;
    await withPair(
      { tunnel: flow, tunnelB: { inKey: { kind: 'fixed', key: 0 }, outKey: { kind: 'fixed', key: 4711 } } },
      async ({ a, b }) => {
        a.port.put(frame(255, 1));
        expect(await b.frame()).toEqual(frame(255, 1));
        b.port.put(frame(1, 2));
        expect(await a.frame()).toEqual(frame(1, 2));
      },
    );
  });
});

describe('received headers', () => {
  function outer(protocol: number, ...rest: number[]): Uint8Array {
    const inner = frame(255, 1);
    const bytes = Uint8Array.of(
      0x45,
      0,
      0,
      20 + rest.length + inner.length,
      0,
      0,
      0,
      0,
      64,
      protocol,
      0,
      0,
      192,
      0,
      2,
      1,
      192,
      0,
      2,
      2,
      ...rest,
      ...inner,
    );
    return bytes;
  }
  const udp = (port: number, ...rest: number[]): Uint8Array =>
    outer(17, 0x80, 0, port >> 8, port & 255, 0, 8 + rest.length + 98, 0, 0, ...rest);
  const KEY_77 = [0, 0, 0, 77];

  it('of GRE may have a sequence number, whatever it is', async () => {
    await withPair({ type: 'gre' }, async ({ b, wire }) => {
      for (const sequence of [9, 9, 3]) {
        wire.inject(outer(47, 0x30, 0, 0x65, 0x58, ...KEY_77, 0, 0, 0, sequence));
        expect(await b.frame()).toEqual(frame(255, 1));
      }
    });
  });

  it('of Geneve may have options, and none that is critical', async () => {
    await withPair({ type: 'geneve' }, async ({ b, wire }) => {
      wire.inject(udp(6081, 2, 0, 0x65, 0x58, 0, 0, 77, 0, 1, 2, 0x03, 1, 1, 2, 3, 4));
      expect(await b.frame()).toEqual(frame(255, 1));
      wire.inject(udp(6081, 2, 0x40, 0x65, 0x58, 0, 0, 77, 0, 1, 2, 0x83, 1, 1, 2, 3, 4));
      await settle();
      expect(b.drops()).toEqual({ 'geneve-critical-option': 1 });
    });
  });

  it.each([true, false])('of VXLAN may have a group policy with exts=gbp (%s) only', async (gbp) => {
    await withPair({ type: 'vxlan', tunnel: { gbp } }, async ({ b, wire }) => {
      wire.inject(udp(4789, 0x88, 0x48, 0x12, 0x34, 0, 0, 77, 0));
      await settle();
      expect(b.drops()).toEqual(gbp ? {} : { 'vxlan-flags': 1 });
      expect(b.port.delivered).toBe(gbp ? 1 : 0);
      wire.inject(udp(4789, 0x08, 0, 0, 0, 0, 0, 77, 0));
      await settle();
      expect(b.port.delivered).toBe(gbp ? 2 : 1);
    });
  });
});

describe('tagged frames', () => {
  const tagged = (...tags: number[]): Uint8Array => {
    const plain = frame(255, 1);
    return Uint8Array.of(...plain.subarray(0, 12), ...tags, ...plain.subarray(12));
  };

  it.each<TunnelType>(['gre', 'geneve', 'vxlan', 'stt'])('pass %s unchanged, 802.1Q and 802.1ad', async (type) => {
    await withPair({ type }, async ({ a, b }) => {
      for (const inner of [tagged(0x81, 0, 0x60, 5), tagged(0x88, 0xa8, 0, 6, 0x81, 0, 0, 5)]) {
        a.port.put(inner);
        expect(await b.frame()).toEqual(inner);
      }
      expect(b.engine.counters().port(LOCAL_PORT).txPackets).toBe(2);
    });
  });
});
