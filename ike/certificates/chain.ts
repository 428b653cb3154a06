/**
 * The way from a peer's certificate to a certificate authority that we trust: the part of RFC 5280 §6.1 that matters
 * without policies and name constraints (certificates with the latter are refused, validity.ts). Each rule has its own
 * words.
 *
 * Signatures come first: a certificate is read only when the keys on its way up to a trusted one have signed it, so a
 * stranger can make us verify a few signatures and no more. Names, key identifiers and signatures are compared by OpenSSL;
 * revocation is revocation.ts.
 */

import {
  type Certificate,
  CertificateError,
  KEY_USAGE,
  type OpenedCertificate,
  readCertificate,
} from './certificate.ts';
import { type RevocationList, revocationProblem } from './revocation.ts';
import { keyProblem, ownProblem } from './validity.ts';

/** Authorities between a peer's certificate and a trusted one. */
export const INTERMEDIATES_LIMIT = 6;
/** Signatures that are verified for one peer. */
const VERIFICATIONS_LIMIT = 16;

/** Signature algorithms that no certificate below a trusted one may be signed with: their hashes have collisions. */
const WEAK_SIGNATURES: Readonly<Record<string, string>> = {
  '1.2.840.113549.1.1.2': 'MD2',
  '1.2.840.113549.1.1.4': 'MD5',
  '1.2.840.113549.1.1.5': 'SHA-1',
  '1.2.840.10045.4.1': 'SHA-1',
  '1.3.14.3.2.29': 'SHA-1',
};

export interface ChainQuestion {
  readonly certificate: OpenedCertificate;
  /** What the peer sent beside it, in any order; untrusted. */
  readonly intermediates: readonly OpenedCertificate[];
  readonly authorities: readonly Certificate[];
  /** Undefined: revocation is not checked. Otherwise every authority on the way needs a list. */
  readonly revocationLists: readonly RevocationList[] | undefined;
  readonly nowMs: number;
}

/** The peer's certificate, read, if a trusted authority vouches for it; else why not. */
export type ChainAnswer = { readonly certificate: Certificate } | { readonly problem: string };

export function findChain(question: ChainQuestion): ChainAnswer {
  return new Search(question).from([question.certificate]);
}

class Search {
  readonly #question: ChainQuestion;
  #verifications = 0;

  constructor(question: ChainQuestion) {
    this.#question = question;
  }

  /** `path` leads from the peer's certificate upwards, each signed by the next. */
  from(path: readonly OpenedCertificate[]): ChainAnswer {
    const { authorities, intermediates } = this.#question;
    const last = path[path.length - 1];
    const anchor = authorities.find(({ fingerprint }) => fingerprint === last.fingerprint);
    if (anchor !== undefined) return this.#judge(path.slice(0, -1), anchor);

    // The first way that failed is the one that the operator wants to hear about, so trusted issuers come first.
    let problem: string | undefined;
    for (const issuer of [...authorities, ...intermediates]) {
      if (path.some(({ fingerprint }) => fingerprint === issuer.fingerprint) || !mayHaveIssued(issuer, last)) continue;
      const step = this.#signatureProblem(path, issuer);
      const answer = step === undefined ? this.from([...path, issuer]) : { problem: step };
      if ('certificate' in answer) return answer;
      problem ??= answer.problem;
    }
    return { problem: problem ?? unknownIssuer(last) };
  }

  #signatureProblem(path: readonly OpenedCertificate[], issuer: OpenedCertificate): string | undefined {
    const last = path[path.length - 1];
    if (path.length > INTERMEDIATES_LIMIT + 1) {
      return `the chain has more than ${INTERMEDIATES_LIMIT} CAs below the trusted one`;
    }
    if (++this.#verifications > VERIFICATIONS_LIMIT) return 'the certificates form too many chains to look at them all';
    const key = keyProblem(issuer.publicKey);
    if (key !== undefined) return `the key of certificate ${issuer.subject} ${key}`;
    return verifies(last, issuer)
      ? undefined
      : `certificate ${last.subject} is not signed by the key of ${issuer.subject}`;
  }

  /** The rules, once every signature is right: from the peer's certificate upwards. */
  #judge(path: readonly OpenedCertificate[], anchor: Certificate): ChainAnswer {
    try {
      const chain = [...path.map(readCertificate), anchor];
      const problem = this.#chainProblem(chain);
      return problem === undefined ? { certificate: chain[0] } : { problem };
    } catch (error) {
      if (error instanceof CertificateError) return { problem: error.message };
      throw error;
    }
  }

  #chainProblem(chain: readonly Certificate[]): string | undefined {
    const { nowMs, revocationLists } = this.#question;
    for (const [index, certificate] of chain.entries()) {
      const problem = ownProblem(certificate, nowMs) ?? (index === 0 ? undefined : issuerProblem(chain, index));
      if (problem !== undefined) return problem;
      const weak = WEAK_SIGNATURES[certificate.signatureAlgorithm];
      if (weak !== undefined && index < chain.length - 1) {
        return `certificate ${certificate.subject} is signed with ${weak}, which is too weak`;
      }
    }
    if (revocationLists === undefined) return undefined;
    for (const [index, certificate] of chain.slice(0, -1).entries()) {
      const problem = revocationProblem(certificate, chain[index + 1], revocationLists, nowMs);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }
}

/** Whether the certificate at `index` may have issued those below it. */
function issuerProblem(chain: readonly Certificate[], index: number): string | undefined {
  const { subject, isAuthority, keyUsage, pathLength } = chain[index];
  if (!isAuthority) return `certificate ${subject} issued another but is no CA (basicConstraints)`;
  if (keyUsage !== undefined && (keyUsage & KEY_USAGE.keyCertSign) === 0) {
    return `keyUsage of CA certificate ${subject} does not allow to sign certificates`;
  }
  const below = chain.slice(1, index).filter(({ isSelfIssued }) => !isSelfIssued).length;
  if (pathLength !== undefined && below > pathLength) {
    return `CA certificate ${subject} allows ${pathLength} CAs below it, the chain has ${below}`;
  }
  const child = chain[index - 1];
  return child.issuerName === chain[index].subjectName
    ? undefined
    : `certificate ${child.subject} was issued by ${child.issuer}, not by ${subject}`;
}

/** By its name; OpenSSL's check also knows names that are written in other ways, but refuses what keyUsage forbids. */
function mayHaveIssued(issuer: OpenedCertificate, { x509 }: OpenedCertificate): boolean {
  return issuer.x509.subject === x509.issuer || x509.checkIssued(issuer.x509);
}

function unknownIssuer({ subject, issuer, x509 }: OpenedCertificate): string {
  return x509.subject === x509.issuer
    ? `certificate ${subject} is self-signed and not one of ca_cert`
    : `certificate ${subject} was issued by ${issuer}, which is not in ca_cert and was not sent by the peer`;
}

function verifies({ x509 }: OpenedCertificate, issuer: OpenedCertificate): boolean {
  try {
    return x509.verify(issuer.publicKey);
  } catch {
    return false;
  }
}
