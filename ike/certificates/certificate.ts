/**
 * X.509 certificates (RFC 5280 §4) as plain data: what the checks of chain.ts, names.ts and peer.ts look at.
 *
 * OpenSSL (through Node) has to accept the bytes first; extensions are read with @peculiar/asn1-x509 then, which takes some
 * hundred times as long: so what a peer sends is only opened, and not read until a key that we trust has signed it
 * (chain.ts). Sizes are bounded, and whatever does not parse is refused in words.
 */

import { createHash, type KeyObject, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { AsnConvert } from '@peculiar/asn1-schema';
import {
  Certificate as Asn1Certificate,
  type AttributeValue,
  BasicConstraints,
  ExtendedKeyUsage,
  type Extension,
  KeyUsage,
  Name,
  SubjectAlternativeName,
} from '@peculiar/asn1-x509';

/** Certificates of IKE peers have one to three KiB; more than this is not looked at. */
const BYTES_LIMIT = 16 * 1024;
/** Names of a certificate beyond these are not looked at. */
const NAMES_LIMIT = 64;
const COMMON_NAME = '2.5.4.3';

const EXTENSION = {
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  certificatePolicies: '2.5.29.32',
  extendedKeyUsage: '2.5.29.37',
} as const;
/** Extensions that may be critical: those that are checked, and policies, of which any will do (RFC 5280 §6.1.1). */
const UNDERSTOOD: ReadonlySet<string> = new Set([
  EXTENSION.keyUsage,
  EXTENSION.subjectAltName,
  EXTENSION.basicConstraints,
  EXTENSION.certificatePolicies,
  EXTENSION.extendedKeyUsage,
]);

/** Bits of keyUsage (RFC 5280 §4.2.1.3), the first bit of the BIT STRING being 1. */
export const KEY_USAGE = { digitalSignature: 1, nonRepudiation: 2, keyCertSign: 32, crlSign: 64 } as const;

/** A certificate that OpenSSL took, of which nothing else is known yet. */
export interface OpenedCertificate {
  readonly der: Uint8Array;
  readonly x509: X509Certificate;
  readonly publicKey: KeyObject;
  /** SHA-256 of the DER, hex. */
  readonly fingerprint: string;
  /** For messages: printable, of bounded length. */
  readonly subject: string;
  readonly issuer: string;
}

export interface Certificate extends OpenedCertificate {
  /** SHA-1 of SubjectPublicKeyInfo: how CERTREQ names an authority (RFC 7296 §3.7). */
  readonly keyHash: Uint8Array;
  /** Distinguished names in a form in which equal names are equal texts (RFC 5280 §7.1). */
  readonly subjectName: string;
  readonly issuerName: string;
  readonly commonNames: readonly string[];
  /** subjectAltName. */
  readonly dnsNames: readonly string[];
  readonly emails: readonly string[];
  readonly addresses: readonly string[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Hex in lower case, without leading zeros. */
  readonly serial: string;
  readonly isAuthority: boolean;
  /** Authorities that may follow below this one, not counting self-issued ones; undefined: no limit. */
  readonly pathLength: number | undefined;
  readonly isSelfIssued: boolean;
  /** Undefined: the certificate does not restrict its use. */
  readonly keyUsage: number | undefined;
  readonly extendedKeyUsage: readonly string[] | undefined;
  /** OIDs of extensions that restrict the certificate in a way that is not understood here. */
  readonly unknownRestrictions: readonly string[];
  /** OID. */
  readonly signatureAlgorithm: string;
}

/** What is wrong with bytes that should be a certificate, in words. */
export class CertificateError extends Error {
  override readonly name = 'CertificateError';
}

/** Opens one certificate in DER. @throws CertificateError */
export function openCertificate(der: Uint8Array): OpenedCertificate {
  if (der.length > BYTES_LIMIT) {
    throw new CertificateError(`a certificate has ${der.length} bytes, expected at most ${BYTES_LIMIT}`);
  }
  const x509 = inWords(() => new X509Certificate(der));
  if (x509.raw.length !== der.length) throw new CertificateError('there is something behind the certificate');
  return {
    der: der.slice(),
    x509,
    publicKey: inWords(() => x509.publicKey),
    fingerprint: createHash('sha256').update(der).digest('hex'),
    subject: printable(x509.subject),
    issuer: printable(x509.issuer),
  };
}

/** Reads one certificate in DER. @throws CertificateError */
export function parseCertificate(der: Uint8Array): Certificate {
  return readCertificate(openCertificate(der));
}

/** @throws CertificateError */
export function readCertificate(opened: OpenedCertificate): Certificate {
  return inWords(() => read(opened));
}

/** The words of OpenSSL and of the ASN.1 library say nothing to operators, and may quote what the peer sent. */
function inWords<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof CertificateError) throw error;
    throw new CertificateError('not a valid X.509 certificate in DER');
  }
}

function read(opened: OpenedCertificate): Certificate {
  const { der } = opened;
  const asn1 = AsnConvert.parse(der, Asn1Certificate);
  const { tbsCertificate: tbs } = asn1;
  if (tbs.signature.algorithm !== asn1.signatureAlgorithm.algorithm) {
    throw new CertificateError('the certificate names two different signature algorithms');
  }
  const extensions: readonly Extension[] = tbs.extensions ?? [];
  const ids = extensions.map(({ extnID }) => extnID);
  if (new Set(ids).size !== ids.length) throw new CertificateError('the certificate has one extension twice');
  const value = (id: string): ArrayBuffer | undefined =>
    extensions.find(({ extnID }) => extnID === id)?.extnValue.buffer;

  const constraints = value(EXTENSION.basicConstraints);
  const basic = constraints === undefined ? undefined : AsnConvert.parse(constraints, BasicConstraints);
  const usage = value(EXTENSION.keyUsage);
  const extendedUsage = value(EXTENSION.extendedKeyUsage);
  const alternative = value(EXTENSION.subjectAltName);
  const names = alternative === undefined ? [] : AsnConvert.parse(alternative, SubjectAlternativeName);
  const few = [...names].slice(0, NAMES_LIMIT);
  const subjectName = canonicalName(tbs.subject);
  const issuerName = canonicalName(tbs.issuer);
  const spki = AsnConvert.serialize(tbs.subjectPublicKeyInfo);
  return {
    ...opened,
    keyHash: Uint8Array.from(createHash('sha1').update(new Uint8Array(spki)).digest()),
    subjectName,
    issuerName,
    commonNames: commonNames(tbs.subject),
    dnsNames: few.flatMap(({ dNSName }) => (dNSName === undefined ? [] : [dNSName])),
    emails: few.flatMap(({ rfc822Name }) => (rfc822Name === undefined ? [] : [rfc822Name])),
    addresses: few.flatMap(({ iPAddress }) => (iPAddress !== undefined && isIP(iPAddress) !== 0 ? [iPAddress] : [])),
    notBeforeMs: tbs.validity.notBefore.getTime().getTime(),
    notAfterMs: tbs.validity.notAfter.getTime().getTime(),
    serial: serialText(tbs.serialNumber),
    isAuthority: basic?.cA ?? false,
    pathLength: basic?.pathLenConstraint,
    isSelfIssued: subjectName === issuerName,
    keyUsage: usage === undefined ? undefined : AsnConvert.parse(usage, KeyUsage).toNumber(),
    extendedKeyUsage: extendedUsage === undefined ? undefined : [...AsnConvert.parse(extendedUsage, ExtendedKeyUsage)],
    unknownRestrictions: extensions
      .filter(({ extnID, critical }) => extnID === EXTENSION.nameConstraints || (critical && !UNDERSTOOD.has(extnID)))
      .map(({ extnID }) => extnID),
    signatureAlgorithm: asn1.signatureAlgorithm.algorithm,
  };
}

function commonNames(name: Name): string[] {
  return name
    .flatMap((relative) => [...relative])
    .filter(({ type }) => type === COMMON_NAME)
    .slice(0, NAMES_LIMIT)
    .map(({ value }) => value.toString());
}

/** Strings of any type are compared without regard to case and to how much space is between words. */
export function canonicalName(name: Name): string {
  const attribute = ({ type, value }: { readonly type: string; readonly value: AttributeValue }): string => {
    if (value.anyValue !== undefined) return `${type}=#${Buffer.from(value.anyValue).toString('hex')}`;
    return `${type}=${value.toString().trim().replace(/\s+/g, ' ').toLowerCase()}`;
  };
  return JSON.stringify(name.map((relative) => [...relative].map(attribute).sort()));
}

/** The same of a distinguished name in DER, such as an ID_DER_ASN1_DN; undefined: it is none. */
export function canonicalNameOf(der: Uint8Array): string | undefined {
  if (der.length > BYTES_LIMIT) return undefined;
  try {
    return canonicalName(AsnConvert.parse(der.slice(), Name));
  } catch {
    return undefined;
  }
}

/** Serial numbers are compared as numbers: DER may or may not have a leading zero byte. */
export function serialText(serial: ArrayBuffer): string {
  return Buffer.from(serial).toString('hex').replace(/^0+/, '');
}

/** A distinguished name of OpenSSL, one attribute a line, on one line; from a peer it may hold anything. */
export function printable(name: string): string {
  const line = name
    .split('\n')
    .join(', ')
    .replace(/[^\x20-\x7e]/g, '?');
  return line.length > 160 ? `${line.slice(0, 160)}…` : line;
}
