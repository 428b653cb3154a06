import { describe, expect, it } from 'vitest';
import { FRAGMENT_LIMIT, FragmentBuffer, REASSEMBLED_LIMIT } from '../../../ike/sa/fragment-buffer.ts';
import { parseMessage } from '../../../ike/wire/message.ts';
import { A } from '../simulation/tunnels.ts';
import { type Sent, TEST_SETTINGS, World } from '../simulation/world.ts';
import { connect, faultsOf, headerOf, makePair, type Pair } from './pair.ts';

const SMALL = { ...TEST_SETTINGS, fragmentBytes: 200 };

function smallPair(seed = 1): Pair {
  const world = new World(seed);
  return { world, a: world.addHost(A, SMALL), b: world.addHost('10.0.0.2', SMALL) };
}

const placeOf = ({ data }: Pick<Sent, 'data'>) => {
  const parsed = parseMessage(data);
  return parsed.ok ? parsed.message.encrypted?.fragment : undefined;
};
const up = (pair: Pair) => (): boolean => faultsOf(pair).length === 0;

describe('IKE fragmentation', () => {
  it('splits what does not fit a packet, both ways, and nothing else', () => {
    const pair = smallPair();
    connect(pair);
    expect(pair.world.run(3000, up(pair))).toBe(true);
    const auth = pair.world.sent.filter(({ data }) => headerOf({ data }).exchange === 'IKE_AUTH');
    expect(auth.every((sent) => placeOf(sent) !== undefined && sent.data.length <= 200 - 28)).toBe(true);
    expect(new Set(auth.map(({ local }) => local.address)).size).toBe(2);
    expect(pair.b.engine.counters()['received: fragments']).toBe(placeOf(auth[0])!.total - 1);
  });

  it('is not used for messages that fit, nor towards a peer that did not announce it', () => {
    const fits = makePair();
    connect(fits);
    fits.world.run(3000, up(fits));
    expect(fits.world.sent.some((sent) => placeOf(sent) !== undefined)).toBe(false);

    for (const [ofA, ofB] of [
      [{ fragmentation: false }, {}],
      [{}, { fragmentation: false }],
    ]) {
      const pair = smallPair();
      connect(pair, ofA, ofB);
      expect(pair.world.run(3000, up(pair))).toBe(true);
      expect(pair.world.sent.some((sent) => placeOf(sent) !== undefined)).toBe(false);
    }
  });

  it('survives loss, repetition and reordering', () => {
    for (let seed = 1; seed <= 30; seed++) {
      const pair = smallPair(seed);
      pair.world.conditions = { loss: 0.2, duplication: 0.3, minimumMs: 1, maximumMs: 400 };
      connect(pair);
      expect(pair.world.run(400_000, up(pair)), `seed ${seed}`).toBe(true);
      const counters = pair.b.engine.counters();
      expect(counters['dropped: bad-integrity']).toBe(0);
    }
  });

  it('answers a repeated fragmented request with the same response, once for each repetition', () => {
    const pair = smallPair();
    let lost = 0;
    pair.world.pass = (sent) => {
      const { exchange, responseFlag } = headerOf(sent);
      if (exchange !== 'IKE_AUTH' || !responseFlag || lost >= placeOf(sent)!.total) return true;
      lost += 1;
      return false;
    };
    connect(pair);
    expect(pair.world.run(10_000, up(pair))).toBe(true);
    expect(pair.b.engine.counters()).toMatchObject({ 'sent: repeated responses': 1, 'dropped: altered repetition': 0 });
    const responses = pair.world.sent.filter(({ data }) => {
      const { exchange, responseFlag } = headerOf({ data });
      return exchange === 'IKE_AUTH' && responseFlag;
    });
    const half = responses.length / 2;
    expect(responses.slice(half).map(({ data }) => data)).toEqual(responses.slice(0, half).map(({ data }) => data));
  });

  it('loses nothing to forged fragments, whatever number they claim', () => {
    const pair = smallPair();
    pair.world.pass = (sent) => {
      const place = placeOf(sent);
      if (place === undefined) return true;
      for (const [number, total] of [
        [place.number, place.total],
        [1, 1],
        [1, place.total + 1],
        [FRAGMENT_LIMIT, FRAGMENT_LIMIT],
        [1, 0xffff],
      ]) {
        const forged = sent.data.slice();
        forged.set([number >> 8, number & 0xff, total >> 8, total & 0xff], 32);
        forged[forged.length - 1] ^= 1;
        pair.world.deliver(sent, forged);
      }
      return true;
    };
    connect(pair);
    expect(pair.world.run(3000, up(pair))).toBe(true);
    expect(pair.world.sent.filter(({ data }) => headerOf({ data }).exchange === 'IKE_SA_INIT')).toHaveLength(2);
    const counters = pair.b.engine.counters();
    expect(counters['dropped: bad-integrity']).toBeGreaterThan(3);
    expect(counters['dropped: fragment too-many']).toBeGreaterThan(0);
  });

  it('is refused on an IKE SA that did not agree on it', () => {
    const pair = smallPair();
    connect(pair);
    const fragments: Sent[] = [];
    pair.world.pass = (sent) => {
      if (placeOf(sent) !== undefined) fragments.push(sent);
      return true;
    };
    pair.world.run(3000, up(pair));
    const other = makePair();
    connect(other, {}, { fragmentation: false });
    other.world.run(3000, up(other));
    const { initiatorSpi, responderSpi } = headerOf(other.world.sent[1]);
    const forged = fragments[0].data.slice();
    forged.set(Buffer.from(initiatorSpi + responderSpi, 'hex'));
    forged.set([0, 0, 0, 2], 20);
    other.b.receive({ local: fragments[0].remote, remote: fragments[0].local, data: forged });
    expect(other.b.engine.counters()['dropped: unexpected exchange']).toBe(1);
    forged[18] = 37;
    other.b.receive({ local: fragments[0].remote, remote: fragments[0].local, data: forged });
    expect(other.b.engine.counters()['dropped: fragment unasked']).toBe(1);
  });
});

describe('the buffer of fragments', () => {
  const place = { messageId: 1, exchange: 'IKE_AUTH', total: 3, firstPayload: 35, flags: 0 } as const;
  const part = (text: string) => new TextEncoder().encode(text);

  it('gives the whole in order whatever order they come in', () => {
    const buffer = new FragmentBuffer();
    expect(buffer.add({ ...place, number: 3, firstPayload: 0 }, part('c'))).toBeUndefined();
    expect(buffer.add({ ...place, number: 1 }, part('a'))).toBeUndefined();
    expect(buffer.add({ ...place, number: 2, firstPayload: 0 }, part('b'))).toEqual({
      inner: part('abc'),
      firstPayload: 35,
      flags: 0,
    });
    expect(buffer.size).toBe(0);
  });

  it('starts anew for another message, and for one in more fragments; fewer are stale', () => {
    const buffer = new FragmentBuffer();
    buffer.add({ ...place, number: 1 }, part('a'));
    expect(buffer.judge({ ...place, number: 1 })).toBe('duplicate');
    expect(buffer.judge({ ...place, number: 1, total: 2 })).toBe('stale');
    expect(buffer.judge({ ...place, number: 2, exchange: 'INFORMATIONAL' })).toBe('stale');
    expect(buffer.judge({ ...place, number: 1, total: 4 })).toBe('wanted');
    buffer.add({ ...place, number: 1, total: 4 }, part('x'));
    expect(buffer.size).toBe(1);
    expect(buffer.judge({ ...place, number: 2 })).toBe('stale');
    buffer.add({ ...place, messageId: 2, number: 1, total: 1 }, part('y'));
    expect(buffer.size).toBe(0);
  });

  it('keeps a bounded number of bytes', () => {
    const buffer = new FragmentBuffer();
    for (let number = 1; number < FRAGMENT_LIMIT; number++) {
      buffer.add({ ...place, number, total: FRAGMENT_LIMIT }, new Uint8Array(1200));
      expect(buffer.size).toBeLessThanOrEqual(REASSEMBLED_LIMIT);
    }
    expect(buffer.judge({ ...place, number: 1, total: FRAGMENT_LIMIT + 1 })).toBe('too-many');
  });
});
