/**
 * IKE_AUTH with a shared key (RFC 7296 §1.2, §2.15, §2.21.2), both roles: who the two ends are, and the first child.
 *
 * A responder that cannot set up the child answers its error beside AUTH: the IKE SA is up without the child.
 */

import type { ConnectionState } from '../connection.ts';
import { pskAuth, signedOctets, verifyPskAuth } from '../crypto/auth-psk.ts';
import { identityText, idPayload, idPayloadText, localIdentity, matchesIdentity, remoteIdentity } from '../identity.ts';
import { allows } from '../negotiation.ts';
import type { IkeSa } from '../sa/ike-sa.ts';
import { find, findError, findNotify, notify } from '../sa/notify.ts';
import { invalidSyntax } from '../sa/request-checks.ts';
import type { Answer, InitiatorTask, Outcome } from '../sa/task.ts';
import { AUTH_METHOD, AUTH_METHOD_NAMES, NOTIFY, notifyName } from '../wire/names.ts';
import { idBody } from '../wire/payloads/id.ts';
import type { AuthPayload, IdPayload, Payload } from '../wire/payloads.ts';
import { answerChild } from './child-answer.ts';
import { ChildOffer } from './child-offer.ts';
import { AuthenticationRefusal, ChildDelete } from './delete.ts';

const SAME_PSK = 'is options:psk the same on both ends?';
/** So many connections between the same two addresses are tried for the one whose secret fits. */
const CANDIDATE_LIMIT = 8;

/** What one end signs (RFC 7296 §2.15): its IKE_SA_INIT message, the other's nonce, its identity. */
function octetsOf(sa: IkeSa, signer: 'us' | 'peer', id: IdPayload): Uint8Array {
  const { init, protection } = sa;
  if (init === undefined || protection === undefined) throw new Error('IKE_AUTH without IKE_SA_INIT');
  const byInitiator = (signer === 'us') === sa.initiator;
  return signedOctets({
    prf: protection.suite.prf,
    initMessage: byInitiator ? init.request : init.response,
    peerNonce: byInitiator ? init.nr : init.ni,
    skP: byInitiator ? protection.keys.skPi : protection.keys.skPr,
    idBody: idBody(id),
  });
}

function ourAuth(sa: IkeSa, connection: ConnectionState, id: IdPayload): AuthPayload {
  if (sa.protection === undefined) throw new Error('IKE_AUTH without keys');
  const { secret } = connection.config.authentication;
  return {
    type: 'AUTH',
    method: AUTH_METHOD.SHARED_KEY,
    data: pskAuth(sa.protection.suite.prf, secret, octetsOf(sa, 'us', id)),
  };
}

function peerIsAuthentic(sa: IkeSa, connection: ConnectionState, id: IdPayload, auth: AuthPayload): boolean {
  if (auth.method !== AUTH_METHOD.SHARED_KEY || sa.protection === undefined) return false;
  const { secret } = connection.config.authentication;
  return verifyPskAuth(sa.protection.suite.prf, secret, octetsOf(sa, 'peer', id), auth.data);
}

export class IkeAuth implements InitiatorTask {
  readonly exchange = 'IKE_AUTH';
  readonly purpose = 'authenticate';
  readonly #connection: ConnectionState;
  #offer: ChildOffer | undefined;

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
    connection.markPending(child, true);
    this.#offer = new ChildOffer(sa, {
      connection: connection.config,
      config: child,
      exchange: undefined,
      replaces: undefined,
    });
    const first = connection.ikeSas.every(({ establishedAtMs }) => establishedAtMs === undefined);
    const idi = idPayload('IDi', localIdentity(connection.config));
    return [
      idi,
      ...(first ? [notify(NOTIFY.INITIAL_CONTACT)] : []),
      idPayload('IDr', remoteIdentity(connection.config)),
      ourAuth(sa, connection, idi),
      ...this.#offer.payloads(),
    ];
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
          ? `peer refused our authentication (${name}): ${SAME_PSK}`
          : `peer refused IKE_AUTH (${name})`;
      sa.end('failed', refused);
      return 'done';
    }
    const problem = this.#problem(sa, idr, auth);
    if (problem !== undefined) {
      sa.context.count('refused: authentication failed');
      this.abandon();
      connection.abandonAttempt(sa, problem);
      sa.enqueue(new AuthenticationRefusal(), true);
      return 'done';
    }
    const { init } = sa;
    connection.established(sa);
    if (init !== undefined) this.#firstChild(sa, payloads, init.ni, init.nr);
    sa.init = undefined;
    connection.settle(sa, findNotify(payloads, NOTIFY.INITIAL_CONTACT) !== undefined);
    return 'done';
  }

  #problem(sa: IkeSa, idr: IdPayload, auth: AuthPayload): string | undefined {
    const expected = remoteIdentity(this.#connection.config);
    if (!matchesIdentity(idr, expected)) {
      return `peer says it is ${idPayloadText(idr)}, expected ${identityText(expected)}`;
    }
    if (auth.method !== AUTH_METHOD.SHARED_KEY) {
      return `peer authenticates by ${AUTH_METHOD_NAMES.get(auth.method) ?? auth.method}, we by a shared key`;
    }
    if (!peerIsAuthentic(sa, this.#connection, idr, auth)) return `peer did not prove to know our secret: ${SAME_PSK}`;
    return undefined;
  }

  #firstChild(sa: IkeSa, payloads: readonly Payload[], ni: Uint8Array, nr: Uint8Array): void {
    const offer = this.#offer;
    if (offer === undefined) return;
    const { config } = offer.terms;
    const result = offer.accept(payloads, ni, nr);
    this.#connection.markPending(config, false);
    if (result.ok) {
      this.#connection.installCreated(result.child, result.keys);
      return;
    }
    if (result.deleteAtPeer) {
      sa.enqueue(new ChildDelete({ inboundSpi: offer.inboundSpi }, result.reason, () => offer.discard()), true);
    } else offer.discard();
    this.#connection.childFailed(config, result.reason);
  }

  abandon(): void {
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

  // 1. Which connection: addresses, then identities, then the secret.
  const between = context.connectionsBetween(sa.local.address, sa.remote.address);
  const named = between.filter(
    ({ config }) =>
      matchesIdentity(idi, remoteIdentity(config)) &&
      (idr === undefined || matchesIdentity(idr, localIdentity(config))),
  );
  const { suite } = sa.protection ?? {};
  const connection = named.slice(0, CANDIDATE_LIMIT).find((candidate) => {
    const { encryption: ENCR, integrity: INTEG, prf: PRF, dh: DH } = suite ?? {};
    const chosen = { ...(ENCR && { ENCR }), ...(INTEG && { INTEG }), ...(PRF && { PRF }), ...(DH && { DH }) };
    return allows(candidate.config.ikeProposals, chosen) && peerIsAuthentic(sa, candidate, idi, auth);
  });
  if (connection === undefined) {
    context.count('refused: authentication failed');
    const wrongMethod = auth.method !== AUTH_METHOD.SHARED_KEY;
    const who = `${sa.remote.address}[${idPayloadText(idi)}]`;
    const reason =
      named.length === 0
        ? `${who} wants to talk to ${idr === undefined ? 'us' : idPayloadText(idr)}: no tunnel has these identities`
        : wrongMethod
          ? `${who} authenticates by ${AUTH_METHOD_NAMES.get(auth.method) ?? auth.method}, we by a shared key`
          : `${who} did not prove to know our secret: ${SAME_PSK}`;
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

  // 2. Ourselves.
  sa.connection = connection;
  const ourId = idPayload('IDr', localIdentity(connection.config));
  const proof = ourAuth(sa, connection, ourId);
  connection.established(sa);
  sa.init = undefined;

  // 3. The first child; an IKE SA without one is fine (RFC 6023).
  const answered = find(payloads, 'SA') === undefined ? [] : firstChild(sa, connection, payloads, init);
  return {
    payloads: [ourId, proof, ...answered],
    afterwards: () => connection.settle(sa, findNotify(payloads, NOTIFY.INITIAL_CONTACT) !== undefined),
  };
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
  sa.context.children.install(answer.child, answer.keys, 'soon');
  connection.childUp(answer.child);
  return answer.payloads;
}
