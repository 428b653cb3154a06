/**
 * Certificate revocation lists (RFC 5280 §5, §6.3) from files: full lists of the issuer itself. Delta lists, indirect lists
 * and those for some reasons only carry critical extensions and are refused.
 *
 * Where lists are configured, a certificate whose issuer has no list, or only one that is out of date, is refused: an
 * attacker who keeps a list away must not thereby keep a revoked certificate alive.
 */

import { verify } from 'node:crypto';
import { AsnConvert } from '@peculiar/asn1-schema';
import { CertificateList } from '@peculiar/asn1-x509';
import { type Certificate, CertificateError, canonicalName, KEY_USAGE, serialText } from './certificate.ts';
import { dateText } from './validity.ts';

export interface RevocationList {
  /** As Certificate.subjectName. */
  readonly issuerName: string;
  /** Signed part, algorithm (OID) and signature. */
  readonly signed: Uint8Array;
  readonly signatureAlgorithm: string;
  readonly signature: Uint8Array;
  readonly thisUpdateMs: number;
  /** Infinity: none is announced. */
  readonly nextUpdateMs: number;
  /** As Certificate.serial. */
  readonly serials: ReadonlySet<string>;
}

const RSA = '1.2.840.113549.1.1';
/** Hash of each algorithm that a list may be signed with; Ed25519 and Ed448 have none of their own. */
const HASHES: Readonly<Record<string, string | null>> = {
  [`${RSA}.11`]: 'sha256',
  [`${RSA}.12`]: 'sha384',
  [`${RSA}.13`]: 'sha512',
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
  '1.3.101.112': null,
  '1.3.101.113': null,
};

/** Reads one list in DER. It is believed only once its issuer's key has verified it. @throws CertificateError */
export function parseRevocationList(der: Uint8Array): RevocationList {
  let list: CertificateList;
  try {
    list = AsnConvert.parse(der, CertificateList);
  } catch {
    throw new CertificateError('not a valid X.509 certificate revocation list in DER');
  }
  const { tbsCertList: tbs, tbsCertListRaw, signatureAlgorithm } = list;
  if (tbsCertListRaw === undefined) throw new CertificateError('the revocation list has no signed part');
  const critical = [
    ...(tbs.crlExtensions ?? []),
    ...(tbs.revokedCertificates ?? []).flatMap(({ crlEntryExtensions }) => crlEntryExtensions ?? []),
  ].find((extension) => extension.critical);
  if (critical !== undefined) {
    throw new CertificateError(
      `the revocation list has a critical extension that is not understood (${critical.extnID})`,
    );
  }
  if (!Object.hasOwn(HASHES, signatureAlgorithm.algorithm)) {
    throw new CertificateError(
      `the revocation list is signed with ${signatureAlgorithm.algorithm}, expected RSA (PKCS #1) or ECDSA with SHA-2, or Ed25519`,
    );
  }
  return {
    issuerName: canonicalName(tbs.issuer),
    signed: new Uint8Array(tbsCertListRaw),
    signatureAlgorithm: signatureAlgorithm.algorithm,
    signature: new Uint8Array(list.signature),
    thisUpdateMs: tbs.thisUpdate.getTime().getTime(),
    nextUpdateMs: tbs.nextUpdate?.getTime().getTime() ?? Number.POSITIVE_INFINITY,
    serials: new Set((tbs.revokedCertificates ?? []).map(({ userCertificate }) => serialText(userCertificate))),
  };
}

/** Why the lists do not clear a certificate; undefined: they do. */
export function revocationProblem(
  certificate: Certificate,
  issuer: Certificate,
  lists: readonly RevocationList[],
  nowMs: number,
): string | undefined {
  const ofIssuer = lists.filter((list) => list.issuerName === issuer.subjectName && isSignedBy(list, issuer));
  if (ofIssuer.length === 0) return `ca_crl holds no revocation list of ${issuer.subject}`;
  if (ofIssuer.some(({ serials }) => serials.has(certificate.serial))) {
    return `certificate ${certificate.subject} is revoked`;
  }
  const newest = ofIssuer.reduce((a, b) => (a.nextUpdateMs >= b.nextUpdateMs ? a : b));
  if (newest.nextUpdateMs < nowMs) {
    return `the revocation list of ${issuer.subject} is out of date since ${dateText(newest.nextUpdateMs)}`;
  }
  if (!ofIssuer.some(({ thisUpdateMs }) => thisUpdateMs <= nowMs)) {
    return `the revocation list of ${issuer.subject} is not valid before ${dateText(newest.thisUpdateMs)}`;
  }
  return undefined;
}

/** Verified once for each pair, however many peers ask. */
const verified = new WeakMap<RevocationList, Map<string, boolean>>();

function isSignedBy(list: RevocationList, issuer: Certificate): boolean {
  const known = verified.get(list) ?? new Map<string, boolean>();
  verified.set(list, known);
  const before = known.get(issuer.fingerprint);
  if (before !== undefined) return before;
  const answer = mayBeSignedBy(list, issuer);
  known.set(issuer.fingerprint, answer);
  return answer;
}

function mayBeSignedBy(list: RevocationList, issuer: Certificate): boolean {
  if (issuer.keyUsage !== undefined && (issuer.keyUsage & KEY_USAGE.crlSign) === 0) return false;
  try {
    return verify(HASHES[list.signatureAlgorithm], list.signed, issuer.publicKey, list.signature);
  } catch {
    return false;
  }
}
