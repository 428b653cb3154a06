/** Key exchange groups against RFC 5903, 7748 and 3526, and against BigInt arithmetic (RFC 6989: checks of public values). */

import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  createKeyExchange,
  InvalidPublicValueError,
  isGroupDear,
  isGroupSupported,
  modpPrime,
  publicValueBytes,
  resumeKeyExchange,
  SUPPORTED_GROUPS,
  UnsupportedGroupError,
} from '../../../ike/crypto/dh.ts';
import { transformName } from '../../../ike/wire/names.ts';
import rfc3526 from '../../vectors/ike/rfc3526.json' with { type: 'json' };
import rfc5903 from '../../vectors/ike/rfc5903.json' with { type: 'json' };
import rfc7748 from '../../vectors/ike/rfc7748.json' with { type: 'json' };
import { bytes, hex } from './hex.ts';

const given = (privateKey: string) => () => bytes(privateKey);

describe.each(rfc5903)('ECP group $group (RFC 5903 §$section)', (vector) => {
  const sides = () => ({
    initiator: createKeyExchange(vector.group, given(vector.i)),
    responder: createKeyExchange(vector.group, given(vector.r)),
  });

  it('has x||y of the published points as public values', () => {
    const { initiator, responder } = sides();
    expect(hex(initiator.publicValue)).toBe(vector.gix + vector.giy);
    expect(hex(responder.publicValue)).toBe(vector.grx + vector.gry);
  });

  it('gives the published x coordinate as shared secret on both sides', () => {
    const { initiator, responder } = sides();
    expect(hex(initiator.computeShared(responder.publicValue))).toBe(vector.girx);
    expect(hex(responder.computeShared(initiator.publicValue))).toBe(vector.girx);
  });

  it('refuses a point that is not on the curve', () => {
    const { initiator, responder } = sides();
    const off = responder.publicValue.slice();
    off[off.length - 1] ^= 1;
    expect(codeOf(() => initiator.computeShared(off))).toBe('not-on-curve');
    expect(codeOf(() => initiator.computeShared(new Uint8Array(off.length)))).toBe('not-on-curve');
    expect(codeOf(() => initiator.computeShared(new Uint8Array(off.length).fill(0xff)))).toBe('not-on-curve');
  });

  it('draws again where the random bytes are no scalar of the curve', () => {
    const draws = [
      new Uint8Array(vector.i.length / 2),
      new Uint8Array(vector.i.length / 2).fill(0xff),
      bytes(vector.i),
    ];
    const exchange = createKeyExchange(vector.group, () => draws.shift()!);
    expect(hex(exchange.publicValue)).toBe(vector.gix + vector.giy);
    expect(draws).toHaveLength(0);
  });

  it('gives up on a random source that never yields a scalar, after 128 draws', () => {
    let draws = 0;
    const broken = (size: number) => {
      draws++;
      return new Uint8Array(size);
    };
    expect(() => createKeyExchange(vector.group, broken)).toThrow(/128 draws: the random source/);
    expect(draws).toBe(128);
  });

  it('takes the random bits that the order of the curve has room for, and no others', () => {
    const scalar = bytes(vector.i);
    // Of P-521 the first byte holds one bit; the others have none to spare.
    if (vector.group === 21) scalar[0] |= 0xfe;
    expect(hex(createKeyExchange(vector.group, () => scalar).publicValue)).toBe(vector.gix + vector.giy);
  });
});

describe('Curve25519 (RFC 7748, RFC 8031)', () => {
  const { exchange, functions } = rfc7748;

  it('gives the published public values and shared secret', () => {
    const alice = createKeyExchange(31, given(exchange.alicePrivate));
    const bob = createKeyExchange(31, given(exchange.bobPrivate));
    expect(hex(alice.publicValue)).toBe(exchange.alicePublic);
    expect(hex(bob.publicValue)).toBe(exchange.bobPublic);
    expect(hex(alice.computeShared(bob.publicValue))).toBe(exchange.shared);
    expect(hex(bob.computeShared(alice.publicValue))).toBe(exchange.shared);
  });

  it.each(functions)('gives the published output of X25519 for $u', ({ scalar, u, out }) => {
    expect(hex(createKeyExchange(31, given(scalar)).computeShared(bytes(u)))).toBe(out);
  });

  it.each([
    ['0', '00'.repeat(32)],
    ['1', `01${'00'.repeat(31)}`],
    ['a point of order 8', 'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800'],
  ])('refuses the shared secret of zeros that %s would give', (_name, u) => {
    const own = createKeyExchange(31, given(exchange.alicePrivate));
    expect(codeOf(() => own.computeShared(bytes(u)))).toBe('zero-shared-secret');
  });
});

describe.each(rfc3526)('MODP group $group (RFC 3526 §$section)', ({ group, name, bits, addend }) => {
  const prime = modpPrimeOf(bits, addend);

  it('has the prime that the formula with pi defines', () => {
    expect(toBigInt(modpPrime(name as 'modp14'))).toBe(prime);
  });

  it('computes g^x and g^xy mod p as BigInt arithmetic does, padded to the length of the group', () => {
    const own = '1f'.repeat(30);
    const other = 'c4'.repeat(30);
    const a = createKeyExchange(group, given(own));
    const b = createKeyExchange(group, given(other));
    const gx = power(2n, BigInt(`0x${own}`), prime);
    expect(toBigInt(a.publicValue)).toBe(gx);
    expect(a.publicValue).toHaveLength(bits / 8);
    const shared = a.computeShared(b.publicValue);
    expect(shared).toHaveLength(bits / 8);
    expect(toBigInt(shared)).toBe(power(gx, BigInt(`0x${other}`), prime));
    expect(shared).toEqual(b.computeShared(a.publicValue));
  });

  it('pads a public value and a shared secret with zeros in front', () => {
    // 2^1 meets g^x with x small: the secret is 2^x, far shorter than the group.
    const own = createKeyExchange(group, given('0a'));
    expect(own.publicValue).toEqual(toBytes(1024n, bits / 8));
    expect(toBigInt(own.computeShared(toBytes(2n, bits / 8)))).toBe(1024n);
    expect(own.computeShared(toBytes(2n, bits / 8))).toHaveLength(bits / 8);
  });

  it('takes public values from 2 to p-2 and no others', () => {
    const own = createKeyExchange(group, given('0a'));
    const at = (value: bigint) => () => own.computeShared(toBytes(value, bits / 8));
    for (const value of [0n, 1n, prime - 1n, prime, prime + 1n, (1n << BigInt(bits)) - 1n]) {
      expect(codeOf(at(value))).toBe('out-of-range');
    }
    for (const value of [2n, 256n, prime - 2n]) expect(at(value)()).toHaveLength(bits / 8);
  });
});

/** Bytes of random data that each group draws: for MODP twice the larger estimate of RFC 3526 §8. Dear: resumed elsewhere. */
const EVERY = [
  { group: 14, drawn: 40, dear: true },
  { group: 15, drawn: 53, dear: true },
  { group: 16, drawn: 60, dear: true },
  { group: 19, drawn: 32, dear: false },
  { group: 20, drawn: 48, dear: true },
  { group: 21, drawn: 66, dear: true },
  { group: 31, drawn: 32, dear: false },
] as const;

it('are these groups, and no others', () => {
  expect(SUPPORTED_GROUPS).toEqual(EVERY.map(({ group }) => group));
  for (const group of [0, 2, 17, 35]) {
    expect(isGroupSupported(group)).toBe(false);
    expect(isGroupDear(group)).toBe(false);
    expect(publicValueBytes(group)).toBeUndefined();
  }
});

describe.each(EVERY.map((row) => ({ ...row, name: transformName({ type: 'DH', id: row.group }) })))(
  'every group: $name',
  ({ group, drawn, dear }) => {
    it('draws as many random bytes as its strength asks for', () => {
      const sizes = new Set<number>();
      const { group: made } = createKeyExchange(group, (size) => {
        sizes.add(size);
        return randomBytes(size);
      });
      expect([...sizes]).toEqual([drawn]);
      expect(made).toBe(group);
      expect(isGroupSupported(group)).toBe(true);
    });

    it(`${dear ? 'is' : 'is not'} resumed elsewhere from its private key alone`, () => {
      const own = createKeyExchange(group, randomBytes);
      const peer = createKeyExchange(group, randomBytes);
      expect(isGroupDear(group)).toBe(dear);
      expect(own.privateKey !== undefined).toBe(dear);
      const privateKey = own.privateKey?.() ?? new Uint8Array(drawn);
      const resumed = () => resumeKeyExchange(group, privateKey, peer.publicValue);
      if (!dear) {
        expect(resumed).toThrow(UnsupportedGroupError);
        return;
      }
      expect(resumed()).toEqual(own.computeShared(peer.publicValue));
      const short = () => resumeKeyExchange(group, privateKey, peer.publicValue.subarray(1));
      expect(codeOf(short)).toBe('wrong-length');
      // A copy: who wipes it does not wipe the exchange's own.
      privateKey.fill(0);
      expect(own.privateKey?.().every((byte) => byte === 0)).toBe(false);
    });

    it('agrees between two random sides, whose public values differ', () => {
      const a = createKeyExchange(group, randomBytes);
      const b = createKeyExchange(group, randomBytes);
      expect(a.publicValue).toHaveLength(publicValueBytes(group)!);
      expect(a.publicValue).not.toEqual(b.publicValue);
      expect(a.computeShared(b.publicValue)).toEqual(b.computeShared(a.publicValue));
    });

    it('refuses public values of another length', () => {
      const own = createKeyExchange(group, randomBytes);
      const expected = own.publicValue.length;
      for (const length of [0, 1, expected - 1, expected + 1, 2000]) {
        const attempt = () => own.computeShared(new Uint8Array(length).fill(9));
        expect(codeOf(attempt)).toBe('wrong-length');
        expect(attempt).toThrow(
          `key exchange with group ${group}: the public value has ${length} bytes, expected ${expected}`,
        );
      }
    });
  },
);

it('names the supported groups when asked for another', () => {
  expect(() => createKeyExchange(2, randomBytes)).toThrow(UnsupportedGroupError);
  expect(() => createKeyExchange(2, randomBytes)).toThrow(/group 2 .*14, 15, 16, 19, 20, 21, 31/);
});

function codeOf(attempt: () => unknown): string {
  try {
    attempt();
  } catch (error) {
    if (error instanceof InvalidPublicValueError) return error.code;
    throw error;
  }
  return 'accepted';
}

/** p = 2^n - 2^(n-64) - 1 + 2^64 * ([2^(n-130) pi] + addend). */
function modpPrimeOf(bits: number, addend: number): bigint {
  const n = BigInt(bits);
  return (1n << n) - (1n << (n - 64n)) - 1n + (1n << 64n) * (piTimesPowerOfTwo(bits - 130) + BigInt(addend));
}

/** Floor of 2^bits pi, by Machin: pi = 16 arctan(1/5) - 4 arctan(1/239), with 64 guard bits. */
function piTimesPowerOfTwo(bits: number): bigint {
  const guard = 64n;
  const one = 1n << (BigInt(bits) + guard);
  const arctan = (inverse: bigint): bigint => {
    let sum = 0n;
    let term = one / inverse;
    for (let k = 1n; term !== 0n; k += 2n) {
      sum += k % 4n === 1n ? term / k : -(term / k);
      term /= inverse * inverse;
    }
    return sum;
  };
  return (16n * arctan(5n) - 4n * arctan(239n)) >> guard;
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  for (let square = base % modulus, rest = exponent; rest > 0n; rest >>= 1n, square = (square * square) % modulus) {
    if (rest & 1n) result = (result * square) % modulus;
  }
  return result;
}

function toBigInt(value: Uint8Array): bigint {
  return BigInt(`0x${hex(value)}`);
}

function toBytes(value: bigint, length: number): Uint8Array {
  return bytes(value.toString(16).padStart(2 * length, '0'));
}
