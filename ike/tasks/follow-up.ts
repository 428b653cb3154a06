/**
 * IKE_FOLLOWUP_KE: the additional key exchanges of a CREATE_CHILD_SA, one after the other, before what it asked for comes
 * into being (RFC 9370 §2.2.4), both roles. ADDITIONAL_KEY_EXCHANGE links them: it is the responder's word for where
 * it is, which the initiator repeats.
 *
 * The initiator's task stays the current one until the last response (Outcome `next`), so what crosses it is decided as if
 * all were one long exchange. The responder keeps one such work an IKE SA, for a while; before it carries it out it asks
 * again whether it still may.
 */

import { InvalidPublicValueError, type KeyExchange } from '../crypto/key-exchange.ts';
import { wipe } from '../crypto/prf.ts';
import { additionalOf, type Suite } from '../negotiation.ts';
import type { IkeSa } from '../sa/ike-sa.ts';
import { find, findError, findNotify, notify } from '../sa/notify.ts';
import { invalidSyntax } from '../sa/request-checks.ts';
import type { Answer } from '../sa/task.ts';
import type { Timer } from '../timers.ts';
import type { Transform } from '../types.ts';
import { sameBytes } from '../wire/bytes.ts';
import { NOTIFY, notifyName, transformName } from '../wire/names.ts';
import type { NotifyPayload, Payload } from '../wire/payloads.ts';

/** An initiator that does not go on has this long, its retransmissions included. */
const PENDING_MS = 60_000;
const LINK_BYTES = 8;

// --- the initiator

export type FollowUpResult = 'next' | 'done' | { readonly reason: string; readonly error: NotifyPayload | undefined };

export class FollowUps {
  readonly #sa: IkeSa;
  readonly #methods: readonly Transform[];
  readonly #secrets: Uint8Array[] = [];
  #link: Uint8Array;
  #exchange: KeyExchange | undefined;

  private constructor(sa: IkeSa, methods: readonly Transform[], link: Uint8Array) {
    this.#sa = sa;
    this.#methods = methods;
    this.#link = link;
  }

  /** What a response to CREATE_CHILD_SA says has to follow. `unlinked`: it forgot to say how. */
  static of(sa: IkeSa, suite: Suite, response: readonly Payload[]): FollowUps | 'none' | 'unlinked' {
    const methods = additionalOf(suite);
    if (methods.length === 0) return 'none';
    const link = findNotify(response, NOTIFY.ADDITIONAL_KEY_EXCHANGE);
    return link === undefined ? 'unlinked' : new FollowUps(sa, methods, link.data.slice());
  }

  /** Of the exchanges so far, in their order. Whoever takes them wipes them. */
  get secrets(): readonly Uint8Array[] {
    return this.#secrets;
  }

  /** Of the next request. */
  get method(): number {
    return this.#methods[this.#secrets.length].id;
  }

  request(): Payload[] {
    const id = this.method;
    this.#exchange = this.#sa.keyExchanges.begin(id);
    return [
      { type: 'KE', group: id, data: this.#exchange.publicValue },
      notify(NOTIFY.ADDITIONAL_KEY_EXCHANGE, this.#link),
    ];
  }

  process(response: readonly Payload[]): FollowUpResult {
    const method = this.#methods[this.#secrets.length];
    const error = findError(response);
    const refuse = (reason: string): FollowUpResult => ({ reason: `${transformName(method)}: ${reason}`, error });
    if (error !== undefined) return refuse(`peer answered ${notifyName(error.notify)}`);
    const ke = find(response, 'KE');
    if (this.#exchange === undefined || ke?.group !== method.id) return refuse('peer answered another key exchange');
    try {
      this.#secrets.push(this.#exchange.computeShared(ke.data));
    } catch (failure) {
      if (failure instanceof InvalidPublicValueError) return refuse(failure.message);
      throw failure;
    }
    this.#exchange = undefined;
    if (this.#secrets.length === this.#methods.length) return 'done';
    const link = findNotify(response, NOTIFY.ADDITIONAL_KEY_EXCHANGE);
    if (link === undefined) return refuse('peer does not say how to go on');
    this.#link = link.data.slice();
    return 'next';
  }

  wipe(): void {
    wipe(...this.#secrets);
    this.#exchange?.wipe();
    this.#exchange = undefined;
  }
}

// --- the responder

/** What a CREATE_CHILD_SA request asked for, as far as it can be had without the secrets. */
export interface DeferredWork {
  /** The methods that are still to be done. */
  readonly methods: readonly Transform[];
  /** An error notify if things have changed so that it can't be had any more. */
  refusal(): number | undefined;
  /** Takes the secrets over. Payloads beside KE, and what comes after the response. */
  complete(secrets: readonly Uint8Array[]): Answer;
  /** It will not be completed: frees what it holds. */
  discard(): void;
}

export class PendingFollowUp {
  readonly work: DeferredWork;
  readonly secrets: Uint8Array[] = [];
  link: Uint8Array;
  readonly #sa: IkeSa;
  readonly #timer: Timer;

  constructor(sa: IkeSa, work: DeferredWork) {
    const { context } = sa;
    this.#sa = sa;
    this.work = work;
    this.link = context.host.random(LINK_BYTES);
    this.#timer = context.timers.at(context.nowMs() + PENDING_MS, () => {
      context.count('expired: follow-up key exchanges');
      this.drop();
    });
  }

  /** Leaves the IKE SA; the work is somebody else's now. */
  release(): void {
    this.#sa.context.timers.cancel(this.#timer);
    if (this.#sa.followUp === this) this.#sa.followUp = undefined;
  }

  drop(): void {
    this.release();
    wipe(...this.secrets);
    this.work.discard();
  }
}

const linkNotify = ({ link }: PendingFollowUp): NotifyPayload => notify(NOTIFY.ADDITIONAL_KEY_EXCHANGE, link);

/** Puts the work off until its key exchanges are done; gives the payload that says so. One at a time: another is dropped. */
export function deferWork(sa: IkeSa, work: DeferredWork): NotifyPayload {
  sa.followUp?.drop();
  sa.followUp = new PendingFollowUp(sa, work);
  return linkNotify(sa.followUp);
}

/** Serves IKE_FOLLOWUP_KE. */
export function answerFollowUp(sa: IkeSa, payloads: readonly Payload[]): Answer {
  const { context, followUp } = sa;
  const link = findNotify(payloads, NOTIFY.ADDITIONAL_KEY_EXCHANGE);
  const ke = find(payloads, 'KE');
  if (followUp === undefined || link === undefined || !sameBytes(link.data, followUp.link)) {
    context.count('refused: follow-up to nothing');
    return { payloads: [notify(NOTIFY.STATE_NOT_FOUND)] };
  }
  const { work, secrets } = followUp;
  const refusal = work.refusal();
  if (refusal !== undefined) {
    followUp.drop();
    context.count('refused: temporary failure');
    return { payloads: [notify(refusal)] };
  }
  const method = work.methods[secrets.length];
  if (ke?.group !== method.id) return invalidSyntax(sa, 'another key exchange than negotiated');
  let publicValue: Uint8Array;
  try {
    const answer = sa.keyExchanges.answer(method.id, ke.data);
    secrets.push(answer.sharedSecret);
    publicValue = answer.publicValue;
  } catch (failure) {
    if (failure instanceof InvalidPublicValueError) return invalidSyntax(sa, failure.message);
    throw failure;
  }
  const answered: Payload = { type: 'KE', group: method.id, data: publicValue };
  if (secrets.length < work.methods.length) {
    followUp.link = context.host.random(LINK_BYTES);
    return { payloads: [answered, linkNotify(followUp)] };
  }
  followUp.release();
  const done = work.complete(secrets);
  return { ...done, payloads: [answered, ...done.payloads] };
}
