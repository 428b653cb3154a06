/**
 * A further child SA under an IKE SA that is up: CREATE_CHILD_SA (RFC 7296 §1.3.1), both roles. The first child
 * rides in IKE_AUTH (ike-auth.ts), replacing one is child-rekey.ts.
 */

import { refusalOf } from '../collisions.ts';
import type { ConnectionState } from '../connection.ts';
import { replaceIfOutdated } from '../connection-change.ts';
import type { Child } from '../sa/child-sa.ts';
import type { ChildKeys } from '../sa/child-table.ts';
import type { IkeSa } from '../sa/ike-sa.ts';
import { find, notify } from '../sa/notify.ts';
import { invalidSyntax } from '../sa/request-checks.ts';
import type { Answer, InitiatorTask, Outcome } from '../sa/task.ts';
import { installCreated } from '../twins.ts';
import type { ChildConfig } from '../types.ts';
import { type ExchangeName, NOTIFY } from '../wire/names.ts';
import type { Payload } from '../wire/payloads.ts';
import { answerChild, carryOut } from './child-answer.ts';
import { ChildOffer, groupOf, type OfferResult, offeredGroup } from './child-offer.ts';
import { ChildDelete } from './delete.ts';

export const NONCE_BYTES = 32;
/** After TEMPORARY_FAILURE: long enough for the exchange that was in the way, random so that both ends don't meet again. */
const BUSY_MS = 500;
const BUSY_SPREAD_MS = 2500;

/** What a peer says that wants no child SA for a further resource, in the words of RFC 9611 or in those of before. */
const DECLINES: ReadonlySet<number | undefined> = new Set([
  NOTIFY.TS_MAX_QUEUE,
  NOTIFY.NO_ADDITIONAL_SAS,
  NOTIFY.TS_UNACCEPTABLE,
]);

export const busyPauseMs = (sa: IkeSa): number => Math.round(BUSY_MS + BUSY_SPREAD_MS * sa.context.fraction());

export class ChildCreate implements InitiatorTask {
  readonly purpose: string;
  readonly config: ChildConfig;
  readonly deletedSpis: number[] = [];
  readonly #connection: ConnectionState;
  readonly #group: number | undefined;
  #offer: ChildOffer | undefined;
  #nonce: Uint8Array = new Uint8Array(0);

  /** `group`: the one that INVALID_KE_PAYLOAD asked for. */
  constructor(connection: ConnectionState, config: ChildConfig, group?: number) {
    this.#connection = connection;
    this.config = config;
    this.#group = group;
    this.purpose = `create child ${config.name}`;
  }

  get exchange(): ExchangeName {
    return this.#offer?.exchange ?? 'CREATE_CHILD_SA';
  }

  keyExchange(sa: IkeSa): number | undefined {
    if (this.#offer !== undefined) return this.#offer.method;
    return offeredGroup(sa, this.#connection.config, this.#group);
  }

  build(sa: IkeSa): readonly Payload[] | undefined {
    if (this.#offer !== undefined) return this.#offer.payloads();
    const current = this.#connection.config.children.includes(this.config);
    if (!current || !sa.usable || this.#connection.isUp(this.config)) {
      this.#connection.markPending(this.config, false);
      this.#connection.reconcile();
      return undefined;
    }
    this.#nonce = sa.context.host.random(NONCE_BYTES);
    this.#offer = new ChildOffer(sa, {
      connection: this.#connection.config,
      config: this.config,
      exchange: { nonce: this.#nonce, group: this.#group },
      replaces: undefined,
    });
    return this.#offer.payloads();
  }

  process(sa: IkeSa, payloads: readonly Payload[]): Outcome {
    const offer = this.#offer;
    if (offer === undefined) return 'done';
    const result = offer.process(payloads, this.#nonce);
    if (result === 'next') return 'next';
    if (result.ok) {
      this.#connection.markPending(this.config, false);
      if (this.config.resource !== undefined && result.child.peerResource === undefined) {
        this.#goBack(sa, result.child, result.keys);
        return 'done';
      }
      installCreated(this.#connection, result.child, result.keys);
      forgetIfDeleted(sa, result.child, this.deletedSpis);
      replaceIfOutdated(this.#connection, result.child);
      this.#connection.reconcile();
      return 'done';
    }
    this.#refused(sa, offer, result);
    return 'done';
  }

  /**
   * The peer knows nothing of RFC 9611 and took the child for another one. It may send on it already, so it is there until its
   * Delete is answered.
   */
  #goBack(sa: IkeSa, child: Child, keys: ChildKeys): void {
    sa.context.children.install(child, keys, 'when-seen');
    child.state = 'deleting';
    this.#connection.slots.decline(this.config);
    sa.enqueue(new ChildDelete(child, 'the peer does not know of SA_RESOURCE_INFO'), true);
  }

  #refused(sa: IkeSa, offer: ChildOffer, result: Extract<OfferResult, { ok: false }>): void {
    const { error } = result;
    if (result.deleteAtPeer) {
      sa.enqueue(new ChildDelete({ inboundSpi: offer.inboundSpi }, result.reason, () => offer.discard()), true);
    } else offer.discard();
    const group = error?.notify === NOTIFY.INVALID_KE_PAYLOAD ? groupOf(error) : undefined;
    if (group !== undefined && this.#group === undefined) {
      sa.enqueue(new ChildCreate(this.#connection, this.config, group), true);
    } else if (error?.notify === NOTIFY.TEMPORARY_FAILURE) {
      this.#connection.childLater(this.config, busyPauseMs(sa));
    } else if (this.config.resource !== undefined && DECLINES.has(error?.notify)) {
      this.#connection.slots.decline(this.config);
    } else this.#connection.childFailed(this.config, result.reason);
  }

  abandon(): void {
    this.#offer?.discard();
    this.#connection.markPending(this.config, false);
  }
}

/**
 * The peer deleted the child before its response, sent earlier, reached us: then the response is about a child that
 * is no more. `deletedSpis` are the SPIs of Deletes that came meanwhile and that no child of ours had.
 */
export function forgetIfDeleted(sa: IkeSa, child: Child, deletedSpis: readonly number[]): void {
  if (!deletedSpis.includes(child.outboundSpi)) return;
  child.deletedByPeer = true;
  sa.context.children.remove(child, `deleted by ${sa.remote.address}`);
  sa.connection?.childLost(child, 0);
}

/** Serves a request for a new child. */
export function answerChildCreate(sa: IkeSa, payloads: readonly Payload[]): Answer {
  const { connection } = sa;
  const ni = find(payloads, 'NONCE')?.data;
  if (connection === undefined || ni === undefined) return invalidSyntax(sa, 'no nonce');
  const refusal = refusalOf('create-child', { ike: stateFor(sa), childExchange: false });
  if (refusal !== undefined) {
    sa.context.count('refused: temporary failure');
    return { payloads: [notify(refusal)] };
  }
  const answer = answerChild(sa, payloads, {
    connection: connection.config,
    configs: connection.config.children,
    ni,
    nr: sa.context.host.random(NONCE_BYTES),
    kind: 'exchange',
    replaces: undefined,
  });
  if (!answer.ok) return refusedChild(sa, answer);
  return carryOut(sa, answer, {
    refusal: () => refusalOf('create-child', { ike: stateFor(sa), childExchange: false }),
    install: (child, keys) => {
      sa.context.children.install(child, keys, 'soon');
      connection.childUp(child);
      replaceIfOutdated(connection, child);
      connection.reconcile();
    },
  });
}

/** The state of the IKE SA as collisions.ts wants it. */
export function stateFor(sa: IkeSa): 'established' | 'rekeying' | 'rekeyed' | 'deleting' {
  return sa.state === 'connecting' || sa.state === 'gone' ? 'deleting' : sa.state;
}

/** Answers the error, and tells the operator. */
export function refusedChild(
  sa: IkeSa,
  answer: { readonly error: Extract<Payload, { type: 'N' }>; readonly reason: string },
): Answer {
  if (answer.error.notify === NOTIFY.INVALID_SYNTAX) return invalidSyntax(sa, answer.reason);
  // A wrong group is no failure: the peer asks again with the right one.
  if (answer.error.notify !== NOTIFY.INVALID_KE_PAYLOAD) sa.connection?.noteFailure(answer.reason);
  return { payloads: [answer.error] };
}
