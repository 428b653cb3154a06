/**
 * Diffie-Hellman for IKEv2 (RFC 7296 §3.4): MODP groups 14-16 (RFC 3526), ECP groups 19-21 (RFC 5903) and
 * Curve25519 (RFC 8031), on node:crypto.
 *
 * A public value of the peer is checked before it meets a private key (RFC 6989): length, range 2..p-2, on the curve,
 * shared secret not zero. A new group is a row of GROUPS. Random bytes come from the caller, so a vector can fix the
 * private key; which group to use is the engine's.
 */

import {
  createDiffieHellman,
  createECDH,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  type ECDH,
  getDiffieHellman,
} from 'node:crypto';
import { TRANSFORM_ID } from '../wire/names.ts';

const GROUP = TRANSFORM_ID.DH;

/** What is wrong with the peer's public value. */
export type InvalidPublicValueCode = 'wrong-length' | 'out-of-range' | 'not-on-curve' | 'zero-shared-secret';

/** The peer's public value can't be used: the exchange fails with INVALID_SYNTAX, the peer is broken or hostile. */
export class InvalidPublicValueError extends Error {
  readonly code: InvalidPublicValueCode;
  readonly group: number;
  readonly detail: string;

  constructor(code: InvalidPublicValueCode, group: number, detail: string) {
    super(`key exchange with group ${group}: ${detail}`);
    this.name = 'InvalidPublicValueError';
    this.code = code;
    this.group = group;
    this.detail = detail;
  }
}

/** A group that is no row here was asked for: the caller's mistake, it has to check `isGroupSupported` first. */
export class UnsupportedGroupError extends Error {
  constructor(group: number) {
    super(`group ${group} is not supported; expected one of ${SUPPORTED_GROUPS.join(', ')}`);
    this.name = 'UnsupportedGroupError';
  }
}

/** One side's half of a key exchange. */
export interface KeyExchange {
  readonly group: number;
  /** As it stands in the KE payload, full length of the group. */
  readonly publicValue: Uint8Array;
  /**
   * g^ir, padded to the full length of the group (RFC 7296 §2.14); for ECP the x coordinate (RFC 5903 §7).
   * Throws InvalidPublicValueError.
   */
  computeShared(peerPublic: Uint8Array): Uint8Array;
  /** A copy of the private key, for `resumeKeyExchange` elsewhere. Only of dear groups. */
  readonly privateKey?: () => Uint8Array;
}

/** Gives `bytes` random bytes. */
export type RandomSource = (bytes: number) => Uint8Array;

interface GroupRow {
  /** Length of the public value in bytes. */
  readonly publicBytes: number;
  readonly create: (random: RandomSource) => KeyExchange;
  /**
   * The secret of a private key made before. Set: a step of this group is dear, it takes longer than handing it to another
   * thread. Those of the others (x25519, ECP_256) take about 0.1 ms.
   */
  readonly resume?: (privateKey: Uint8Array, peerPublic: Uint8Array) => Uint8Array;
}

/** Draws until the scalar is in 1..n-1; for these curves nearly always the first (P-521: its top 7 bits are cut). */
const SCALAR_TRIES = 128;
const UNCOMPRESSED_POINT = 0x04;

const X25519_BYTES = 32;
/** RFC 8037 §2. */
const X25519_JWK = { kty: 'OKP', crv: 'X25519' } as const;

/**
 * Private exponents are twice the larger strength estimate of RFC 3526 §8 (160, 210, 240 bits), rounded up to bytes:
 * a longer one costs time and adds nothing.
 */
const GROUPS: ReadonlyMap<number, GroupRow> = new Map([
  [GROUP.MODP_2048, modp(GROUP.MODP_2048, 'modp14', 256, 40)],
  [GROUP.MODP_3072, modp(GROUP.MODP_3072, 'modp15', 384, 53)],
  [GROUP.MODP_4096, modp(GROUP.MODP_4096, 'modp16', 512, 60)],
  [GROUP.ECP_256, ecp(GROUP.ECP_256, 'prime256v1', 256, 'cheap')],
  [GROUP.ECP_384, ecp(GROUP.ECP_384, 'secp384r1', 384, 'dear')],
  [GROUP.ECP_521, ecp(GROUP.ECP_521, 'secp521r1', 521, 'dear')],
  [GROUP.CURVE_25519, x25519()],
]);

/** Transform ids of the groups that `createKeyExchange` takes. */
export const SUPPORTED_GROUPS: readonly number[] = [...GROUPS.keys()];

export function isGroupSupported(group: number): boolean {
  return GROUPS.has(group);
}

/** Length in bytes of a public value of this group; undefined for a group without row. */
export function publicValueBytes(group: number): number | undefined {
  return GROUPS.get(group)?.publicBytes;
}

/** A fresh private key of `group` and its public value. Throws UnsupportedGroupError. */
export function createKeyExchange(group: number, random: RandomSource): KeyExchange {
  const row = GROUPS.get(group);
  if (row === undefined) throw new UnsupportedGroupError(group);
  return row.create(random);
}

/** Whether the steps of this group are dear: they can be done with a private key alone, elsewhere. */
export function isGroupDear(group: number): boolean {
  return GROUPS.get(group)?.resume !== undefined;
}

/** The shared secret of a private key that `createKeyExchange` made of a dear group. Throws as `computeShared` does. */
export function resumeKeyExchange(group: number, privateKey: Uint8Array, peerPublic: Uint8Array): Uint8Array {
  const resume = GROUPS.get(group)?.resume;
  if (resume === undefined) throw new UnsupportedGroupError(group);
  return resume(privateKey, peerPublic);
}

/** Prime of a MODP group, big-endian, from OpenSSL's table of RFC 3526. */
export function modpPrime(name: 'modp14' | 'modp15' | 'modp16'): Uint8Array {
  return getDiffieHellman(name).getPrime();
}

function modp(group: number, name: 'modp14' | 'modp15' | 'modp16', bytes: number, exponentBytes: number): GroupRow {
  let prime: Uint8Array | undefined;
  const withPrivateKey = (privateKey: Uint8Array) => {
    prime ??= modpPrime(name);
    const modulus = prime;
    // An object of the named group refuses a private key that is given, one made of its prime takes it.
    const dh = createDiffieHellman(modulus, 2);
    dh.setPrivateKey(privateKey);
    const computeShared = (peerPublic: Uint8Array): Uint8Array => {
      checkLength(group, peerPublic, bytes);
      checkRange(group, peerPublic, modulus);
      return padLeft(dh.computeSecret(peerPublic), bytes);
    };
    return { dh, computeShared };
  };
  const create = (random: RandomSource): KeyExchange => {
    const { dh, computeShared } = withPrivateKey(random(exponentBytes));
    const publicValue = padLeft(dh.generateKeys(), bytes);
    return { group, publicValue, computeShared, privateKey: () => Uint8Array.from(dh.getPrivateKey()) };
  };
  const resume = (privateKey: Uint8Array, peerPublic: Uint8Array): Uint8Array =>
    withPrivateKey(privateKey).computeShared(peerPublic);
  return { publicBytes: bytes, create, resume };
}

/** 2 <= y <= p-2: keeps out 0, 1 and p-1, whose powers anyone can guess (RFC 6989 §2.1). Public data, plain compare. */
function checkRange(group: number, value: Uint8Array, prime: Uint8Array): void {
  const upper = Buffer.from(prime);
  // p is odd and its last byte is 255 in these groups, so p-2 needs no borrow.
  upper[upper.length - 1] -= 2;
  const atLeastTwo = value[value.length - 1] >= 2 || value.some((byte, i) => byte !== 0 && i < value.length - 1);
  if (!atLeastTwo || Buffer.compare(value, upper) > 0) {
    throw new InvalidPublicValueError('out-of-range', group, 'the public value is not in 2..p-2');
  }
}

function ecp(group: number, curve: string, bits: number, cost: 'cheap' | 'dear'): GroupRow {
  const coordinateBytes = Math.ceil(bits / 8);
  const sharedOf = (ecdh: ECDH, peerPublic: Uint8Array): Uint8Array => {
    checkLength(group, peerPublic, 2 * coordinateBytes);
    const point = Buffer.alloc(1 + peerPublic.length);
    point[0] = UNCOMPRESSED_POINT;
    point.set(peerPublic, 1);
    try {
      return padLeft(ecdh.computeSecret(point), coordinateBytes);
    } catch {
      // OpenSSL decodes a point only if it satisfies the curve's equation.
      throw new InvalidPublicValueError('not-on-curve', group, `the public value is no point of ${curve}`);
    }
  };
  const create = (random: RandomSource): KeyExchange => {
    const ecdh = createECDH(curve);
    setScalar(() => {
      const scalar = Buffer.from(random(coordinateBytes));
      scalar[0] &= 0xff >> (8 * coordinateBytes - bits);
      ecdh.setPrivateKey(scalar);
    });
    return {
      group,
      // RFC 5903 §7: x||y, without the octet that says uncompressed.
      publicValue: Uint8Array.from(ecdh.getPublicKey()).slice(1),
      computeShared: (peerPublic) => sharedOf(ecdh, peerPublic),
      ...(cost === 'dear' && { privateKey: () => Uint8Array.from(ecdh.getPrivateKey()) }),
    };
  };
  if (cost === 'cheap') return { publicBytes: 2 * coordinateBytes, create };
  const resume = (privateKey: Uint8Array, peerPublic: Uint8Array): Uint8Array => {
    const ecdh = createECDH(curve);
    ecdh.setPrivateKey(privateKey);
    return sharedOf(ecdh, peerPublic);
  };
  return { publicBytes: 2 * coordinateBytes, create, resume };
}

function setScalar(attempt: () => void): void {
  for (let tries = 1; ; tries++) {
    try {
      attempt();
      return;
    } catch (error) {
      if (tries === SCALAR_TRIES) {
        throw new Error(`no valid private scalar in ${SCALAR_TRIES} draws: the random source is broken`, {
          cause: error,
        });
      }
    }
  }
}

function x25519(): GroupRow {
  const group = GROUP.CURVE_25519;
  const create = (random: RandomSource): KeyExchange => {
    // As JWK, whose raw keys OpenSSL takes as they are: decoding PKCS #8 would cost five times the key exchange itself.
    // Its own x is not looked at. The text stays in memory until it is collected, as the key object does.
    const scalar = Buffer.from(random(X25519_BYTES));
    const privateKey = createPrivateKey({
      key: { ...X25519_JWK, x: '', d: scalar.toString('base64url') },
      format: 'jwk',
    });
    scalar.fill(0);
    const { x } = createPublicKey(privateKey).export({ format: 'jwk' });
    return {
      group,
      publicValue: Uint8Array.from(Buffer.from(x ?? '', 'base64url')),
      computeShared(peerPublic) {
        checkLength(group, peerPublic, X25519_BYTES);
        const theirs = { ...X25519_JWK, x: Buffer.from(peerPublic).toString('base64url') };
        const publicKey = createPublicKey({ key: theirs, format: 'jwk' });
        let shared: Uint8Array;
        try {
          shared = Uint8Array.from(diffieHellman({ privateKey, publicKey }));
        } catch {
          // OpenSSL refuses to derive from a point of small order.
          shared = new Uint8Array(X25519_BYTES);
        }
        if (shared.every((byte) => byte === 0)) {
          throw new InvalidPublicValueError('zero-shared-secret', group, 'the shared secret is zero (RFC 8031 §2)');
        }
        return shared;
      },
    };
  };
  return { publicBytes: X25519_BYTES, create };
}

function checkLength(group: number, value: Uint8Array, bytes: number): void {
  if (value.length !== bytes) {
    const detail = `the public value has ${value.length} bytes, expected ${bytes}`;
    throw new InvalidPublicValueError('wrong-length', group, detail);
  }
}

function padLeft(value: Uint8Array, bytes: number): Uint8Array {
  const out = new Uint8Array(bytes);
  out.set(value, bytes - value.length);
  return out;
}
