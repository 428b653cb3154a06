import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { ChildConfig, Encapsulation } from '../../../ike/index.ts';
import { NO_NAT } from '../../../ike/nat-detection.ts';
import { findNotify } from '../../../ike/sa/notify.ts';
import { translate } from '../../../ike/transport-nat.ts';
import { parseMessage } from '../../../ike/wire/message.ts';
import { NOTIFY } from '../../../ike/wire/names.ts';
import { Nat } from '../simulation/nat.ts';
import { A, B, greChild } from '../simulation/tunnels.ts';
import { connect, connectedPair, faultsOf, headerOf, makePair, type Pair } from './pair.ts';

const OUTSIDE = '192.0.2.9';
const only = <T>(items: Iterable<T>): T => {
  const all = [...items];
  expect(all).toHaveLength(1);
  return all[0];
};

/** A is behind a NAT; B knows it by the NAT's address. Not faultsOf: the two ends name A by different addresses. */
function pairThroughNat(ofA = {}, ofB = {}): Pair & { readonly nat: Nat } {
  const pair = makePair();
  const nat = new Nat(A, OUTSIDE);
  pair.world.translate = nat.translate;
  connect(pair, ofA, {
    name: `${B}-${OUTSIDE}`,
    remote: OUTSIDE,
    remoteId: { type: 'ipv4', value: A },
    children: [greChild(B, OUTSIDE, 'wait')],
    ...ofB,
  });
  return { ...pair, nat };
}

const up = ({ a, b }: Pair): boolean => a.installed.size === 1 && b.installed.size === 1;
const ikeSa = (host: Pair['a']) => only(only(host.engine.status()).ikeSas);

describe('NAT detection', () => {
  it('hashes SPIs, address and port as RFC 7296 §2.23 says', () => {
    const { world } = connectedPair();
    const first = world.sent[0];
    const parsed = parseMessage(first.data);
    if (!parsed.ok) throw new Error(parsed.reason);
    const { header, payloads } = parsed.message;
    const hash = (address: number[]): string =>
      createHash('sha1')
        .update(Buffer.from(`${header.initiatorSpi}0000000000000000`, 'hex'))
        .update(Uint8Array.of(...address, 0x01, 0xf4))
        .digest('hex');
    const sent = (type: number): string => Buffer.from(findNotify(payloads, type)?.data ?? []).toString('hex');
    expect(sent(NOTIFY.NAT_DETECTION_SOURCE_IP)).toBe(hash([10, 0, 0, 1]));
    expect(sent(NOTIFY.NAT_DETECTION_DESTINATION_IP)).toBe(hash([10, 0, 0, 2]));
  });

  it('leaves ends without a NAT between them on port 500 with plain ESP', () => {
    const pair = connectedPair();
    expect(pair.world.sent.every(({ local, remote }) => local.port === 500 && remote.port === 500)).toBe(true);
    expect(only(pair.a.installed.values()).sa.udpEncapsulation).toBeUndefined();
    expect(ikeSa(pair.a).nat).toBe('none');
  });

  it('moves to port 4500 and puts ESP in UDP when one end is behind a NAT', () => {
    const pair = pairThroughNat();
    expect(pair.world.run(5000, () => up(pair))).toBe(true);
    const [ofA, ofB] = [pair.a, pair.b].map((host) => only(host.installed.values()).sa);
    expect(ofA.udpEncapsulation).toEqual({
      local: { address: A, port: 4500 },
      remote: { address: B, port: 4500 },
    });
    expect(ofB.udpEncapsulation).toMatchObject({ local: { address: B, port: 4500 }, remote: { address: OUTSIDE } });
    expect(ofB.udpEncapsulation?.remote.port).toBeGreaterThanOrEqual(20_000);
    expect([ikeSa(pair.a).nat, ikeSa(pair.b).nat]).toEqual(['local', 'remote']);
    const after = pair.world.sent.filter(({ data }) => headerOf({ data }).exchange !== 'IKE_SA_INIT');
    expect(after.every(({ local }) => local.port === 4500)).toBe(true);
  });

  it('names the host behind the NAT, in transport mode, at each end by the address that this end knows', () => {
    const pair = pairThroughNat();
    pair.world.run(5000, () => up(pair));
    const [ofA, ofB] = [pair.a, pair.b].map((host) => only(host.installed.values()).sa);
    expect([ofA.tsLocal[0].startAddress, ofA.tsRemote[0].startAddress]).toEqual([A, B]);
    expect([ofB.tsLocal[0].startAddress, ofB.tsRemote[0].startAddress]).toEqual([B, OUTSIDE]);
  });

  it('keeps to the addresses of the peer in tunnel mode, where the inner header carries them', () => {
    const tunnel = (child: ChildConfig): ChildConfig => ({ ...child, mode: 'tunnel' });
    const pair = pairThroughNat({ children: [tunnel(greChild(A, B))] }, { children: [tunnel(greChild(B, A, 'wait'))] });
    expect(pair.world.run(5000, () => up(pair))).toBe(true);
    const { sa } = only(pair.b.installed.values());
    expect(sa).toMatchObject({ mode: 'tunnel', tsRemote: [{ startAddress: A }] });
    expect(sa.udpEncapsulation?.remote.address).toBe(OUTSIDE);
  });

  it.each<[Encapsulation, Encapsulation, boolean]>([
    ['yes', 'auto', true],
    ['auto', 'yes', true],
    ['yes', 'yes', true],
    ['yes', 'no', false],
    ['no', 'auto', false],
    ['auto', 'no', false],
  ])('with encapsulation=%s here and %s there: UDP %s, the same at both ends', (here, there, udp) => {
    const pair = connectedPair({}, { encapsulation: here }, { encapsulation: there });
    for (const host of [pair.a, pair.b]) {
      expect(only(host.installed.values()).sa.udpEncapsulation !== undefined).toBe(udp);
    }
  });

  it('says that a peer without NAT detection cannot be made to encapsulate', () => {
    const { a } = connectedPair({}, { encapsulation: 'yes' }, { encapsulation: 'no' });
    expect(a.logs.join('\n')).toContain('does no NAT detection, so ESP cannot be encapsulated in UDP');
  });

  it('keeps path and ports when child and IKE SA are rekeyed', () => {
    const lifetimes = {
      ikeSeconds: 200,
      childSeconds: 100,
      marginSeconds: 20,
      fuzzPercent: 0,
      childPackets: 0,
      childBytes: 0,
    };
    const pair = pairThroughNat({ lifetimes });
    pair.world.run(1_000_000);
    expect(up(pair)).toBe(true);
    expect(pair.b.engine.counters()['rekeyed: IKE SAs']).toBeGreaterThan(3);
    expect(only(pair.b.installed.values()).sa.udpEncapsulation?.remote.address).toBe(OUTSIDE);
    expect(ikeSa(pair.b).nat).toBe('remote');
  });
});

describe('an end behind a NAT', () => {
  it('sends a keepalive every 20 s, the other end none', () => {
    const pair = pairThroughNat();
    pair.world.run(205_000);
    expect(pair.a.keepalives).toBe(10);
    expect(pair.b.keepalives).toBe(0);
  });

  it('is followed by the other end when its NAT gives it another address and port', () => {
    const pair = pairThroughNat();
    pair.world.run(5000, () => up(pair));
    const { sa } = only(pair.b.installed.values());
    pair.nat.rebind('192.0.2.77');
    const moved = (): boolean => only(pair.b.installed.values()).sa.udpEncapsulation?.remote.address === '192.0.2.77';
    expect(pair.world.run(120_000, moved)).toBe(true);
    expect(pair.b.actions.some((action) => action.action === 'child-path' && action.id === sa.id)).toBe(true);
    pair.world.run(300_000);
    expect(up(pair)).toBe(true);
    expect(only(pair.b.installed.values()).sa.id).toBe(sa.id);
  });

  it('keeps its tunnel through rekeyings by the other end when its NAT gives it another address', () => {
    const pair = pairThroughNat();
    pair.world.run(5000, () => up(pair));
    pair.nat.rebind('192.0.2.77');
    pair.world.run(60_000);
    const { id } = only(pair.b.installed.values()).sa;
    pair.b.command({ command: 'child-soft-limit', id });
    pair.world.run(10_000);
    expect(up(pair)).toBe(true);
    expect(only(pair.b.installed.values()).sa).toMatchObject({ replaces: id, tsRemote: [{ startAddress: OUTSIDE }] });
  });

  it('is followed on an authenticated packet too', () => {
    const pair = pairThroughNat();
    pair.world.run(5000, () => up(pair));
    const { id } = only(pair.b.installed.values()).sa;
    const remote = { address: '192.0.2.77', port: 31_000 };
    pair.b.command({ command: 'child-seen-from', id, remote });
    expect(only(pair.b.installed.values()).sa.udpEncapsulation?.remote).toEqual(remote);
  });
});

describe('a source that nobody authenticated', () => {
  it('moves nothing: forged and repeated messages from another address', () => {
    const pair = pairThroughNat();
    pair.world.run(5000, () => up(pair));
    pair.world.run(100_000);
    const before = only(pair.b.installed.values()).sa.udpEncapsulation;
    const elsewhere = { address: '203.0.113.5', port: 4500 };
    const local = { address: B, port: 4500 };
    for (const sent of pair.world.sent.filter((one) => one.local.address === A)) {
      pair.b.receive({ local, remote: elsewhere, data: sent.data });
      const forged = sent.data.slice();
      forged[forged.length - 1] ^= 1;
      pair.b.receive({ local, remote: elsewhere, data: forged });
    }
    expect(only(pair.b.installed.values()).sa.udpEncapsulation).toEqual(before);
    expect(pair.b.actions.some(({ action }) => action === 'child-path')).toBe(false);
  });

  it('is not followed where there is no NAT, nor by the end that is behind one', () => {
    const plain = connectedPair();
    const { id } = only(plain.b.installed.values()).sa;
    plain.b.command({ command: 'child-seen-from', id, remote: { address: '203.0.113.5', port: 4500 } });
    expect(ikeSa(plain.b).remote.address).toBe(A);
    expect(faultsOf(plain)).toEqual([]);

    const pair = pairThroughNat();
    pair.world.run(5000, () => up(pair));
    const child = only(pair.a.installed.values()).sa;
    pair.a.command({ command: 'child-seen-from', id: child.id, remote: { address: '203.0.113.5', port: 4500 } });
    expect(ikeSa(pair.a).remote).toEqual({ address: B, port: 4500 });
  });
});

describe('selectors through a NAT', () => {
  const host = (address: string) => greChild(address, address).tsLocal;
  const at = { nat: { ...NO_NAT, us: true, peer: true }, local: '10.1.0.1', remote: OUTSIDE };

  it('are translated and translated back in transport mode', () => {
    const result = translate(at, true, host('10.9.9.9'), host('198.51.100.1'));
    expect(result.remote).toEqual(host(OUTSIDE));
    expect(result.local).toEqual(host('10.1.0.1'));
    expect(result.remoteForPeer(result.remote)).toEqual(host('10.9.9.9'));
    expect(result.localForPeer(result.local)).toEqual(host('198.51.100.1'));
  });

  it('stay as they are in tunnel mode, without a NAT, and when they name more than one host', () => {
    const two = [...host('10.9.9.9'), ...host('10.9.9.8')];
    expect(translate(at, false, host('10.9.9.9'), host(B)).remote).toEqual(host('10.9.9.9'));
    expect(translate({ ...at, nat: NO_NAT }, true, host('10.9.9.9'), host(B)).local).toEqual(host(B));
    expect(translate(at, true, two, host(B)).remote).toEqual(two);
  });
});

describe('ESP mode', () => {
  const tunnel = (child: ChildConfig): ChildConfig => ({ ...child, mode: 'tunnel' });

  it('is tunnel mode where both ends are configured so', () => {
    const pair = connectedPair(
      {},
      { children: [tunnel(greChild(A, B))] },
      { children: [tunnel(greChild(B, A, 'wait'))] },
    );
    for (const host of [pair.a, pair.b]) expect(only(host.installed.values()).sa.mode).toBe('tunnel');
  });

  it('is tunnel mode never where this end is configured for transport mode', () => {
    for (const [ofA, ofB] of [
      [tunnel(greChild(A, B)), greChild(B, A, 'wait')],
      [greChild(A, B), tunnel(greChild(B, A, 'wait'))],
    ]) {
      const pair = makePair();
      connect(pair, { children: [ofA] }, { children: [ofB] });
      pair.world.run(20_000);
      expect([pair.a.installed.size, pair.b.installed.size]).toEqual([0, 0]);
      expect([...pair.a.failures, ...pair.b.failures].join('\n')).toMatch(/tunnel mode, we in transport mode/);
    }
  });
});
