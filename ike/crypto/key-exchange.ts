/**
 * A key exchange of IKEv2, whatever its method (RFC 9370 calls Diffie-Hellman groups and KEMs by one name): the initiator
 * begins one and computes the secret of what comes back; the responder answers in one step. Both sides of every exchange
 * go through here, and nothing else of the engine knows a method: this is the expensive part of IKE.
 *
 * Groups are dh.ts, KEMs are ml-kem.ts. A new method is a row in either.
 */

import {
  createKeyExchange as createGroupExchange,
  type KeyExchange as GroupExchange,
  InvalidPublicValueError,
  isGroupDear,
  type RandomSource,
  resumeKeyExchange,
} from './dh.ts';
import { KEMS } from './ml-kem.ts';

export { InvalidPublicValueError } from './dh.ts';

/** The initiator's side. Its private key is good for one answer. */
export interface KeyExchange extends GroupExchange {
  /** There will be no answer: overwrites the private key, as far as it is ours and not OpenSSL's. */
  readonly wipe: () => void;
}

/** The responder's side, complete. */
export interface KeyExchangeAnswer {
  /** For the KE payload. */
  readonly publicValue: Uint8Array;
  readonly sharedSecret: Uint8Array;
}

/** Begins an exchange: a fresh private key. Throws UnsupportedGroupError. */
export function beginKeyExchange(method: number, random: RandomSource): KeyExchange {
  const kem = KEMS.get(method);
  if (kem === undefined) return { ...createGroupExchange(method, random), wipe: () => {} };
  const pair = kem.generate(random);
  return {
    group: method,
    publicValue: pair.encapsulationKey,
    wipe: pair.wipe,
    ...(pair.privateKey && { privateKey: pair.privateKey }),
    computeShared(ciphertext) {
      checkLength(method, ciphertext, kem.ciphertextBytes);
      const secret = pair.decapsulate(ciphertext);
      pair.wipe();
      return secret;
    },
  };
}

/** Answers the initiator's value. Throws InvalidPublicValueError, UnsupportedGroupError. */
export function answerKeyExchange(method: number, peerPublic: Uint8Array, random: RandomSource): KeyExchangeAnswer {
  const kem = KEMS.get(method);
  if (kem === undefined) {
    const exchange = createGroupExchange(method, random);
    return { publicValue: exchange.publicValue, sharedSecret: exchange.computeShared(peerPublic) };
  }
  checkLength(method, peerPublic, kem.encapsulationKeyBytes);
  const encapsulated = kem.encapsulate(peerPublic, random);
  if (encapsulated === undefined) {
    throw new InvalidPublicValueError('out-of-range', method, 'the encapsulation key has a coefficient of q or more');
  }
  return { publicValue: encapsulated.ciphertext, sharedSecret: encapsulated.sharedSecret };
}

/**
 * Whether a step of this method is dear: it takes longer than handing it to another thread and back. Key pairs of dear
 * methods can be told by their bytes.
 */
export function isDear(method: number): boolean {
  const kem = KEMS.get(method);
  return kem === undefined ? isGroupDear(method) : kem.resume !== undefined;
}

/** The secret of a private key of `KeyExchange.privateKey`, of a dear method. Throws InvalidPublicValueError. */
export function finishKeyExchange(method: number, privateKey: Uint8Array, answer: Uint8Array): Uint8Array {
  const kem = KEMS.get(method);
  if (kem?.resume === undefined) return resumeKeyExchange(method, privateKey, answer);
  checkLength(method, answer, kem.ciphertextBytes);
  return kem.resume(privateKey, answer);
}

function checkLength(method: number, value: Uint8Array, bytes: number): void {
  if (value.length === bytes) return;
  throw new InvalidPublicValueError('wrong-length', method, `the value has ${value.length} bytes, expected ${bytes}`);
}
