/**
 * The door of the responder: which IKE_SA_INIT requests are served (RFC 7296 §2.1, §2.6, §2.7), before anything is
 * known about who sent them. Work and memory are bounded here: a repeated request gets the response it had, nobody
 * gets a key exchange computed without a COOKIE once many IKE SAs are half open, and beyond a limit nobody gets one.
 */

import { createHash } from 'node:crypto';
import { Allowance } from './allowance.ts';
import type { Computation } from './computations.ts';
import type { ConnectionState } from './connection.ts';
import type { EngineContext } from './context.ts';
import { type CookieJar, createCookieJar } from './crypto/cookie.ts';
import type { RandomSource } from './crypto/dh.ts';
import type { JobResult } from './crypto/jobs.ts';
import { answerKeyExchange, InvalidPublicValueError, isDear, type KeyExchangeAnswer } from './crypto/key-exchange.ts';
import { isSupported } from './crypto/transforms.ts';
import { type Choice, type ChoiceTerms, choose, proposalsText } from './negotiation.ts';
import { IkeSa } from './sa/ike-sa.ts';
import { find, findNotify, notify } from './sa/notify.ts';
import { answerIkeInit, type IkeInitRequest, takesIntermediate } from './tasks/ike-init.ts';
import { canonicalAddress } from './traffic-selectors.ts';
import type { Datagram } from './types.ts';
import { emitMessage, type ParsedMessage } from './wire/message.ts';
import { NOTIFY } from './wire/names.ts';
import { unsupportedCriticalPayload } from './wire/payload-chain.ts';
import type { KePayload, NotifyPayload, Payload, Proposal } from './wire/payloads.ts';
import { describeMessage } from './wire/pretty.ts';
import { findRuleViolation } from './wire/rules.ts';

/** A peer has this long to authenticate. */
const HALF_OPEN_MS = 30_000;
/** Of one address. */
const PER_SOURCE = 64;
/** Error answers to requests that nobody authenticated: at once, and a second. More would make us somebody's loudspeaker. */
const REFUSALS_AT_ONCE = 100;
const REFUSALS_A_SECOND = 50;

/** Where a half-open IKE SA is counted. */
interface Place {
  readonly digest: string;
  readonly source: string;
}

export class HalfOpen {
  readonly #context: EngineContext;
  readonly #cookies: CookieJar;
  /**
   * By digest of the request: several IKE SAs may begin with one SPI of the initiator (RFC 7296 §2.1). What has no IKE SA yet
   * is having its key exchange computed.
   */
  readonly #byRequest = new Map<string, { readonly who: IkeSa | Computation; readonly source: string }>();
  /** How many of those have each address as source. */
  readonly #bySource = new Map<string, number>();
  readonly #refusals = new Allowance(REFUSALS_AT_ONCE, REFUSALS_A_SECOND);
  #waiting = 0;

  constructor(context: EngineContext) {
    this.#context = context;
    this.#cookies = createCookieJar((bytes) => context.host.random(bytes));
  }

  /** IKE SAs whose peer has not authenticated yet. */
  get size(): number {
    return this.#waiting;
  }

  /** An IKE_SA_INIT request, for an IKE SA that we don't have. Cheapest checks first. */
  receive(datagram: Datagram, message: ParsedMessage): void {
    const context = this.#context;
    const { header, payloads } = message;

    // 1. The same request again.
    const digest = createHash('sha256').update(`${datagram.remote.address} `).update(datagram.data).digest('hex');
    const known = this.#byRequest.get(digest)?.who;
    if (known instanceof IkeSa && known.init !== undefined) {
      context.count('sent: repeated responses');
      known.transmit([known.init.response], datagram.remote, datagram.local);
      return;
    }
    if (known !== undefined) {
      context.count('dropped: repetition of a held message');
      return;
    }

    // 2. Whether we know the configuration, or this peer already. Silence costs the peer a retransmission; a refusal, its patience.
    const [from, to] = [datagram.remote.address, datagram.local.address];
    const candidates = context.connectionsBetween(to, from);
    if (candidates.length === 0 && !context.configurationKnown) {
      context.count('dropped: not configured yet');
      context.logRarely(
        'not configured',
        'dbg',
        undefined,
        `the configuration is not known yet: ${from} gets no answer`,
      );
      return;
    }

    // 3. What any IKE_SA_INIT request is.
    if (!header.initiatorFlag || header.messageId !== 0 || message.encrypted !== undefined) {
      context.count('dropped: unexpected exchange');
      return;
    }
    const critical = unsupportedCriticalPayload(payloads);
    if (critical !== undefined) {
      context.count('refused: unknown critical payload');
      this.#refuse(datagram, message, notify(NOTIFY.UNSUPPORTED_CRITICAL_PAYLOAD, Uint8Array.of(critical)));
      return;
    }
    const violation = findRuleViolation(header, payloads);
    const offered = find(payloads, 'SA');
    const ke = find(payloads, 'KE');
    const ni = find(payloads, 'NONCE')?.data;
    if (violation !== undefined || offered === undefined || ke === undefined || ni === undefined) {
      context.count(`dropped: ${violation?.reason ?? 'payload-missing'}`);
      return;
    }

    // 4. Whether there is a connection between the two addresses.
    if (candidates.length === 0) {
      context.count('refused: no connection');
      context.logRarely('no connection', 'warn', undefined, `no IPsec tunnel from ${from} to ${to} is configured here`);
      this.#refuse(datagram, message, notify(NOTIFY.NO_PROPOSAL_CHOSEN));
      return;
    }

    // 5. Load.
    if (this.#waiting >= context.settings.halfOpenLimit) {
      context.logRarely('half-open', 'warn', undefined, `${this.#waiting} IKE SAs are half open: no more are accepted`);
      context.count('dropped: half-open limit');
      return;
    }
    const source = canonicalAddress(datagram.remote.address);
    if ((this.#bySource.get(source) ?? 0) >= (context.settings.halfOpenPerSource ?? PER_SOURCE)) {
      context.logRarely('half-open source', 'warn', candidates[0].name, `${source} has too many IKE SAs half open`);
      context.count('dropped: half-open limit of a source');
      return;
    }
    if (this.#waiting >= context.settings.cookieThreshold) {
      const subject = { nonce: ni, address: datagram.remote.address, initiatorSpi: header.initiatorSpi };
      const cookie = findNotify(payloads, NOTIFY.COOKIE);
      if (cookie === undefined || !this.#cookies.verify(context.nowMs(), subject, cookie.data)) {
        context.count(cookie === undefined ? 'sent: cookies' : 'dropped: wrong cookie');
        this.#answer(datagram, message, notify(NOTIFY.COOKIE, this.#cookies.make(context.nowMs(), subject)));
        return;
      }
    }

    // 6. Proposal and group.
    const choice = this.#choose(candidates, payloads, offered.proposals, ke.group);
    const group = choice?.suite.DH?.id;
    if (choice === undefined || group === undefined) {
      context.count('refused: no proposal chosen');
      const ours = proposalsText(candidates[0].config.ikeProposals);
      const said = `received ${describeMessage(header, payloads)}`;
      context.journal.note(candidates[0].name, context.nowMs(), said);
      candidates[0].noteFailure(
        `${datagram.remote.address} offers ${proposalsText(offered.proposals)} for the IKE SA, we allow ${ours}`,
      );
      this.#refuse(datagram, message, notify(NOTIFY.NO_PROPOSAL_CHOSEN));
      return;
    }
    if (ke.group !== group) {
      context.count('refused: wrong key exchange group');
      this.#refuse(datagram, message, notify(NOTIFY.INVALID_KE_PAYLOAD, Uint8Array.of(group >> 8, group & 0xff)));
      return;
    }

    // 7. Only now the key exchange.
    const request: Omit<IkeInitRequest, 'exchange'> = {
      datagram,
      initiatorSpi: header.initiatorSpi,
      ni,
      ke,
      choice,
      payloads,
      // All tunnels between two addresses are one connection; of several, the first says.
      config: candidates[0].config,
      authentications: candidates.map(({ config }) => config.authentication),
      hasPpk: candidates.some(({ config }) => config.ppk !== undefined),
    };
    this.#exchangeKeys(request, { digest, source });
  }

  /** In place, or elsewhere while the request counts as half open. */
  #exchangeKeys(request: Omit<IkeInitRequest, 'exchange'>, { digest, source }: Place): void {
    const { computations } = this.#context;
    const { group: method, data } = request.ke;
    if (!computations.inUse || !isDear(method)) {
      this.#answerWith(request, { digest, source }, undefined);
      return;
    }
    const computation = computations.start({ step: 'answer', method, peerPublic: new Uint8Array(data) }, (result) => {
      this.#leave({ digest, source });
      this.#answerWith(request, { digest, source }, result);
    });
    if (computation === undefined) {
      this.#context.count('dropped: too many computations');
      return;
    }
    this.#enter(computation, { digest, source });
  }

  #answerWith(request: Omit<IkeInitRequest, 'exchange'>, place: Place, result: JobResult | undefined): void {
    const context = this.#context;
    const exchange = result === undefined ? exchangeInPlace(request.ke, (bytes) => context.host.random(bytes)) : result;
    if (exchange === undefined || !('publicValue' in exchange) || !('sharedSecret' in exchange)) {
      context.count('dropped: bad-ke');
      return;
    }
    this.#admit(answerIkeInit(context, { ...request, exchange }), place);
  }

  #choose(
    candidates: readonly ConnectionState[],
    payloads: readonly Payload[],
    offered: readonly Proposal[],
    keGroup: number,
  ): Choice | undefined {
    const additional = takesIntermediate(payloads);
    const terms: ChoiceTerms = { protocol: 'IKE', spiSize: 0, keGroup, groups: 'required', additional };
    for (const { config } of candidates) {
      const choice = choose(offered, config.ikeProposals, terms);
      if (choice === undefined) continue;
      if (Object.values(choice.suite).every((transform) => isSupported(transform, 'IKE'))) return choice;
    }
    return undefined;
  }

  #admit(sa: IkeSa, place: Place): void {
    const context = this.#context;
    this.#enter(sa, place);
    const timer = context.timers.at(context.nowMs() + HALF_OPEN_MS, () => {
      context.count('expired: half-open');
      sa.end('lost', 'the peer did not authenticate in time');
    });
    // Runs when the IKE SA is established and when it ends, whichever is first.
    sa.stopLife = () => {
      sa.stopLife = () => {};
      context.timers.cancel(timer);
      this.#leave(place);
    };
  }

  #enter(who: IkeSa | Computation, { digest, source }: Place): void {
    this.#byRequest.set(digest, { who, source });
    this.#waiting += 1;
    this.#bySource.set(source, (this.#bySource.get(source) ?? 0) + 1);
  }

  #leave({ digest, source }: Place): void {
    this.#byRequest.delete(digest);
    this.#waiting -= 1;
    const others = (this.#bySource.get(source) ?? 1) - 1;
    if (others > 0) this.#bySource.set(source, others);
    else this.#bySource.delete(source);
  }

  /** The engine ends: nobody whose key exchange is being computed gets an IKE SA any more. */
  forget(): void {
    for (const [digest, { who, source }] of this.#byRequest) {
      if (who instanceof IkeSa) continue;
      who.cancel();
      this.#leave({ digest, source });
    }
  }

  /** An error, to whoever sent this: not more often than anybody needs it. */
  #refuse(datagram: Datagram, message: ParsedMessage, error: NotifyPayload): void {
    if (this.#refusals.take(this.#context.nowMs())) this.#answer(datagram, message, error);
    else this.#context.count('dropped: too many strangers');
  }

  /** An unprotected response with one notify; no state is kept. */
  #answer(datagram: Datagram, message: ParsedMessage, payload: NotifyPayload): void {
    const { header } = message;
    const data = emitMessage({ ...header, initiatorFlag: false, responseFlag: true }, [payload]);
    this.#context.count('sent: messages');
    this.#context.emit({ action: 'send', local: datagram.local, remote: datagram.remote, data });
  }
}

/** Undefined: the peer's value is not valid. */
function exchangeInPlace({ group, data }: KePayload, random: RandomSource): KeyExchangeAnswer | undefined {
  try {
    return answerKeyExchange(group, data, random);
  } catch (failure) {
    if (failure instanceof InvalidPublicValueError) return undefined;
    throw failure;
  }
}
