/**
 * An IKE SA between IKE_SA_INIT and IKE_AUTH, if additional key exchanges were negotiated (RFC 9370 §2.2.2): which of them
 * are still to be done, and what their messages come to in AUTH (RFC 9242). The exchange itself is
 * tasks/ike-intermediate.ts.
 */

import { IntAuth } from '../crypto/int-auth.ts';
import type { IkeSuite } from '../crypto/prf.ts';
import type { Transform } from '../types.ts';
import type { MessageHeader } from '../wire/header.ts';
import { type InnerPart, receivedOctets, sentOctets } from '../wire/intermediate.ts';
import type { Payload } from '../wire/payloads.ts';
import type { IkeProtection } from './ike-sa-parts.ts';

export class Intermediate {
  #pending: readonly Transform[];
  readonly #intAuth: IntAuth;

  constructor(suite: IkeSuite) {
    this.#pending = suite.additional;
    this.#intAuth = new IntAuth(suite.prf.id);
  }

  /** The key exchange that is next, or undefined: IKE_AUTH is. */
  get next(): Transform | undefined {
    return this.#pending[0];
  }

  get exchangesToCome(): number {
    return this.#pending.length;
  }

  exchanged(): void {
    this.#pending = this.#pending.slice(1);
  }

  /** A message of ours is on its way. */
  said(protection: IkeProtection, header: MessageHeader, payloads: readonly Payload[]): void {
    this.#add(protection, header.responseFlag, sentOctets(header, payloads));
  }

  /** A message of the peer's is authentic. */
  heard(protection: IkeProtection, response: boolean, datagram: Uint8Array, inner: InnerPart): void {
    this.#add(protection, response, receivedOctets(datagram, inner));
  }

  #add({ keys }: IkeProtection, response: boolean, octets: Uint8Array): void {
    if (response) this.#intAuth.addResponse(keys.skPr, octets);
    else this.#intAuth.addRequest(keys.skPi, octets);
  }

  /** IntAuth of RFC 9242 §3.3.2. */
  octets(): Uint8Array {
    return this.#intAuth.octets();
  }
}
