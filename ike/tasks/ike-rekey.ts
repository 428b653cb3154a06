/**
 * Replacing an IKE SA before its life ends: CREATE_CHILD_SA with a proposal for IKE (RFC 7296 §1.3.2, §2.18), both
 * roles. The new IKE SA inherits all children; the initiator deletes the old one. When both ends rekey at once, the
 * nonces decide which new IKE SA inherits, and its initiator deletes the old one (§2.8.2).
 */

import { redundantOf, refusalOf } from '../collisions.ts';
import type { ConnectionState } from '../connection.ts';
import { freshSpi } from '../context.ts';
import { InvalidPublicValueError, type KeyExchange } from '../crypto/key-exchange.ts';
import { deriveIkeKeys, type IkeSuite, rekeySkeyseed, wipe } from '../crypto/prf.ts';
import { isSupported } from '../crypto/transforms.ts';
import { acceptChoice, additionalOf, choose, groupsOf, offer, proposalsText, type Suite } from '../negotiation.ts';
import { IkeSa } from '../sa/ike-sa.ts';
import { find, findError, notify } from '../sa/notify.ts';
import { invalidSyntax } from '../sa/request-checks.ts';
import { rekeyIkeLater } from '../sa/sa-life.ts';
import type { Answer, InitiatorTask, Outcome } from '../sa/task.ts';
import { type ExchangeName, NOTIFY, notifyName } from '../wire/names.ts';
import type { NotifyPayload, Payload, Proposal } from '../wire/payloads.ts';
import { serveKeyExchange } from './child-answer.ts';
import { busyPauseMs, ChildCreate, NONCE_BYTES, stateFor } from './child-create.ts';
import { groupOf } from './child-offer.ts';
import { ChildRekey } from './child-rekey.ts';
import { ChildDelete, closeIkeSa, sayGoodbye } from './delete.ts';
import { deferWork, type FollowUpResult, FollowUps } from './follow-up.ts';

const REFUSED_MS = 60_000;
/** What the peer should delete after a rekeying, we delete ourselves after this time. */
const PEER_DELETES_MS = 30_000;

export class IkeRekey implements InitiatorTask {
  readonly purpose = 'rekey the IKE SA';
  /** The IKE SA that the peer made by its own rekeying, while our request was on its way. */
  rival: IkeSa | undefined;
  readonly #group: number | undefined;
  #spi = '';
  #nonce: Uint8Array = new Uint8Array(0);
  #proposals: readonly Proposal[] = [];
  #keyExchange: KeyExchange | undefined;
  #followUps: FollowUps | undefined;
  #negotiated: Negotiated | undefined;

  constructor(group?: number) {
    this.#group = group;
  }

  get exchange(): ExchangeName {
    return this.#followUps === undefined ? 'CREATE_CHILD_SA' : 'IKE_FOLLOWUP_KE';
  }

  keyExchange(sa: IkeSa): number | undefined {
    if (this.#followUps !== undefined) return this.#followUps.method;
    return sa.connection === undefined ? undefined : this.#groupFor(sa, sa.connection);
  }

  /** What was asked for, else that of the present IKE SA, else the first. */
  #groupFor(sa: IkeSa, { config }: ConnectionState): number {
    const groups = groupsOf(config.ikeProposals);
    const current = sa.protection?.suite.dh.id;
    return [this.#group, current].find((id) => id !== undefined && groups.includes(id)) ?? groups[0];
  }

  build(sa: IkeSa): readonly Payload[] | undefined {
    if (this.#followUps !== undefined) return this.#followUps.request();
    const { context, connection } = sa;
    if (sa.state !== 'established' || sa.retiring !== undefined || connection === undefined) return undefined;
    sa.state = 'rekeying';
    const configs = connection.config.ikeProposals;
    const group = this.#groupFor(sa, connection);
    this.#spi = freshSpi(context);
    this.#nonce = context.host.random(NONCE_BYTES);
    this.#proposals = offer(configs, 'IKE', Uint8Array.from(Buffer.from(this.#spi, 'hex')));
    this.#keyExchange = sa.keyExchanges.begin(group);
    return [
      { type: 'SA', proposals: this.#proposals },
      { type: 'NONCE', data: this.#nonce },
      { type: 'KE', group, data: this.#keyExchange.publicValue },
    ];
  }

  process(sa: IkeSa, payloads: readonly Payload[]): Outcome {
    const result = this.#followUps === undefined ? this.#accept(sa, payloads) : this.#followUps.process(payloads);
    if (result === 'next') return 'next';
    if (result === 'done' && this.#negotiated !== undefined) {
      this.#replace(sa, successor(sa, this.#negotiated, this.#followUps?.secrets ?? []));
      return 'done';
    }
    this.abandon();
    if (typeof result !== 'string') this.#refused(sa, result.reason, result.error);
    return 'done';
  }

  #accept(sa: IkeSa, payloads: readonly Payload[]): FollowUpResult {
    const error = findError(payloads);
    if (error !== undefined) return { reason: `peer answered ${notifyName(error.notify)}`, error };
    const answered = find(payloads, 'SA')?.proposals ?? [];
    const choice = acceptChoice(this.#proposals, answered);
    const nr = find(payloads, 'NONCE')?.data;
    const ke = find(payloads, 'KE');
    if (choice === undefined || nr === undefined) {
      return {
        reason: `peer chose ${proposalsText(answered)}, of which we offered only ${proposalsText(this.#proposals)}`,
        error,
      };
    }
    if (this.#keyExchange === undefined || ke?.group !== this.#keyExchange.group || choice.suite.DH?.id !== ke.group) {
      return { reason: "peer's key exchange value is missing or of another group", error };
    }
    const followUps = FollowUps.of(sa, choice.suite, payloads);
    if (followUps === 'unlinked') return { reason: 'peer does not say how to go on with key exchanges', error };
    try {
      this.#negotiated = {
        initiator: true,
        ourSpi: this.#spi,
        peerSpi: Buffer.from(choice.proposal.spi).toString('hex'),
        suite: choice.suite,
        sharedSecret: this.#keyExchange.computeShared(ke.data),
        ni: this.#nonce,
        nr: nr.slice(),
      };
    } catch (failure) {
      if (failure instanceof InvalidPublicValueError)
        return { reason: "peer's key exchange value is not valid", error };
      throw failure;
    }
    if (followUps === 'none') return 'done';
    this.#followUps = followUps;
    return 'next';
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
    this.#keyExchange?.wipe();
    this.#keyExchange = undefined;
    this.#followUps?.wipe();
    if (this.#negotiated !== undefined) wipe(this.#negotiated.sharedSecret);
  }
}

/** What the first exchange of a rekeying settles. */
interface Negotiated extends Pick<IkeSa, 'initiator' | 'ourSpi' | 'peerSpi'> {
  readonly suite: Suite;
  readonly sharedSecret: Uint8Array;
  readonly ni: Uint8Array;
  readonly nr: Uint8Array;
}

/**
 * The new IKE SA, its keys derived of the old one's SK_d (RFC 7296 §2.18) and of the secrets of all key exchanges, which
 * are wiped. It has no children yet.
 */
function successor(old: IkeSa, negotiated: Negotiated, additional: readonly Uint8Array[]): IkeSa {
  const { suite, sharedSecret, ni, nr } = negotiated;
  const { ENCR: encryption, INTEG: integrity, PRF: prf, DH: dh } = suite;
  if (old.protection === undefined || encryption === undefined || prf === undefined || dh === undefined) {
    throw new Error(`an IKE SA was rekeyed with an incomplete suite ${JSON.stringify(suite)}`);
  }
  const { initiator, ourSpi, peerSpi } = negotiated;
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
  next.ppk = old.ppk;
  const ikeSuite: IkeSuite = { encryption, integrity, prf, dh, additional: additionalOf(suite) };
  const { suite: oldSuite, keys: oldKeys } = old.protection;
  const seed = rekeySkeyseed(oldSuite.prf.id, oldKeys.skD, sharedSecret, ni, nr, additional);
  wipe(sharedSecret, ...additional);
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
  const timer = timers.at(sa.context.nowMs() + PEER_DELETES_MS, () => {
    // Nothing ever came on it: the peer never got our response, or has forgotten it with the old IKE SA. Nobody would answer.
    if (sa.lastHeardMs !== sa.createdAtMs) {
      closeIkeSa(sa, 'the peer left it over');
      return;
    }
    sayGoodbye(sa);
    sa.end('closed', 'the peer left it over');
  });
  sa.stopLife = () => timers.cancel(timer);
}

/** Serves a request to rekey the IKE SA it came on. */
export function answerIkeRekey(sa: IkeSa, payloads: readonly Payload[]): Answer {
  const { connection, context } = sa;
  const ni = find(payloads, 'NONCE')?.data;
  if (connection === undefined || ni === undefined) return invalidSyntax(sa, 'no nonce');
  const refusalNow = (): number | undefined => {
    const { current: currentTask } = sa.tasks;
    const childExchange =
      currentTask instanceof ChildCreate || currentTask instanceof ChildRekey || currentTask instanceof ChildDelete;
    return refusalOf('rekey-ike', { ike: stateFor(sa), childExchange });
  };
  const refusal = refusalNow();
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
  const exchange = serveKeyExchange(sa, ke, group);
  if (exchange === 'wrong-group') {
    context.count('refused: wrong key exchange group');
    return { payloads: [notify(NOTIFY.INVALID_KE_PAYLOAD, Uint8Array.of(group >> 8, group & 0xff))] };
  }
  if (exchange === 'invalid') return invalidSyntax(sa, 'the key exchange value is not valid');
  const ourSpi = freshSpi(context);
  const nr = context.host.random(NONCE_BYTES);
  const { sharedSecret } = exchange;
  const negotiated: Negotiated = {
    initiator: false,
    ourSpi,
    peerSpi,
    suite: choice.suite,
    sharedSecret,
    ni: ni.slice(),
    nr,
  };
  const complete = (secrets: readonly Uint8Array[]): Answer =>
    takeSuccessor(sa, connection, successor(sa, negotiated, secrets));
  const methods = additionalOf(choice.suite);
  const response: readonly Payload[] = [
    { type: 'SA', proposals: [{ ...choice.proposal, spi: Uint8Array.from(Buffer.from(ourSpi, 'hex')) }] },
    { type: 'NONCE', data: nr },
    exchange.payload,
  ];
  if (methods.length === 0) return { ...complete([]), payloads: response };
  const link = deferWork(sa, { methods, refusal: refusalNow, complete, discard: () => wipe(sharedSecret) });
  return { payloads: [...response, link] };
}

/** The responder's new IKE SA: it inherits when the response is out, or is the rival of our own rekeying. */
function takeSuccessor(sa: IkeSa, connection: ConnectionState, next: IkeSa): Answer {
  const { current: currentTask } = sa.tasks;
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
    payloads: [],
    // Not before: what is queued goes out on the new IKE SA, which the peer only has with this response.
    afterwards: () => {
      if (next.connection !== undefined) return;
      connection.adopt(next, sa);
      endIfPeerDoesNot(sa);
    },
  };
}
