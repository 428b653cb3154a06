// Signature schemes of AUTH both ways, judged by OpenSSL through node:crypto and by the bytes of RFC 7427.
import { constants, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import {
  ANNOUNCED_HASHES,
  chooseScheme,
  hashesNotifyData,
  parseHashesNotify,
  SIGNATURE_HASH,
  SIGNATURE_SCHEMES,
  signAuth,
  signatureProblem,
} from '../../../ike/crypto/auth-signature.ts';
import { AUTH_METHOD } from '../../../ike/wire/names.ts';
import { type KeyKind, Pki } from '../../rig/pki.ts';

const pki = new Pki();
afterAll(() => pki.remove());
const KINDS: readonly KeyKind[] = ['rsa', 'p256', 'p384', 'p521', 'ed25519', 'ed448'];
const keys = new Map(
  KINDS.map((kind) => {
    const privateKey = createPrivateKey(readFileSync(pki.selfSigned(kind, { key: kind }).keyPath));
    return [kind, { privateKey, publicKey: createPublicKey(privateKey) }] as const;
  }),
);
const keyOf = (kind: KeyKind) => keys.get(kind)!;
const octets = new Uint8Array(300).fill(7);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

const CURVES: Readonly<Record<string, KeyKind>> = { prime256v1: 'p256', secp384r1: 'p384', secp521r1: 'p521' };
const EVERY = SIGNATURE_SCHEMES.flatMap((scheme) => {
  const kinds = KINDS.filter((kind) =>
    scheme.curve === undefined
      ? keyOf(kind).privateKey.asymmetricKeyType === scheme.keyType
      : kind === CURVES[scheme.curve],
  );
  return kinds.map((kind) => ({ name: `${scheme.name} with ${kind}`, scheme, kind }));
});
const hashesFor = (method: number) => (method === AUTH_METHOD.RSA ? undefined : ANNOUNCED_HASHES);

describe('a signature of AUTH', () => {
  it('has every scheme that strongSwan and Libreswan know', () => {
    expect(EVERY.length).toBeGreaterThanOrEqual(6 + 9 + 3 + 2 + 1);
  });

  it.each(EVERY)('is made and verified: $name', ({ scheme, kind }) => {
    const { privateKey, publicKey } = keyOf(kind);
    const data = signAuth({ scheme, key: privateKey, octets });
    const peer = { method: scheme.method, data, peerHashes: hashesFor(scheme.method) };
    expect(signatureProblem(publicKey, octets, peer)).toBeUndefined();
    const other = octets.slice();
    other[0] ^= 1;
    expect(signatureProblem(publicKey, other, peer)).toMatch(/wrong signature/);
  });

  it.each(EVERY)('is refused when any part of it is changed: $name', ({ scheme, kind }) => {
    const { privateKey, publicKey } = keyOf(kind);
    const data = signAuth({ scheme, key: privateKey, octets });
    const { method } = scheme;
    fc.assert(
      fc.property(fc.nat(data.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = data.slice();
        changed[at] ^= flip;
        expect(
          signatureProblem(publicKey, octets, { method, data: changed, peerHashes: hashesFor(method) }),
        ).toBeDefined();
      }),
      { numRuns: 20 },
    );
    for (const length of [0, 1, 5, data.length - 1]) {
      const peer = { method, data: data.subarray(0, length), peerHashes: hashesFor(method) };
      expect(signatureProblem(publicKey, octets, peer), `${length} bytes`).toBeDefined();
    }
  });

  it('never throws and never passes for random bytes', () => {
    const { publicKey } = keyOf('rsa');
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 20 }), fc.uint8Array({ maxLength: 600 }), (method, data) => {
        expect(signatureProblem(publicKey, octets, { method, data, peerHashes: undefined })).toBeTypeOf('string');
      }),
    );
  });

  it('carries the AlgorithmIdentifiers of RFC 7427 appendix A', () => {
    const first = (name: string) => SIGNATURE_SCHEMES.find((scheme) => scheme.name === name)?.identifiers[0];
    expect(first('RSA_PKCS1_SHA2_256')).toBe('300d06092a864886f70d01010b0500');
    expect(first('ECDSA_SHA2_384')).toBe('300a06082a8648ce3d040303');
    expect(first('ED25519')).toBe('300506032b6570');
    // A.4.3: RSASSA-PSS with SHA-256, all parameters written out.
    expect(SIGNATURE_SCHEMES.find(({ name }) => name === 'RSA_PSS_SHA2_256')?.identifiers).toContain(
      '304606092a864886f70d01010a3039a00f300d06096086480165030402010500' +
        'a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120a303020101',
    );
  });

  it('takes what OpenSSL made with PSS, whichever way the peer writes its parameters', () => {
    const { privateKey, publicKey } = keyOf('rsa');
    const scheme = SIGNATURE_SCHEMES.find(({ name }) => name === 'RSA_PSS_SHA2_384')!;
    const padding = constants.RSA_PKCS1_PSS_PADDING;
    const signature = sign('sha384', octets, { key: privateKey, padding, saltLength: 48 });
    expect(new Set(scheme.identifiers).size).toBe(8);
    for (const identifier of scheme.identifiers) {
      const bytes = Buffer.from(identifier, 'hex');
      const data = Uint8Array.from(Buffer.concat([Uint8Array.of(bytes.length), bytes, signature]));
      const peer = { method: AUTH_METHOD.DIGITAL_SIGNATURE, data, peerHashes: ANNOUNCED_HASHES };
      expect(signatureProblem(publicKey, octets, peer)).toBeUndefined();
    }
  });

  it('of methods 9 to 11 is r and s side by side (RFC 4754), and is for its own curve only', () => {
    const { privateKey, publicKey } = keyOf('p521');
    const scheme = chooseScheme(privateKey, undefined)!;
    expect(scheme.method).toBe(AUTH_METHOD.ECDSA_521);
    const data = signAuth({ scheme, key: privateKey, octets });
    expect(data.length).toBe(132);
    expect(verify('sha512', octets, { key: publicKey, dsaEncoding: 'ieee-p1363' }, data)).toBe(true);
    const peer = { method: AUTH_METHOD.ECDSA_521, data, peerHashes: undefined };
    expect(signatureProblem(keyOf('p256').publicKey, octets, peer)).toMatch(/its certificate has a key of type ec/);
  });

  it('with RSA and SHA-1 is taken only from a peer that does not know RFC 7427', () => {
    const { privateKey, publicKey } = keyOf('rsa');
    const data = Uint8Array.from(sign('sha1', octets, privateKey));
    const method = AUTH_METHOD.RSA;
    expect(signatureProblem(publicKey, octets, { method, data, peerHashes: undefined })).toBeUndefined();
    expect(signatureProblem(publicKey, octets, { method, data, peerHashes: [1, 2] })).toMatch(/SHA-1, although/);
  });

  it('with SHA-1 inside method 14 is refused: we do not announce that hash', () => {
    const { privateKey, publicKey } = keyOf('rsa');
    const identifier = Buffer.from('300d06092a864886f70d0101050500', 'hex');
    const data = Uint8Array.from(Buffer.concat([Uint8Array.of(15), identifier, sign('sha1', octets, privateKey)]));
    const peer = { method: AUTH_METHOD.DIGITAL_SIGNATURE, data, peerHashes: [1, 2] };
    expect(signatureProblem(publicKey, octets, peer)).toMatch(/not supported/);
    expect(ANNOUNCED_HASHES).not.toContain(SIGNATURE_HASH.SHA1);
  });
});

describe('what is signed with', () => {
  const chosen = (kind: KeyKind, hashes?: readonly number[]) => chooseScheme(keyOf(kind).privateKey, hashes)?.name;

  it.each([
    ['rsa', 'RSA_PSS_SHA2_256', 'RSA_PKCS1_SHA1'],
    ['p256', 'ECDSA_SHA2_256', 'ECDSA_SHA2_256_prime256v1'],
    ['p384', 'ECDSA_SHA2_384', 'ECDSA_SHA2_384_secp384r1'],
    ['p521', 'ECDSA_SHA2_512', 'ECDSA_SHA2_512_secp521r1'],
    ['ed25519', 'ED25519', undefined],
    ['ed448', 'ED448', undefined],
  ] as const)('follows the key: %s gives %s, and %s for a peer without RFC 7427', (kind, modern, old) => {
    expect(chosen(kind, ANNOUNCED_HASHES)).toBe(modern);
    expect(chosen(kind, undefined)).toBe(old);
  });

  it('follows what the peer knows', () => {
    expect(chosen('rsa', [SIGNATURE_HASH.SHA2_512])).toBe('RSA_PSS_SHA2_512');
    expect(chosen('p256', [SIGNATURE_HASH.SHA2_384, SIGNATURE_HASH.SHA2_512])).toBe('ECDSA_SHA2_512');
    expect(chosen('rsa', [SIGNATURE_HASH.SHA1])).toBeUndefined();
    expect(chosen('ed25519', [SIGNATURE_HASH.SHA2_256])).toBeUndefined();
    expect(chosen('rsa', [])).toBeUndefined();
  });
});

describe('SIGNATURE_HASH_ALGORITHMS', () => {
  it('reads what it writes, and any bytes without complaint', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(0xffff), { maxLength: 32 }), (hashes) => {
        expect(parseHashesNotify(hashesNotifyData(hashes))).toEqual(hashes);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (data) => {
        expect(parseHashesNotify(data).length).toBeLessThanOrEqual(32);
      }),
    );
    expect(hex(hashesNotifyData(ANNOUNCED_HASHES))).toBe('0002000300040005');
  });
});
