import { afterEach, describe, expect, it } from 'vitest';
import type { TunnelType } from '../../../dataplane/commands.ts';
import {
  frame,
  openPair,
  type Pair,
  type PairOptions,
  PROTECTION,
  settle,
  TUNNEL_PORT,
  tunnelSettings,
  until,
} from './pair.ts';

let pair: Pair;

async function open(options: PairOptions): Promise<Pair> {
  pair = await openPair(options);
  return pair;
}

afterEach(() => pair.stop());

/** Everything that crosses the wire, in order. */
function recorder(): { packets: Uint8Array[]; tap: (packet: Uint8Array) => boolean } {
  const packets: Uint8Array[] = [];
  return { packets, tap: (packet) => packets.push(packet.slice()) > 0 };
}

const rule = (value: number, mask: number) => ({
  op: 'set-mark-policy' as const,
  drop: { value, mask },
  uplinkMark: 0,
});

describe('a tunnel that never had an SA', () => {
  it('sends plaintext while ipsec_skb_mark is unset, and asks for an SA once a second', async () => {
    let ms = 5000;
    const { a, b } = await open({ protection: 'never-up', tunnelB: { protection: undefined }, now: () => ms });
    const wanted = { event: 'sa-wanted', protection: PROTECTION };
    for (const [at, events] of [
      [5000, [wanted]],
      [5999, [wanted]],
      [6000, [wanted, wanted]],
    ] as const) {
      ms = at;
      a.port.put(frame(255, 1));
      await b.frame();
      expect(a.events).toEqual(events);
    }
  });

  it('sends nothing that the mark rule forbids, and asks for an SA', async () => {
    const { packets, tap } = recorder();
    const { a } = await open({ protection: 'never-up', tap });
    await a.engine.apply(rule(0, 1));
    a.port.put(frame(255, 1));
    await until(() => a.drops()['policy-mark'] === 1);
    expect(packets).toEqual([]);
    expect(a.events).toEqual([{ event: 'sa-wanted', protection: PROTECTION }]);
  });

  it('sends plaintext that the mark rule allows', async () => {
    const { a, b } = await open({
      protection: 'never-up',
      tunnel: { egressMark: 1 },
      tunnelB: { protection: undefined },
    });
    await a.engine.apply(rule(0, 1));
    a.port.put(frame(255, 1));
    await b.frame();
  });

  it('accepts plaintext only while ipsec_skb_mark is unset', async () => {
    const { a, b } = await open({ protection: 'never-up' });
    a.port.put(frame(255, 1));
    await b.frame();
    await b.engine.apply(rule(0, 1));
    a.port.put(frame(255, 1));
    await until(() => b.drops()['policy-plaintext-in'] === 1);
    expect(b.port.delivered).toBe(0);
  });
});

describe('a tunnel that once had an SA', () => {
  it('never sends or accepts plaintext again, and asks for an SA', async () => {
    const { packets, tap } = recorder();
    const { a, b } = await open({ protection: 'never-up', tap });
    await pair.protect();
    a.port.put(frame(255, 1));
    await b.frame();
    const plaintext = packets.length;
    await a.engine.apply({ op: 'use-outbound-sa', protection: PROTECTION, slot: undefined });
    a.port.put(frame(255, 1));
    await until(() => a.drops()['policy-no-sa'] === 1);
    expect(packets).toHaveLength(plaintext);
    expect(a.events).toContainEqual({ event: 'sa-wanted', protection: PROTECTION });
    await expect(a.engine.apply({ op: 'set-protection', protection: PROTECTION, state: 'never-up' })).rejects.toThrow(
      /cannot become never-up/,
    );
    a.port.put(frame(255, 1));
    await until(() => a.drops()['policy-no-sa'] === 2);
  });

  it('sends on no SA after its SA was removed while in use, and asks for another', async () => {
    const { packets, tap } = recorder();
    const { a } = await open({ protection: 'never-up', tap });
    await pair.protect();
    for (let slot = 0; slot < 64; slot++) await a.engine.apply({ op: 'remove-outbound-sa', slot });
    a.port.put(frame(255, 1));
    await until(() => a.drops()['policy-no-sa'] === 1);
    expect(packets).toEqual([]);
    expect(a.events).toEqual([{ event: 'sa-wanted', protection: PROTECTION }]);
  });

  it('drops plaintext from a peer that has none', async () => {
    const { a, b } = await open({ protection: 'protected', tunnelB: { protection: undefined } });
    b.port.put(frame(255, 2));
    await until(() => a.drops()['policy-plaintext-in'] === 1);
    expect(a.engine.counters().portDrops(TUNNEL_PORT)).toEqual(new Map([['policy-plaintext-in', 1]]));
    expect(b.events).toEqual([]);
  });
});

describe('a tunnel with an invalid IPsec configuration', () => {
  it('sends and accepts nothing and asks for no SA', async () => {
    const { packets, tap } = recorder();
    const { a, b } = await open({ protection: 'invalid', tunnelB: { protection: undefined }, tap });
    a.port.put(frame(255, 1));
    await until(() => a.drops()['policy-invalid'] === 1);
    expect(packets).toEqual([]);
    b.port.put(frame(255, 2));
    await until(() => a.drops()['policy-invalid'] === 2);
    expect(a.port.delivered).toBe(0);
    expect(a.events).toEqual([]);
  });

  it('is what a tunnel becomes whose protection is removed', async () => {
    const { a } = await open({ protection: 'never-up' });
    await a.engine.apply({ op: 'remove-protection', protection: PROTECTION });
    a.port.put(frame(255, 1));
    await until(() => a.drops()['policy-invalid'] === 1);
  });
});

describe('ESP that comes in', () => {
  it('for an SPI of nobody is dropped and reported once a second for each source', async () => {
    const { packets, tap } = recorder();
    const { a, b } = await open({ protection: 'never-up', tap });
    await pair.protect();
    a.port.put(frame(255, 1));
    await b.frame();
    const forged = packets[0].slice();
    forged[20 + 1] ^= 0xff;
    for (let i = 0; i < 3; i++) pair.wire.inject(forged);
    await until(() => b.drops()['unknown-spi'] === 3);
    const spi = new DataView(forged.buffer).getUint32(20);
    expect(b.events.filter((event) => event.event === 'unknown-spi')).toEqual([
      { event: 'unknown-spi', spi, remote: '192.0.2.1' },
    ]);
  });

  // With ESN an old number is taken for one of the next epoch (RFC 4303 Appendix A2.2), and fails to authenticate.
  it.each([
    [false, 'replay-old'],
    [true, 'icv-mismatch'],
  ] as const)('a second time is dropped as a replay (ESN %s)', async (esn, old) => {
    const { packets, tap } = recorder();
    const { a, b } = await open({ protection: 'never-up', tap });
    await pair.protect('aes256gcm16', esn);
    a.port.put(frame(255, 1));
    await b.frame();
    pair.wire.inject(packets[0]);
    pair.wire.inject(packets[0]);
    await until(() => b.drops()['replay-duplicate'] === 2);
    for (let i = 0; i < 70; i++) {
      a.port.put(frame(255, 1));
      await b.frame();
    }
    pair.wire.inject(packets[0]);
    await until(() => b.drops()[old] === 1);
    expect(b.port.delivered).toBe(0);
  });

  it('damaged at any byte is dropped and never delivered', async () => {
    const { packets, tap } = recorder();
    // The packet itself is lost, so that only the damaged ones can make it through the replay window.
    const { a, b } = await open({ protection: 'never-up', tap: (packet) => packets.length > 0 || !tap(packet) });
    await pair.protect();
    a.port.put(frame(255, 1, 60));
    await until(() => packets.length === 1);
    const whole = packets[0];
    // DSCP, id, TTL and header checksum: nothing that ESP covers (RFC 4303 §3.3.3.2); the kernel sees to the checksum.
    const mutable = [1, 4, 5, 8, 10, 11];
    for (let at = 0; at < whole.length; at++) {
      if (mutable.includes(at)) continue;
      const damaged = whole.slice();
      damaged[at] ^= 0x41;
      pair.wire.inject(damaged);
    }
    for (let length = 1; length < whole.length; length++) pair.wire.inject(whole.slice(0, length));
    await settle();
    expect(b.port.delivered).toBe(0);
    const drops = b.drops();
    expect(drops['icv-mismatch']).toBeGreaterThan(whole.length - 60);
    expect(drops['ip-total-length']).toBeGreaterThan(0);
    expect(drops['sa-address']).toBe(8);
    expect(drops['unknown-spi']).toBe(4);
  });

  it('is dropped when its tunnel belongs to another protection than its SA', async () => {
    const { a, b } = await open({ protection: 'never-up' });
    await pair.protect();
    await b.engine.apply({ op: 'set-protection', protection: 9, state: 'protected' });
    await b.engine.apply({
      op: 'set-tunnel-port',
      port: TUNNEL_PORT,
      bridge: 1,
      name: 'tun',
      tunnel: { ...tunnelSettings('gre', '192.0.2.2', '192.0.2.1'), protection: 9 },
    });
    a.port.put(frame(255, 1));
    await until(() => b.drops()['wrong-protection'] === 1);
    expect(b.port.delivered).toBe(0);
  });

  it('is reported on its first packet and at its soft limit, once each', async () => {
    const { a, b } = await open({ protection: 'never-up' });
    await pair.protect('aes128gcm16', false, { softPackets: 3 });
    for (let i = 0; i < 6; i++) {
      a.port.put(frame(255, 1));
      await b.frame();
    }
    expect(b.events.map((event) => event.event)).toEqual(['sa-first-packet', 'sa-soft-limit']);
    expect(a.events.map((event) => event.event)).toEqual(['sa-soft-limit']);
  });
});

describe('an outbound SA whose numbers are used up', () => {
  it('sends nothing more and says so once', async () => {
    const { packets, tap } = recorder();
    const { a } = await open({ protection: 'protected', tap });
    await a.engine.apply({
      op: 'add-outbound-sa',
      sa: {
        slot: 9,
        spi: 0x12345678,
        protection: PROTECTION,
        local: a.address,
        remote: '192.0.2.2',
        algorithm: 'aes128gcm16',
        keyAndSalt: new Uint8Array(20),
        esn: true,
        tsLocal: [{ protocol: 0, startAddress: a.address, endAddress: a.address, startPort: 0, endPort: 65535 }],
        tsRemote: [
          { protocol: 0, startAddress: '0.0.0.0', endAddress: '255.255.255.255', startPort: 0, endPort: 65535 },
        ],
        softPackets: 0,
        softBytes: 0,
        lastSequence: 2 ** 32 - 1,
      },
    });
    await a.engine.apply({ op: 'use-outbound-sa', protection: PROTECTION, slot: 9 });
    for (let i = 0; i < 3; i++) a.port.put(frame(255, 1));
    await until(() => a.drops()['esp-sequence-exhausted'] === 3);
    expect(packets).toEqual([]);
  });
});

describe.each<TunnelType>(['gre', 'vxlan', 'geneve'])('a %s packet in the clear', (type) => {
  it('damaged at any byte, or cut, never ends the engine', async () => {
    const { packets, tap } = recorder();
    const { a, b } = await open({ type, tunnel: { checksum: true }, tap });
    a.port.put(frame(255, 1, 60));
    await b.frame();
    const whole = packets[0];
    for (let at = 0; at < whole.length; at++) {
      const damaged = whole.slice();
      damaged[at] ^= 0xff;
      pair.wire.inject(damaged);
      pair.wire.inject(whole.slice(0, at));
    }
    await settle();
    while (b.port.take() !== undefined);
    a.port.put(frame(255, 1, 60));
    expect(await b.frame()).toEqual(frame(255, 1, 60));
    expect(b.drops()[type === 'gre' ? 'gre-checksum' : 'udp-checksum']).toBeGreaterThan(0);
  });
});
