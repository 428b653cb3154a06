/**
 * ML-KEM (FIPS 203) as key exchange method of IKEv2 (draft-ietf-ipsecme-ikev2-mlkem): the initiator sends an encapsulation
 * key, the responder a ciphertext, both come to 32 bytes.
 *
 * node:crypto's own implementation where the running Node has one (24.7 and later), @noble/post-quantum elsewhere: the same
 * bytes either way, twenty times the time in JavaScript. An encapsulation key is checked as FIPS 203 §7.2 says (length,
 * every coefficient below q). A ciphertext is checked for its length only: one that was tampered with gives another secret,
 * in constant time, and the exchange fails at the next ICV.
 */

import crypto, { type KeyObject } from 'node:crypto';
import { ml_kem512, ml_kem768, ml_kem1024 } from '@noble/post-quantum/ml-kem.js';
import { TRANSFORM_ID } from '../wire/names.ts';
import type { RandomSource } from './dh.ts';

/** d and z of FIPS 203 algorithm 19. */
export const SEED_BYTES = 64;
/** m of FIPS 203 algorithm 20. */
const MESSAGE_BYTES = 32;

export interface KemKeyPair {
  readonly encapsulationKey: Uint8Array;
  /** Throws if the length of the ciphertext is wrong, which the caller has checked. */
  readonly decapsulate: (ciphertext: Uint8Array) => Uint8Array;
  /** Overwrites the decapsulation key, as far as it is ours to overwrite. */
  readonly wipe: () => void;
  /** A copy of the decapsulation key, for `resume`. */
  readonly privateKey?: () => Uint8Array;
}

export interface Encapsulated {
  readonly ciphertext: Uint8Array;
  readonly sharedSecret: Uint8Array;
}

/** One implementation of one parameter set. */
export interface Kem {
  readonly encapsulationKeyBytes: number;
  readonly ciphertextBytes: number;
  readonly generate: (random: RandomSource) => KemKeyPair;
  /** Undefined: the encapsulation key is not valid. Its length has been checked. */
  readonly encapsulate: (encapsulationKey: Uint8Array, random: RandomSource) => Encapsulated | undefined;
  /** Decapsulates with a key made before. Set: its steps are dear, they take longer than handing them to another thread. */
  readonly resume?: (privateKey: Uint8Array, ciphertext: Uint8Array) => Uint8Array;
}

interface ParameterSet extends Pick<Kem, 'encapsulationKeyBytes' | 'ciphertextBytes'> {
  readonly id: number;
  /** Last octet of the object identifier 2.16.840.1.101.3.4.4.x (RFC 9935). */
  readonly oid: number;
  readonly noble: typeof ml_kem768;
}

const { ML_KEM_512, ML_KEM_768, ML_KEM_1024 } = TRANSFORM_ID.DH;

/** FIPS 203 table 3. */
const PARAMETER_SETS: readonly ParameterSet[] = [
  { id: ML_KEM_512, oid: 1, noble: ml_kem512, encapsulationKeyBytes: 800, ciphertextBytes: 768 },
  { id: ML_KEM_768, oid: 2, noble: ml_kem768, encapsulationKeyBytes: 1184, ciphertextBytes: 1088 },
  {
    id: ML_KEM_1024,

    oid: 3,
    noble: ml_kem1024,
    encapsulationKeyBytes: 1568,
    ciphertextBytes: 1568,
  },
];

/** What Node has since 24.7; the typings are those of the oldest Node that we run on. */
interface NativeKem {
  encapsulate(key: KeyObject): { readonly sharedKey: Uint8Array; readonly ciphertext: Uint8Array };
  decapsulate(key: KeyObject, ciphertext: Uint8Array): Uint8Array;
}

function nativeKem(): NativeKem | undefined {
  const candidate: Partial<NativeKem> = crypto as unknown as Partial<NativeKem>;
  const { encapsulate, decapsulate } = candidate;
  return encapsulate === undefined || decapsulate === undefined ? undefined : { encapsulate, decapsulate };
}

function nobleImplementation({ noble, encapsulationKeyBytes, ciphertextBytes }: ParameterSet): Kem {
  return {
    encapsulationKeyBytes,
    ciphertextBytes,
    generate: (random) => {
      const seed = random(SEED_BYTES);
      const { publicKey, secretKey } = noble.keygen(seed);
      seed.fill(0);
      return {
        encapsulationKey: publicKey,
        decapsulate: (ciphertext) => noble.decapsulate(ciphertext, secretKey),
        wipe: () => secretKey.fill(0),
        privateKey: () => Uint8Array.from(secretKey),
      };
    },
    resume: (privateKey, ciphertext) => noble.decapsulate(ciphertext, privateKey),
    encapsulate: (encapsulationKey, random) => {
      const message = random(MESSAGE_BYTES);
      try {
        const { cipherText, sharedSecret } = noble.encapsulate(encapsulationKey, message);
        return { ciphertext: cipherText, sharedSecret };
      } catch {
        // The only thing left that it refuses is a coefficient of q or more.
        return undefined;
      } finally {
        message.fill(0);
      }
    },
  };
}

function nativeImplementation({ oid, encapsulationKeyBytes, ciphertextBytes }: ParameterSet, native: NativeKem): Kem {
  const algorithm = Buffer.from([0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, oid]);
  // PrivateKeyInfo with the seed form of RFC 9935 §6: [0] OCTET STRING.
  const seedHead = Buffer.concat([
    Buffer.from([0x30, 0x54, 0x02, 0x01, 0x00]),
    algorithm,
    Buffer.from([0x04, 0x42, 0x80, SEED_BYTES]),
  ]);
  // SubjectPublicKeyInfo: BIT STRING without unused bits.
  const bits = encapsulationKeyBytes + 1;
  const body = algorithm.length + 4 + bits;
  const keyHead = Buffer.concat([
    Buffer.from([0x30, 0x82, body >> 8, body & 0xff]),
    algorithm,
    Buffer.from([0x03, 0x82, bits >> 8, bits & 0xff, 0x00]),
  ]);
  return {
    encapsulationKeyBytes,
    ciphertextBytes,
    generate: (random) => {
      const seed = random(SEED_BYTES);
      const der = Buffer.concat([seedHead, seed]);
      const privateKey = crypto.createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
      seed.fill(0);
      der.fill(0);
      const exported = crypto.createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
      return {
        encapsulationKey: Uint8Array.from(exported.subarray(exported.length - encapsulationKeyBytes)),
        decapsulate: (ciphertext) => Uint8Array.from(native.decapsulate(privateKey, ciphertext)),
        // The key object is OpenSSL's, which clears it when it is collected.
        wipe: () => {},
      };
    },
    // The message is drawn by OpenSSL itself: there is no way to hand one in.
    encapsulate: (encapsulationKey) => {
      let publicKey: KeyObject;
      try {
        const key = Buffer.concat([keyHead, encapsulationKey]);
        publicKey = crypto.createPublicKey({ key, format: 'der', type: 'spki' });
      } catch {
        // OpenSSL checks the coefficients when it decodes the key.
        return undefined;
      }
      const { sharedKey, ciphertext } = native.encapsulate(publicKey);
      return { ciphertext: Uint8Array.from(ciphertext), sharedSecret: Uint8Array.from(sharedKey) };
    },
  };
}

/** In JavaScript, on every Node. By transform id. */
export const NOBLE_KEMS: ReadonlyMap<number, Kem> = new Map(
  PARAMETER_SETS.map((set) => [set.id, nobleImplementation(set)]),
);

const NATIVE = nativeKem();

/** OpenSSL's, or undefined where this Node has none. By transform id. */
export const NATIVE_KEMS: ReadonlyMap<number, Kem> | undefined =
  NATIVE === undefined ? undefined : new Map(PARAMETER_SETS.map((set) => [set.id, nativeImplementation(set, NATIVE)]));

/** The faster one of those that there are. */
export const KEMS: ReadonlyMap<number, Kem> = NATIVE_KEMS ?? NOBLE_KEMS;
