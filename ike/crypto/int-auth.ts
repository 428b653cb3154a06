/**
 * What IKE_INTERMEDIATE exchanges add to the signed octets of IKE_AUTH (RFC 9242 §3.3.2):
 * IntAuth_iN | IntAuth_rN | IKE_AUTH_MID, where IntAuth_xN = prf(SK_px, IntAuth_x(N-1) | message N of x).
 *
 * Each message is taken with the SK_p that were in force when it was sent, so before its exchange made new ones. Which
 * bytes stand for a message is wire/intermediate.ts.
 */

import { writeU32 } from '../wire/bytes.ts';
import { prf } from './prf.ts';

const NONE = new Uint8Array(0);

export class IntAuth {
  readonly #prfId: number;
  #ofInitiator: Uint8Array = NONE;
  #ofResponder: Uint8Array = NONE;
  #exchanges = 0;

  /** `prfId`: the PRF of the IKE SA. */
  constructor(prfId: number) {
    this.#prfId = prfId;
  }

  addRequest(skPi: Uint8Array, message: Uint8Array): void {
    this.#ofInitiator = prf(this.#prfId, skPi, this.#ofInitiator, message);
    this.#exchanges += 1;
  }

  addResponse(skPr: Uint8Array, message: Uint8Array): void {
    this.#ofResponder = prf(this.#prfId, skPr, this.#ofResponder, message);
  }

  /** IKE_AUTH comes after the exchanges so far: IKE_SA_INIT has message id 0. */
  octets(): Uint8Array {
    const { length } = this.#ofInitiator;
    const out = new Uint8Array(length + this.#ofResponder.length + 4);
    out.set(this.#ofInitiator);
    out.set(this.#ofResponder, length);
    writeU32(1 + this.#exchanges, out, out.length - 4);
    return out;
  }
}
