/** PRF, prf+ and the key schedule against RFC 4231 and NIST's IKEv2 KDF vectors (RFC 7296 §2.13-§2.18). */

import { hkdf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';
import {
  deriveChildKeys,
  deriveIkeKeys,
  type IkeSuite,
  prf,
  prfPlus,
  rekeySkeyseed,
  skeyseed,
  skKeysOf,
  wipeIkeKeys,
} from '../../../ike/crypto/prf.ts';
import { prfRow } from '../../../ike/crypto/transforms.ts';
import { concatBytes } from '../../../ike/wire/bytes.ts';
import nist from '../../vectors/ike/nist-ikev2-kdf.json' with { type: 'json' };
import rfc4231 from '../../vectors/ike/rfc4231.json' with { type: 'json' };
import { bytes, hex } from './hex.ts';

const PRFS = [
  { id: 5, hash: 'sha256', noble: sha256 },
  { id: 6, hash: 'sha384', noble: sha384 },
  { id: 7, hash: 'sha512', noble: sha512 },
] as const;

describe.each(PRFS)('PRF_HMAC_$hash', ({ id, hash, noble }) => {
  it.each(rfc4231)('gives the output of RFC 4231 test case $case', (vector) => {
    const output = prf(id, bytes(vector.key), bytes(vector.data));
    expect(hex(output.subarray(0, vector.truncatedTo))).toBe(vector[hash]);
  });

  it('takes data in parts as if they were joined', () => {
    const key = bytes('0102');
    expect(prf(id, key, bytes('aa'), bytes(''), bytes('bbcc'))).toEqual(prf(id, key, bytes('aabbcc')));
  });

  it('agrees with noble, also for prf+, which is the expansion of HKDF with the seed as its info', () => {
    const key = bytes('5a'.repeat(40));
    const seed = bytes('c3'.repeat(70));
    expect(prf(id, key, seed)).toEqual(hmac(noble, key, seed));
    const length = 5 * prfRow(id).outputBytes + 7;
    // HKDF-Extract(salt, ikm) = HMAC(salt, ikm): choose T so that noble's expand starts from the same key.
    const extracted = hmac(noble, bytes('00'), key);
    expect(prfPlus(id, extracted, seed, length)).toEqual(hkdf(noble, key, bytes('00'), seed, length));
  });

  it('stops at 255 blocks, where the counter octet of prf+ ends', () => {
    const most = 255 * prfRow(id).outputBytes;
    expect(prfPlus(id, bytes('01'), bytes('02'), most)).toHaveLength(most);
    expect(() => prfPlus(id, bytes('01'), bytes('02'), most + 1)).toThrow(RangeError);
  });
});

describe.each(nist.map((vector, index) => ({ index, ...vector })))(
  'NIST IKEv2 KDF sample $index ($source, PRF $prf)',
  (vector) => {
    const ni = bytes(vector.ni);
    const nr = bytes(vector.nr);
    const dkm = bytes(vector.dkm);
    const prfBytes = prfRow(vector.prf).outputBytes;
    const skD = dkm.subarray(0, prfBytes);

    it('gives SKEYSEED', () => {
      expect(hex(skeyseed(vector.prf, ni, nr, bytes(vector.gir)))).toBe(vector.skeyseed);
    });

    it('gives the keying material of the IKE SA', () => {
      const seed = concatBytes(ni, nr, bytes(vector.spii), bytes(vector.spir));
      expect(hex(prfPlus(vector.prf, bytes(vector.skeyseed), seed, dkm.length))).toBe(vector.dkm);
    });

    it('gives SKEYSEED of a rekeyed IKE SA', () => {
      expect(hex(rekeySkeyseed(vector.prf, skD, bytes(vector.girNew), ni, nr))).toBe(vector.skeyseedRekey);
    });

    it.each([
      ['an AEAD', suiteOf(vector.prf), { e: 20, a: 0 }],
      ['a cipher with integrity', cbcSuiteOf(vector.prf), { e: 24, a: 48 }],
    ])('is cut into the seven keys of %s in the order of RFC 7296 §2.14', (_name, suite, { e, a }) => {
      const keys = deriveIkeKeys({
        suite,
        skeyseed: bytes(vector.skeyseed),
        ni,
        nr,
        initiatorSpi: vector.spii,
        responderSpi: vector.spir,
      });
      const order = [keys.skD, keys.skAi, keys.skAr, keys.skEi, keys.skEr, keys.skPi, keys.skPr];
      expect(order.map((key) => key.length)).toEqual([prfBytes, a, a, e, e, prfBytes, prfBytes]);
      const all = concatBytes(...order);
      const shown = Math.min(all.length, dkm.length);
      expect(hex(all.subarray(0, shown))).toBe(hex(dkm.subarray(0, shown)));
    });
  },
);

describe('KEYMAT of a child SA', () => {
  const full = nist.filter((vector) => vector.dkmChild !== undefined);
  const aes256 = { type: 'ENCR', id: 20, keyBits: 256 } as const;

  it.each(full)('without key exchange is the sample of NIST, the initiator direction first', (vector) => {
    const keys = childKeysOf(vector, undefined);
    expect(hex(concatBytes(keys.initiator, keys.responder))).toBe(vector.dkmChild?.slice(0, 2 * 72));
    expect(keys.initiator).toHaveLength(36);
  });

  it.each(full)('with key exchange is the sample of NIST', (vector) => {
    const keys = childKeysOf(vector, bytes(vector.girNew));
    expect(hex(concatBytes(keys.initiator, keys.responder))).toBe(vector.dkmChildDh?.slice(0, 2 * 72));
  });

  function childKeysOf(vector: (typeof nist)[number], sharedSecret: Uint8Array | undefined) {
    return deriveChildKeys({
      prf: { type: 'PRF', id: vector.prf },
      skD: bytes(vector.dkm).subarray(0, prfRow(vector.prf).outputBytes),
      sharedSecret,
      additional: [],
      ni: bytes(vector.ni),
      nr: bytes(vector.nr),
      encryption: aes256,
      integrity: undefined,
    });
  }
});

describe('keys of an IKE SA', () => {
  const input = (suite: IkeSuite) => ({
    suite,
    skeyseed: bytes('11'.repeat(32)),
    ni: bytes('22'.repeat(32)),
    nr: bytes('33'.repeat(32)),
    initiatorSpi: '0123456789abcdef',
    responderSpi: 'fedcba9876543210',
  });

  it('include integrity keys of the length of the hash for a cipher that is no AEAD', () => {
    const suite = cbcSuiteOf(7);
    const keys = deriveIkeKeys(input(suite));
    expect([keys.skAi.length, keys.skAr.length, keys.skEi.length, keys.skD.length]).toEqual([48, 48, 24, 64]);
    expect(skKeysOf(suite, keys, 'initiator')).toMatchObject({ skE: keys.skEi, skA: keys.skAi });
    expect(skKeysOf(suite, keys, 'responder')).toMatchObject({ skE: keys.skEr, skA: keys.skAr });
  });

  it('leave no SKEYSEED behind, and are zero after the wipe', () => {
    const given = input(suiteOf(5));
    const keys = deriveIkeKeys(given);
    expect(given.skeyseed.every((byte) => byte === 0)).toBe(true);
    expect(keys.skEi.some((byte) => byte !== 0)).toBe(true);
    wipeIkeKeys(keys);
    for (const key of Object.values(keys)) expect(key.every((byte: number) => byte === 0)).toBe(true);
  });
});

function suiteOf(prfId: number): IkeSuite {
  return {
    encryption: { type: 'ENCR', id: 20, keyBits: 128 },
    integrity: undefined,
    prf: { type: 'PRF', id: prfId },
    dh: { type: 'DH', id: 14 },
    additional: [],
  };
}

function cbcSuiteOf(prfId: number): IkeSuite {
  return {
    ...suiteOf(prfId),
    encryption: { type: 'ENCR', id: 12, keyBits: 192 },
    integrity: { type: 'INTEG', id: 13 },
  };
}
