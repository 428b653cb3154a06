/**
 * Whether the certificates that a peer sent are those of the peer we want: the two ways of OVS.
 *
 * `pinned` (options:remote_cert): exactly this certificate, which the peer need not send, and which nobody has to vouch
 * for. `authorities` (ca_cert and options:remote_name): a chain to one of them, made for this use, for this name. In both
 * the certificate has to be in its time, its key strong enough, and the identity that the peer sent proved by it. That the
 * peer has the private key is AUTH's to show.
 */

import type { IdPayload } from '../wire/payloads.ts';
import {
  type Certificate,
  CertificateError,
  KEY_USAGE,
  type OpenedCertificate,
  openCertificate,
} from './certificate.ts';
import { type ChainAnswer, findChain } from './chain.ts';
import { proves, speaksFor } from './names.ts';
import type { RevocationList } from './revocation.ts';
import { ownProblem } from './validity.ts';

/** Whom we believe. Certificates and lists are shared by all connections, so they are read once. */
export type Trust =
  | { readonly kind: 'pinned'; readonly certificate: Certificate }
  | {
      readonly kind: 'authorities';
      readonly authorities: readonly Certificate[];
      /** Undefined: revocation is not checked. */
      readonly revocationLists: readonly RevocationList[] | undefined;
    };

/** CERT payloads of one peer, beyond which it is refused. */
export const CERTIFICATES_LIMIT = 8;

/**
 * Purposes that allow IKE (RFC 4945 §5.1.3.12): any, ipsecIKE, and those of before it (iKEIntermediate, ipsecEndSystem, ipsecTunnel,
 * ipsecUser); serverAuth and clientAuth, because OVN shares certificates with its TLS connections.
 */
const PURPOSES: ReadonlySet<string> = new Set([
  '2.5.29.37.0',
  '1.3.6.1.5.5.7.3.17',
  '1.3.6.1.5.5.8.2.2',
  '1.3.6.1.5.5.7.3.5',
  '1.3.6.1.5.5.7.3.6',
  '1.3.6.1.5.5.7.3.7',
  '1.3.6.1.5.5.7.3.1',
  '1.3.6.1.5.5.7.3.2',
]);

/** What keyUsage and extendedKeyUsage say against IKE; undefined: nothing. */
export function usageProblem({ subject, keyUsage, extendedKeyUsage }: Certificate): string | undefined {
  if (keyUsage !== undefined && (keyUsage & (KEY_USAGE.digitalSignature | KEY_USAGE.nonRepudiation)) === 0) {
    return `keyUsage of certificate ${subject} does not allow signatures`;
  }
  if (extendedKeyUsage !== undefined && !extendedKeyUsage.some((purpose) => PURPOSES.has(purpose))) {
    const has = extendedKeyUsage.slice(0, 4).join(', ');
    return `extendedKeyUsage of certificate ${subject} does not allow IKE: it has ${has}`;
  }
  return undefined;
}

export interface PeerClaim {
  /** IDi or IDr as received. */
  readonly id: IdPayload;
  /** Data of the CERT payloads of X.509, the peer's own first. */
  readonly certificates: readonly Uint8Array[];
  /** What OVS calls the peer: `remote_name`, or the common name in `remote_cert`. */
  readonly name: string;
  readonly trust: Trust;
  /** Wall clock, ms since 1970. */
  readonly nowMs: number;
}

/** The peer's certificate if it is to be believed, else why not, as a sentence. */
export function judgeCertificates(claim: PeerClaim): ChainAnswer {
  const { certificates, trust } = claim;
  if (certificates.length > CERTIFICATES_LIMIT) {
    return { problem: `peer sent ${certificates.length} certificates, expected at most ${CERTIFICATES_LIMIT}` };
  }
  const answer = trust.kind === 'pinned' ? judgePinned(claim, trust.certificate) : judgeByAuthorities(claim, trust);
  if ('problem' in answer || proves(answer.certificate, claim.id)) return answer;
  return { problem: `peer's identity is not confirmed by its certificate ${answer.certificate.subject}` };
}

const refused = (why: string): { readonly problem: string } => ({ problem: `peer's certificate is refused: ${why}` });

/** The bytes themselves are compared: whatever another certificate says of itself does not matter. */
function judgePinned({ certificates: [sent], nowMs }: PeerClaim, certificate: Certificate): ChainAnswer {
  if (sent !== undefined && !Buffer.from(sent).equals(certificate.der)) {
    return { problem: `peer sent another certificate than the one in remote_cert (${certificate.subject})` };
  }
  const problem = ownProblem(certificate, nowMs);
  return problem === undefined ? { certificate } : refused(problem);
}

function judgeByAuthorities(
  { certificates, name, nowMs }: PeerClaim,
  { authorities, revocationLists }: Extract<Trust, { kind: 'authorities' }>,
): ChainAnswer {
  let sent: readonly OpenedCertificate[];
  try {
    sent = certificates.map(openCertificate);
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    return { problem: `peer sent a certificate that cannot be read: ${error.message}` };
  }
  const [own, ...intermediates] = sent;
  if (own === undefined) return { problem: 'peer sent no X.509 certificate' };
  const answer = findChain({ certificate: own, intermediates, authorities, revocationLists, nowMs });
  if ('problem' in answer) return refused(answer.problem);
  const { certificate } = answer;
  const usage = usageProblem(certificate);
  if (usage !== undefined) return refused(usage);
  if (speaksFor(certificate, name)) return answer;
  const names = [...new Set([...certificate.commonNames, ...certificate.dnsNames])].slice(0, 4).map(quoted).join(', ');
  return {
    problem: `peer's certificate is for ${names === '' ? 'no name' : names}, expected remote_name ${quoted(name)}`,
  };
}

/** Names come out of the peer's certificate, so they may hold anything. */
const quoted = (text: string): string => JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text);
