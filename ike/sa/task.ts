/**
 * What an IKE SA queues. Each exchange is a task: the initiator's side builds the request and processes the
 * response; the responder's side (an `Answering` function of the same file in tasks/) processes the request and
 * builds the response. The IKE SA knows nothing of what they mean.
 */

import type { ToSign } from '../crypto/auth-signature.ts';
import type { ExchangeName } from '../wire/names.ts';
import type { Payload } from '../wire/payloads.ts';
import type { IkeSa } from './ike-sa.ts';

/**
 * What comes after a response. `done`: the task is over. `next`: it goes on with another exchange, which `build` gives.
 * Only in IKE_SA_INIT, whose responses nobody has authenticated: `again` sends the rebuilt request with the same message id, `wait` goes on waiting for a better
 * response without sending again, `ignore` as if it had not come.
 */
export type Outcome = 'done' | 'next' | 'again' | 'wait' | 'ignore';

export interface InitiatorTask {
  /** The one that is next, or whose response is waited for. */
  readonly exchange: ExchangeName;
  /** For logs, for instance `rekey CHILD_SA tun-in{3}`. */
  readonly purpose: string;
  /** The method of the key exchange that `build` will begin, so that its key pair can be there by then; undefined: none. */
  keyExchange?(sa: IkeSa): number | undefined;
  /** The signatures that `build` will make, so that they can be there by then. */
  signatures?(sa: IkeSa): readonly ToSign[];
  /** The payloads of the request, or undefined: there is nothing left to ask. Called when it is this task's turn. */
  build(sa: IkeSa): readonly Payload[] | undefined;
  /** `data` is the whole message as received. */
  process(sa: IkeSa, payloads: readonly Payload[], data: Uint8Array): Outcome;
  /** There will be no response: the IKE SA ends, or the task is taken out of the queue. Frees what build took. */
  abandon(reason: string): void;
}

/** In the place of a task that was abandoned while its request was outstanding. */
export class DisownedTask implements InitiatorTask {
  readonly exchange: ExchangeName;
  readonly purpose: string;

  constructor({ exchange, purpose }: InitiatorTask) {
    this.exchange = exchange;
    this.purpose = purpose;
  }

  build(): undefined {}

  process(): Outcome {
    return 'done';
  }

  abandon(): void {}
}

export interface Answer {
  readonly payloads: readonly Payload[];
  /** Runs when the response is on its way: what must not happen before, such as forgetting the IKE SA. */
  readonly afterwards?: () => void;
}

/** The responder's side of an exchange. */
export interface Answering {
  /** `data` is the whole request. */
  readonly answer: (sa: IkeSa, payloads: readonly Payload[], data: Uint8Array) => Answer;
  /** The signature that the answer will hold, once the peer has proved who it is. Changes nothing. */
  readonly signature?: (sa: IkeSa, payloads: readonly Payload[]) => ToSign | undefined;
}
