/**
 * Messages of the peer that wait for something that is being computed elsewhere, one each way: a step of a key exchange
 * (key-exchanges.ts) or a signature of ours (signatures.ts).
 *
 * A held message is handled when the result is there, as if it came only now. So an engine that computes elsewhere is one in
 * place behind a slower network, and whatever happens meanwhile is what may happen while a message is on its way; no exchange
 * can be surprised half done.
 */

import type { Computation, Computations, OnResult } from '../computations.ts';
import { type Job, wipeJob } from '../crypto/jobs.ts';
import { sameBytes } from '../wire/bytes.ts';

/** Which way a held message goes. One each is held. */
export type Held = 'request' | 'response';

export class HeldMessages {
  readonly #computations: Computations;
  readonly #held = new Map<Held, { readonly message: Uint8Array; readonly computation: Computation }>();

  constructor(computations: Computations) {
    this.#computations = computations;
  }

  /** With `message`: exactly this one. */
  isHolding(way: Held, message?: Uint8Array): boolean {
    const held = this.#held.get(way);
    return held !== undefined && (message === undefined || sameBytes(held.message, message));
  }

  /** Whether the message is held until the job is done, of which `handle` takes what came out. Undone: there was no room. */
  hold(way: Held, message: Uint8Array, job: Job, handle: OnResult): boolean {
    const computation = this.#held.has(way)
      ? undefined
      : this.#computations.start(job, (result) => {
          this.#held.delete(way);
          handle(result);
        });
    if (computation === undefined) {
      wipeJob(job);
      return false;
    }
    this.#held.set(way, { message: message.slice(), computation });
    return true;
  }

  /** The IKE SA ends: held messages never arrive, late results are overwritten. */
  drop(): void {
    for (const { computation } of this.#held.values()) computation.cancel();
    this.#held.clear();
  }
}
