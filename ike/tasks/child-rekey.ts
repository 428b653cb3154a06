/**
 * Replacing a child SA before its life ends: CREATE_CHILD_SA with REKEY_SA (RFC 7296 §1.3.3, §2.8), both roles.
 *
 * Make before break: the initiator installs the new child, sends on it at once and then deletes the old one; the
 * responder installs it and moves its traffic when the old one is deleted or the peer is seen on the new one.
 * When both ends rekey the same child at once, the nonces decide which of the two new ones stays (§2.8.1).
 */

import { redundantOf, refusalOf } from '../collisions.ts';
import { replaceIfOutdated } from '../connection-change.ts';
import type { Child } from '../sa/child-sa.ts';
import type { IkeSa } from '../sa/ike-sa.ts';
import { childNotify, find, findNotify, notify, readSpi, writeSpi } from '../sa/notify.ts';
import { invalidSyntax } from '../sa/request-checks.ts';
import type { Answer, InitiatorTask, Outcome } from '../sa/task.ts';
import { deleteTwin, settleTwins } from '../twins.ts';
import { type ExchangeName, NOTIFY } from '../wire/names.ts';
import type { NotifyPayload, Payload } from '../wire/payloads.ts';
import { answerChild, carryOut } from './child-answer.ts';
import { busyPauseMs, ChildCreate, forgetIfDeleted, NONCE_BYTES, refusedChild, stateFor } from './child-create.ts';
import { ChildOffer, groupOf, type OfferResult, offeredGroup } from './child-offer.ts';
import { ChildDelete } from './delete.ts';

/** After a refusal that is not a passing one. The old child stays until its end of life. */
const REFUSED_MS = 30_000;
/** The redundant one of two new children, which the peer should delete, we delete ourselves after this time. */
const PEER_DELETES_MS = 30_000;

export class ChildRekey implements InitiatorTask {
  readonly purpose: string;
  readonly old: Child;
  /** What the peer made of its own rekeying of the same child, while our request was on its way. */
  rival: Child | undefined;
  readonly deletedSpis: number[] = [];
  readonly #group: number | undefined;
  #offer: ChildOffer | undefined;
  #nonce: Uint8Array = new Uint8Array(0);

  constructor(old: Child, group?: number) {
    this.old = old;
    this.#group = group;
    this.purpose = `rekey child ${old.label}`;
  }

  get exchange(): ExchangeName {
    return this.#offer?.exchange ?? 'CREATE_CHILD_SA';
  }

  keyExchange(sa: IkeSa): number | undefined {
    if (this.#offer !== undefined) return this.#offer.method;
    return sa.connection === undefined ? undefined : offeredGroup(sa, sa.connection.config, this.#group);
  }

  build(sa: IkeSa): readonly Payload[] | undefined {
    if (this.#offer !== undefined) return this.#offer.payloads();
    const { old } = this;
    const connection = sa.connection?.config;
    const config = connection?.children.find(({ name }) => name === old.config.name);
    if (old.state !== 'installed' || old.outdated || connection === undefined || config === undefined || !sa.usable) {
      return undefined;
    }
    old.state = 'rekeying';
    this.#nonce = sa.context.host.random(NONCE_BYTES);
    this.#offer = new ChildOffer(sa, {
      connection,
      config,
      exchange: { nonce: this.#nonce, group: this.#group },
      replaces: old.id,
    });
    return [childNotify(NOTIFY.REKEY_SA, writeSpi(old.inboundSpi)), ...this.#offer.payloads()];
  }

  process(sa: IkeSa, payloads: readonly Payload[]): Outcome {
    const offer = this.#offer;
    if (offer === undefined) return 'done';
    const result = offer.process(payloads, this.#nonce);
    if (result === 'next') return 'next';
    if (result.ok) {
      this.#replace(sa, result);
      forgetIfDeleted(sa, result.child, this.deletedSpis);
    } else this.#refused(sa, offer, result);
    return 'done';
  }

  #replace(sa: IkeSa, result: Extract<OfferResult, { ok: true }>): void {
    const { old } = this;
    const { context, connection } = sa;
    const { child } = result;
    // Not any other child of the same kind: one that both ends created at once is told from its twin elsewhere.
    const rival = this.rival?.usable === true ? this.rival : undefined;
    context.count('rekeyed: child SAs');
    if (rival !== undefined) context.count('collisions: child rekeying');
    if (rival !== undefined && redundantOf(child.nonces, rival.nonces) === 'ours') {
      // The peer deletes the old one; ours goes unused.
      context.children.install(child, result.keys, 'when-seen');
      if (old.state === 'rekeying') old.state = 'rekeyed';
      sa.enqueue(new ChildDelete(child, 'both ends rekeyed at once'), true);
      return;
    }
    context.children.install(child, result.keys, 'now');
    connection?.childUp(child);
    if (rival !== undefined) {
      context.timers.at(context.nowMs() + PEER_DELETES_MS, () => {
        if (connection !== undefined) deleteTwin(connection, rival, 'the peer left it over');
      });
    }
    if (old.state !== 'gone') {
      old.state = 'rekeyed';
      sa.enqueue(new ChildDelete(old, `replaced by ${child.label}`), true);
    }
    if (connection !== undefined && rival === undefined) settleTwins(connection, child);
    // The tunnel may have been removed while the peer's answer was on its way, and the new child would be nobody's.
    if (connection !== undefined) replaceIfOutdated(connection, child);
  }

  #refused(sa: IkeSa, offer: ChildOffer, result: Extract<OfferResult, { ok: false }>): void {
    const { old, rival } = this;
    const { error } = result;
    if (result.deleteAtPeer) {
      sa.enqueue(new ChildDelete({ inboundSpi: offer.inboundSpi }, result.reason, () => offer.discard()), true);
    } else offer.discard();
    if (old.state !== 'rekeying') return;
    // The peer's rekeying has succeeded: it will delete the old child.
    old.state = rival !== undefined && rival.state !== 'gone' ? 'rekeyed' : 'installed';
    if (old.state === 'rekeyed') return;
    const group = error?.notify === NOTIFY.INVALID_KE_PAYLOAD ? groupOf(error) : undefined;
    if (group !== undefined && this.#group === undefined) {
      sa.enqueue(new ChildRekey(old, group), true);
      return;
    }
    switch (error?.notify) {
      case NOTIFY.TEMPORARY_FAILURE:
        rekeyChildLater(old, busyPauseMs(sa));
        return;
      case NOTIFY.CHILD_SA_NOT_FOUND:
        // The peer has deleted it, and its Delete is on the way (RFC 7296 §2.25.1). Ours makes sure.
        sa.connection?.deleteChild(old, 'the peer no longer has it');
        sa.connection?.childLost(old, 0);
        return;
      default:
        sa.context.count('failed: children');
        sa.connection?.noteFailure(`${this.purpose}: ${result.reason}`);
        rekeyChildLater(old, REFUSED_MS);
    }
  }

  abandon(): void {
    this.#offer?.discard();
    if (this.old.state === 'rekeying') this.old.state = 'installed';
  }
}

/** Queues the rekeying of a child that is due, unless something else is happening to it. */
export function rekeyChild(child: Child): void {
  if (child.state !== 'installed' || child.outdated) return;
  if (child.ikeSa.usable) child.ikeSa.enqueue(new ChildRekey(child));
  else rekeyChildLater(child, busyPauseMs(child.ikeSa));
}

function rekeyChildLater(child: Child, pauseMs: number): void {
  const { timers } = child.ikeSa.context;
  timers.cancel(child.rekeyTimer);
  child.rekeyTimer = timers.at(child.ikeSa.context.nowMs() + pauseMs, () => rekeyChild(child));
}

/** Serves a request to rekey a child. */
export function answerChildRekey(sa: IkeSa, payloads: readonly Payload[], rekey: NotifyPayload): Answer {
  const { connection } = sa;
  const ni = find(payloads, 'NONCE')?.data;
  if (connection === undefined || ni === undefined) return invalidSyntax(sa, 'no nonce');
  // The SPI is the one the peer receives on: our outbound one (RFC 7296 §2.8).
  const spi = readSpi(rekey.spi);
  const old = [...sa.children].find((child) => child.outboundSpi === spi && child.state !== 'gone');
  const refusalNow = (): number | undefined => {
    const childState = old === undefined || old.state === 'gone' ? undefined : old.state;
    const childExchange = sa.tasks.current instanceof ChildCreate || sa.tasks.current instanceof ChildRekey;
    return refusalOf('rekey-child', { ike: stateFor(sa), childExchange, child: childState });
  };
  const refusal = refusalNow();
  if (refusal !== undefined || old === undefined) {
    const notFound = refusal === undefined || refusal === NOTIFY.CHILD_SA_NOT_FOUND;
    sa.context.count(notFound ? 'refused: unknown child SA' : 'refused: temporary failure');
    return { payloads: [notFound ? childNotify(NOTIFY.CHILD_SA_NOT_FOUND, rekey.spi) : notify(refusal)] };
  }
  const answer = answerChild(sa, payloads, {
    connection: connection.config,
    configs: connection.config.children.filter(({ name }) => name === old.config.name),
    ni,
    nr: sa.context.host.random(NONCE_BYTES),
    kind: 'exchange',
    replaces: old.id,
  });
  if (!answer.ok) return refusedChild(sa, answer);
  return carryOut(sa, answer, {
    refusal: refusalNow,
    install: (child, keys) => {
      sa.context.children.install(child, keys, 'when-seen');
      const { current: currentTask } = sa.tasks;
      if (currentTask instanceof ChildRekey && currentTask.old === old) currentTask.rival = child;
      else old.state = 'rekeyed';
      connection.childUp(child);
      replaceIfOutdated(connection, child);
    },
  });
}

/** Tells the two kinds of CREATE_CHILD_SA for children apart. */
export const rekeyNotifyOf = (payloads: readonly Payload[]): NotifyPayload | undefined =>
  findNotify(payloads, NOTIFY.REKEY_SA);
