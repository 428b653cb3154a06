/**
 * PRF and prf+ (RFC 7296 §2.13) and all keys of IKEv2 that come of them: SKEYSEED and SK_* (§2.14), those of a rekeyed
 * IKE SA (§2.18), KEYMAT of child SAs (§2.17).
 *
 * PRFs are named by transform id (HMAC-SHA2, RFC 4868). How long each key is comes from transforms.ts. Whoever takes keys
 * from here owns them and wipes them when the SA ends.
 */

import { createHmac } from 'node:crypto';
import type { Transform } from '../types.ts';
import { concatBytes, writeHex } from '../wire/bytes.ts';
import type { SkKeys } from './sk-keys.ts';
import { encryptionRow, integrityRow, prfRow } from './transforms.ts';

/** prf(key, data), the parts of data joined. Throws on a PRF that is no row of transforms.ts. */
export function prf(prfId: number, key: Uint8Array, ...data: readonly Uint8Array[]): Uint8Array {
  const hmac = createHmac(prfRow(prfId).hash, key);
  for (const part of data) hmac.update(part);
  return Uint8Array.from(hmac.digest());
}

/** The counter of prf+ is one octet (RFC 7296 §2.13). */
const PRF_PLUS_BLOCKS = 255;

/** prf+(key, seed): the first `length` bytes of T1|T2|…. Throws RangeError beyond 255 blocks. */
export function prfPlus(prfId: number, key: Uint8Array, seed: Uint8Array, length: number): Uint8Array {
  const blockBytes = prfRow(prfId).outputBytes;
  if (length > PRF_PLUS_BLOCKS * blockBytes) {
    throw new RangeError(`prf+ gives at most ${PRF_PLUS_BLOCKS * blockBytes} bytes, asked for ${length}`);
  }
  const out = new Uint8Array(length);
  let previous: Uint8Array = new Uint8Array(0);
  for (let offset = 0, counter = 1; offset < length; offset += blockBytes, counter++) {
    const block = prf(prfId, key, previous, seed, Uint8Array.of(counter));
    out.set(block.subarray(0, length - offset), offset);
    previous.fill(0);
    previous = block;
  }
  previous.fill(0);
  return out;
}

/** SKEYSEED = prf(Ni | Nr, g^ir) of a first IKE SA (RFC 7296 §2.14). */
export function skeyseed(prfId: number, ni: Uint8Array, nr: Uint8Array, sharedSecret: Uint8Array): Uint8Array {
  return prf(prfId, concatBytes(ni, nr), sharedSecret);
}

/**
 * SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr), with the PRF of the old SA (RFC 7296 §2.18), followed by the secrets of
 * additional key exchanges (RFC 9370 §2.2.4). After an IKE_INTERMEDIATE exchange the same formula gives the next
 * generation of keys of one IKE SA (RFC 9370 §2.2.2).
 */
export function rekeySkeyseed(
  oldPrfId: number,
  oldSkD: Uint8Array,
  sharedSecret: Uint8Array,
  ni: Uint8Array,
  nr: Uint8Array,
  additional: readonly Uint8Array[] = [],
): Uint8Array {
  return prf(oldPrfId, oldSkD, sharedSecret, ni, nr, ...additional);
}

/** The seven keys of an IKE SA (RFC 7296 §2.14). SK_a are empty with an AEAD, whose SK_e end with the salt. */
export interface IkeKeys {
  readonly skD: Uint8Array;
  readonly skAi: Uint8Array;
  readonly skAr: Uint8Array;
  readonly skEi: Uint8Array;
  readonly skEr: Uint8Array;
  readonly skPi: Uint8Array;
  readonly skPr: Uint8Array;
}

/** The algorithms of an IKE SA as chosen. */
export interface IkeSuite {
  readonly encryption: Transform;
  /** Undefined with an AEAD. */
  readonly integrity: Transform | undefined;
  readonly prf: Transform;
  readonly dh: Transform;
  /** Additional key exchanges that went into the keys, in their order (RFC 9370). */
  readonly additional: readonly Transform[];
}

export interface IkeKeyInput {
  readonly suite: Pick<IkeSuite, 'encryption' | 'integrity' | 'prf'>;
  /** Of skeyseed or rekeySkeyseed; wiped here. */
  readonly skeyseed: Uint8Array;
  readonly ni: Uint8Array;
  readonly nr: Uint8Array;
  /** Of the new IKE SA, 16 hex digits. */
  readonly initiatorSpi: string;
  readonly responderSpi: string;
}

/** {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr) (RFC 7296 §2.14). */
export function deriveIkeKeys(input: IkeKeyInput): IkeKeys {
  const { suite } = input;
  const prfBytes = prfRow(suite.prf.id).outputBytes;
  const encryption = encryptionRow(suite.encryption);
  const eBytes = encryption.keyBytes + encryption.saltBytes;
  const aBytes = suite.integrity === undefined ? 0 : integrityRow(suite.integrity.id).keyBytes;

  const spis = new Uint8Array(16);
  writeHex(input.initiatorSpi, spis, 0, 8);
  writeHex(input.responderSpi, spis, 8, 8);
  const seed = concatBytes(input.ni, input.nr, spis);
  const stream = prfPlus(suite.prf.id, input.skeyseed, seed, 3 * prfBytes + 2 * aBytes + 2 * eBytes);
  let offset = 0;
  const take = (bytes: number): Uint8Array => {
    offset += bytes;
    return stream.slice(offset - bytes, offset);
  };
  const keys = {
    skD: take(prfBytes),
    skAi: take(aBytes),
    skAr: take(aBytes),
    skEi: take(eBytes),
    skEr: take(eBytes),
    skPi: take(prfBytes),
    skPr: take(prfBytes),
  };
  wipe(stream, input.skeyseed);
  return keys;
}

/** The SK keys with which the initiator, or the responder, of the IKE SA sends. */
export function skKeysOf(
  suite: Pick<IkeSuite, 'encryption' | 'integrity'>,
  keys: IkeKeys,
  sender: 'initiator' | 'responder',
): SkKeys {
  const initiator = sender === 'initiator';
  return {
    encryption: suite.encryption,
    integrity: suite.integrity,
    skE: initiator ? keys.skEi : keys.skEr,
    skA: initiator ? keys.skAi : keys.skAr,
  };
}

export interface ChildKeyInput {
  /** PRF and SK_d of the IKE SA under which the child is made. */
  readonly prf: Transform;
  readonly skD: Uint8Array;
  /** g^ir of the CREATE_CHILD_SA exchange; undefined without a key exchange. */
  readonly sharedSecret: Uint8Array | undefined;
  /** Those of its IKE_FOLLOWUP_KE exchanges (RFC 9370 §2.2.4). */
  readonly additional: readonly Uint8Array[];
  /** Nonces of the exchange that makes the child. */
  readonly ni: Uint8Array;
  readonly nr: Uint8Array;
  readonly encryption: Transform;
  readonly integrity: Transform | undefined;
}

/** Keys of both directions of a child: encryption key, its salt, then the integrity key if there is one. */
export interface ChildKeys {
  /** For traffic from the initiator of the exchange to its responder. */
  readonly initiator: Uint8Array;
  readonly responder: Uint8Array;
}

/** KEYMAT = prf+(SK_d, [g^ir (new) |] Ni | Nr [| SK(1) | …]), the initiator's direction first (RFC 7296 §2.17). */
export function deriveChildKeys(input: ChildKeyInput): ChildKeys {
  const encryption = encryptionRow(input.encryption);
  const integrityBytes = input.integrity === undefined ? 0 : integrityRow(input.integrity.id).keyBytes;
  const bytes = encryption.keyBytes + encryption.saltBytes + integrityBytes;
  const seed = concatBytes(input.sharedSecret ?? new Uint8Array(0), input.ni, input.nr, ...input.additional);
  const keymat = prfPlus(input.prf.id, input.skD, seed, 2 * bytes);
  const keys = { initiator: keymat.slice(0, bytes), responder: keymat.slice(bytes) };
  wipe(keymat, seed);
  return keys;
}

/** Overwrites secrets with zeros. */
export function wipe(...secrets: readonly Uint8Array[]): void {
  for (const secret of secrets) secret.fill(0);
}

/** Overwrites all keys of an IKE SA. */
export function wipeIkeKeys(keys: IkeKeys): void {
  wipe(keys.skD, keys.skAi, keys.skAr, keys.skEi, keys.skEr, keys.skPi, keys.skPr);
}
