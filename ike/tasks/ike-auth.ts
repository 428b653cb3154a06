/**
 * IKE_AUTH (RFC 7296 §1.2, §2.15, §2.21.2), both roles: who the two ends are, and the first child. How they prove it is
 * authentication.ts, whose peer a request comes from is peer-search.ts.
 *
 * A responder that cannot set up the child answers its error beside AUTH: the IKE SA is up without the child.
 */

import type { ConnectionState } from '../connection.ts';
import { replaceIfOutdated } from '../connection-change.ts';
import { isDearToSign, type ToSign } from '../crypto/auth-signature.ts';
import { adoptPpkKeys, type PpkKeys, wipePpkKeys } from '../crypto/ppk.ts';
import { idPayload, localIdentity, remoteIdentity } from '../identity.ts';
import type { IkeSa } from '../sa/ike-sa.ts';
import { find, findError, findNotify, notify } from '../sa/notify.ts';
import { invalidSyntax } from '../sa/request-checks.ts';
import { heedAuthLifetime } from '../sa/sa-life.ts';
import type { Answer, InitiatorTask, Outcome } from '../sa/task.ts';
import { installCreated } from '../twins.ts';
import type { Ppk } from '../types.ts';
import { NOTIFY, notifyName } from '../wire/names.ts';
import type { IdPayload, Payload } from '../wire/payloads.ts';
import { certificateRequests, ourProof, ourSignature, peerProblem, refusalHint } from './authentication.ts';
import { answerChild } from './child-answer.ts';
import { ChildOffer } from './child-offer.ts';
import { AuthenticationRefusal, ChildDelete } from './delete.ts';
import { findPeer } from './peer-search.ts';
import { keysWith, ppkIdentity, ppkUsed } from './ppk.ts';

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

  signatures(sa: IkeSa): readonly ToSign[] {
    const { config } = this.#connection;
    if (this.#connection.usableSa() !== undefined || this.#connection.firstMissing() === undefined) return [];
    const idi = idPayload('IDi', localIdentity(config));
    const ppk = this.#ppkOf(sa);
    const keys = ppk === undefined ? undefined : keysWith(sa, ppk);
    const first = ourSignature(sa, config, idi, keys);
    if (keys !== undefined) wipePpkKeys(keys);
    const second = ppk === undefined || ppk.required ? undefined : ourSignature(sa, config, idi);
    return [first, second].filter((toSign) => toSign !== undefined);
  }

  /** The one that the proof is made with: the peer has one too. */
  #ppkOf(sa: IkeSa): Ppk | undefined {
    return sa.init?.ppk === true ? this.#connection.config.ppk : undefined;
  }

  build(sa: IkeSa): readonly Payload[] | undefined {
    const connection = this.#connection;
    const child = connection.firstMissing();
    if (connection.usableSa() !== undefined || child === undefined) {
      sa.end('replaced', child === undefined ? 'there is nothing to set up any more' : 'the peer was faster');
      return undefined;
    }
    const idi = idPayload('IDi', localIdentity(connection.config));
    const ppk = this.#ppkOf(sa);
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

/** What `answerIkeAuth` will sign, if the peer has proved who it is. */
export function signatureOfAnswer(sa: IkeSa, payloads: readonly Payload[]): ToSign | undefined {
  const search = mayTakeDearSignature(sa) ? findPeer(sa, payloads) : undefined;
  if (search?.connection === undefined) return undefined;
  const { config } = search.connection;
  const toSign = ourSignature(sa, config, idPayload('IDr', localIdentity(config)), search.ppkKeys);
  if (search.ppkKeys !== undefined) wipePpkKeys(search.ppkKeys);
  return toSign;
}

/** Otherwise nobody needs to look for the peer twice. */
function mayTakeDearSignature({ context, local, remote }: IkeSa): boolean {
  return context
    .connectionsBetween(local.address, remote.address)
    .some(
      ({ config: { authentication } }) =>
        authentication.method === 'certificate' && isDearToSign(authentication.privateKey),
    );
}

/** Serves IKE_AUTH on a half-open IKE SA. */
export function answerIkeAuth(sa: IkeSa, payloads: readonly Payload[]): Answer {
  const { init } = sa;
  const search = findPeer(sa, payloads);
  if (search === undefined || init === undefined) return invalidSyntax(sa, 'no IDi or AUTH');

  // 1. The peer.
  const { connection, ppkKeys } = search;
  if (ppkKeys !== undefined) adoptPpk(sa, ppkKeys);

  // 2. Ourselves.
  const ourId = connection === undefined ? undefined : idPayload('IDr', localIdentity(connection.config));
  const proof = connection === undefined || ourId === undefined ? undefined : ourProof(sa, connection.config, ourId);
  if (connection === undefined || ourId === undefined || proof?.problem !== undefined || proof === undefined) {
    sa.context.count('refused: authentication failed');
    search.blamed?.noteFailure(proof?.problem === undefined ? search.problem : `${search.peer}: ${proof.problem}`);
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
