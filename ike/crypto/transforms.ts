/**
 * The algorithms this implementation has, one row each: number, sizes, what node:crypto calls it, and how strongSwan and
 * Libreswan spell it in `ike=` and `esp=` lines. Adding an algorithm is adding a row.
 *
 * Names for logs, of unsupported transforms too, are wire/names.ts; reading proposal lines is proposal-text.ts.
 */

import type { CipherGCMTypes } from 'node:crypto';
import type { EspAlgorithmName, Transform } from '../types.ts';
import { TRANSFORM_ID } from '../wire/names.ts';

interface Row {
  /** IANA transform id. */
  readonly id: number;
  /** The first is strongSwan's, the second Libreswan's; further ones are aliases of either. */
  readonly spellings: readonly [string, string, ...string[]];
}

export interface EncryptionRow extends Row {
  /** The Key Length attribute in bits; undefined where the transform has a fixed key (RFC 7634 §4). */
  readonly keyBits: number | undefined;
  readonly keyBytes: number;
  /** Taken from KEYMAT after the key (RFC 5282 §7.1, RFC 4106 §8.1). */
  readonly saltBytes: number;
  /** Explicit IV in front of the ciphertext. */
  readonly ivBytes: number;
  /** 0 where an integrity transform makes the ICV. */
  readonly icvBytes: number;
  readonly blockBytes: number;
  readonly aead: boolean;
  readonly cipher: CipherGCMTypes | 'chacha20-poly1305' | 'aes-128-cbc' | 'aes-192-cbc' | 'aes-256-cbc';
  /** Set if child SAs may use it: its name in the dataplane. */
  readonly esp: EspAlgorithmName | undefined;
}

const GCM = { saltBytes: 4, ivBytes: 8, icvBytes: 16, blockBytes: 1, aead: true } as const;
const CBC = { saltBytes: 0, ivBytes: 16, icvBytes: 0, blockBytes: 16, aead: false, esp: undefined } as const;

/** AES-GCM-16: RFC 5282, RFC 4106. AES-CBC: RFC 3602. ChaCha20-Poly1305: RFC 7634. */
export const ENCRYPTION_ROWS: readonly EncryptionRow[] = [
  {
    ...GCM,
    id: 20,
    keyBits: 256,
    keyBytes: 32,
    cipher: 'aes-256-gcm',
    esp: 'aes256gcm16',
    spellings: [
      'aes256gcm16',
      'aes_gcm256',
      'aes256gcm128',
      'aes256gcm',
      'aes_gcm_256',
      'aes_gcm_16_256',
      'aes_gcm_c256',
      'aes_gcm_c_256',
    ],
  },
  {
    ...GCM,
    id: 20,
    keyBits: 192,
    keyBytes: 24,
    cipher: 'aes-192-gcm',
    esp: 'aes192gcm16',
    spellings: [
      'aes192gcm16',
      'aes_gcm192',
      'aes192gcm128',
      'aes192gcm',
      'aes_gcm_192',
      'aes_gcm_16_192',
      'aes_gcm_c192',
      'aes_gcm_c_192',
    ],
  },
  {
    ...GCM,
    id: 20,
    keyBits: 128,
    keyBytes: 16,
    cipher: 'aes-128-gcm',
    esp: 'aes128gcm16',
    spellings: [
      'aes128gcm16',
      'aes_gcm128',
      'aes128gcm128',
      'aes128gcm',
      'aes_gcm_128',
      'aes_gcm_16_128',
      'aes_gcm_c128',
      'aes_gcm_c_128',
    ],
  },
  {
    ...GCM,
    id: 28,
    keyBits: undefined,
    keyBytes: 32,
    cipher: 'chacha20-poly1305',
    esp: 'chacha20poly1305',
    spellings: ['chacha20poly1305', 'chacha20_poly1305'],
  },
  {
    ...CBC,
    id: 12,
    keyBits: 256,
    keyBytes: 32,
    cipher: 'aes-256-cbc',
    spellings: ['aes256', 'aes256', 'aes_cbc256', 'aes_cbc_256'],
  },
  {
    ...CBC,
    id: 12,
    keyBits: 192,
    keyBytes: 24,
    cipher: 'aes-192-cbc',
    spellings: ['aes192', 'aes192', 'aes_cbc192', 'aes_cbc_192'],
  },
  {
    ...CBC,
    id: 12,
    keyBits: 128,
    keyBytes: 16,
    cipher: 'aes-128-cbc',
    spellings: ['aes128', 'aes128', 'aes', 'aes_cbc128', 'aes_cbc_128', 'aes_cbc'],
  },
];

export interface IntegrityRow extends Row {
  readonly hash: 'sha256' | 'sha384' | 'sha512';
  readonly keyBytes: number;
  readonly icvBytes: number;
}

/** HMAC-SHA2, ICV truncated to half (RFC 4868 §2.3, §2.6). */
export const INTEGRITY_ROWS: readonly IntegrityRow[] = [
  {
    id: 12,
    hash: 'sha256',
    keyBytes: 32,
    icvBytes: 16,
    spellings: ['sha256', 'sha2_256', 'sha2', 'sha256_128', 'sha2_256_128', 'hmac_sha2_256'],
  },
  {
    id: 13,
    hash: 'sha384',
    keyBytes: 48,
    icvBytes: 24,
    spellings: ['sha384', 'sha2_384', 'sha384_192', 'sha2_384_192', 'hmac_sha2_384'],
  },
  {
    id: 14,
    hash: 'sha512',
    keyBytes: 64,
    icvBytes: 32,
    spellings: ['sha512', 'sha2_512', 'sha512_256', 'sha2_512_256', 'hmac_sha2_512'],
  },
];

export interface PrfRow extends Row {
  readonly hash: 'sha256' | 'sha384' | 'sha512';
  /** Of output and of key (RFC 4868 §2.1.2, §2.4). */
  readonly outputBytes: number;
}

export const PRF_ROWS: readonly PrfRow[] = [
  {
    id: 5,
    hash: 'sha256',
    outputBytes: 32,
    spellings: ['prfsha256', 'prf_sha2_256', 'prfsha2_256', 'prf_hmac_sha2_256'],
  },
  {
    id: 6,
    hash: 'sha384',
    outputBytes: 48,
    spellings: ['prfsha384', 'prf_sha2_384', 'prfsha2_384', 'prf_hmac_sha2_384'],
  },
  {
    id: 7,
    hash: 'sha512',
    outputBytes: 64,
    spellings: ['prfsha512', 'prf_sha2_512', 'prfsha2_512', 'prf_hmac_sha2_512'],
  },
];

export type GroupNameRow = Row;

/** Spellings of the key exchange methods of key-exchange.ts: groups (dh.ts), then KEMs (ml-kem.ts). */
export const GROUP_ROWS: readonly GroupNameRow[] = [
  { id: TRANSFORM_ID.DH.MODP_2048, spellings: ['modp2048', 'dh14'] },
  { id: TRANSFORM_ID.DH.MODP_3072, spellings: ['modp3072', 'dh15'] },
  { id: TRANSFORM_ID.DH.MODP_4096, spellings: ['modp4096', 'dh16'] },
  { id: TRANSFORM_ID.DH.ECP_256, spellings: ['ecp256', 'dh19', 'ecp_256'] },
  { id: TRANSFORM_ID.DH.ECP_384, spellings: ['ecp384', 'dh20', 'ecp_384'] },
  { id: TRANSFORM_ID.DH.ECP_521, spellings: ['ecp521', 'dh21', 'ecp_521'] },
  { id: TRANSFORM_ID.DH.CURVE_25519, spellings: ['x25519', 'dh31', 'curve25519'] },
  { id: TRANSFORM_ID.DH.ML_KEM_512, spellings: ['mlkem512', 'ml_kem_512'] },
  { id: TRANSFORM_ID.DH.ML_KEM_768, spellings: ['mlkem768', 'ml_kem_768'] },
  { id: TRANSFORM_ID.DH.ML_KEM_1024, spellings: ['mlkem1024', 'ml_kem_1024'] },
];

/** Extended sequence numbers (RFC 7296 §3.3.2); strongSwan's words and Libreswan's `esn=` values. */
export const ESN_ROWS: readonly Row[] = [
  { id: TRANSFORM_ID.ESN.NO_EXT_SEQ, spellings: ['noesn', 'esn_no'] },
  { id: TRANSFORM_ID.ESN.EXT_SEQ, spellings: ['esn', 'esn_yes'] },
];

/** A transform without row reached the cryptography: negotiation must not have chosen it. */
export class UnsupportedTransformError extends Error {
  constructor(what: string) {
    super(`no implementation of ${what}: negotiation must not choose it`);
    this.name = 'UnsupportedTransformError';
  }
}

export function findEncryption(transform: Pick<Transform, 'id' | 'keyBits'>): EncryptionRow | undefined {
  return ENCRYPTION_ROWS.find((row) => row.id === transform.id && row.keyBits === transform.keyBits);
}

/** Row of an ENCR transform. Throws UnsupportedTransformError. */
export function encryptionRow(transform: Pick<Transform, 'id' | 'keyBits'>): EncryptionRow {
  return orThrow(findEncryption(transform), `ENCR ${transform.id} with ${transform.keyBits ?? 'no'} key bits`);
}

/** Row of an INTEG transform. Throws UnsupportedTransformError. */
export function integrityRow(id: number): IntegrityRow {
  return orThrow(
    INTEGRITY_ROWS.find((row) => row.id === id),
    `INTEG ${id}`,
  );
}

/** Row of a PRF transform. Throws UnsupportedTransformError. */
export function prfRow(id: number): PrfRow {
  return orThrow(
    PRF_ROWS.find((row) => row.id === id),
    `PRF ${id}`,
  );
}

/** Whether a transform is implemented for this protocol: what a responder may choose. */
export function isSupported(transform: Transform, protocol: 'IKE' | 'ESP'): boolean {
  switch (transform.type) {
    case 'ENCR': {
      const row = findEncryption(transform);
      return row !== undefined && (protocol === 'IKE' || row.esp !== undefined);
    }
    case 'PRF':
      return protocol === 'IKE' && hasRow(PRF_ROWS, transform);
    case 'INTEG':
      return protocol === 'IKE' && hasRow(INTEGRITY_ROWS, transform);
    case 'ESN':
      return protocol === 'ESP' && hasRow(ESN_ROWS, transform);
    default:
      return hasRow(GROUP_ROWS, transform);
  }
}

/** Whether the cipher authenticates by itself, so that a proposal has no integrity transform (RFC 7296 §3.3.3). */
export function isAead(transform: Pick<Transform, 'id' | 'keyBits'>): boolean {
  return findEncryption(transform)?.aead === true;
}

function hasRow(rows: readonly Row[], transform: Transform): boolean {
  return transform.keyBits === undefined && rows.some((row) => row.id === transform.id);
}

function orThrow<T>(row: T | undefined, what: string): T {
  if (row === undefined) throw new UnsupportedTransformError(what);
  return row;
}
