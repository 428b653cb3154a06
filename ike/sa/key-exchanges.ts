/**
 * The key exchanges of one IKE SA, in place or, if their method is dear, computed elsewhere ahead of their use.
 *
 * A message that needs a dear step is held until the result is there (held-messages.ts). The same goes for a request of ours
 * whose key pair is being made: it is not built before. A result is used for exactly the value that it was computed of, or not
 * at all.
 */

import type { Computation, Computations } from '../computations.ts';
import { InvalidPublicValueError, type RandomSource } from '../crypto/dh.ts';
import { type Job, type JobResult, own, wipeResult } from '../crypto/jobs.ts';
import {
  answerKeyExchange,
  beginKeyExchange,
  finishKeyExchange,
  isDear,
  type KeyExchange,
  type KeyExchangeAnswer,
} from '../crypto/key-exchange.ts';
import { wipe } from '../crypto/prf.ts';
import { sameBytes } from '../wire/bytes.ts';
import type { KePayload } from '../wire/payloads.ts';
import type { Held, HeldMessages } from './held-messages.ts';

interface KeyPair {
  readonly method: number;
  readonly publicValue: Uint8Array;
  readonly privateKey: Uint8Array<ArrayBuffer>;
}

interface Foreseen {
  readonly peerPublic: Uint8Array;
  readonly method: number;
  readonly result: JobResult;
}

export class KeyExchanges {
  readonly #computations: Computations;
  readonly #held: HeldMessages;
  readonly #random: RandomSource;
  #preparing: Computation | undefined;
  #pair: KeyPair | undefined;
  /** Of the request of ours that is outstanding. */
  #begun: KeyExchange | undefined;
  /** For the message that is being handled. */
  #foreseen: Foreseen | undefined;

  constructor(computations: Computations, held: HeldMessages, random: RandomSource) {
    this.#computations = computations;
    this.#held = held;
    this.#random = random;
  }

  // --- the initiator's steps

  /** Whether the key pair for a request has to be waited for; `then` is called when it is there. */
  prepare(method: number | undefined, then: () => void): boolean {
    if (this.#preparing !== undefined) return true;
    if (method === undefined || this.#pair?.method === method || !isDear(method)) return false;
    this.#preparing = this.#computations.start({ step: 'begin', method }, (result) => {
      this.#preparing = undefined;
      this.#keep(result?.step === 'begin' ? { method, ...result } : pairOf(method, this.#random));
      then();
    });
    return this.#preparing !== undefined;
  }

  #keep(pair: KeyPair | undefined): void {
    if (this.#pair !== undefined) wipe(this.#pair.privateKey);
    this.#pair = pair;
  }

  /** A fresh key pair. @throws UnsupportedGroupError */
  begin(method: number): KeyExchange {
    const pair = this.#pair?.method === method ? this.#pair : pairOf(method, this.#random);
    if (pair === this.#pair) this.#pair = undefined;
    const exchange = pair === undefined ? beginKeyExchange(method, this.#random) : ofPair(pair);
    this.#begun = {
      ...exchange,
      computeShared: (answer) => {
        const result = this.#take('finish', method, answer);
        if (result === undefined) return exchange.computeShared(answer);
        exchange.wipe();
        return result.sharedSecret;
      },
      wipe: () => {
        if (this.#begun?.publicValue === exchange.publicValue) this.#begun = undefined;
        exchange.wipe();
      },
    };
    return this.#begun;
  }

  // --- the responder's

  /** Answers the peer's value. @throws InvalidPublicValueError, UnsupportedGroupError */
  answer(method: number, peerPublic: Uint8Array): KeyExchangeAnswer {
    return this.#take('answer', method, peerPublic) ?? answerKeyExchange(method, peerPublic, this.#random);
  }

  #take<S extends 'finish' | 'answer'>(
    step: S,
    method: number,
    peerPublic: Uint8Array,
  ): Extract<JobResult, { step: S }> | undefined {
    const foreseen = this.#foreseen;
    if (foreseen?.method !== method || !sameBytes(foreseen.peerPublic, peerPublic)) return undefined;
    const { result } = foreseen;
    if (result.step === 'invalid') throw new InvalidPublicValueError(result.code, method, result.detail);
    if (result.step !== step) return undefined;
    this.#foreseen = undefined;
    return result as Extract<JobResult, { step: S }>;
  }

  // --- messages that wait

  /**
   * Whether the message, which has this payload, is held, because its step is being computed; `then` handles it. What a request
   * will need is `answer`, a response `computeShared` of what was begun last.
   */
  hold(way: Held, message: Uint8Array, ke: KePayload | undefined, then: () => void): boolean {
    if (!this.#computations.inUse || ke === undefined || !isDear(ke.group)) return false;
    const job = this.#jobOf(way, ke);
    if (job === undefined) return false;
    const peerPublic = ke.data.slice();
    return this.#held.hold(way, message, job, (result) => {
      this.#foreseen = result === undefined ? undefined : { peerPublic, method: ke.group, result };
      then();
      this.#forget();
    });
  }

  #jobOf(way: Held, { group: method, data }: KePayload): Job | undefined {
    const peerPublic = new Uint8Array(data);
    if (way === 'request') return { step: 'answer', method, peerPublic };
    if (this.#begun?.group !== method || this.#begun.privateKey === undefined) return undefined;
    return { step: 'finish', method, peerPublic, privateKey: own(this.#begun.privateKey()) };
  }

  /** The message is handled: what was computed for it and not used never will be. */
  #forget(): void {
    if (this.#foreseen !== undefined) wipeResult(this.#foreseen.result);
    this.#foreseen = undefined;
  }

  /** The IKE SA ends: late results are overwritten. */
  wipe(): void {
    this.#preparing?.cancel();
    this.#preparing = undefined;
    this.#keep(undefined);
    this.#begun?.wipe();
    this.#forget();
  }
}

/** A pair whose secret is computed of its bytes. */
function ofPair({ method, publicValue, privateKey }: KeyPair): KeyExchange {
  return {
    group: method,
    publicValue,
    privateKey: () => privateKey.slice(),
    computeShared: (answer) => {
      try {
        return finishKeyExchange(method, privateKey, answer);
      } finally {
        wipe(privateKey);
      }
    },
    wipe: () => wipe(privateKey),
  };
}

/**
 * Made in place, since nobody else could. Kept as bytes too: OpenSSL's own object takes a hundred times the private key for as long
 * as the peer is silent, and nobody can overwrite what is in it. Undefined: not of a dear method.
 */
function pairOf(method: number, random: RandomSource): KeyPair | undefined {
  if (!isDear(method)) return undefined;
  const exchange = beginKeyExchange(method, random);
  const privateKey = exchange.privateKey?.();
  exchange.wipe();
  return privateKey === undefined
    ? undefined
    : { method, publicValue: exchange.publicValue, privateKey: own(privateKey) };
}
