/**
 * IKE_AUTH (RFC 7296 §1.2, §2.15, §2.21.2), both roles: who the two ends are, and the first child. How they prove it
 * is authentication.ts.
 *
 * A responder that cannot set up the child answers its error beside AUTH: the IKE SA is up without the child.
 */

import type { ConnectionState } from '../connection.ts';
import { replaceIfOutdated } from '../connection-change.ts';
import { adoptPpkKeys, type PpkKeys, wipePpkKeys } from '../crypto/ppk.ts';
import { idPayload, idPayloadText, localIdentity, remoteIdentity } from '../identity.ts';
import { allows, chosenSuite } from '../negotiation.ts';
import type { IkeSa } from '../sa/ike-sa.ts';
import { find, findError, findNotify, notify } from '../sa/notify.ts';
import { invalidSyntax } from '../sa/request-checks.ts';
import { heedAuthLifetime } from '../sa/sa-life.ts';
import type { Answer, InitiatorTask, Outcome } from '../sa/task.ts';
import { installCreated } from '../twins.ts';
import type { Connection, Ppk } from '../types.ts';
import { NOTIFY, notifyName } from '../wire/names.ts';
import type { AuthPayload, IdPayload, Payload } from '../wire/payloads.ts';
import { certificateRequests, mayBePeer, mayBeUs, ourProof, peerProblem, refusalHint } from './authentication.ts';
import { answerChild } from './child-answer.ts';
import { ChildOffer } from './child-offer.ts';
import { AuthenticationRefusal, ChildDelete } from './delete.ts';
import { keysWith, namesPpk, ppkIdentity, ppkUsed } from './ppk.ts';

/** So many connections between the same two addresses are tried for the one whose peer this is. */
const CANDIDATE_LIMIT = 8;

export class IkeAuth implements InitiatorTask {
  readonly exchange = 'IKE_AUTH';
  readonly purpose = 'authenticate';
  readonly #connection: ConnectionState;
  #offer: ChildOffer | undefined;
  /** If both ends have a PPK: the keys in case that the peer's is the same. */
  #ppkKeys: PpkKeys | undefined;

  constructor(connection: ConnectionState) {
    this.#connection = connection;
  }

  build(sa: IkeSa): readonly Payload[] | undefined {
    const connection = this.#connection;
    const child = connection.firstMissing();
    if (connection.usableSa() !== undefined || child === undefined) {
      sa.end('replaced', child === undefined ? 'there is nothing to set up any more' : 'the peer was faster');
      return undefined;
    }
    const idi = idPayload('IDi', localIdentity(connection.config));
    const ppk = sa.init?.ppk === true ? connection.config.ppk : undefined;
    this.#ppkKeys = ppk === undefined ? undefined : keysWith(sa, ppk);
    const proof = ourProof(sa, connection.config, idi, this.#ppkKeys);
    if (proof.problem !== undefined) {
      sa.end('failed', proof.problem);
      return undefined;
    }
    connection.markPending(child, true);
    this.#offer = new ChildOffer(sa, {
      connection: connection.config,
      config: child,
      exchange: undefined,
      replaces: undefined,
    });
    const first = connection.ikeSas.every(({ establishedAtMs }) => establishedAtMs === undefined);
    return [
      idi,
      ...proof.certificates,
      ...(first ? [notify(NOTIFY.INITIAL_CONTACT)] : []),
      ...certificateRequests([connection.config.authentication]),
      idPayload('IDr', remoteIdentity(connection.config)),
      proof.auth,
      ...(ppk === undefined ? [] : this.#ppkPayloads(sa, ppk, idi)),
      ...this.#offer.payloads(),
    ];
  }

  /** Which PPK the proof was made with, and one without it for a peer that does not have that. */
  #ppkPayloads(sa: IkeSa, ppk: Ppk, idi: IdPayload): Payload[] {
    const without = ppk.required ? undefined : ourProof(sa, this.#connection.config, idi);
    const fallback = without?.problem === undefined ? without?.auth.data : undefined;
    return [ppkIdentity(ppk), ...(fallback === undefined ? [] : [notify(NOTIFY.NO_PPK_AUTH, fallback)])];
  }

  process(sa: IkeSa, payloads: readonly Payload[]): Outcome {
    const connection = this.#connection;
    const idr = find(payloads, 'IDr');
    const auth = find(payloads, 'AUTH');
    if (idr === undefined || auth === undefined) {
      const error = findError(payloads);
      const name = error === undefined ? 'without AUTH' : notifyName(error.notify);
      const refused =
        error?.notify === NOTIFY.AUTHENTICATION_FAILED
          ? `peer refused our authentication (${name}): ${refusalHint(connection.config, sa.context.host.dateMs())}`
          : `peer refused IKE_AUTH (${name})`;
      sa.end('failed', refused);
      return 'done';
    }
    const used = findNotify(payloads, NOTIFY.PPK_IDENTITY) === undefined ? undefined : this.#ppkKeys;
    const { ppk } = connection.config;
    const problem =
      ppk?.required === true && used === undefined
        ? `peer did not use the PPK ${JSON.stringify(ppk.id)}, which options:ipsec_ppk_required=yes demands`
        : peerProblem(sa, connection, idr, auth, payloads, used);
    if (problem !== undefined) {
      sa.context.count('refused: authentication failed');
      this.abandon();
      connection.abandonAttempt(sa, problem);
      sa.enqueue(new AuthenticationRefusal(), true);
      return 'done';
    }
    const { init } = sa;
    if (used !== undefined) adoptPpk(sa, used);
    else this.#forgetPpk();
    heedAuthLifetime(sa, connection.config, payloads);
    connection.established(sa);
    if (init !== undefined) this.#firstChild(sa, payloads, init.ni, init.nr);
    sa.init = undefined;
    connection.settle(sa, findNotify(payloads, NOTIFY.INITIAL_CONTACT) !== undefined);
    return 'done';
  }

  #firstChild(sa: IkeSa, payloads: readonly Payload[], ni: Uint8Array, nr: Uint8Array): void {
    const offer = this.#offer;
    if (offer === undefined) return;
    const { config } = offer.terms;
    const result = offer.accept(payloads, ni, nr);
    this.#connection.markPending(config, false);
    if (result.ok) {
      installCreated(this.#connection, result.child, result.keys);
      replaceIfOutdated(this.#connection, result.child);
      return;
    }
    if (result.deleteAtPeer) {
      sa.enqueue(new ChildDelete({ inboundSpi: offer.inboundSpi }, result.reason, () => offer.discard()), true);
    } else offer.discard();
    this.#connection.childFailed(config, result.reason);
  }

  #forgetPpk(): void {
    if (this.#ppkKeys !== undefined) wipePpkKeys(this.#ppkKeys);
    this.#ppkKeys = undefined;
  }

  abandon(): void {
    this.#forgetPpk();
    this.#offer?.discard();
    if (this.#offer !== undefined) this.#connection.markPending(this.#offer.terms.config, false);
  }
}

/** Serves IKE_AUTH on a half-open IKE SA. */
export function answerIkeAuth(sa: IkeSa, payloads: readonly Payload[]): Answer {
  const idi = find(payloads, 'IDi');
  const idr = find(payloads, 'IDr');
  const auth = find(payloads, 'AUTH');
  const { context, init } = sa;
  if (idi === undefined || auth === undefined || init === undefined) return invalidSyntax(sa, 'no IDi or AUTH');

  // 1. Which connection: addresses, then identities, then the proof.
  const between = context.connectionsBetween(sa.local.address, sa.remote.address);
  const named = between.filter(({ config }) => mayBePeer(config, idi) && (idr === undefined || mayBeUs(config, idr)));
  const { suite } = sa.protection ?? {};
  let problem: string | undefined;
  let ppkKeys: PpkKeys | undefined;
  const connection = named.slice(0, CANDIDATE_LIMIT).find((candidate) => {
    if (suite === undefined || !allows(candidate.config.ikeProposals, chosenSuite(suite))) return false;
    const proof = ppkProof(sa, candidate.config, auth, payloads);
    const found = proof.problem ?? peerProblem(sa, candidate, idi, proof.auth, payloads, proof.keys);
    problem ??= found;
    if (found === undefined) ppkKeys = proof.keys;
    else if (proof.keys !== undefined) wipePpkKeys(proof.keys);
    return found === undefined;
  });
  if (ppkKeys !== undefined) adoptPpk(sa, ppkKeys);

  // 2. Ourselves.
  const ourId = connection === undefined ? undefined : idPayload('IDr', localIdentity(connection.config));
  const proof = connection === undefined || ourId === undefined ? undefined : ourProof(sa, connection.config, ourId);
  if (connection === undefined || ourId === undefined || proof?.problem !== undefined || proof === undefined) {
    context.count('refused: authentication failed');
    const who = `${sa.remote.address}[${idPayloadText(idi)}]`;
    const why = proof?.problem ?? problem ?? 'the IKE proposal is not one of its tunnel';
    const reason =
      named.length === 0
        ? `${who} wants to talk to ${idr === undefined ? 'us' : idPayloadText(idr)}: no tunnel has these identities`
        : `${who}: ${why}`;
    (named[0] ?? between[0])?.noteFailure(reason);
    return {
      payloads: [notify(NOTIFY.AUTHENTICATION_FAILED)],
      // It stays a while, without connection, only to answer the same request again.
      afterwards: () => {
        sa.state = 'deleting';
        sa.init = undefined;
      },
    };
  }

  sa.connection = connection;
  connection.established(sa);
  sa.init = undefined;

  // 3. The first child; an IKE SA without one is fine (RFC 6023).
  const answered = find(payloads, 'SA') === undefined ? [] : firstChild(sa, connection, payloads, init);
  return {
    payloads: [ourId, ...proof.certificates, proof.auth, ...(sa.ppk ? [ppkUsed()] : []), ...answered],
    afterwards: () => connection.settle(sa, findNotify(payloads, NOTIFY.INITIAL_CONTACT) !== undefined),
  };
}

/** The IKE SA goes on with the keys that a PPK makes. */
function adoptPpk(sa: IkeSa, keys: PpkKeys): void {
  if (sa.protection === undefined) throw new Error('IKE_AUTH without keys');
  adoptPpkKeys(sa.protection.keys, keys);
  sa.ppk = true;
}

interface PpkProof {
  /** What the peer's proof has to be checked by: its AUTH, or the one without PPK. */
  readonly auth: AuthPayload;
  /** The keys to check it with, if it is one with our PPK. */
  readonly keys: PpkKeys | undefined;
  readonly problem?: string;
}

/** Which of the two proofs of an initiator counts, as the table of RFC 8784 §3 says. */
function ppkProof(sa: IkeSa, { ppk }: Connection, auth: AuthPayload, payloads: readonly Payload[]): PpkProof {
  if (sa.init?.ppk === true && ppk !== undefined && namesPpk(payloads, ppk)) return { auth, keys: keysWith(sa, ppk) };
  const refuse = (problem: string): PpkProof => ({ auth, keys: undefined, problem });
  const named = findNotify(payloads, NOTIFY.PPK_IDENTITY) !== undefined;
  if (ppk?.required === true) {
    const what = named ? `another PPK than ${JSON.stringify(ppk.id)}` : 'no PPK';
    return refuse(`peer uses ${what}, and options:ipsec_ppk_required=yes demands ours`);
  }
  if (!named) return { auth, keys: undefined };
  const without = findNotify(payloads, NOTIFY.NO_PPK_AUTH);
  if (without === undefined)
    return refuse('peer demands a PPK that we do not have: are options:ipsec_ppk_id the same?');
  return { auth: { ...auth, data: without.data }, keys: undefined };
}

function firstChild(
  sa: IkeSa,
  connection: ConnectionState,
  payloads: readonly Payload[],
  init: NonNullable<IkeSa['init']>,
): readonly Payload[] {
  const answer = answerChild(sa, payloads, {
    connection: connection.config,
    configs: connection.config.children,
    ni: init.ni,
    nr: init.nr,
    kind: 'auth',
    replaces: undefined,
  });
  if (!answer.ok) {
    connection.noteFailure(answer.reason);
    return [answer.error];
  }
  const { child, keys } = answer.complete([]);
  sa.context.children.install(child, keys, 'soon');
  connection.childUp(child);
  return answer.payloads;
}
