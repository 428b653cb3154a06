/**
 * The responder's half of negotiating a child SA, the same in IKE_AUTH and CREATE_CHILD_SA (RFC 7296 §2.7, §2.9,
 * §2.17, §1.3.1): which configured child is meant, with which selectors and proposal, or which error to answer.
 * The initiator's half is child-offer.ts.
 */

import { InvalidPublicValueError } from '../crypto/key-exchange.ts';
import { wipe } from '../crypto/prf.ts';
import { isSupported } from '../crypto/transforms.ts';
import { additionalOf, choose, keyExchangesOf, proposalsText, suiteText } from '../negotiation.ts';
import { Child, modeOf } from '../sa/child-sa.ts';
import type { ChildKeys } from '../sa/child-table.ts';
import { CHILDREN_LIMIT, type IkeSa } from '../sa/ike-sa.ts';
import { find, findNotify, notify, readSpi, writeSpi } from '../sa/notify.ts';
import type { Answer } from '../sa/task.ts';
import { chooseChild, selectorPairText } from '../traffic-selectors.ts';
import { translate } from '../transport-nat.ts';
import type { ChildConfig, Connection, Transform } from '../types.ts';
import { NOTIFY } from '../wire/names.ts';
import type { KePayload, NotifyPayload, Payload } from '../wire/payloads.ts';
import { childKeys } from './child-keys.ts';
import { deferWork } from './follow-up.ts';
import { peerResourceOf, resourceNotifies } from './resources.ts';

export interface AnswerTerms {
  readonly connection: Connection;
  /** The configured children that the peer may mean: all, or of a rekeying the one. */
  readonly configs: readonly ChildConfig[];
  readonly ni: Uint8Array;
  /** Our nonce: in CREATE_CHILD_SA it goes into the response. */
  readonly nr: Uint8Array;
  readonly kind: 'auth' | 'exchange';
  /** Id of the child that the new one replaces. */
  readonly replaces: number | undefined;
}

export interface AcceptedChild {
  readonly ok: true;
  readonly payloads: readonly Payload[];
  /** Key exchanges that have to come before it is complete. */
  readonly additional: readonly Transform[];
  /** The child, with the secrets of `additional`, which are wiped. */
  readonly complete: (secrets: readonly Uint8Array[]) => { readonly child: Child; readonly keys: ChildKeys };
  /** Instead of `complete`. */
  readonly discard: () => void;
}

export type ChildAnswer =
  | AcceptedChild
  | { readonly ok: false; readonly error: NotifyPayload; readonly reason: string };

const refuse = (type: number, reason: string, data?: Uint8Array): ChildAnswer => ({
  ok: false,
  error: notify(type, data),
  reason,
});

/** Serves the peer's offer. Takes an inbound SPI only if it accepts. */
export function answerChild(sa: IkeSa, payloads: readonly Payload[], terms: AnswerTerms): ChildAnswer {
  const { context } = sa;
  const { connection } = terms;
  const offered = find(payloads, 'SA');
  const theirs = find(payloads, 'TSi')?.selectors;
  const ours = find(payloads, 'TSr')?.selectors;
  if (offered === undefined || theirs === undefined || ours === undefined) {
    return refuse(NOTIFY.INVALID_SYNTAX, 'peer asks for a child without SA, TSi or TSr');
  }
  if (sa.children.size >= CHILDREN_LIMIT) {
    return refuse(NOTIFY.NO_ADDITIONAL_SAS, `peer asks for more than ${CHILDREN_LIMIT} child SAs`);
  }

  // 1. Selectors: which child is meant.
  const transport = findNotify(payloads, NOTIFY.USE_TRANSPORT_MODE) !== undefined;
  const at = { nat: sa.nat, local: connection.local, remote: connection.remote };
  const translated = translate(at, transport, theirs, ours);
  const narrowed = chooseChild(
    terms.configs.filter(({ resource }) => resource === undefined || terms.replaces !== undefined),
    translated.remote,
    translated.local,
  );
  if (narrowed === undefined) {
    context.count('refused: traffic selectors');
    return refuse(
      NOTIFY.TS_UNACCEPTABLE,
      `peer asks for ${selectorPairText(translated.local, translated.remote)}, which no tunnel of ours has: are the tunnel type and ` +
        'destination port the same on both ends?',
    );
  }
  const peerResource = terms.kind === 'auth' ? undefined : peerResourceOf(payloads);
  const isFurther = peerResource !== undefined && terms.replaces === undefined;
  const config = isFurther ? sa.connection?.slots.resourceFor(narrowed.child, peerResource) : narrowed.child;
  // Half of the room stays free for what must be: other tunnels, and successors of all of these.
  if (config === undefined || (isFurther && sa.children.size >= CHILDREN_LIMIT / 2)) {
    context.count('refused: child SAs for further resources');
    return refuse(NOTIFY.TS_MAX_QUEUE, `peer asks for one more child SA beside ${narrowed.child.name} than we want`);
  }

  if (terms.replaces === undefined && sa.connection?.slots.isShut(config) === true) {
    context.count('refused: temporary failure');
    // In IKE_AUTH a TEMPORARY_FAILURE may be taken for the end of the IKE SA (RFC 7296 §1.2 lists what is not).
    const type = terms.kind === 'auth' ? NOTIFY.NO_ADDITIONAL_SAS : NOTIFY.TEMPORARY_FAILURE;
    return refuse(type, sa.connection.lastFailure ?? `child ${config.name} cannot be installed here`);
  }

  // 2. Mode: transport mode is the peer's wish, which we may decline by not repeating it (RFC 7296 §1.3.1).
  const mode = modeOf(config);
  if (mode === 'transport' && !transport) {
    context.count('refused: mode mismatch');
    return refuse(
      NOTIFY.NO_PROPOSAL_CHOSEN,
      `peer wants child ${config.name} in tunnel mode, we in transport mode: set the mode to transport at the peer`,
    );
  }

  // 3. Proposal.
  const ke = find(payloads, 'KE');
  const optional = [
    ...(sa.protection === undefined ? [] : [sa.protection.suite.dh]),
    ...keyExchangesOf(connection.ikeProposals),
  ];
  const choice = choose(offered.proposals, connection.espProposals, {
    protocol: 'ESP',
    spiSize: 4,
    keGroup: ke?.group,
    groups: terms.kind === 'auth' ? 'ignored' : { optional },
  });
  const outboundSpi = choice === undefined ? undefined : readSpi(choice.proposal.spi);
  if (
    choice === undefined ||
    outboundSpi === undefined ||
    !Object.values(choice.suite).every((transform) => isSupported(transform, 'ESP'))
  ) {
    context.count('refused: no proposal chosen');
    return refuse(
      NOTIFY.NO_PROPOSAL_CHOSEN,
      `peer offers ${proposalsText(offered.proposals)} for child ${config.name}, we allow ` +
        proposalsText(connection.espProposals),
    );
  }

  // 4. Key exchange, if the chosen proposal has one.
  const exchange = choice.suite.DH === undefined ? undefined : serveKeyExchange(sa, ke, choice.suite.DH.id);
  if (exchange === 'wrong-group') {
    context.count('refused: wrong key exchange group');
    const group = choice.suite.DH?.id ?? 0;
    return refuse(
      NOTIFY.INVALID_KE_PAYLOAD,
      `peer sent a key exchange value of another group than the chosen ${suiteText(choice.suite)}`,
      Uint8Array.of(group >> 8, group & 0xff),
    );
  }
  if (exchange === 'invalid') return refuse(NOTIFY.INVALID_SYNTAX, "peer's key exchange value is not valid");

  // 5. The child.
  if (narrowed.fit === 'theirs-within-ours') {
    const [narrow, whole] = [
      selectorPairText(narrowed.tsLocal, narrowed.tsRemote),
      selectorPairText(config.tsLocal, config.tsRemote),
    ];
    context.log('warn', connection.name, `peer protects only ${narrow} of child ${config.name} (${whole})`);
  }
  const inboundSpi = context.host.allocateSpi(connection.name, config.name);
  const nonces = [terms.ni.slice(), terms.nr.slice()];
  const negotiated = {
    connection,
    config,
    inboundSpi,
    outboundSpi,
    mode,
    tsLocal: narrowed.tsLocal,
    tsRemote: narrowed.tsRemote,
    replaces: terms.replaces,
    initiator: false,
    nonces,
    peerResource,
  };
  context.log('info', connection.name, `child ${config.name}: selected ${suiteText(choice.suite)}`);
  return {
    ok: true,
    additional: additionalOf(choice.suite),
    complete: (additional) => {
      const secrets = { shared: exchange?.sharedSecret, additional };
      const keys = childKeys(sa, choice.suite, secrets, nonces[0], nonces[1], false);
      return { child: new Child({ id: context.children.nextId(), ...negotiated }, sa), keys };
    },
    discard: () => {
      if (exchange !== undefined) wipe(exchange.sharedSecret);
      context.host.releaseSpi(inboundSpi);
    },
    payloads: [
      ...(mode === 'transport' ? [notify(NOTIFY.USE_TRANSPORT_MODE)] : []),
      ...resourceNotifies(config),
      { type: 'SA', proposals: [{ ...choice.proposal, spi: writeSpi(inboundSpi) }] },
      ...(terms.kind === 'auth' ? [] : [{ type: 'NONCE', data: terms.nr } as const]),
      ...(exchange === undefined ? [] : [exchange.payload]),
      { type: 'TSi', selectors: translated.remoteForPeer(narrowed.tsRemote), unknownSelectors: 0 },
      { type: 'TSr', selectors: translated.localForPeer(narrowed.tsLocal), unknownSelectors: 0 },
    ],
  };
}

/** How a request for a child goes on once it is accepted. */
export interface CarryOut {
  /** Asked again when additional key exchanges are done: things may have changed. */
  readonly refusal: () => number | undefined;
  readonly install: (child: Child, keys: ChildKeys) => void;
}

/** Installs the child, now or after its additional key exchanges. */
export function carryOut(sa: IkeSa, answer: AcceptedChild, { refusal, install }: CarryOut): Answer {
  const complete = (secrets: readonly Uint8Array[]): void => {
    const { child, keys } = answer.complete(secrets);
    install(child, keys);
  };
  if (answer.additional.length === 0) {
    complete([]);
    return { payloads: answer.payloads };
  }
  const link = deferWork(sa, {
    methods: answer.additional,
    refusal,
    complete: (secrets) => {
      complete(secrets);
      return { payloads: [] };
    },
    discard: answer.discard,
  });
  return { payloads: [...answer.payloads, link] };
}

/** Our half of a key exchange: the KE payload and the shared secret. */
export function serveKeyExchange(
  sa: IkeSa,
  ke: KePayload | undefined,
  group: number,
): { readonly payload: KePayload; readonly sharedSecret: Uint8Array } | 'wrong-group' | 'invalid' {
  if (ke?.group !== group) return 'wrong-group';
  try {
    const { publicValue, sharedSecret } = sa.keyExchanges.answer(group, ke.data);
    return { payload: { type: 'KE', group, data: publicValue }, sharedSecret };
  } catch (error) {
    if (error instanceof InvalidPublicValueError) return 'invalid';
    throw error;
  }
}
