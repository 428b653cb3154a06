/**
 * How the two ends of an IKE SA prove who they are (RFC 7296 §2.15): with a shared key or with certificates, for both roles.
 * ike-auth.ts puts it into messages. What is signed is crypto/auth-psk.ts, signatures are crypto/auth-signature.ts, whether
 * to believe a certificate is certificates/.
 *
 * We always send our certificate, asked for or not: a peer that pins it compares, one that does not would have to guess.
 */

import { mayName, proves } from '../certificates/names.ts';
import { judgeCertificates } from '../certificates/peer.ts';
import { ownProblem } from '../certificates/validity.ts';
import type { ConnectionState } from '../connection.ts';
import { pskAuth, signedOctets, verifyPskAuth } from '../crypto/auth-psk.ts';
import {
  ANNOUNCED_HASHES,
  chooseScheme,
  hashesNotifyData,
  parseHashesNotify,
  signatureProblem,
  type ToSign,
} from '../crypto/auth-signature.ts';
import type { PpkKeys } from '../crypto/ppk.ts';
import { identityText, idPayloadText, localIdentity, matchesIdentity, remoteIdentity } from '../identity.ts';
import type { IkeSa } from '../sa/ike-sa.ts';
import { findAll, findNotify, notify } from '../sa/notify.ts';
import type { Authentication, CertificateAuthentication, Connection } from '../types.ts';
import { sameBytes } from '../wire/bytes.ts';
import { AUTH_METHOD, AUTH_METHOD_NAMES, CERT_ENCODING, ID_TYPE, NOTIFY } from '../wire/names.ts';
import { idBody } from '../wire/payloads/id.ts';
import type { AuthPayload, CertReqPayload, IdPayload, Payload } from '../wire/payloads.ts';

const SAME_PSK = 'is options:psk the same on both ends?';
const SAME_PSK_AND_PPK = 'are options:psk and options:ipsec_ppk the same on both ends?';

// --- IKE_SA_INIT

/** What either end says of signatures in IKE_SA_INIT, if any of these connections needs them (RFC 7427 §4). */
export function signaturePayloads(authentications: readonly Authentication[]): Payload[] {
  if (!authentications.some(({ method }) => method === 'certificate')) return [];
  return [notify(NOTIFY.SIGNATURE_HASH_ALGORITHMS, hashesNotifyData(ANNOUNCED_HASHES))];
}

/** The hashes that the peer's IKE_SA_INIT announces; undefined: it does not know RFC 7427. */
export function peerHashesOf(payloads: readonly Payload[]): readonly number[] | undefined {
  const announced = findNotify(payloads, NOTIFY.SIGNATURE_HASH_ALGORITHMS);
  return announced === undefined ? undefined : parseHashesNotify(announced.data);
}

/** CERTREQ: the authorities whose certificates we believe (RFC 7296 §3.7). */
export function certificateRequests(authentications: readonly Authentication[]): CertReqPayload[] {
  const hashes = authentications.flatMap((authentication) => {
    if (authentication.method !== 'certificate') return [];
    const { trust } = authentication;
    return (trust.kind === 'pinned' ? [trust.certificate] : trust.authorities).map(({ keyHash }) => keyHash);
  });
  if (hashes.length === 0) return [];
  const distinct = [...new Map(hashes.map((hash) => [Buffer.from(hash).toString('hex'), hash])).values()];
  return [{ type: 'CERTREQ', encoding: CERT_ENCODING.X509_SIGNATURE, data: Uint8Array.from(Buffer.concat(distinct)) }];
}

// --- identities

/** Whether this ID payload may be that of the connection's peer; of a certificate, only the certificate tells in the end. */
export function mayBePeer(connection: Connection, id: IdPayload): boolean {
  const { authentication } = connection;
  if (matchesIdentity(id, remoteIdentity(connection))) return true;
  return authentication.method === 'certificate' && mayName(id, authentication.peerName);
}

/** Whether the peer means us. */
export function mayBeUs(connection: Connection, id: IdPayload): boolean {
  const { authentication } = connection;
  if (matchesIdentity(id, localIdentity(connection))) return true;
  if (authentication.method !== 'certificate') return false;
  const identity = localIdentity(connection);
  const [own] = authentication.certificates;
  return id.idType === ID_TYPE.ID_DER_ASN1_DN ? proves(own, id) : mayName(id, identity.value);
}

// --- proofs

/** What one end signs (RFC 7296 §2.15): its IKE_SA_INIT message, the other's nonce, its identity. */
function octetsOf(sa: IkeSa, signer: 'us' | 'peer', id: IdPayload, ppkKeys: PpkKeys | undefined): Uint8Array {
  const { init, protection } = sa;
  if (init === undefined || protection === undefined) throw new Error('IKE_AUTH without IKE_SA_INIT');
  const byInitiator = (signer === 'us') === sa.initiator;
  const keys = ppkKeys ?? protection.keys;
  return signedOctets({
    prf: protection.suite.prf,
    initMessage: byInitiator ? init.request : init.response,
    peerNonce: byInitiator ? init.nr : init.ni,
    skP: byInitiator ? keys.skPi : keys.skPr,
    idBody: idBody(id),
    intAuth: init.intermediate?.octets(),
  });
}

export interface Proof {
  /** CERT payloads, our own certificate first. */
  readonly certificates: readonly Payload[];
  readonly auth: AuthPayload;
  readonly problem?: undefined;
}

/** What `ourProof` will sign; undefined: nothing, by a shared key or because the peer can verify no signature of ours. */
export function ourSignature(
  sa: IkeSa,
  { authentication }: Connection,
  id: IdPayload,
  ppkKeys?: PpkKeys,
): ToSign | undefined {
  if (authentication.method === 'psk') return undefined;
  const scheme = chooseScheme(authentication.privateKey, sa.init?.peerHashes);
  if (scheme === undefined) return undefined;
  return { scheme, key: authentication.privateKey, octets: octetsOf(sa, 'us', id, ppkKeys) };
}

/** Our proof, or why we have none that this peer could check. `ppkKeys`: those of a PPK, in place of the IKE SA's. */
export function ourProof(
  sa: IkeSa,
  config: Connection,
  id: IdPayload,
  ppkKeys?: PpkKeys,
): Proof | { readonly problem: string } {
  if (sa.protection === undefined) throw new Error('IKE_AUTH without keys');
  const { authentication } = config;
  if (authentication.method === 'psk') {
    const data = pskAuth(sa.protection.suite.prf, authentication.secret, octetsOf(sa, 'us', id, ppkKeys));
    return { certificates: [], auth: { type: 'AUTH', method: AUTH_METHOD.SHARED_KEY, data } };
  }
  const { privateKey, certificates } = authentication;
  const toSign = ourSignature(sa, config, id, ppkKeys);
  if (toSign === undefined) {
    const knows = sa.init?.peerHashes?.join(', ') ?? 'RFC 7427 not at all';
    return {
      problem: `peer can verify no signature of our ${privateKey.asymmetricKeyType} key (hashes it knows: ${knows})`,
    };
  }
  return {
    certificates: certificates.map(({ der }) => ({
      type: 'CERT',
      encoding: CERT_ENCODING.X509_SIGNATURE,
      data: der,
    })),
    auth: { type: 'AUTH', method: toSign.scheme.method, data: sa.signatures.sign(toSign) },
  };
}

/** Why the peer has not proved to be that of this connection; undefined: it has. `payloads` are those of its IKE_AUTH. */
export function peerProblem(
  sa: IkeSa,
  { config }: Pick<ConnectionState, 'config'>,
  id: IdPayload,
  auth: AuthPayload,
  payloads: readonly Payload[],
  ppkKeys?: PpkKeys,
): string | undefined {
  const { authentication } = config;
  if (!mayBePeer(config, id)) {
    return `peer says it is ${idPayloadText(id)}, expected ${identityText(remoteIdentity(config))}`;
  }
  const byKey = auth.method === AUTH_METHOD.SHARED_KEY;
  if (byKey !== (authentication.method === 'psk')) {
    const theirs = AUTH_METHOD_NAMES.get(auth.method) ?? auth.method;
    return `peer authenticates by ${theirs}, we by ${authentication.method === 'psk' ? 'a shared key' : 'certificates'}`;
  }
  if (sa.protection === undefined) throw new Error('IKE_AUTH without keys');
  const octets = octetsOf(sa, 'peer', id, ppkKeys);
  if (authentication.method === 'psk') {
    const proved = verifyPskAuth(sa.protection.suite.prf, authentication.secret, octets, auth.data);
    const hint = ppkKeys === undefined ? SAME_PSK : SAME_PSK_AND_PPK;
    return proved ? undefined : `peer did not prove to know our secret: ${hint}`;
  }
  return verdictOf(payloads, { authentication, auth: auth.data, octets }, () =>
    certificateProblem(sa, authentication, id, auth, payloads, octets),
  );
}

/** What a judgement depends on besides its message. */
interface Question {
  readonly authentication: CertificateAuthentication;
  readonly auth: Uint8Array;
  readonly octets: Uint8Array;
}

/**
 * Judgements by the message that they are about, for as long as it is there: one that is held while our signature is computed
 * is handled twice, and to judge certificates takes as long as to sign. The date that counts is that of the first time.
 */
const verdicts = new WeakMap<readonly Payload[], (Question & { readonly problem: string | undefined })[]>();

function verdictOf(
  payloads: readonly Payload[],
  question: Question,
  judge: () => string | undefined,
): string | undefined {
  const known = verdicts.get(payloads) ?? [];
  const found = known.find(
    ({ authentication, auth, octets }) =>
      authentication === question.authentication &&
      sameBytes(auth, question.auth) &&
      sameBytes(octets, question.octets),
  );
  if (found !== undefined) return found.problem;
  const problem = judge();
  verdicts.set(payloads, [...known, { ...question, problem }]);
  return problem;
}

function certificateProblem(
  sa: IkeSa,
  { trust, peerName }: CertificateAuthentication,
  id: IdPayload,
  auth: AuthPayload,
  payloads: readonly Payload[],
  octets: Uint8Array,
): string | undefined {
  const certificates = findAll(payloads, 'CERT')
    .filter(({ encoding }) => encoding === CERT_ENCODING.X509_SIGNATURE)
    .map(({ data }) => data);
  const nowMs = sa.context.host.dateMs();
  const judged = judgeCertificates({ id, certificates, name: peerName, trust, nowMs });
  if ('problem' in judged) return judged.problem;
  const { method, data } = auth;
  const signature = { method, data, peerHashes: sa.init?.peerHashes };
  const problem = signatureProblem(judged.certificate.publicKey, octets, signature);
  return problem === undefined ? undefined : `peer ${problem}`;
}

/** What to look at when the peer answered AUTHENTICATION_FAILED. */
export function refusalHint({ authentication, ppk }: Connection, nowMs: number): string {
  if (authentication.method === 'psk') return ppk === undefined ? SAME_PSK : SAME_PSK_AND_PPK;
  const [own] = authentication.certificates;
  const problem = ownProblem(own, nowMs);
  if (problem !== undefined) return `our own ${problem}`;
  return `does it trust our certificate ${own.subject}, issued by ${own.issuer}, and expect that name? Its log says why`;
}
