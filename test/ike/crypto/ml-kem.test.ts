import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { shake128 } from '@noble/hashes/sha3.js';
import { describe, expect, it } from 'vitest';
import { answerKeyExchange, beginKeyExchange, InvalidPublicValueError } from '../../../ike/crypto/key-exchange.ts';
import { type Kem, NATIVE_KEMS, NOBLE_KEMS, SEED_BYTES } from '../../../ike/crypto/ml-kem.ts';
import { TRANSFORM_ID } from '../../../ike/wire/names.ts';
import { bytes, hex } from './hex.ts';

interface Accumulated {
  readonly set: string;
  readonly method: number;
  readonly rounds: number;
  readonly digest: string;
}
const accumulated: Accumulated[] = JSON.parse(
  readFileSync(new URL('../../vectors/ike/ml-kem-accumulated.json', import.meta.url), 'utf8'),
);

/** NIST's sample, all bytes in hex. */
type Sample = Readonly<Record<'set' | 'ek' | 'dk' | 'm' | 'c' | 'k', string> & { method: number }>;
const nist: Sample[] = JSON.parse(readFileSync(new URL('../../vectors/ike/acvp-ml-kem.json', import.meta.url), 'utf8'));

const { ML_KEM_512, ML_KEM_768, ML_KEM_1024, CURVE_25519 } = TRANSFORM_ID.DH;
const METHODS = [ML_KEM_512, ML_KEM_768, ML_KEM_1024];
const random = (count: number): Uint8Array => Uint8Array.from(randomBytes(count));
const given = (what: Uint8Array) => () => what.slice();

/** The implementations that this Node has: OpenSSL's needs Node 24.7. */
const implementations = [
  { name: 'noble', kems: NOBLE_KEMS },
  ...(NATIVE_KEMS === undefined ? [] : [{ name: 'node:crypto', kems: NATIVE_KEMS }]),
];

const kemOf = (kems: ReadonlyMap<number, Kem>, method: number): Kem => {
  const kem = kems.get(method);
  if (kem === undefined) throw new Error(`no KEM ${method}`);
  return kem;
};

describe.each(accumulated)('$set', ({ method, rounds, digest }) => {
  it('comes to the published digest of a hundred key pairs, ciphertexts, secrets and rejections', () => {
    const kem = kemOf(NOBLE_KEMS, method);
    const native = NATIVE_KEMS?.get(method);
    const source = shake128.create({ dkLen: 32 });
    const result = shake128.create({ dkLen: 32 });
    for (let round = 0; round < rounds; round++) {
      const seed = source.xof(SEED_BYTES);
      const pair = kem.generate(given(seed));
      const encapsulated = kem.encapsulate(pair.encapsulationKey, given(source.xof(32)))!;
      const random = source.xof(kem.ciphertextBytes);
      const rejected = pair.decapsulate(random);
      result.update(pair.encapsulationKey).update(encapsulated.ciphertext).update(encapsulated.sharedSecret);
      result.update(rejected);
      expect(pair.decapsulate(encapsulated.ciphertext)).toEqual(encapsulated.sharedSecret);
      // OpenSSL, where there is one, comes to the same with the same seed.
      if (native === undefined) continue;
      const twin = native.generate(given(seed));
      expect(twin.encapsulationKey).toEqual(pair.encapsulationKey);
      expect(twin.decapsulate(encapsulated.ciphertext)).toEqual(encapsulated.sharedSecret);
      expect(twin.decapsulate(random)).toEqual(rejected);
    }
    expect(Buffer.from(result.xof(32)).toString('hex')).toBe(digest);
  });
});

describe.each(nist)('the $set sample of NIST', ({ method, ek, dk, m, c, k }) => {
  it('is what is encapsulated with its m, and decapsulated with its dk', () => {
    const { encapsulate, resume } = kemOf(NOBLE_KEMS, method);
    const { ciphertext, sharedSecret } = encapsulate(bytes(ek), given(bytes(m)))!;
    expect([hex(ciphertext), hex(sharedSecret)]).toEqual([c, k]);
    expect(hex(resume!(bytes(dk), bytes(c)))).toBe(k);
  });
});

describe.each(implementations)('ML-KEM of $name', ({ kems }) => {
  it.each(METHODS)('agrees with every implementation there is in both directions, method %i', (method) => {
    for (const other of implementations) {
      const pair = kemOf(kems, method).generate(random);
      const { ciphertext, sharedSecret } = kemOf(other.kems, method).encapsulate(pair.encapsulationKey, random)!;
      expect(ciphertext).toHaveLength(kemOf(kems, method).ciphertextBytes);
      expect(pair.decapsulate(ciphertext)).toEqual(sharedSecret);
    }
  });

  it.each(METHODS)('refuses an encapsulation key with a coefficient of q or more, method %i', (method) => {
    const kem = kemOf(kems, method);
    const { encapsulationKey } = kem.generate(random);
    expect(kem.encapsulate(encapsulationKey, random)).toBeDefined();
    for (const at of [0, 3 * 40, encapsulationKey.length - 35]) {
      const changed = encapsulationKey.slice();
      changed.fill(0xff, at, at + 3);
      expect(kem.encapsulate(changed, random)).toBeUndefined();
    }
  });

  it.each(METHODS)('gives another secret for a ciphertext with a bit changed, and no error, method %i', (method) => {
    const kem = kemOf(kems, method);
    const pair = kem.generate(random);
    const { ciphertext, sharedSecret } = kem.encapsulate(pair.encapsulationKey, random)!;
    for (const at of [0, ciphertext.length >> 1, ciphertext.length - 1]) {
      const changed = ciphertext.slice();
      changed[at] ^= 0x10;
      const secret = pair.decapsulate(changed);
      expect(secret).toHaveLength(32);
      expect(secret).not.toEqual(sharedSecret);
      expect(pair.decapsulate(changed)).toEqual(secret);
    }
  });
});

describe('a key exchange by any method', () => {
  it.each([...METHODS, CURVE_25519])('comes to one secret at both ends, method %i', (method) => {
    const ours = beginKeyExchange(method, random);
    const theirs = answerKeyExchange(method, ours.publicValue, random);
    expect(createHash('sha256').update(ours.computeShared(theirs.publicValue)).digest('hex')).toBe(
      createHash('sha256').update(theirs.sharedSecret).digest('hex'),
    );
  });

  it.each(METHODS)('is refused for values of every wrong length, method %i', (method) => {
    const ours = beginKeyExchange(method, random);
    const { publicValue } = answerKeyExchange(method, ours.publicValue, random);
    for (const cut of [1, 32, publicValue.length - 1]) {
      expect(() => answerKeyExchange(method, ours.publicValue.subarray(cut), random)).toThrow(InvalidPublicValueError);
      expect(() => ours.computeShared(publicValue.subarray(cut))).toThrow(InvalidPublicValueError);
    }
    expect(() => answerKeyExchange(method, new Uint8Array(ours.publicValue.length + 1), random)).toThrow(
      InvalidPublicValueError,
    );
    expect(ours.computeShared(publicValue)).toHaveLength(32);
  });
});
