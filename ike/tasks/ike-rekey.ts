/**
 * Replacing an IKE SA before its life ends: CREATE_CHILD_SA with a proposal for IKE (RFC 7296 §1.3.2, §2.18), both
 * roles. The new IKE SA inherits all children; the initiator deletes the old one. When both ends rekey at once, the
 * nonces decide which new IKE SA inherits, and its initiator deletes the old one (§2.8.2).
 */

import { redundantOf, refusalOf } from '../collisions.ts';
import { freshSpi } from '../context.ts';
import { createKeyExchange, InvalidPublicValueError, type KeyExchange } from '../crypto/dh.ts';
import { deriveIkeKeys, type IkeSuite, rekeySkeyseed, wipe } from '../crypto/prf.ts';
import { isSupported } from '../crypto/transforms.ts';
import { acceptChoice, choose, groupsOf, offer, proposalsText, type Suite } from '../negotiation.ts';
import { IkeSa } from '../sa/ike-sa.ts';
import { find, findError, notify } from '../sa/notify.ts';
import { invalidSyntax } from '../sa/request-checks.ts';
import { rekeyIkeLater } from '../sa/sa-life.ts';
import type { Answer, InitiatorTask, Outcome } from '../sa/task.ts';
import { NOTIFY, notifyName } from '../wire/names.ts';
import type { NotifyPayload, Payload, Proposal } from '../wire/payloads.ts';
import { answerKeyExchange } from './child-answer.ts';
import { busyPauseMs, ChildCreate, NONCE_BYTES, stateFor } from './child-create.ts';
import { groupOf } from './child-offer.ts';
import { ChildRekey } from './child-rekey.ts';
import { ChildDelete, closeIkeSa } from './delete.ts';

const REFUSED_MS = 60_000;
/** What the peer should delete after a rekeying, we delete ourselves after this time. */
const PEER_DELETES_MS = 30_000;

export class IkeRekey implements InitiatorTask {
  readonly exchange = 'CREATE_CHILD_SA';
  readonly purpose = 'rekey the IKE SA';
  /** The IKE SA that the peer made by its own rekeying, while our request was on its way. */
  rival: IkeSa | undefined;
  readonly #group: number | undefined;
  #spi = '';
  #nonce: Uint8Array = new Uint8Array(0);
  #proposals: readonly Proposal[] = [];
  #keyExchange: KeyExchange | undefined;

  constructor(group?: number) {
    this.#group = group;
  }

  build(sa: IkeSa): readonly Payload[] | undefined {
    const { context, connection } = sa;
    if (sa.state !== 'established' || sa.retiring !== undefined || connection === undefined) return undefined;
    sa.state = 'rekeying';
    const configs = connection.config.ikeProposals;
    const groups = groupsOf(configs);
    const current = sa.protection?.suite.dh.id;
    const group = [this.#group, current].find((id) => id !== undefined && groups.includes(id)) ?? groups[0];
    this.#spi = freshSpi(context);
    this.#nonce = context.host.random(NONCE_BYTES);
    this.#proposals = offer(configs, 'IKE', Uint8Array.from(Buffer.from(this.#spi, 'hex')));
    this.#keyExchange = createKeyExchange(group, (bytes) => context.host.random(bytes));
    return [
      { type: 'SA', proposals: this.#proposals },
      { type: 'NONCE', data: this.#nonce },
      { type: 'KE', group, data: this.#keyExchange.publicValue },
    ];
  }

  process(sa: IkeSa, payloads: readonly Payload[]): Outcome {
    const next = this.#accept(sa, payloads);
    if (next instanceof IkeSa) this.#replace(sa, next);
    else this.#refused(sa, next.reason, next.error);
    return 'done';
  }

  #accept(sa: IkeSa, payloads: readonly Payload[]): IkeSa | { reason: string; error?: NotifyPayload } {
    const error = findError(payloads);
    if (error !== undefined) return { reason: `peer answered ${notifyName(error.notify)}`, error };
    const answered = find(payloads, 'SA')?.proposals ?? [];
    const choice = acceptChoice(this.#proposals, answered);
    const nr = find(payloads, 'NONCE')?.data;
    const ke = find(payloads, 'KE');
    if (choice === undefined || nr === undefined) {
      return {
        reason: `peer chose ${proposalsText(answered)}, of which we offered only ${proposalsText(this.#proposals)}`,
      };
    }
    if (this.#keyExchange === undefined || ke?.group !== this.#keyExchange.group || choice.suite.DH?.id !== ke.group) {
      return { reason: "peer's key exchange value is missing or of another group" };
    }
    try {
      const sharedSecret = this.#keyExchange.computeShared(ke.data);
      const peerSpi = Buffer.from(choice.proposal.spi).toString('hex');
      return successor(
        sa,
        { initiator: true, ourSpi: this.#spi, peerSpi },
        choice.suite,
        sharedSecret,
        this.#nonce,
        nr,
      );
    } catch (failure) {
      if (failure instanceof InvalidPublicValueError) return { reason: "peer's key exchange value is not valid" };
      throw failure;
    }
  }

  #replace(sa: IkeSa, next: IkeSa): void {
    const { connection } = sa;
    if (connection === undefined) {
      next.end('closed', 'the connection is gone');
      return;
    }
    const rival = this.rival?.state === 'gone' ? undefined : this.rival;
    if (rival !== undefined) sa.context.count('collisions: IKE rekeying');
    if (rival !== undefined && redundantOf(next.nonces, rival.nonces) === 'ours') {
      connection.adopt(rival, sa);
      endIfPeerDoesNot(sa);
      next.connection = connection;
      next.state = 'established';
      closeIkeSa(next, 'both ends rekeyed at once');
      return;
    }
    connection.adopt(next, sa);
    closeIkeSa(sa, `replaced by ${next.label}`);
    if (rival !== undefined) endIfPeerDoesNot(rival);
  }

  #refused(sa: IkeSa, reason: string, error: NotifyPayload | undefined): void {
    const { connection } = sa;
    if (sa.state !== 'rekeying' || connection === undefined) return;
    const rival = this.rival?.state === 'gone' ? undefined : this.rival;
    if (rival !== undefined) {
      connection.adopt(rival, sa);
      endIfPeerDoesNot(sa);
      return;
    }
    sa.state = 'established';
    const group = error?.notify === NOTIFY.INVALID_KE_PAYLOAD ? groupOf(error) : undefined;
    if (group !== undefined && this.#group === undefined) {
      sa.enqueue(new IkeRekey(group), true);
      return;
    }
    const busy = error?.notify === NOTIFY.TEMPORARY_FAILURE;
    if (!busy) connection.noteFailure(`rekeying the IKE SA: ${reason}`);
    rekeyIkeLater(sa, busy ? busyPauseMs(sa) : REFUSED_MS);
  }

  abandon(): void {
    this.#keyExchange = undefined;
  }
}

/** The new IKE SA, its keys derived of the old one's SK_d (RFC 7296 §2.18). It has no children yet. */
function successor(
  old: IkeSa,
  origin: Pick<IkeSa, 'initiator' | 'ourSpi' | 'peerSpi'>,
  suite: Suite,
  sharedSecret: Uint8Array,
  ni: Uint8Array,
  nr: Uint8Array,
): IkeSa {
  const { ENCR: encryption, INTEG: integrity, PRF: prf, DH: dh } = suite;
  if (old.protection === undefined || encryption === undefined || prf === undefined || dh === undefined) {
    throw new Error(`an IKE SA was rekeyed with an incomplete suite ${JSON.stringify(suite)}`);
  }
  const { initiator, ourSpi, peerSpi } = origin;
  const next = new IkeSa(old.context, {
    initiator,
    ourSpi,
    peerSpi,
    local: old.local,
    remote: old.remote,
    firstRequestId: 0,
  });
  next.reauthenticateByMs = old.reauthenticateByMs;
  next.nat = old.nat;
  next.fragmentation = old.fragmentation;
  const ikeSuite: IkeSuite = { encryption, integrity, prf, dh };
  const seed = rekeySkeyseed(old.protection.suite.prf.id, old.protection.keys.skD, sharedSecret, ni, nr);
  wipe(sharedSecret);
  const keys = deriveIkeKeys({
    suite: ikeSuite,
    skeyseed: seed,
    ni,
    nr,
    initiatorSpi: next.initiatorSpi,
    responderSpi: next.responderSpi,
  });
  next.nonces = [ni.slice(), nr.slice()];
  next.protect({ suite: ikeSuite, keys });
  return next;
}

/** The peer has to delete this IKE SA; should it never do so, we do. */
function endIfPeerDoesNot(sa: IkeSa): void {
  const { timers } = sa.context;
  sa.stopLife();
  const timer = timers.at(sa.context.nowMs() + PEER_DELETES_MS, () => closeIkeSa(sa, 'the peer left it over'));
  sa.stopLife = () => timers.cancel(timer);
}

/** Serves a request to rekey the IKE SA it came on. */
export function answerIkeRekey(sa: IkeSa, payloads: readonly Payload[]): Answer {
  const { connection, context, currentTask } = sa;
  const ni = find(payloads, 'NONCE')?.data;
  if (connection === undefined || ni === undefined) return invalidSyntax(sa, 'no nonce');
  const childExchange =
    currentTask instanceof ChildCreate || currentTask instanceof ChildRekey || currentTask instanceof ChildDelete;
  const refusal = refusalOf('rekey-ike', { ike: stateFor(sa), childExchange });
  if (refusal !== undefined) {
    context.count('refused: temporary failure');
    return { payloads: [notify(refusal)] };
  }
  const offered = find(payloads, 'SA')?.proposals ?? [];
  const ke = find(payloads, 'KE');
  const configs = connection.config.ikeProposals;
  const choice = choose(offered, configs, { protocol: 'IKE', spiSize: 8, keGroup: ke?.group, groups: 'required' });
  const group = choice?.suite.DH?.id;
  const usable =
    choice !== undefined && Object.values(choice.suite).every((transform) => isSupported(transform, 'IKE'));
  const peerSpi = choice === undefined ? '' : Buffer.from(choice.proposal.spi).toString('hex');
  if (choice === undefined || group === undefined || !usable || /^0*$/.test(peerSpi)) {
    context.count('refused: no proposal chosen');
    connection.noteFailure(
      `peer wants to rekey the IKE SA with ${proposalsText(offered)}, we allow ${proposalsText(configs)}`,
    );
    return { payloads: [notify(NOTIFY.NO_PROPOSAL_CHOSEN)] };
  }
  const exchange = answerKeyExchange(sa, ke, group);
  if (exchange === 'wrong-group') {
    context.count('refused: wrong key exchange group');
    return { payloads: [notify(NOTIFY.INVALID_KE_PAYLOAD, Uint8Array.of(group >> 8, group & 0xff))] };
  }
  if (exchange === 'invalid') return invalidSyntax(sa, 'the key exchange value is not valid');
  const ourSpi = freshSpi(context);
  const nr = context.host.random(NONCE_BYTES);
  const next = successor(sa, { initiator: false, ourSpi, peerSpi }, choice.suite, exchange.sharedSecret, ni, nr);
  if (currentTask instanceof IkeRekey) {
    // Both at once: who inherits is decided when our own response is there (RFC 7296 §2.8.2).
    currentTask.rival?.end('replaced', 'the peer began another rekeying');
    currentTask.rival = next;
    next.connection = connection;
    next.state = 'established';
    next.retiring = 'peers';
    endIfPeerDoesNot(next);
  }
  return {
    payloads: [
      { type: 'SA', proposals: [{ ...choice.proposal, spi: Uint8Array.from(Buffer.from(ourSpi, 'hex')) }] },
      { type: 'NONCE', data: nr },
      exchange.payload,
    ],
    // Not before: what is queued goes out on the new IKE SA, which the peer only has with this response.
    afterwards: () => {
      if (next.connection !== undefined) return;
      connection.adopt(next, sa);
      endIfPeerDoesNot(sa);
    },
  };
}
