/** ESP in UDP and ESP tunnel mode between two engines (RFC 3948, RFC 4303 §3.1.2). */
import { describe, expect, it } from 'vitest';
import type { TunnelType } from '../../../dataplane/commands.ts';
import { sumBytes } from '../../../dataplane/wire/checksum.ts';
import { connect, frame, openPair, type Pair, type PairOptions, PROTECTION, settle, until } from './pair.ts';

const TYPES: readonly TunnelType[] = ['gre', 'vxlan', 'geneve'];
const FAMILIES = [4, 6] as const;
const ALL = TYPES.flatMap((type) =>
  FAMILIES.flatMap((family) =>
    (['transport', 'tunnel'] as const).flatMap((mode) => [false, true].map((inUdp) => ({ type, family, mode, inUdp }))),
  ),
);

async function withPair(options: PairOptions, body: (pair: Pair) => Promise<void>): Promise<void> {
  const pair = await openPair({ protection: 'never-up', ...options });
  try {
    await body(pair);
  } finally {
    await pair.stop();
  }
}

const isIpv6 = (packet: Uint8Array): boolean => packet[0] >>> 4 === 6;
const headerOf = (packet: Uint8Array): number => (isIpv6(packet) ? 40 : 20);
const protocolOf = (packet: Uint8Array): number => packet[isIpv6(packet) ? 6 : 9];

/** Puts the source address of an IPv4 packet right, so that it seems to come from elsewhere. */
function comesFrom(packet: Uint8Array, address: readonly number[], port: number): void {
  packet.set(address, 12);
  packet.set([port >> 8, port & 255], 20);
}

describe.each(ALL)('$type over IPv$family in ESP $mode mode, in UDP: $inUdp', ({ type, family, mode, inUdp }) => {
  it('carries frames of all lengths both ways', async () => {
    const seen: Uint8Array[] = [];
    const tap = (packet: Uint8Array): boolean => seen.push(packet.slice()) > 0;
    await withPair({ type, family, tunnel: { checksum: true }, tap }, async (pair) => {
      await pair.protect('aes256gcm16', true, { mode, inUdp });
      const { a, b } = pair;
      for (const length of [14, 15, 60, 61, 62, 63, 1514, 8000]) {
        const there = frame(2, 1, Math.max(length, 34)).slice(0, length);
        a.port.put(there);
        expect(await b.frame()).toEqual(there);
        b.port.put(frame(1, 2, Math.max(length, 34)));
        expect(await a.frame()).toEqual(frame(1, 2, Math.max(length, 34)));
      }
      expect(a.drops()).toEqual({});
      expect(b.drops()).toEqual({});
    });
    for (const packet of seen) {
      expect(protocolOf(packet)).toBe(inUdp ? 17 : 50);
      if (!inUdp) continue;
      const header = headerOf(packet);
      const udp = packet.subarray(header);
      expect([...udp.subarray(0, 6)]).toEqual([0x11, 0x94, 0x11, 0x94, udp.length >> 8, udp.length & 255]);
      if (family === 4) expect([...udp.subarray(6, 8)]).toEqual([0, 0]);
      else {
        const pseudo = new Uint8Array([...packet.subarray(8, 40), 0, 17, udp.length >> 8, udp.length & 255, ...udp]);
        expect(sumBytes(pseudo, 0, pseudo.length, 0)).toBe(0xffff);
      }
    }
  });
});

describe('ESP in UDP', () => {
  const NEW_HOME = [203, 0, 113, 9] as const;

  it('from another address is accepted once it is authentic, reported once a second, and changes nothing by itself', async () => {
    let moved = false;
    let now = 1000;
    const destinations = new Set<string>();
    const tap = (packet: Uint8Array): boolean => {
      const fromA = packet[15] === 1;
      if (moved && fromA) comesFrom(packet, NEW_HOME, 6000);
      if (!fromA) destinations.add(`${packet.slice(16, 20).join('.')}:${(packet[22] << 8) | packet[23]}`);
      return true;
    };
    await withPair({ type: 'vxlan', tunnel: { checksum: true }, tap, now: () => now }, async ({ a, b }) => {
      const there = await connect(a, b, 'aes256gcm16', true, { inUdp: true });
      const back = await connect(b, a, 'aes256gcm16', true, { inUdp: true });
      a.port.put(frame(2, 1));
      await b.frame();
      expect(b.events.filter(({ event }) => event === 'peer-moved')).toEqual([]);
      moved = true;
      for (let i = 0; i < 3; i++) {
        a.port.put(frame(2, 1));
        await b.frame();
      }
      const event = {
        event: 'peer-moved',
        slot: there.inboundSlot,
        remote: { address: NEW_HOME.join('.'), port: 6000 },
      };
      await until(() => b.events.some((other) => other.event === 'peer-moved'));
      expect(b.events.filter((other) => other.event === 'peer-moved')).toEqual([event]);
      b.port.put(frame(1, 2));
      await a.frame();
      expect([...destinations]).toEqual(['192.0.2.1:4500']);

      const udp = { local: { address: b.address, port: 4500 }, remote: event.remote };
      await b.engine.apply({ op: 'move-sa', direction: 'in', slot: there.inboundSlot, udp });
      await b.engine.apply({ op: 'move-sa', direction: 'out', slot: back.outboundSlot, udp });
      now += 5000;
      destinations.clear();
      a.port.put(frame(2, 1));
      await b.frame();
      b.port.put(frame(1, 2));
      await settle();
      expect([...destinations]).toEqual([`${NEW_HOME.join('.')}:6000`]);
      expect(b.events.filter((other) => other.event === 'peer-moved')).toHaveLength(1);
      expect(b.drops()).toEqual({});
    });
  });

  it('that is forged, replayed or older than the newest moves nobody', async () => {
    const packets: Uint8Array[] = [];
    const tap = (packet: Uint8Array): boolean => packets.push(packet.slice()) === 0;
    await withPair({ type: 'gre', tap }, async ({ a, b, wire }) => {
      await connect(a, b, 'aes256gcm16', true, { inUdp: true });
      for (let i = 0; i < 3; i++) a.port.put(frame(2, 1));
      await until(() => packets.length === 3);
      const [older, forged, newest] = packets.splice(0);
      // The tap would lose what is injected too, so it lets these through.
      wire.options.tap = () => true;
      wire.inject(newest);
      await b.frame();
      for (const packet of [older, newest, forged]) {
        comesFrom(packet, NEW_HOME, 6000);
        if (packet === forged) packet[packet.length - 1] ^= 1;
        wire.inject(packet);
      }
      await until(() => b.drops()['icv-mismatch'] === 1);
      expect(b.drops()).toEqual({ 'icv-mismatch': 1, 'replay-duplicate': 1 });
      expect(b.events.filter(({ event }) => event === 'peer-moved')).toEqual([]);
    });
  });

  it('is taken for an SA without UDP as well, but from its own address only (RFC 7296 section 2.23)', async () => {
    const packets: Uint8Array[] = [];
    const tap = (packet: Uint8Array): boolean => packets.push(packet.slice()) === 0;
    await withPair({ type: 'gre', tap }, async (pair) => {
      const { a, b, wire } = pair;
      await connect(a, b);
      // So that b listens on port 4500 at all.
      await connect(a, b, 'aes256gcm16', true, { inUdp: true });
      await a.engine.apply({ op: 'use-outbound-sa', protection: PROTECTION, slot: undefined });
      await connect(a, b);
      for (let i = 0; i < 2; i++) a.port.put(frame(2, 1));
      await until(() => packets.length === 2);
      wire.options.tap = () => true;
      packets.forEach((packet, i) => {
        const length = packet.length + 8;
        const inUdp = new Uint8Array(length);
        inUdp.set(packet.subarray(0, 20));
        inUdp.set([length >> 8, length & 255], 2);
        inUdp[9] = 17;
        inUdp.set([0x20, 0, 0x11, 0x94, (length - 20) >> 8, (length - 20) & 255, 0, 0], 20);
        inUdp.set(packet.subarray(20), 28);
        if (i === 1) comesFrom(inUdp, NEW_HOME, 6000);
        wire.inject(inUdp);
      });
      await b.frame();
      await until(() => b.drops()['sa-address'] === 1);
      expect(b.port.delivered).toBe(0);
    });
  });

  it('keeps apart keepalives and what is too short for an SPI, and counts them', async () => {
    await withPair({ type: 'gre' }, async ({ a, b, wire }) => {
      await connect(a, b, 'aes256gcm16', true, { inUdp: true });
      const datagram = (...payload: number[]): Uint8Array =>
        Uint8Array.of(
          0x45,
          0,
          0,
          28 + payload.length,
          0,
          0,
          0,
          0,
          64,
          17,
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
          1,
          1,
          0x11,
          0x94,
          0,
          8 + payload.length,
          0,
          0,
          ...payload,
        );
      wire.inject(datagram(0xff));
      wire.inject(datagram(0xfe));
      wire.inject(datagram(1, 2, 3));
      wire.inject(datagram(1, 2, 3, 4));
      wire.inject(datagram(0, 0, 0, 0, 7));
      await until(() => b.drops()['nat-keepalive'] === 1);
      await settle();
      expect(b.drops()).toEqual({ 'nat-keepalive': 1, 'esp-too-short': 3 });
    });
  });
});

describe('ESP tunnel mode', () => {
  it('refuses an inner packet between other addresses than the selectors say', async () => {
    await withPair({ type: 'gre' }, async ({ a, b }) => {
      await connect(a, b, 'aes256gcm16', true, { mode: 'tunnel', inUdp: true, innerRemote: '192.0.2.77' });
      a.port.put(frame(2, 1));
      await until(() => b.drops()['esp-selector-in'] === 1);
      expect(b.port.delivered).toBe(0);
    });
  });

  it('does not take packets of transport mode, nor transport mode those of tunnel mode', async () => {
    for (const [mode, reason] of [
      ['tunnel', 'esp-next-header'],
      ['transport', 'esp-selector-in'],
    ] as const) {
      await withPair({ type: 'gre' }, async ({ a, b }) => {
        await connect(a, b, 'aes256gcm16', true, { mode, peerMode: mode === 'tunnel' ? 'transport' : 'tunnel' });
        a.port.put(frame(2, 1));
        await until(() => b.drops()[reason] === 1);
        expect(b.port.delivered).toBe(0);
      });
    }
  });
});
