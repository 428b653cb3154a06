import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TrafficSelector } from '../../../ike/index.ts';
import {
  chooseChild,
  contains,
  covers,
  equal,
  intersect,
  narrow,
  sameAddress,
  selectorPairText,
} from '../../../ike/traffic-selectors.ts';
import { A, B, greChild, udpChildren } from '../simulation/tunnels.ts';

const udp = (address: string, startPort = 0, endPort = startPort === 0 ? 65535 : startPort): TrafficSelector => ({
  protocol: 17,
  startPort,
  endPort,
  startAddress: address,
  endAddress: address,
});

const arbitrarySelector: fc.Arbitrary<TrafficSelector> = fc
  .record({
    protocol: fc.constantFrom(0, 17, 47),
    ports: fc.tuple(fc.nat(20), fc.nat(20)),
    hosts: fc.tuple(fc.nat(20), fc.nat(20)),
    six: fc.boolean(),
  })
  .map(({ protocol, ports, hosts, six }) => {
    const address = (host: number): string => (six ? `fd00::${host.toString(16)}` : `10.0.0.${host}`);
    return {
      protocol,
      startPort: Math.min(...ports),
      endPort: Math.max(...ports),
      startAddress: address(Math.min(...hosts)),
      endAddress: address(Math.max(...hosts)),
    };
  });

describe('traffic selectors', () => {
  it('intersect commutatively, and what both contain is contained in the intersection', () => {
    fc.assert(
      fc.property(arbitrarySelector, arbitrarySelector, arbitrarySelector, (a, b, inner) => {
        const both = intersect(a, b);
        const other = intersect(b, a);
        expect(both === undefined).toBe(other === undefined);
        if (both !== undefined && other !== undefined) {
          expect(equal(both, other)).toBe(true);
          expect(contains(a, both) && contains(b, both)).toBe(true);
        }
        if (contains(a, inner) && contains(b, inner)) expect(both !== undefined && contains(both, inner)).toBe(true);
      }),
    );
  });

  it('never overlap between IPv4 and IPv6', () => {
    const any6 = { ...udp('::'), endAddress: 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff' };
    expect(intersect(udp('10.0.0.1'), any6)).toBeUndefined();
  });

  it('take spellings of one IPv6 address for the same', () => {
    expect(sameAddress('::1', '0:0:0:0:0:0:0:1')).toBe(true);
    expect(sameAddress('::ffff:10.0.0.1', '10.0.0.1')).toBe(false);
  });

  it('are narrowed to what is configured, whatever is proposed', () => {
    fc.assert(
      fc.property(
        fc.array(arbitrarySelector, { maxLength: 5 }),
        fc.array(arbitrarySelector, { maxLength: 5 }),
        (proposed, configured) => {
          const result = narrow(proposed, configured);
          expect(covers(proposed, result) && covers(configured, result)).toBe(true);
          result.forEach((one, index) => {
            for (const [at, other] of result.entries()) if (at !== index) expect(contains(other, one)).toBe(false);
          });
        },
      ),
    );
  });

  it('drop the 5-tuple that charon puts in front, and answer the wide selector', () => {
    const child = udpChildren(A, B)[0];
    const found = chooseChild([child], [udp(B, 54321), udp(B)], [udp(A, 6081), udp(A, 6081)]);
    expect(found).toMatchObject({ fit: 'exact', tsLocal: [udp(A, 6081)], tsRemote: [udp(B)] });
  });

  it('find the one of in and out that is meant, in any order of the configuration', () => {
    for (const children of [udpChildren(A, B), udpChildren(A, B).reverse()]) {
      expect(chooseChild(children, [udp(B)], [udp(A, 6081)])?.child.name).toBe('tun-in');
      expect(chooseChild(children, [udp(B, 6081)], [udp(A)])?.child.name).toBe('tun-out');
    }
  });

  it('narrow a proposal of all traffic to the configured child', () => {
    const any = (address: string): TrafficSelector => ({ ...udp(address), protocol: 0 });
    expect(chooseChild([greChild(A, B)], [any(B)], [any(A)])).toMatchObject({
      fit: 'ours-within-theirs',
      tsLocal: greChild(A, B).tsLocal,
      tsRemote: greChild(A, B).tsRemote,
    });
  });

  it('say when the peer protects less than is configured', () => {
    expect(chooseChild(udpChildren(A, B), [udp(B, 1000, 2000)], [udp(A, 6081)])).toMatchObject({
      fit: 'theirs-within-ours',
      child: { name: 'tun-in' },
    });
  });

  it('do not match the other direction of a tunnel with another port, although the two overlap', () => {
    const theirOut = { theirs: [udp(B)], ours: [udp(A, 7002)] };
    expect(intersect(theirOut.ours[0]!, udpChildren(A, B)[1]!.tsLocal[0]!)).toBeDefined();
    expect(chooseChild(udpChildren(A, B), theirOut.theirs, theirOut.ours)).toBeUndefined();
  });

  it('do not match another host, protocol or port', () => {
    const children = udpChildren(A, B);
    expect(chooseChild(children, [udp('10.0.0.9')], [udp(A, 6081)])).toBeUndefined();
    expect(chooseChild(children, greChild(A, B).tsRemote, greChild(A, B).tsLocal)).toBeUndefined();
    expect(chooseChild(children, [udp(B, 4789)], [udp(A, 4789)])).toBeUndefined();
    expect(chooseChild(children, [], [])).toBeUndefined();
  });

  it('stand in logs as the field writes them', () => {
    expect(selectorPairText([udp(A, 6081)], [udp(B)])).toBe('10.0.0.1[udp/6081] === 10.0.0.2[udp]');
  });
});
