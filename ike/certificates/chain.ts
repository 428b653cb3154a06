/**
 * The way from a peer's certificate to a certificate authority that we trust: the part of RFC 5280 §6.1 that matters
 * without policies and name constraints (certificates with the latter are refused, validity.ts). Each rule has its own
 * words. The search is bounded in depth and in signatures verified, whatever a peer sends.
 *
 * Names, key identifiers and keyUsage of an issuer are compared by OpenSSL (checkIssued); revocation is revocation.ts.
 */

import { type Certificate, KEY_USAGE } from './certificate.ts';
import { type RevocationList, revocationProblem } from './revocation.ts';
import { ownProblem } from './validity.ts';

/** Authorities between a peer's certificate and a trusted one. */
export const INTERMEDIATES_LIMIT = 6;
/** Signatures that are verified for one peer. */
const VERIFICATIONS_LIMIT = 24;

/** Signature algorithms that no certificate below a trusted one may be signed with: their hashes have collisions. */
const WEAK_SIGNATURES: Readonly<Record<string, string>> = {
  '1.2.840.113549.1.1.2': 'MD2',
  '1.2.840.113549.1.1.4': 'MD5',
  '1.2.840.113549.1.1.5': 'SHA-1',
  '1.2.840.10045.4.1': 'SHA-1',
  '1.3.14.3.2.29': 'SHA-1',
};

export interface ChainQuestion {
  readonly certificate: Certificate;
  /** What the peer sent beside it, in any order; untrusted. */
  readonly intermediates: readonly Certificate[];
  readonly authorities: readonly Certificate[];
  /** Undefined: revocation is not checked. Otherwise every authority on the way needs a list. */
  readonly revocationLists: readonly RevocationList[] | undefined;
  readonly nowMs: number;
}

/** Why no trusted authority vouches for the certificate; undefined: one does. */
export function chainProblem(question: ChainQuestion): string | undefined {
  return new Search(question).from([question.certificate]);
}

class Search {
  readonly #question: ChainQuestion;
  #verifications = 0;

  constructor(question: ChainQuestion) {
    this.#question = question;
  }

  /** `path` leads from the peer's certificate upwards; it was found right so far, but for what its end is. */
  from(path: readonly Certificate[]): string | undefined {
    const { authorities, intermediates, nowMs } = this.#question;
    const last = path[path.length - 1];
    const own = ownProblem(last, nowMs);
    if (own !== undefined) return own;
    if (authorities.some(({ fingerprint }) => fingerprint === last.fingerprint)) return undefined;
    const weak = WEAK_SIGNATURES[last.signatureAlgorithm];
    if (weak !== undefined) return `certificate ${last.subject} is signed with ${weak}, which is too weak`;

    // The first way that failed is the one that the operator wants to hear about, so trusted issuers come first.
    let problem: string | undefined;
    const issuers = [
      ...authorities.map((issuer) => ({ issuer, isTrusted: true })),
      ...intermediates.map((issuer) => ({ issuer, isTrusted: false })),
    ];
    for (const { issuer, isTrusted } of issuers) {
      if (issuer.subjectName !== last.issuerName) continue;
      if (path.some(({ fingerprint }) => fingerprint === issuer.fingerprint)) continue;
      const step = this.#step(path, issuer) ?? (isTrusted ? this.#end(path, issuer) : this.from([...path, issuer]));
      if (step === undefined) return undefined;
      problem ??= step;
    }
    if (problem !== undefined) return problem;
    return last.isSelfIssued
      ? `certificate ${last.subject} is self-signed and not one of ca_cert`
      : `certificate ${last.subject} was issued by ${last.issuer}, which is not in ca_cert and was not sent by the peer`;
  }

  #end(path: readonly Certificate[], anchor: Certificate): string | undefined {
    return ownProblem(anchor, this.#question.nowMs) ?? this.#revoked([...path, anchor]);
  }

  /** Whether the issuer may have issued the end of the path, and did. */
  #step(path: readonly Certificate[], issuer: Certificate): string | undefined {
    const last = path[path.length - 1];
    if (!issuer.isAuthority) return `certificate ${issuer.subject} issued another but is no CA (basicConstraints)`;
    if (issuer.keyUsage !== undefined && (issuer.keyUsage & KEY_USAGE.keyCertSign) === 0) {
      return `keyUsage of CA certificate ${issuer.subject} does not allow to sign certificates`;
    }
    const below = path.slice(1).filter(({ isSelfIssued }) => !isSelfIssued).length;
    if (issuer.pathLength !== undefined && below > issuer.pathLength) {
      return `CA certificate ${issuer.subject} allows ${issuer.pathLength} CAs below it, the chain has ${below}`;
    }
    if (path.length > INTERMEDIATES_LIMIT + 1) {
      return `the chain has more than ${INTERMEDIATES_LIMIT} CAs below the trusted one`;
    }
    if (++this.#verifications > VERIFICATIONS_LIMIT) return 'the certificates form too many chains to look at them all';
    if (!last.x509.checkIssued(issuer.x509) || !verifies(last, issuer)) {
      return `certificate ${last.subject} is not signed by the key of ${issuer.subject}`;
    }
    return undefined;
  }

  #revoked(path: readonly Certificate[]): string | undefined {
    const { revocationLists, nowMs } = this.#question;
    if (revocationLists === undefined) return undefined;
    for (const [index, certificate] of path.slice(0, -1).entries()) {
      const problem = revocationProblem(certificate, path[index + 1], revocationLists, nowMs);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }
}

function verifies(certificate: Certificate, issuer: Certificate): boolean {
  try {
    return certificate.x509.verify(issuer.publicKey);
  } catch {
    return false;
  }
}
