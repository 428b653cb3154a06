/** What does not fit through the path of a tunnel: answered, counted, never fragmented; and what routers say of it. */
import { describe, expect, it } from 'vitest';
import type { TunnelType } from '../../../dataplane/commands.ts';
import { tunnelOverhead } from '../../../dataplane/encap/encap.ts';
import { checksumOf, sumBytes } from '../../../dataplane/wire/checksum.ts';
import { BRIDGE, frame, openPair, type Pair, type PairOptions, settle, TUNNEL_PORT, tunnelSettings } from './pair.ts';

const MTU = 1400;
const ETHERNET = 14;

async function withPair(
  options: PairOptions,
  body: (pair: Pair, packets: Uint8Array[]) => Promise<void>,
): Promise<void> {
  const packets: Uint8Array[] = [];
  const pair = await openPair({ ...options, tap: (packet) => packets.push(packet.slice()) > 0 });
  try {
    for (const side of [pair.a, pair.b]) await side.engine.apply({ op: 'set-path-mtu', port: TUNNEL_PORT, mtu: MTU });
    await body(pair, packets);
  } finally {
    await pair.stop();
  }
}

/** An IPv4 frame with DF from station 1 to station 2. */
function whole(length: number): Uint8Array {
  const bytes = frame(2, 1, length);
  bytes[20] = 0x40;
  const sum = checksumOf(sumBytes(bytes, ETHERNET, 20, 0));
  bytes.set([sum >> 8, sum & 255], 24);
  return bytes;
}

/** The MTU that the next frame on side a's port tells, an ICMP "fragmentation needed" for station 1. */
async function toldMtu({ a }: Pair): Promise<number> {
  const answer = await a.frame();
  expect([...answer.subarray(0, 14)]).toEqual([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
  expect([answer[23], answer[34], answer[35]]).toEqual([1, 3, 4]);
  return (answer[40]! << 8) | answer[41]!;
}

/** ESP: SPI, sequence number, IV, ICV; a trailer of 2, all on 4 bytes. */
const espRoom = (room: number): number => Math.floor((room - 32) / 4) * 4 - 2;

describe.each<TunnelType>(['gre', 'geneve', 'vxlan'])('a %s tunnel', (type) => {
  const overhead = tunnelOverhead(tunnelSettings(type, '', ''));

  it.each([
    ['in the clear', false, MTU - 20],
    ['in ESP', true, espRoom(MTU - 20)],
  ] as const)('%s carries what fits, fills the path, and tells the sender of more', async (_name, esp, room) => {
    await withPair({ type, ...(esp ? { protection: 'never-up' } : {}) }, async (pair, packets) => {
      if (esp) await pair.protect();
      const longest = room - overhead;
      pair.a.port.put(whole(longest));
      expect(await pair.b.frame()).toEqual(whole(longest));
      expect(packets[0]!.length).toBeLessThanOrEqual(MTU);
      expect(packets[0]!.length).toBeGreaterThan(MTU - 4);
      pair.a.port.put(whole(longest + 1));
      expect(await toldMtu(pair)).toBe(longest - ETHERNET);
      await settle();
      expect(packets).toHaveLength(1);
      expect(pair.a.drops()).toEqual({ 'too-big': 1 });
      expect(pair.b.port.delivered).toBe(0);
    });
  });
});

describe('a frame that is too big', () => {
  it.each([
    ['IPv4 without DF', frame(2, 1, 1500)],
    ['no IP', Uint8Array.of(2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, ...new Array<number>(1486).fill(1))],
  ])('and %s is dropped and counted, and never fragmented', async (_name, bytes) => {
    await withPair({ type: 'geneve' }, async ({ a, b }, packets) => {
      a.port.put(bytes);
      await settle();
      expect(a.drops()).toEqual({ 'too-big': 1 });
      expect([a.port.delivered, b.port.delivered, packets.length]).toEqual([0, 0, 0]);
    });
  });

  it('and came out of a tunnel is answered back into it', async () => {
    // A hub, side b, forwards from its tunnel to a second one with a narrow path.
    await withPair({ type: 'gre', tunnel: { dontFragment: true } }, async (pair) => {
      const { a, b } = pair;
      await a.engine.apply({ op: 'set-path-mtu', port: TUNNEL_PORT, mtu: 9000 });
      const second = tunnelSettings('vxlan', b.address, '192.0.2.77');
      await b.engine.apply({
        op: 'set-tunnel-port',
        port: TUNNEL_PORT + 1,
        bridge: BRIDGE,
        name: 'second',
        tunnel: second,
      });
      await b.engine.apply({ op: 'set-path-mtu', port: TUNNEL_PORT + 1, mtu: 1300 });
      a.port.put(whole(1380));
      expect(await toldMtu(pair)).toBe(1300 - 20 - 16 - ETHERNET);
      expect(b.drops()).toEqual({ 'too-big': 1 });
    });
  });
});

describe('an ICMP message of a router', () => {
  const icmp = (mtu: number, quoted: Uint8Array): Uint8Array =>
    Uint8Array.of(
      ...[0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 203, 0, 113, 9, 192, 0, 2, 1],
      ...[3, 4, 0, 0, 0, 0, mtu >> 8, mtu & 255],
      ...quoted.subarray(0, 28),
    );

  it('about a packet of ours makes its path narrower, and says so', async () => {
    await withPair({ type: 'geneve', protection: 'never-up' }, async (pair, packets) => {
      await pair.protect();
      pair.a.port.put(whole(1300));
      await pair.b.frame();
      pair.a.engine.receiveIcmp(4, icmp(1200, packets[0]!));
      pair.a.port.put(whole(1300));
      await settle();
      pair.a.port.put(whole(1300));
      const room = espRoom(1180) - 16 - ETHERNET;
      expect(await toldMtu(pair)).toBe(room);
      expect(pair.a.events).toContainEqual({ event: 'path-mtu', remote: '192.0.2.2', mtu: 1200 });
    });
  });

  it('about a packet that we have not sent changes nothing', async () => {
    await withPair({ type: 'geneve', protection: 'never-up' }, async (pair, packets) => {
      await pair.protect();
      pair.a.port.put(whole(1300));
      await pair.b.frame();
      const notYet = packets[0]!.slice();
      notYet[27]! += 1;
      const nobody = packets[0]!.slice();
      nobody[20]! ^= 1;
      const plaintext = packets[0]!.slice();
      plaintext[9] = 17;
      plaintext.set([0x90, 0, 6081 >> 8, 6081 & 255], 20);
      for (const quoted of [notYet, nobody, plaintext]) pair.a.engine.receiveIcmp(4, icmp(1200, quoted));
      await settle();
      pair.a.port.put(whole(1300));
      expect(await pair.b.frame()).toEqual(whole(1300));
      expect(pair.a.events.filter(({ event }) => event === 'path-mtu')).toEqual([]);
    });
  });
});
