/**
 * PEM files (RFC 7468) as certificates, private keys and revocation lists. Text before, between and behind the blocks is
 * skipped: ovs-pki writes certificates behind a listing of their content. A file may also be plain DER.
 *
 * Errors are noun phrases for the end of a sentence, without what a file holds: it may be a private key.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import {
  type Certificate,
  CertificateError,
  parseCertificate,
  parseRevocationList,
  type RevocationList,
} from '../../ike/index.ts';

/** What is wrong with the content of a file, in words. */
export class ContentError extends Error {
  override readonly name = 'ContentError';
}

interface Block {
  readonly label: string;
  readonly der: Uint8Array;
}

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END \1-----/g;
const DER_SEQUENCE = 0x30;

/** A bundle with more certificates than this is no list of authorities of tunnels. */
const CERTIFICATES_LIMIT = 256;

function blocksOf(content: Buffer): Block[] {
  return [...content.toString('latin1').matchAll(BLOCK)].map(([, label, body]) => ({
    label: label!,
    der: Uint8Array.from(Buffer.from(body!, 'base64')),
  }));
}

const isCertificate = ({ label }: Block): boolean => label === 'CERTIFICATE' || label === 'X509 CERTIFICATE';

function derBlocks(content: Buffer, wanted: (block: Block) => boolean, what: string): Uint8Array[] {
  const blocks = blocksOf(content);
  const found = blocks.filter(wanted).map(({ der }) => der);
  if (found.length > 0) return found;
  if (content[0] === DER_SEQUENCE) return [Uint8Array.from(content)];
  const labels = [...new Set(blocks.map(({ label }) => label))].slice(0, 3).join(', ');
  throw new ContentError(labels === '' ? `it holds no ${what}` : `it holds no ${what}, but ${labels}`);
}

function parsed<T>(parse: (der: Uint8Array) => T, der: Uint8Array): T {
  try {
    return parse(der);
  } catch (error) {
    if (error instanceof CertificateError) throw new ContentError(error.message);
    throw error;
  }
}

/** The certificates of a file, in its order, at least one. @throws ContentError */
export function certificatesIn(content: Buffer): readonly [Certificate, ...Certificate[]] {
  const blocks = derBlocks(content, isCertificate, 'certificate');
  if (blocks.length > CERTIFICATES_LIMIT) {
    throw new ContentError(`it holds ${blocks.length} certificates, expected at most ${CERTIFICATES_LIMIT}`);
  }
  const [first, ...rest] = blocks.map((der) => parsed(parseCertificate, der));
  return [first!, ...rest];
}

/** The revocation lists of a file, at least one. @throws ContentError */
export function revocationListsIn(content: Buffer): readonly RevocationList[] {
  const blocks = derBlocks(content, ({ label }) => label === 'X509 CRL', 'revocation list');
  return blocks.map((der) => parsed(parseRevocationList, der));
}

/** The private key of a file, as PKCS #8, PKCS #1 or SEC 1. @throws ContentError */
export function privateKeyIn(content: Buffer): KeyObject {
  const [key] = blocksOf(content).filter(({ label }) => label.endsWith('PRIVATE KEY'));
  if (key === undefined) throw new ContentError('it holds no private key in PEM');
  if (key.label.startsWith('ENCRYPTED') || content.includes('Proc-Type: 4,ENCRYPTED')) {
    throw new ContentError(
      'the private key is encrypted, and there is nobody to ask for the passphrase: store it without, with openssl pkey',
    );
  }
  try {
    return createPrivateKey(content);
  } catch {
    throw new ContentError('the private key cannot be read');
  } finally {
    key.der.fill(0);
  }
}
