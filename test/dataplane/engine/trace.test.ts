import { describe, expect, it } from 'vitest';
import type { TraceStep } from '../../../dataplane/index.ts';
import { frame, LOCAL_PORT, openPair, type Pair, type PairOptions, settle, TUNNEL_PORT } from './pair.ts';

async function withPair(options: PairOptions, body: (pair: Pair) => Promise<void>): Promise<void> {
  const pair = await openPair(options);
  try {
    await body(pair);
  } finally {
    await pair.stop();
  }
}

const stages = (steps: readonly TraceStep[]): string[] => steps.map((step) => step.stage);
const texts = (steps: readonly TraceStep[]): string => steps.map((step) => step.text).join('\n');
const outcomes = (steps: readonly TraceStep[]) => steps.flatMap((step) => step.outcome ?? []);
const out = (to = 2, from = 1) => ({ kind: 'frame' as const, port: LOCAL_PORT, bytes: frame(to, from) });

describe('a trace of a frame from a port', () => {
  it('tells every stage of a tunnel in ESP with its sizes, which are those on the wire', async () => {
    const seen: Uint8Array[] = [];
    const tap = (packet: Uint8Array): boolean => seen.push(packet.slice()) > 0;
    await withPair({ type: 'vxlan', protection: 'never-up', tap }, async (pair) => {
      await pair.protect('aes256gcm16');
      const steps = await pair.a.engine.trace(out());
      expect(stages(steps)).toEqual(['switch', 'encapsulate', 'policy-out', 'seal', 'outer-header', 'send']);
      expect(texts(steps)).toMatch(/02:00:00:00:00:02 is unknown: flooded to tun\n/);
      expect(texts(steps)).toMatch(/vxlan header of 16 bytes \(key 77, port \d+ to 4789\): 114 bytes/);
      expect(texts(steps)).toMatch(/IPsec configured, its SA is or was up: ESP on SPI 0x[0-9a-f]{8}/);
      expect(texts(steps)).toMatch(/ESP aes256gcm16, sequence number 1 \(not taken\): 34 bytes more/);
      expect(texts(steps)).toMatch(/IPv4 192.0.2.1 to 192.0.2.2, ESP, TTL 64, TOS 0x00, DF: 20 bytes more/);
      expect(outcomes(steps)).toEqual([{ kind: 'sent', tunnel: 'tun', esp: true }]);
      expect(seen).toEqual([]);
      pair.a.port.put(frame(2, 1));
      await pair.b.frame();
      expect(texts(steps)).toContain(`${seen[0]!.length} bytes to the uplink`);
    });
  });

  it('changes nothing: no address learned, no sequence number taken, no counter moved, no packet sent', async () => {
    let packets = 0;
    const tap = (): boolean => ++packets > 0;
    await withPair({ protection: 'never-up', tap }, async (pair) => {
      await pair.protect();
      const before = pair.a.engine.counters();
      for (let i = 0; i < 3; i++) expect(texts(await pair.a.engine.trace(out()))).toContain('sequence number 1 (');
      await settle();
      expect(packets).toBe(0);
      expect(pair.a.engine.fdb()).toEqual([]);
      expect(before.port(TUNNEL_PORT).txPackets + before.port(LOCAL_PORT).rxPackets).toBe(0);
      expect(before.workers()[0]!.framesRead).toBe(0);
      expect(pair.a.drops()).toEqual({});
      expect(pair.a.events.filter((event) => event.event === 'sa-wanted')).toEqual([]);
      // The first real packet has the number that was shown.
      pair.a.port.put(frame(2, 1));
      await pair.b.frame();
      expect(texts(await pair.a.engine.trace(out()))).toContain('sequence number 2 (');
    });
  });

  it('names the drop reason that a real packet would be counted under', async () => {
    await withPair({ protection: 'protected' }, async (pair) => {
      const steps = await pair.a.engine.trace(out());
      expect(outcomes(steps)).toEqual([{ kind: 'dropped', reason: 'policy-no-sa' }]);
      expect(pair.a.drops()).toEqual({});
      pair.a.port.put(frame(2, 1));
      await settle();
      expect(pair.a.drops()).toEqual({ 'policy-no-sa': 1 });
    });
  });

  it('says what ipsec_skb_mark does to plaintext, and how it leaves where it may', async () => {
    await withPair({ protection: 'never-up' }, async (pair) => {
      expect(texts(await pair.a.engine.trace(out()))).toMatch(/never up, mark 0x0: plaintext, ipsec_skb_mark is unset/);
      expect(outcomes(await pair.a.engine.trace(out()))).toEqual([{ kind: 'sent', tunnel: 'tun', esp: false }]);
      await pair.a.engine.apply({ op: 'set-mark-policy', drop: { value: 0, mask: 1 }, uplinkMark: 0 });
      expect(outcomes(await pair.a.engine.trace(out()))).toEqual([{ kind: 'dropped', reason: 'policy-mark' }]);
    });
  });

  it('follows what the switch has learned, also to the port the frame came from', async () => {
    await withPair({}, async (pair) => {
      pair.a.port.put(frame(2, 1));
      await pair.b.frame();
      pair.b.port.put(frame(1, 2));
      await pair.a.frame();
      expect(texts(await pair.a.engine.trace(out()))).toContain('02:00:00:00:00:02 was learned on tun');
      const same = await pair.a.engine.trace(out(1, 9));
      expect(outcomes(same)).toEqual([{ kind: 'dropped', reason: 'same-port' }]);
      const fromTunnel = { kind: 'frame' as const, port: TUNNEL_PORT, bytes: frame(1, 2) };
      expect(outcomes(await pair.a.engine.trace(fromTunnel))).toEqual([{ kind: 'written', port: 'br0' }]);
    });
  });

  it('tells each tunnel of a flooded frame by its name', async () => {
    await withPair({}, async (pair) => {
      const tunnel = { type: 'gre', local: '192.0.2.1', remote: '192.0.2.3' } as const;
      const settings = {
        inKey: { kind: 'none' },
        outKey: { kind: 'none' },
        checksum: false,
        destinationPort: 0,
      } as const;
      const rest = { ttl: 64, tos: 0, dontFragment: false, egressMark: 7, protection: undefined } as const;
      await pair.a.engine.apply({
        op: 'set-tunnel-port',
        port: 9,
        bridge: 1,
        name: 'other',
        tunnel: { ...tunnel, ...settings, ...rest },
      });
      const steps = await pair.a.engine.trace(out(255));
      expect(outcomes(steps)).toHaveLength(2);
      expect(texts(steps)).toMatch(/^other: gre header of 4 bytes \(no key\)/m);
      expect(texts(steps)).toMatch(/^other: .* bytes to the uplink with mark 0x7$/m);
      expect(texts(steps)).toMatch(/^tun: gre header of 8 bytes \(key 77\)/m);
    });
  });

  it('refuses a port that is on no bridge with one line', async () => {
    await withPair({}, async (pair) => {
      await expect(pair.a.engine.trace({ kind: 'frame', port: 60, bytes: frame(1, 2) })).rejects.toThrow(
        'port 60 is on',
      );
    });
  });
});

describe('a trace of a packet from the uplink', () => {
  async function espPacket(pair: Pair, seen: Uint8Array[]): Promise<Uint8Array> {
    pair.a.port.put(frame(2, 1));
    await pair.b.frame();
    return seen.at(-1)!;
  }

  it('opens ESP with the real key, and a second look does not find it replayed', async () => {
    const seen: Uint8Array[] = [];
    let carry = true;
    const tap = (packet: Uint8Array): boolean => seen.push(packet.slice()) > 0 && carry;
    await withPair({ type: 'geneve', protection: 'never-up', tap }, async (pair) => {
      await pair.protect();
      await espPacket(pair, seen);
      carry = false;
      pair.a.port.put(frame(2, 1));
      await settle();
      const packet = { kind: 'packet' as const, bytes: seen[1]! };
      for (let i = 0; i < 2; i++) {
        const steps = await pair.b.engine.trace(packet);
        expect(stages(steps)).toEqual(['take-off', 'open', 'policy-in', 'decapsulate', 'switch', 'write']);
        expect(texts(steps)).toMatch(/sequence number 2 is new, authentic: UDP, 114 bytes/);
        expect(outcomes(steps)).toEqual([{ kind: 'written', port: 'br0' }]);
      }
      const replayed = await pair.b.engine.trace({ kind: 'packet', bytes: seen[0]! });
      expect(outcomes(replayed)).toEqual([{ kind: 'dropped', reason: 'replay-duplicate' }]);
      const forged = seen[1]!.slice();
      forged[60]! ^= 1;
      expect(outcomes(await pair.b.engine.trace({ kind: 'packet', bytes: forged }))).toEqual([
        { kind: 'dropped', reason: 'icv-mismatch' },
      ]);
      expect(pair.b.drops()).toEqual({});
    });
  });

  it.each([0, 1, 19, 20, 27])('drops one of %i bytes with a reason', async (length) => {
    await withPair({}, async (pair) => {
      const steps = await pair.a.engine.trace({ kind: 'packet', bytes: new Uint8Array(length).fill(0x45) });
      expect(outcomes(steps)).toHaveLength(1);
      expect(outcomes(steps)[0]!.kind).toBe('dropped');
    });
  });
});
