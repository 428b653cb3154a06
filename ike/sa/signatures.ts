/**
 * Our signatures of IKE_AUTH on one IKE SA, in place or, if the key is one whose signatures are dear, computed elsewhere ahead
 * of their use.
 *
 * A request of ours is not built before its signatures are there. A request of the peer's is held (held-messages.ts), but only
 * once the peer has proved who it is: nobody else makes us sign. A signature is used for exactly the octets, key and scheme that
 * it was made of, or not at all, so whatever changes meanwhile makes it worthless and no worse.
 */

import type { Computation, Computations } from '../computations.ts';
import { isDearToSign, signAuth, type ToSign } from '../crypto/auth-signature.ts';
import type { Job } from '../crypto/jobs.ts';
import { sameBytes } from '../wire/bytes.ts';
import type { HeldMessages } from './held-messages.ts';

/** Data of an AUTH payload, and what it signs. */
interface Signed extends ToSign {
  readonly data: Uint8Array;
}

export class Signatures {
  readonly #computations: Computations;
  readonly #held: HeldMessages;
  /** For the request that is next. */
  #preparing: Computation[] = [];
  #missing = 0;
  #signed: Signed[] = [];

  constructor(computations: Computations, held: HeldMessages) {
    this.#computations = computations;
    this.#held = held;
  }

  /** Whether the signatures for a request have to be waited for; `then` is called each time that one is there. */
  prepare(wanted: () => readonly ToSign[], then: () => void): boolean {
    if (this.#missing > 0) return true;
    if (!this.#computations.inUse) return false;
    const all = wanted().filter(({ key }) => isDearToSign(key));
    this.#preparing = [];
    this.#signed = this.#signed.filter((signed) => all.some((one) => isSame(signed, one)));
    for (const one of all) if (!this.#signed.some((signed) => isSame(signed, one))) this.#begin(one, then);
    return this.#missing > 0;
  }

  #begin(one: ToSign, then: () => void): void {
    const computation = this.#computations.start(jobOf(one), (result) => {
      this.#missing -= 1;
      this.#signed.push({ ...one, data: result?.step === 'sign' ? result.data : signAuth(one) });
      then();
    });
    if (computation === undefined) return;
    this.#missing += 1;
    this.#preparing.push(computation);
  }

  /** Whether the request is held, because the signature of its answer, if it will have one, is being computed; `then` handles it. */
  hold(message: Uint8Array, wanted: () => ToSign | undefined, then: () => void): boolean {
    if (!this.#computations.inUse) return false;
    const one = wanted();
    if (one === undefined || !isDearToSign(one.key)) return false;
    return this.#held.hold('request', message, jobOf(one), (result) => {
      this.#signed = result?.step === 'sign' ? [{ ...one, data: result.data }] : [];
      then();
      this.#signed = [];
    });
  }

  /** Data of the AUTH payload: what was computed of exactly this, once, else made in place. */
  sign(wanted: ToSign): Uint8Array {
    const index = this.#signed.findIndex((signed) => isSame(signed, wanted));
    return index < 0 ? signAuth(wanted) : this.#signed.splice(index, 1)[0].data;
  }

  /** The IKE SA ends. */
  drop(): void {
    for (const computation of this.#preparing) computation.cancel();
    this.#missing = 0;
    this.#signed = [];
  }
}

/** The octets are a copy, as they are transferred. */
function jobOf({ scheme, key, octets }: ToSign): Job {
  return { step: 'sign', scheme: scheme.name, key, octets: new Uint8Array(octets) };
}

/** Keys are compared as objects: one that was read again signs again. */
function isSame(a: ToSign, b: ToSign): boolean {
  return a.scheme === b.scheme && a.key === b.key && sameBytes(a.octets, b.octets);
}
