import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AddressPairs } from '../../../dataplane/address-pairs.ts';
import type { TunnelKey, TunnelSettings } from '../../../dataplane/commands.ts';
import { makeTunnel, type Tunnel, TunnelTable, typeNumber } from '../../../dataplane/tunnel-table.ts';
import { TupleIndex } from '../../../dataplane/tuple-index.ts';

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

const pairs = new AddressPairs();
/** Kept by the test, so that its number stays. */
const pair = pairs.take(HERE, PEER);

function table(...tunnels: readonly Partial<TunnelSettings>[]): TunnelTable {
  const result = new TunnelTable(64, pairs);
  tunnels.forEach((change, port) => {
    result.set(makeTunnel(port, 0, `tun${port}`, settings(change)));
  });
  return result;
}

const GRE = typeNumber('gre');
const VXLAN = typeNumber('vxlan');

describe('the lookup of a decapsulated packet', () => {
  it('prefers a fixed key to any key, and of two the first', () => {
    const lookup = table({ inKey: flow }, { inKey: fixed(7) }, { inKey: fixed(7) });
    expect(lookup.lookup(GRE, 0, pair, 7)).toBe(1);
    lookup.remove(1);
    expect(lookup.lookup(GRE, 0, pair, 7)).toBe(2);
    lookup.remove(2);
    expect(lookup.lookup(GRE, 0, pair, 7)).toBe(0);
  });

  it('finds any key only where the tunnel takes any', () => {
    const lookup = table({ inKey: fixed(7) }, { inKey: flow });
    expect(lookup.lookup(GRE, 0, pair, 7)).toBe(0);
    expect(lookup.lookup(GRE, 0, pair, 8)).toBe(1);
    expect(table({ inKey: fixed(7) }).lookup(GRE, 0, pair, 8)).toBe(-1);
  });

  it('takes no key and key 0 for the same', () => {
    expect(table({ inKey: none }).lookup(GRE, 0, pair, 0)).toBe(0);
    expect(table({ inKey: fixed(0) }).lookup(GRE, 0, pair, 0)).toBe(0);
  });

  it('tells types, ports and addresses apart', () => {
    const lookup = table({ type: 'vxlan', destinationPort: 4789 });
    expect(lookup.lookup(VXLAN, 4789, pair, 0)).toBe(0);
    expect(lookup.lookup(VXLAN, 4790, pair, 0)).toBe(-1);
    expect(lookup.lookup(GRE, 0, pair, 0)).toBe(-1);
    expect(lookup.lookup(VXLAN, 4789, pairs.take(PEER, HERE), 0)).toBe(-1);
    expect(lookup.typeOfPort(17, 4789)).toBe(VXLAN);
    expect(lookup.typeOfPort(17, 4790)).toBe(-1);
  });

  it('forgets a tunnel that is removed', () => {
    const lookup = table({ type: 'vxlan', destinationPort: 4789 }, { inKey: fixed(3) });
    lookup.remove(0);
    expect(lookup.lookup(VXLAN, 4789, pair, 0)).toBe(-1);
    expect(lookup.typeOfPort(17, 4789)).toBe(-1);
    expect(lookup.lookup(GRE, 0, pair, 3)).toBe(1);
  });
});

describe('the protection of a tunnel', () => {
  it('covers other tunnels of the same type between the same addresses', () => {
    const lookup = table({ inKey: fixed(1) }, { inKey: fixed(2), protection: 5 }, { remote: '192.0.2.3' });
    expect(lookup.list().map((tunnel) => tunnel.protection)).toEqual([5, 5, -1]);
    expect(lookup.tunnels[lookup.lookupAddresses(GRE, 0, pair)]?.protection).toBe(5);
  });

  it('stays with the tunnel that has its own', () => {
    const lookup = table({ inKey: fixed(1), protection: 4 }, { inKey: fixed(2), protection: 5 });
    expect(lookup.list().map((tunnel) => tunnel.protection)).toEqual([4, 5]);
  });
});

describe('tunnel settings', () => {
  it.each([
    [{ local: '2001:db8::1' }, /addresses 2001:db8::1 and 192.0.2.2: expected both of one family/],
    [{ remote: '1.2.3' }, /address "1.2.3": expected IPv4/],
    [{ remote: '2001:db8::1::2' }, /expected IPv6/],
    [{ remote: '0.0.0.0' }, /remote address is the unspecified one/],
    [{ local: '0.0.0.0' }, /local address is the unspecified one/],
    [{ local: '2001:db8::1', remote: '::' }, /remote address is the unspecified one/],
  ])('that the engine cannot do are refused in one line: %o', (change, message) => {
    expect(() => makeTunnel(1, 0, 'tun', settings(change))).toThrow(message);
  });
});

describe('a table of tunnels', () => {
  it('finds the same tunnels after any changes as one made afresh', () => {
    const change = fc.record({
      port: fc.integer({ min: 0, max: 7 }),
      remote: fc.constantFrom('192.0.2.2', '192.0.2.3'),
      inKey: fc.constantFrom(flow, none, fixed(1)),
      protection: fc.constantFrom(undefined, 5),
      remove: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
        const changed = table();
        const last = new Map<number, Tunnel>();
        for (const { port, remove, ...rest } of changes) {
          last.delete(port);
          if (remove) changed.remove(port);
          else {
            const tunnel = makeTunnel(port, 0, 'tun', settings(rest));
            changed.set(tunnel);
            last.set(port, tunnel);
          }
        }
        const fresh = new TunnelTable(64, pairs);
        for (const tunnel of last.values()) fresh.set({ ...tunnel });
        const other = pairs.take(HERE, '192.0.2.3');
        for (const at of [pair, other]) {
          for (const key of [0, 1]) expect(changed.lookup(GRE, 0, at, key)).toBe(fresh.lookup(GRE, 0, at, key));
          expect(changed.lookupAddresses(GRE, 0, at)).toBe(fresh.lookupAddresses(GRE, 0, at));
        }
        const protections = (of: TunnelTable) => of.list().map((tunnel) => tunnel.protection);
        expect(protections(changed)).toEqual(protections(fresh));
      }),
    );
  });
});

describe('a tuple index', () => {
  it('gives for each tuple the value set last, and -1 for one that was deleted or never set', () => {
    const word = fc.integer({ min: -3, max: 3 });
    const tuple = fc.tuple(word, word, word);
    fc.assert(
      fc.property(fc.array(fc.tuple(tuple, fc.boolean()), { maxLength: 120 }), (changes) => {
        const index = new TupleIndex();
        const model = new Map<string, number>();
        changes.forEach(([key, remove], value) => {
          if (remove) {
            index.delete(...key);
            model.delete(key.join());
          } else {
            index.set(...key, value);
            model.set(key.join(), value);
          }
        });
        for (const [key] of changes) expect(index.get(...key)).toBe(model.get(key.join()) ?? -1);
        expect(index.get(9, 9, 9)).toBe(-1);
      }),
    );
  });
});
