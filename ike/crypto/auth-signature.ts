/**
 * AUTH with a signature: which schemes there are, which one we sign with, which ones of a peer are accepted.
 *
 * Digital Signature (14, RFC 7427; Ed25519 and Ed448 by RFC 8420) names its scheme in an AlgorithmIdentifier, of which only
 * the encodings in the table are taken: no ASN.1 of a stranger is parsed here. ECDSA (9, 10, 11, RFC 4754) stands for one
 * curve and hash each. RSA (1, RFC 7296 §3.8) means SHA-1 in practice, and is made and taken only where the peer does not know
 * RFC 7427; that it does not cannot be feigned by others, as AUTH covers IKE_SA_INIT.
 */

import { constants, type KeyObject, sign, verify } from 'node:crypto';
import { AUTH_METHOD } from '../wire/names.ts';

/** Hash algorithms of SIGNATURE_HASH_ALGORITHMS (RFC 7427 §7, RFC 8420 §2). */
export const SIGNATURE_HASH = { SHA1: 1, SHA2_256: 2, SHA2_384: 3, SHA2_512: 4, IDENTITY: 5 } as const;

/** What we announce: all but SHA-1. */
export const ANNOUNCED_HASHES: readonly number[] = [
  SIGNATURE_HASH.SHA2_256,
  SIGNATURE_HASH.SHA2_384,
  SIGNATURE_HASH.SHA2_512,
  SIGNATURE_HASH.IDENTITY,
];
/** A list of hashes in a notify that is longer than this is cut. */
const HASHES_LIMIT = 32;

type Padding = 'pkcs1' | 'pss' | 'der' | 'p1363' | 'none';

export interface SignatureScheme {
  /** For logs, as strongSwan and Libreswan would say it. */
  readonly name: string;
  readonly method: number;
  /** Number for SIGNATURE_HASH_ALGORITHMS; undefined for methods older than it. */
  readonly hash: number | undefined;
  /** OpenSSL's name; null where the algorithm hashes by itself. */
  readonly digest: string | null;
  readonly keyType: string;
  /** Required curve, of methods 9 to 11. */
  readonly curve?: string;
  readonly padding: Padding;
  /** Of method 14: the AlgorithmIdentifiers that mean it, hex; we send the first. */
  readonly identifiers: readonly string[];
}

const der = (tag: string, ...content: string[]): string => {
  const body = content.join('');
  return tag + (body.length / 2).toString(16).padStart(2, '0') + body;
};
const RSA_OID = '06092a864886f70d0101';
const NULL = '0500';

/** RSASSA-PSS with MGF1 of the same hash, salt as long as the hash (RFC 8017 §A.2.3, RFC 7427 §A.4). */
function pssIdentifiers(hashOid: string, hashBytes: number): string[] {
  const found: string[] = [];
  for (const trailer of ['', der('a3', '020101')]) {
    for (const hashParameters of [NULL, '']) {
      for (const maskParameters of [NULL, '']) {
        const hash = der('30', hashOid, hashParameters);
        const mask = der('30', `${RSA_OID}08`, der('30', hashOid, maskParameters));
        const salt = der('a2', der('02', hashBytes.toString(16)));
        found.push(der('30', `${RSA_OID}0a`, der('30', der('a0', hash), der('a1', mask), salt, trailer)));
      }
    }
  }
  return found;
}

interface Hash {
  readonly name: string;
  readonly number: number;
  readonly digest: string;
  readonly oid: string;
  readonly bytes: number;
  /** Last byte of the OIDs of RSA (PKCS #1) and ECDSA with this hash. */
  readonly rsa: string;
  readonly ecdsa: string;
}

const { SHA2_256, SHA2_384, SHA2_512, IDENTITY } = SIGNATURE_HASH;
const sha2 = (last: string): string => `06096086480165030402${last}`;
const HASHES: readonly Hash[] = [
  { name: 'SHA2_256', number: SHA2_256, digest: 'sha256', oid: sha2('01'), bytes: 32, rsa: '0b', ecdsa: '02' },
  { name: 'SHA2_384', number: SHA2_384, digest: 'sha384', oid: sha2('02'), bytes: 48, rsa: '0c', ecdsa: '03' },
  { name: 'SHA2_512', number: SHA2_512, digest: 'sha512', oid: sha2('03'), bytes: 64, rsa: '0d', ecdsa: '04' },
];

const DIGITAL = AUTH_METHOD.DIGITAL_SIGNATURE;
const edwards = (name: string, keyType: string, oid: string): SignatureScheme => {
  const identifiers = [der('30', `0603${oid}`)];
  return { name, method: DIGITAL, hash: IDENTITY, digest: null, keyType, padding: 'none', identifiers };
};
const rfc4754 = (method: number, hash: Hash, curve: string): SignatureScheme => ({
  name: `ECDSA_${hash.name}_${curve}`,
  method,
  hash: undefined,
  digest: hash.digest,
  keyType: 'ec',
  curve,
  padding: 'p1363',
  identifiers: [],
});

/**
 * Keys whose signatures are dear: they take longer than handing them to another thread, which costs the main one 0.1 to 0.2 ms.
 * RSA-2048 is at the border. On one x86 core with OpenSSL 3.0 (3.5), in ms: RSA-2048 0.26 (0.29), RSA-3072 1.7 (0.8), RSA-4096 4.2 (1.6), P-384 0.8 (0.7),
 * P-521 1.6 (1.5); and those that stay in place: P-256 0.05, Ed25519 0.03, Ed448 0.2.
 */
const DEAR_TO_SIGN: ReadonlySet<string | undefined> = new Set(['rsa', 'secp384r1', 'secp521r1']);

export function isDearToSign(key: KeyObject): boolean {
  return DEAR_TO_SIGN.has(key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType);
}

/** In order of preference; of RSA, PSS comes first, since RFC 8247 §3.2 demands it and Libreswan before 5 knows nothing else. */
export const SIGNATURE_SCHEMES: readonly SignatureScheme[] = [
  edwards('ED25519', 'ed25519', '2b6570'),
  edwards('ED448', 'ed448', '2b6571'),
  ...HASHES.map((hash): SignatureScheme => {
    const identifiers = [der('30', `06082a8648ce3d0403${hash.ecdsa}`)];
    const { digest } = hash;
    return {
      name: `ECDSA_${hash.name}`,
      method: DIGITAL,
      hash: hash.number,
      digest,
      keyType: 'ec',
      padding: 'der',
      identifiers,
    };
  }),
  ...HASHES.map((hash): SignatureScheme => {
    const identifiers = pssIdentifiers(hash.oid, hash.bytes);
    const { digest } = hash;
    return {
      name: `RSA_PSS_${hash.name}`,
      method: DIGITAL,
      hash: hash.number,
      digest,
      keyType: 'rsa',
      padding: 'pss',
      identifiers,
    };
  }),
  ...HASHES.map((hash): SignatureScheme => {
    const identifiers = [der('30', RSA_OID + hash.rsa, NULL)];
    const { digest } = hash;
    return {
      name: `RSA_PKCS1_${hash.name}`,
      method: DIGITAL,
      hash: hash.number,
      digest,
      keyType: 'rsa',
      padding: 'pkcs1',
      identifiers,
    };
  }),
  rfc4754(AUTH_METHOD.ECDSA_256, HASHES[0], 'prime256v1'),
  rfc4754(AUTH_METHOD.ECDSA_384, HASHES[1], 'secp384r1'),
  rfc4754(AUTH_METHOD.ECDSA_521, HASHES[2], 'secp521r1'),
  {
    name: 'RSA_PKCS1_SHA1',
    method: AUTH_METHOD.RSA,
    hash: undefined,
    digest: 'sha1',
    keyType: 'rsa',
    padding: 'pkcs1',
    identifiers: [],
  },
];

/** @throws Error if there is none: names are ours, never a peer's. */
export function schemeNamed(name: string): SignatureScheme {
  const scheme = SIGNATURE_SCHEMES.find((candidate) => candidate.name === name);
  if (scheme === undefined) throw new Error(`there is no signature scheme ${name}`);
  return scheme;
}

const BY_IDENTIFIER: ReadonlyMap<string, SignatureScheme> = new Map(
  SIGNATURE_SCHEMES.flatMap((scheme) => scheme.identifiers.map((identifier) => [identifier, scheme] as const)),
);

const fits = (scheme: SignatureScheme, key: KeyObject): boolean =>
  scheme.keyType === key.asymmetricKeyType &&
  (scheme.curve === undefined || scheme.curve === key.asymmetricKeyDetails?.namedCurve);

/** Bits of security that a key gives, as the hash should (RFC 5480 §4, SP 800-57). */
function preferredDigest(key: KeyObject): string {
  const { modulusLength = 0, namedCurve } = key.asymmetricKeyDetails ?? {};
  if (namedCurve === 'secp521r1' || modulusLength > 7680) return 'sha512';
  return namedCurve === 'secp384r1' || modulusLength > 3072 ? 'sha384' : 'sha256';
}

/**
 * What to sign with: `peerHashes` is what the peer announced, undefined if it does not know RFC 7427. Undefined: the
 * peer can verify nothing that this key makes.
 */
export function chooseScheme(key: KeyObject, peerHashes: readonly number[] | undefined): SignatureScheme | undefined {
  const usable = SIGNATURE_SCHEMES.filter(
    (scheme) =>
      fits(scheme, key) &&
      (scheme.hash === undefined ? peerHashes === undefined : (peerHashes?.includes(scheme.hash) ?? false)),
  );
  const padding = usable[0]?.padding;
  const alike = usable.filter((scheme) => scheme.padding === padding);
  return alike.find(({ digest }) => digest === preferredDigest(key)) ?? alike.at(-1);
}

const signingOptions = (scheme: SignatureScheme, key: KeyObject) => ({
  key,
  ...(scheme.padding === 'pss' && {
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  }),
  ...(scheme.padding === 'pkcs1' && { padding: constants.RSA_PKCS1_PADDING }),
  ...(scheme.padding === 'p1363' && { dsaEncoding: 'ieee-p1363' as const }),
});

/** A private key, what it signs, and how. */
export interface ToSign {
  readonly scheme: SignatureScheme;
  readonly key: KeyObject;
  readonly octets: Uint8Array;
}

/** Data of the AUTH payload. */
export function signAuth({ scheme, key, octets }: ToSign): Uint8Array {
  const signature = sign(scheme.digest, octets, signingOptions(scheme, key));
  if (scheme.method !== DIGITAL) return Uint8Array.from(signature);
  const identifier = Buffer.from(scheme.identifiers[0], 'hex');
  return Uint8Array.from(Buffer.concat([Uint8Array.of(identifier.length), identifier, signature]));
}

export interface PeerSignature {
  /** Of the AUTH payload. */
  readonly method: number;
  readonly data: Uint8Array;
  /** As in chooseScheme. */
  readonly peerHashes: readonly number[] | undefined;
}

/** Why the peer's AUTH does not prove that it has the private key of `key`, as the end of a sentence; undefined: it does. */
export function signatureProblem(key: KeyObject, octets: Uint8Array, peer: PeerSignature): string | undefined {
  const found = schemeOf(peer);
  if (typeof found === 'string') return found;
  const { scheme, signature } = found;
  if (!fits(scheme, key)) {
    return `signed with ${scheme.name}, but its certificate has a key of type ${key.asymmetricKeyType}`;
  }
  try {
    if (verify(scheme.digest, octets, signingOptions(scheme, key), signature)) return undefined;
  } catch {
    // OpenSSL throws for signatures that cannot be any, such as those of a wrong length.
  }
  return `sent a wrong signature (${scheme.name}): it does not have the private key of its certificate`;
}

function schemeOf({
  method,
  data,
  peerHashes,
}: PeerSignature): { readonly scheme: SignatureScheme; readonly signature: Uint8Array } | string {
  if (method === DIGITAL) {
    const end = 1 + (data[0] ?? 0);
    const scheme = BY_IDENTIFIER.get(Buffer.from(data.subarray(1, end)).toString('hex'));
    if (scheme !== undefined) return { scheme, signature: data.subarray(end) };
    return `signed with an algorithm that is not supported (${Buffer.from(data.subarray(1, Math.min(end, 32))).toString('hex')})`;
  }
  const scheme = SIGNATURE_SCHEMES.find((candidate) => candidate.method === method);
  if (scheme === undefined) return `authenticates by method ${method}, expected a signature`;
  if (method === AUTH_METHOD.RSA && peerHashes !== undefined) {
    return 'signed with RSA and SHA-1, although it announced better hashes (RFC 7427)';
  }
  return { scheme, signature: data };
}

/** Data of SIGNATURE_HASH_ALGORITHMS. */
export function hashesNotifyData(hashes: readonly number[]): Uint8Array {
  return Uint8Array.from(hashes.flatMap((hash) => [hash >> 8, hash & 0xff]));
}

export function parseHashesNotify(data: Uint8Array): readonly number[] {
  const count = Math.min(data.length >> 1, HASHES_LIMIT);
  return Array.from({ length: count }, (_, i) => (data[2 * i] << 8) | data[2 * i + 1]);
}
