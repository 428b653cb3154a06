/**
 * IKE_SA_INIT (RFC 7296 §1.2, §2.6, §2.7, §2.14), both roles: proposals, key exchange, nonces. Nothing of it is
 * authenticated yet, so the initiator takes errors as hints: it reports them and tries again, and a good response
 * that still comes is taken. Which requests are served at all, and COOKIE, is half-open.ts.
 *
 * NAT detection (RFC 7296 §2.23) is done here; when it finds a NAT, the initiator goes on at port 4500.
 */

import type { ConnectionState } from '../connection.ts';
import { type EngineContext, freshSpi } from '../context.ts';
import { InvalidPublicValueError, type KeyExchange, type KeyExchangeAnswer } from '../crypto/key-exchange.ts';
import { deriveIkeKeys, type IkeSuite, skeyseed, wipe } from '../crypto/prf.ts';
import { detectNat, encapsulates, natPayloads } from '../nat-detection.ts';
import {
  acceptChoice,
  additionalOf,
  type Choice,
  groupsOf,
  offer,
  offersAdditional,
  proposalsText,
  type Suite,
  suiteText,
} from '../negotiation.ts';
import { IkeSa } from '../sa/ike-sa.ts';
import { Intermediate } from '../sa/intermediate.ts';
import { find, findError, findNotify, notify } from '../sa/notify.ts';
import { floatToNatPort } from '../sa/peer-path.ts';
import { noteMessage } from '../sa/said.ts';
import type { InitiatorTask, Outcome } from '../sa/task.ts';
import type { Authentication, Connection, Datagram, Encapsulation } from '../types.ts';
import { ZERO_SPI } from '../wire/header.ts';
import { NOTIFY, notifyName } from '../wire/names.ts';
import type { KePayload, Payload, Proposal } from '../wire/payloads.ts';
import { certificateRequests, peerHashesOf, signaturePayloads } from './authentication.ts';
import { NONCE_BYTES } from './child-create.ts';
import { groupOf } from './child-offer.ts';
import { continueSetup } from './ike-intermediate.ts';
import { announcesPpk, usePpkPayloads } from './ppk.ts';

const IKE_PORT = 500;
/** A responder may ask for so many cookies and other groups in one attempt; more is an attack or a fault. */
const RETRY_LIMIT = 6;
const NO_SPI = new Uint8Array(0);

/** Begins an IKE SA. */
export function initiateIkeSa(context: EngineContext, connection: ConnectionState): IkeSa {
  const sa = new IkeSa(context, {
    initiator: true,
    ourSpi: freshSpi(context),
    peerSpi: ZERO_SPI,
    local: { address: connection.config.local, port: IKE_PORT },
    remote: { address: connection.config.remote, port: IKE_PORT },
    firstRequestId: 0,
  });
  sa.connection = connection;
  context.log('info', connection.name, `initiating IKE_SA ${connection.name} to ${connection.config.remote}`);
  sa.enqueue(new IkeInit(connection));
  return sa;
}

export class IkeInit implements InitiatorTask {
  readonly exchange = 'IKE_SA_INIT';
  readonly purpose = 'set up an IKE SA';
  readonly #connection: ConnectionState;
  readonly #proposals: readonly Proposal[];
  readonly #groups: readonly number[];
  #nonce: Uint8Array = new Uint8Array(0);
  #keyExchange: KeyExchange | undefined;
  #group: number;
  #cookie: Uint8Array | undefined;
  #retries = 0;
  #hinted = false;

  constructor(connection: ConnectionState) {
    this.#connection = connection;
    this.#proposals = offer(connection.config.ikeProposals, 'IKE', NO_SPI);
    this.#groups = groupsOf(connection.config.ikeProposals);
    this.#group = this.#groups[0];
  }

  keyExchange(): number | undefined {
    return this.#keyExchange?.group === this.#group ? undefined : this.#group;
  }

  build(sa: IkeSa): readonly Payload[] {
    const random = (bytes: number): Uint8Array => sa.context.host.random(bytes);
    if (this.#nonce.length === 0) this.#nonce = random(NONCE_BYTES);
    if (this.#keyExchange?.group !== this.#group) {
      this.#keyExchange?.wipe();
      this.#keyExchange = sa.keyExchanges.begin(this.#group);
    }
    return [
      ...(this.#cookie === undefined ? [] : [notify(NOTIFY.COOKIE, this.#cookie)]),
      { type: 'SA', proposals: this.#proposals },
      { type: 'KE', group: this.#group, data: this.#keyExchange.publicValue },
      { type: 'NONCE', data: this.#nonce },
      ...natPayloads(spisOfRequest(sa), sa.local, sa.remote, this.#encapsulation, random),
      ...(takesFragments(this.#connection.config) ? [notify(NOTIFY.IKEV2_FRAGMENTATION_SUPPORTED)] : []),
      ...(offersAdditional(this.#proposals) ? [notify(NOTIFY.INTERMEDIATE_EXCHANGE_SUPPORTED)] : []),
      ...usePpkPayloads(this.#connection.config.ppk !== undefined),
      ...signaturePayloads([this.#connection.config.authentication]),
    ];
  }

  get #encapsulation(): Encapsulation {
    return this.#connection.config.encapsulation ?? 'auto';
  }

  process(sa: IkeSa, payloads: readonly Payload[], data: Uint8Array): Outcome {
    // 1. COOKIE and INVALID_KE_PAYLOAD: the same request again, with what they ask for (RFC 7296 §2.6.1).
    const cookie = findNotify(payloads, NOTIFY.COOKIE);
    const error = findError(payloads);
    if (cookie !== undefined || error?.notify === NOTIFY.INVALID_KE_PAYLOAD) {
      this.#retries += 1;
      if (this.#retries > RETRY_LIMIT) return this.#hint('peer asks for another cookie or group again and again');
    }
    if (cookie !== undefined && find(payloads, 'SA') === undefined) {
      if (cookie.data.length === 0 || cookie.data.length > 64) return 'ignore';
      this.#cookie = cookie.data.slice();
      return 'again';
    }
    if (error?.notify === NOTIFY.INVALID_KE_PAYLOAD) {
      const group = groupOf(error);
      if (group === undefined || !this.#groups.includes(group)) {
        return this.#hint(`peer wants key exchange group ${group ?? '?'}, we allow ${this.#groups.join(', ')}`);
      }
      this.#group = group;
      return 'again';
    }

    // 2. Other errors.
    if (error !== undefined) {
      const offered = error.notify === NOTIFY.NO_PROPOSAL_CHOSEN ? proposalsText(this.#proposals) : '';
      return this.#hint(
        `peer refused IKE_SA_INIT (${notifyName(error.notify)})` +
          (offered === ''
            ? ''
            : `: is this host's tunnel configured there, with a common proposal? We offered ${offered}`),
      );
    }

    // 3. What a good response holds.
    const sharedSecretOrOutcome = this.#judge(sa, payloads);
    if (typeof sharedSecretOrOutcome === 'string') return sharedSecretOrOutcome;
    const { choice, sharedSecret, nr } = sharedSecretOrOutcome;
    this.#connection.attemptProceeds();
    const request = sa.requests.pending?.[0];
    if (request === undefined) return 'ignore';
    const intermediate = protectFirst(sa, choice.suite, sharedSecret, this.#nonce, nr);
    const peerHashes = peerHashesOf(payloads);
    const ppk = this.#connection.config.ppk !== undefined && announcesPpk(payloads);
    sa.init = { request, response: data.slice(), ni: this.#nonce, nr: nr.slice(), peerHashes, intermediate, ppk };
    sa.context.log('info', this.#connection.name, `IKE_SA ${sa.label}: selected ${suiteText(choice.suite)}`);
    this.#traverseNat(sa, payloads);
    sa.fragmentation = takesFragments(this.#connection.config) && announcesFragments(payloads);
    continueSetup(sa, this.#connection);
    return 'done';
  }

  #traverseNat(sa: IkeSa, payloads: readonly Payload[]): void {
    if (this.#encapsulation === 'no') return;
    const detected = detectNat(payloads, sa, sa.local, sa.remote);
    const forced = this.#encapsulation === 'yes';
    if (detected === undefined) {
      const what = 'peer does no NAT detection, so ESP cannot be encapsulated in UDP as ipsec_encapsulation=yes asks';
      if (forced) sa.context.log('warn', this.#connection.name, what);
      return;
    }
    sa.nat = { ...detected, forced };
    if (encapsulates(sa.nat)) floatToNatPort(sa);
  }

  #judge(
    sa: IkeSa,
    payloads: readonly Payload[],
  ): Outcome | { readonly choice: Choice; readonly sharedSecret: Uint8Array; readonly nr: Uint8Array } {
    const answered = find(payloads, 'SA');
    const ke = find(payloads, 'KE');
    const nr = find(payloads, 'NONCE')?.data;
    if (answered === undefined || ke === undefined || nr === undefined || sa.peerSpi === ZERO_SPI) {
      sa.context.count('dropped: payload-missing');
      return 'ignore';
    }
    const choice = acceptChoice(this.#proposals, answered.proposals);
    if (choice === undefined) {
      const [theirs, ours] = [proposalsText(answered.proposals), proposalsText(this.#proposals)];
      return this.#hint(`peer chose ${theirs}, of which we offered only ${ours}`);
    }
    if (ke.group !== this.#group || choice.suite.DH?.id !== this.#group || this.#keyExchange === undefined) {
      return this.#hint("peer's key exchange value is of another group than it chose");
    }
    if (additionalOf(choice.suite).length > 0 && !takesIntermediate(payloads)) {
      return this.#hint('peer chose additional key exchanges, but takes no IKE_INTERMEDIATE');
    }
    if (this.#connection.config.ppk?.required === true && !announcesPpk(payloads)) {
      return this.#hint('peer has no PPK, which options:ipsec_ppk_required=yes demands');
    }
    try {
      return { choice, sharedSecret: this.#keyExchange.computeShared(ke.data), nr };
    } catch (failure) {
      if (failure instanceof InvalidPublicValueError) return this.#hint(failure.message);
      throw failure;
    }
  }

  /** Says why the attempt will fail, once, and waits for a better response until the next attempt. */
  #hint(reason: string): Outcome {
    if (!this.#hinted) this.#connection.attemptFailed(reason);
    this.#hinted = true;
    return 'wait';
  }

  abandon(): void {
    this.#keyExchange?.wipe();
    this.#keyExchange = undefined;
  }
}

/** The keys of a first IKE SA (RFC 7296 §2.14), and what has to come before IKE_AUTH. Wipes the shared secret. */
function protectFirst(
  sa: IkeSa,
  suite: Suite,
  sharedSecret: Uint8Array,
  ni: Uint8Array,
  nr: Uint8Array,
): Intermediate | undefined {
  const { ENCR: encryption, INTEG: integrity, PRF: prf, DH: dh } = suite;
  if (encryption === undefined || prf === undefined || dh === undefined) {
    throw new Error(`an IKE SA was negotiated with an incomplete suite ${JSON.stringify(suite)}`);
  }
  const ikeSuite: IkeSuite = { encryption, integrity, prf, dh, additional: additionalOf(suite) };
  const seed = skeyseed(prf.id, ni, nr, sharedSecret);
  wipe(sharedSecret);
  const { initiatorSpi, responderSpi } = sa;
  sa.nonces = [ni.slice(), nr.slice()];
  const keys = deriveIkeKeys({ suite: ikeSuite, skeyseed: seed, ni, nr, initiatorSpi, responderSpi });
  sa.protect({ suite: ikeSuite, keys }, { exchangesToCome: ikeSuite.additional.length });
  return ikeSuite.additional.length === 0 ? undefined : new Intermediate(ikeSuite);
}

const takesFragments = (config: Pick<Connection, 'fragmentation'>): boolean => config.fragmentation ?? true;
const announcesFragments = (payloads: readonly Payload[]): boolean =>
  findNotify(payloads, NOTIFY.IKEV2_FRAGMENTATION_SUPPORTED) !== undefined;

/** Whether the sender of an IKE_SA_INIT message takes IKE_INTERMEDIATE (RFC 9242 §3.1). */
export const takesIntermediate = (payloads: readonly Payload[]): boolean =>
  findNotify(payloads, NOTIFY.INTERMEDIATE_EXCHANGE_SUPPORTED) !== undefined;

/** An IKE_SA_INIT request has no SPI of the responder, also when it is sent again. */
const spisOfRequest = ({ initiatorSpi }: Pick<IkeSa, 'initiatorSpi'>) => ({ initiatorSpi, responderSpi: ZERO_SPI });

export interface IkeInitRequest {
  readonly datagram: Datagram;
  readonly initiatorSpi: string;
  readonly ni: Uint8Array;
  readonly ke: KePayload;
  /** Our answer to it. */
  readonly exchange: KeyExchangeAnswer;
  readonly choice: Choice;
  readonly payloads: readonly Payload[];
  /** What the request is judged by besides its proposal; the connection itself is known only with IKE_AUTH. */
  readonly config: Pick<Connection, 'encapsulation' | 'fragmentation'>;
  /** Of every connection that it may turn out to be. */
  readonly authentications: readonly Authentication[];
  /** One of them has a PPK. */
  readonly hasPpk: boolean;
}

/**
 * The responder's side, once the request has been let in and a proposal chosen: makes the half-open IKE SA and sends
 * the response.
 */
export function answerIkeInit(context: EngineContext, request: IkeInitRequest): IkeSa {
  const { datagram, choice, ke, exchange } = request;
  const random = (bytes: number): Uint8Array => context.host.random(bytes);
  const header = { exchange: 'IKE_SA_INIT', responseFlag: false, messageId: 0 } as const;
  const sa = new IkeSa(context, {
    initiator: false,
    ourSpi: freshSpi(context),
    peerSpi: request.initiatorSpi,
    local: datagram.local,
    remote: datagram.remote,
    firstRequestId: 1,
  });
  const nr = random(NONCE_BYTES);
  const ni = request.ni.slice();
  const encapsulation = request.config.encapsulation ?? 'auto';
  const detected =
    encapsulation === 'no' ? undefined : detectNat(request.payloads, spisOfRequest(sa), sa.local, sa.remote);
  if (detected !== undefined) sa.nat = { ...detected, forced: encapsulation === 'yes' };
  const fragments = takesFragments(request.config) && announcesFragments(request.payloads);
  const intermediate = protectFirst(sa, choice.suite, exchange.sharedSecret, ni, nr);
  const ppk = request.hasPpk && announcesPpk(request.payloads);
  const payloads: readonly Payload[] = [
    { type: 'SA', proposals: [choice.proposal] },
    { type: 'KE', group: ke.group, data: exchange.publicValue },
    { type: 'NONCE', data: nr },
    ...(detected === undefined ? [] : natPayloads(sa, sa.local, sa.remote, encapsulation, random)),
    ...(fragments ? [notify(NOTIFY.IKEV2_FRAGMENTATION_SUPPORTED)] : []),
    ...(intermediate === undefined ? [] : [notify(NOTIFY.INTERMEDIATE_EXCHANGE_SUPPORTED)]),
    ...usePpkPayloads(ppk),
    ...signaturePayloads(request.authentications),
    ...certificateRequests(request.authentications),
  ];
  noteMessage(sa, 'received', header, request.payloads);
  noteMessage(sa, 'sent', { ...header, responseFlag: true }, payloads);
  const response = sa.seal('IKE_SA_INIT', payloads, 0, true);
  sa.fragmentation = fragments;
  const peerHashes = peerHashesOf(request.payloads);
  sa.init = { request: datagram.data.slice(), response: response[0], ni, nr, peerHashes, intermediate, ppk };
  sa.transmit(response, datagram.remote, datagram.local);
  return sa;
}
