/**
 * The initiator's half of negotiating a child SA, the same in IKE_AUTH and CREATE_CHILD_SA (RFC 7296 §1.2, §1.3.1,
 * §2.17): the payloads that offer it, and what to make of the answer, after the additional key exchanges if there are any.
 * The responder's half is child-answer.ts.
 */

import { InvalidPublicValueError, type KeyExchange } from '../crypto/key-exchange.ts';
import { wipe } from '../crypto/prf.ts';
import { acceptChoice, groupsOf, offer, proposalsText, type Suite, withGroups } from '../negotiation.ts';
import { Child, modeOf } from '../sa/child-sa.ts';
import type { ChildKeys } from '../sa/child-table.ts';
import type { IkeSa } from '../sa/ike-sa.ts';
import { find, findError, findNotify, notify, readSpi, writeSpi } from '../sa/notify.ts';
import { covers, selectorPairText } from '../traffic-selectors.ts';
import { translate } from '../transport-nat.ts';
import type { ChildConfig, Connection, ProposalConfig } from '../types.ts';
import { type ExchangeName, NOTIFY, notifyName } from '../wire/names.ts';
import type { NotifyPayload, Payload, Proposal } from '../wire/payloads.ts';
import { childKeys } from './child-keys.ts';
import { FollowUps } from './follow-up.ts';
import { peerResourceOf, resourceNotifies } from './resources.ts';

export interface OfferTerms {
  readonly connection: Connection;
  readonly config: ChildConfig;
  /** `undefined` in IKE_AUTH: no nonce and no key exchange of its own. */
  readonly exchange:
    | {
        readonly nonce: Uint8Array;
        /** The group to use, of INVALID_KE_PAYLOAD; undefined: the first offered. */
        readonly group: number | undefined;
      }
    | undefined;
  readonly replaces: number | undefined;
}

export type OfferResult =
  | { readonly ok: true; readonly child: Child; readonly keys: ChildKeys }
  | {
      readonly ok: false;
      /** A sentence for operators. */
      readonly reason: string;
      /** The error that the peer answered. */
      readonly error: NotifyPayload | undefined;
      /** The peer has set the child up: it has to be deleted there. */
      readonly deleteAtPeer: boolean;
    };

/** Why a peer refuses a child, and where an operator would look. */
const REFUSALS: Readonly<Record<number, string>> = {
  [NOTIFY.TS_UNACCEPTABLE]: 'are the tunnel type, addresses and destination port the same on both ends?',
  [NOTIFY.NO_PROPOSAL_CHOSEN]: 'do both ends allow a common ESP proposal, and transport mode?',
  [NOTIFY.NO_ADDITIONAL_SAS]: 'it takes no more child SAs',
  [NOTIFY.TS_MAX_QUEUE]: 'it takes no more child SAs with these selectors',
};

export class ChildOffer {
  readonly terms: OfferTerms;
  readonly inboundSpi: number;
  readonly #proposals: readonly Proposal[];
  readonly #keyExchange: KeyExchange | undefined;
  readonly #sa: IkeSa;
  #followUps: FollowUps | undefined;
  #afterFollowUps: ((followUps: FollowUps) => OfferResult) | undefined;
  /** Of the first exchange, until the follow-ups are done. */
  #heldSecret: Uint8Array | undefined;
  #spiTaken = true;

  constructor(sa: IkeSa, terms: OfferTerms) {
    const { host } = sa.context;
    this.#sa = sa;
    this.terms = terms;
    this.inboundSpi = host.allocateSpi(terms.connection.name, terms.config.name);
    const { connection, exchange } = terms;
    const configs =
      exchange === undefined ? withGroups(connection.espProposals, { kind: 'without' }) : proposalsOf(sa, connection);
    this.#proposals = offer(configs, 'ESP', writeSpi(this.inboundSpi));
    const group = exchange === undefined ? undefined : offeredGroup(sa, connection, exchange.group);
    this.#keyExchange = group === undefined ? undefined : sa.keyExchanges.begin(group);
  }

  /** The method of the key exchange that the next request begins. */
  get method(): number | undefined {
    return this.#followUps?.method;
  }

  /** Which exchange of CREATE_CHILD_SA's is next; of no meaning in IKE_AUTH. */
  get exchange(): ExchangeName {
    return this.#followUps === undefined ? 'CREATE_CHILD_SA' : 'IKE_FOLLOWUP_KE';
  }

  /** Of the next request. */
  payloads(): Payload[] {
    if (this.#followUps !== undefined) return this.#followUps.request();
    const { config, exchange } = this.terms;
    return [
      ...(modeOf(config) === 'transport' ? [notify(NOTIFY.USE_TRANSPORT_MODE)] : []),
      ...resourceNotifies(config),
      { type: 'SA', proposals: this.#proposals },
      ...(exchange === undefined ? [] : [{ type: 'NONCE', data: exchange.nonce } as const]),
      ...(this.#keyExchange === undefined
        ? []
        : [{ type: 'KE', group: this.#keyExchange.group, data: this.#keyExchange.publicValue } as const]),
      { type: 'TSi', selectors: config.tsLocal, unknownSelectors: 0 },
      { type: 'TSr', selectors: config.tsRemote, unknownSelectors: 0 },
    ];
  }

  /** Judges a response to CREATE_CHILD_SA or IKE_FOLLOWUP_KE. `next`: another request has to follow. */
  process(payloads: readonly Payload[], ni: Uint8Array): OfferResult | 'next' {
    const followUps = this.#followUps;
    if (followUps === undefined) return this.#judge(payloads, ni, find(payloads, 'NONCE')?.data ?? new Uint8Array(0));
    const result = followUps.process(payloads);
    if (result === 'next') return 'next';
    if (result === 'done' && this.#afterFollowUps !== undefined) return this.#afterFollowUps(followUps);
    followUps.wipe();
    const { reason, error } = typeof result === 'string' ? { reason: 'out of turn', error: undefined } : result;
    const why = `additional key exchange for child ${this.terms.config.name}: ${reason}`;
    return this.#refuse(why, error === undefined, error);
  }

  /** Judges the answer in IKE_AUTH, which has nothing to follow. `ni` and `nr` are those of IKE_SA_INIT. */
  accept(payloads: readonly Payload[], ni: Uint8Array, nr: Uint8Array): OfferResult {
    const result = this.#judge(payloads, ni, nr);
    return result === 'next' ? this.#refuse('peer wants additional key exchanges in IKE_AUTH', true) : result;
  }

  #judge(payloads: readonly Payload[], ni: Uint8Array, nr: Uint8Array): OfferResult | 'next' {
    const { config, connection } = this.terms;
    const error = findError(payloads);
    if (error !== undefined) {
      const hint = REFUSALS[error.notify];
      const why = `peer refused child ${config.name} (${notifyName(error.notify)})${hint === undefined ? '' : `: ${hint}`}`;
      const offered =
        error.notify === NOTIFY.TS_UNACCEPTABLE
          ? selectorPairText(config.tsLocal, config.tsRemote)
          : proposalsText(this.#proposals);
      return this.#refuse(`${why} We offered ${offered}`, false, error);
    }
    const sa = find(payloads, 'SA');
    const answeredLocal = find(payloads, 'TSi')?.selectors;
    const answeredRemote = find(payloads, 'TSr')?.selectors;
    if (sa === undefined || answeredLocal === undefined || answeredRemote === undefined) {
      return this.#refuse(`peer's answer for child ${config.name} lacks SA, TSi or TSr`, false);
    }
    const choice = acceptChoice(this.#proposals, sa.proposals);
    const outboundSpi = choice === undefined ? undefined : readSpi(choice.proposal.spi);
    if (choice === undefined || outboundSpi === undefined) {
      return this.#refuse(
        `peer chose ${proposalsText(sa.proposals)} for child ${config.name}, of which we offered only ` +
          proposalsText(this.#proposals),
        true,
      );
    }
    const mode = modeOf(config);
    const transport = findNotify(payloads, NOTIFY.USE_TRANSPORT_MODE) !== undefined;
    if (transport !== (mode === 'transport')) {
      this.#sa.context.count('refused: mode mismatch');
      const theirs = transport ? 'transport' : 'tunnel';
      return this.#refuse(
        `peer wants child ${config.name} in ${theirs} mode, we in ${mode} mode: set the mode to ${mode} at the peer`,
        true,
      );
    }
    const at = { nat: this.#sa.nat, local: connection.local, remote: connection.remote };
    const { local: tsLocal, remote: tsRemote } = translate(at, transport, answeredRemote, answeredLocal);
    if (
      tsLocal.length === 0 ||
      tsRemote.length === 0 ||
      !covers(config.tsLocal, tsLocal) ||
      !covers(config.tsRemote, tsRemote)
    ) {
      const answered = selectorPairText(tsLocal, tsRemote);
      return this.#refuse(`peer widened the selectors of child ${config.name} to ${answered}`, true);
    }
    const sharedSecret = this.#sharedSecret(choice.suite, payloads);
    if (sharedSecret === 'invalid') {
      return this.#refuse(`peer's key exchange value for child ${config.name} is missing or not valid`, true);
    }
    const nonces = [ni.slice(), nr.slice()];
    const complete = (additional: readonly Uint8Array[]): OfferResult => {
      const keys = childKeys(this.#sa, choice.suite, { shared: sharedSecret, additional }, nonces[0], nonces[1], true);
      this.#spiTaken = false;
      const negotiated = {
        id: this.#sa.context.children.nextId(),
        connection,
        config,
        inboundSpi: this.inboundSpi,
        outboundSpi,
        mode,
        tsLocal,
        tsRemote,
        replaces: this.terms.replaces,
        initiator: true,
        nonces,
        peerResource: peerResourceOf(payloads),
      };
      return { ok: true, child: new Child(negotiated, this.#sa), keys };
    };
    const followUps = FollowUps.of(this.#sa, choice.suite, payloads);
    if (followUps === 'none') return complete([]);
    if (followUps === 'unlinked') {
      return this.#refuse(`peer does not say how to go on with the key exchanges of child ${config.name}`, true);
    }
    this.#followUps = followUps;
    this.#heldSecret = sharedSecret;
    this.#afterFollowUps = ({ secrets }) => complete(secrets);
    return 'next';
  }

  #sharedSecret(suite: Suite, payloads: readonly Payload[]): Uint8Array | undefined | 'invalid' {
    if (suite.DH === undefined) return undefined;
    const ke = find(payloads, 'KE');
    if (this.#keyExchange === undefined || ke?.group !== suite.DH.id || ke.group !== this.#keyExchange.group) {
      return 'invalid';
    }
    try {
      return this.#keyExchange.computeShared(ke.data);
    } catch (error) {
      if (error instanceof InvalidPublicValueError) return 'invalid';
      throw error;
    }
  }

  #refuse(reason: string, deleteAtPeer: boolean, error?: NotifyPayload): OfferResult {
    return { ok: false, reason, error, deleteAtPeer };
  }

  /** Gives the SPI back, if no child took it. */
  discard(): void {
    this.#keyExchange?.wipe();
    this.#followUps?.wipe();
    if (this.#heldSecret !== undefined) wipe(this.#heldSecret);
    if (!this.#spiTaken) return;
    this.#spiTaken = false;
    this.#sa.context.host.releaseSpi(this.inboundSpi);
  }
}

/** The group that an INVALID_KE_PAYLOAD asks for (RFC 7296 §1.3), or undefined if it names none. */
export function groupOf(error: NotifyPayload): number | undefined {
  return error.data.length === 2 ? (error.data[0] << 8) | error.data[1] : undefined;
}

/** What a CREATE_CHILD_SA offers: with PFS the group of the IKE SA. */
function proposalsOf(sa: IkeSa, connection: Connection): readonly ProposalConfig[] {
  const ikeGroup = sa.protection?.suite.dh.id;
  const groups = connection.pfs && ikeGroup !== undefined ? [ikeGroup] : [];
  return withGroups(connection.espProposals, { kind: 'these', groups });
}

/** The method of the key exchange that a CREATE_CHILD_SA begins with: the wanted one if it is offered; undefined: none. */
export function offeredGroup(sa: IkeSa, connection: Connection, wanted: number | undefined): number | undefined {
  const groups = groupsOf(proposalsOf(sa, connection));
  return wanted !== undefined && groups.includes(wanted) ? wanted : groups[0];
}
