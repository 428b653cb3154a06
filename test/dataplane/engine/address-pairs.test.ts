import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AddressPairs, NO_PAIR, PAIR_WORDS, pairWords, REMOTE } from '../../../dataplane/address-pairs.ts';
import { sumBytes } from '../../../dataplane/wire/checksum.ts';
import { writeIpv4 } from '../../../dataplane/wire/ipv4.ts';
import { writeIpv6 } from '../../../dataplane/wire/ipv6.ts';

const ADDRESSES = {
  4: ['192.0.2.1', '192.0.2.2', '10.0.0.1', '255.255.255.255', '0.0.0.1'],
  6: ['2001:db8::1', '2001:db8::2', '::1', '1::', '::ffff:192.0.2.1'],
} as const;

/** The header of a packet that comes from `remote` to `local`. */
function headerOf(family: 4 | 6, local: string, remote: string): Uint8Array {
  const words = pairWords(local, remote);
  const bytes = new Uint8Array(40);
  if (family === 6) writeIpv6(bytes, 0, 0, 0, 64, 50, words, REMOTE, 0);
  else writeIpv4(bytes, 0, 20, 0, 0, 0, 64, 50, words[REMOTE], words[0]);
  return bytes;
}

const find = (pairs: AddressPairs, family: 4 | 6, local: string, remote: string): number =>
  family === 6 ? pairs.find6(headerOf(6, local, remote), 0) : pairs.find4(headerOf(4, local, remote), 0);

const pair = fc.constantFrom(4 as const, 6 as const).chain((family) =>
  fc.record({
    family: fc.constant(family),
    local: fc.constantFrom(...ADDRESSES[family]),
    remote: fc.constantFrom(...ADDRESSES[family]),
  }),
);

describe('address pairs', () => {
  it('are found while somebody has taken them, each under a number of its own, and not afterwards', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(pair, fc.boolean()), { maxLength: 150 }), (changes) => {
        const pairs = new AddressPairs();
        const model = new Map<string, { id: number; users: number }>();
        for (const [{ family, local, remote }, release] of changes) {
          const name = `${local} ${remote}`;
          const known = model.get(name);
          if (!release) {
            const id = pairs.take(local, remote);
            if (known !== undefined) expect(id).toBe(known.id);
            else expect([...model.values()].map((other) => other.id)).not.toContain(id);
            model.set(name, { id, users: (known?.users ?? 0) + 1 });
          } else if (known !== undefined) {
            pairs.release(known.id);
            if (known.users === 1) model.delete(name);
            else model.set(name, { ...known, users: known.users - 1 });
          }
          expect(find(pairs, family, local, remote)).toBe(model.get(name)?.id ?? NO_PAIR);
        }
        for (const [name, { id }] of model) {
          const [local = '', remote = ''] = name.split(' ');
          expect(find(pairs, local.includes(':') ? 6 : 4, local, remote)).toBe(id);
        }
      }),
    );
  });

  it('have a direction, and a family: an IPv6 header with a mapped address is no IPv4 packet', () => {
    const pairs = new AddressPairs();
    const id = pairs.take('192.0.2.1', '192.0.2.2');
    expect(find(pairs, 4, '192.0.2.1', '192.0.2.2')).toBe(id);
    expect(find(pairs, 4, '192.0.2.2', '192.0.2.1')).toBe(NO_PAIR);
    expect(find(pairs, 6, '::ffff:192.0.2.1', '::ffff:192.0.2.2')).toBe(NO_PAIR);
    expect(find(pairs, 6, 'c000:201::', 'c000:202::')).toBe(NO_PAIR);
    expect(pairs.take('c000:201::', 'c000:202::')).not.toBe(id);
  });

  it('know the sum of both addresses', () => {
    const pairs = new AddressPairs();
    const id = pairs.take('2001:db8::1:ffff', 'fe80::abcd');
    const bytes = headerOf(6, '2001:db8::1:ffff', 'fe80::abcd');
    expect(pairs.addressSum[id]).toBe(sumBytes(bytes, 8, 32, 0));
    expect(pairs.words.length % PAIR_WORDS).toBe(0);
  });

  it.each([
    ['192.0.2.1', '2001:db8::1', /of one family/],
    ['192.0.2.256', '192.0.2.1', /expected IPv4/],
    ['2001:db8::1', 'fe80::1%lo', /expected IPv6/],
  ])('of %s and %s are refused in one line', (local, remote, message) => {
    expect(() => new AddressPairs().take(local, remote)).toThrow(message);
  });
});
