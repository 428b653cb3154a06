import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TunnelKey, TunnelSettings } from '../../../dataplane/commands.ts';
import { makeTunnel, TunnelTable, typeNumber } from '../../../dataplane/tunnel-table.ts';
import { TupleIndex } from '../../../dataplane/tuple-index.ts';
import { ipv4FromText } from '../../../dataplane/wire/ipv4.ts';

const HERE = '192.0.2.1';
const PEER = '192.0.2.2';
const none: TunnelKey = { kind: 'none' };
const flow: TunnelKey = { kind: 'flow' };
const fixed = (key: number): TunnelKey => ({ kind: 'fixed', key });

function settings(change: Partial<TunnelSettings> = {}): TunnelSettings {
  return {
    type: 'gre',
    local: HERE,
    remote: PEER,
    inKey: none,
    outKey: none,
    checksum: false,
    destinationPort: 0,
    ttl: 64,
    tos: 0,
    dontFragment: true,
    egressMark: undefined,
    protection: undefined,
    ...change,
  };
}

function table(...tunnels: readonly Partial<TunnelSettings>[]): TunnelTable {
  const result = new TunnelTable(64);
  tunnels.forEach((change, port) => {
    result.set(makeTunnel(port, 0, `tun${port}`, settings(change)));
  });
  return result;
}

const GRE = typeNumber('gre');
const VXLAN = typeNumber('vxlan');
const here = ipv4FromText(HERE);
const peer = ipv4FromText(PEER);

describe('the lookup of a decapsulated packet', () => {
  it('prefers a fixed key with the local address, then a fixed key, then any key with the local address, then any key', () => {
    const four = [
      { inKey: flow, local: '0.0.0.0' },
      { inKey: flow },
      { inKey: fixed(7), local: '0.0.0.0' },
      { inKey: fixed(7) },
    ];
    for (let most = 3; most >= 0; most--)
      expect(table(...four.slice(0, most + 1)).lookup(GRE, 0, peer, here, 7)).toBe(most);
  });

  it('finds any key only where the tunnel takes any', () => {
    const lookup = table({ inKey: fixed(7) }, { inKey: flow });
    expect(lookup.lookup(GRE, 0, peer, here, 7)).toBe(0);
    expect(lookup.lookup(GRE, 0, peer, here, 8)).toBe(1);
    expect(table({ inKey: fixed(7) }).lookup(GRE, 0, peer, here, 8)).toBe(-1);
  });

  it('takes no key and key 0 for the same', () => {
    expect(table({ inKey: none }).lookup(GRE, 0, peer, here, 0)).toBe(0);
    expect(table({ inKey: fixed(0) }).lookup(GRE, 0, peer, here, 0)).toBe(0);
  });

  it('tells types, ports and addresses apart', () => {
    const lookup = table({ type: 'vxlan', destinationPort: 4789 });
    expect(lookup.lookup(VXLAN, 4789, peer, here, 0)).toBe(0);
    expect(lookup.lookup(VXLAN, 4790, peer, here, 0)).toBe(-1);
    expect(lookup.lookup(GRE, 0, peer, here, 0)).toBe(-1);
    expect(lookup.lookup(VXLAN, 4789, here, peer, 0)).toBe(-1);
    expect(lookup.typeOfPort(4789)).toBe(VXLAN);
    expect(lookup.typeOfPort(4790)).toBe(-1);
  });

  it('forgets a tunnel that is removed', () => {
    const lookup = table({ type: 'vxlan', destinationPort: 4789 }, { inKey: fixed(3) });
    lookup.remove(0);
    expect(lookup.lookup(VXLAN, 4789, peer, here, 0)).toBe(-1);
    expect(lookup.typeOfPort(4789)).toBe(-1);
    expect(lookup.lookup(GRE, 0, peer, here, 3)).toBe(1);
  });
});

describe('the protection of a tunnel', () => {
  it('covers other tunnels of the same type between the same addresses', () => {
    const lookup = table({ inKey: fixed(1) }, { inKey: fixed(2), protection: 5 }, { remote: '192.0.2.3' });
    expect(lookup.list().map((tunnel) => tunnel.protection)).toEqual([5, 5, -1]);
    expect(lookup.tunnels[lookup.lookupAddresses(GRE, 0, peer, here)]?.protection).toBe(5);
  });

  it('stays with the tunnel that has its own', () => {
    const lookup = table({ inKey: fixed(1), protection: 4 }, { inKey: fixed(2), protection: 5 });
    expect(lookup.list().map((tunnel) => tunnel.protection)).toEqual([4, 5]);
  });
});

describe('tunnel settings', () => {
  it.each([
    [{ type: 'stt' as const, destinationPort: 7471 }, /type stt is not supported/],
    [{ local: 'fe80::1' }, /local address "fe80::1": expected IPv4/],
    [{ remote: '1.2.3' }, /remote address "1.2.3": expected IPv4/],
    [{ remote: '0.0.0.0' }, /remote address 0.0.0.0/],
    [{ local: '0.0.0.0', protection: 1 }, /set local_ip/],
    [{ local: '0.0.0.0', checksum: true }, /set local_ip/],
  ])('that the engine cannot do are refused in one line: %o', (change, message) => {
    expect(() => makeTunnel(1, 0, 'tun', settings(change))).toThrow(message);
  });
});

describe('a tuple index', () => {
  it('gives for each tuple the value entered first, and -1 for every other', () => {
    const word = fc.integer({ min: -4, max: 4 });
    const tuple = fc.tuple(word, word, word, word);
    fc.assert(
      fc.property(fc.array(tuple, { maxLength: 60 }), fc.array(tuple, { maxLength: 30 }), (entries, others) => {
        const index = new TupleIndex(entries.length);
        const model = new Map<string, number>();
        entries.forEach((entry, value) => {
          index.add(...entry, value);
          if (!model.has(entry.join())) model.set(entry.join(), value);
        });
        for (const key of [...entries, ...others]) expect(index.get(...key)).toBe(model.get(key.join()) ?? -1);
      }),
    );
  });
});
