/**
 * Certificates for tests, made by OpenSSL: authorities, intermediates, hosts, revocation lists, with whatever extensions a
 * test wants. Keys are made by Node, once for each name and kind. ovs-pki's certificates are test/e2e's.
 */

import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type KeyKind = 'rsa' | 'rsa1024' | 'rsa4096' | 'p256' | 'p384' | 'p521' | 'secp256k1' | 'ed25519' | 'ed448';

/** A certificate and its key: on disk, as PEM, and in DER. */
export interface Issued {
  readonly name: string;
  readonly certificatePath: string;
  readonly keyPath: string;
  readonly der: Uint8Array;
  readonly serial: string;
}

export interface IssueChoices {
  readonly key?: KeyKind;
  /** The same key as another certificate's. */
  readonly keyOf?: Issued;
  /** Lines of an OpenSSL extension section; default: those of ovs-pki for the kind of certificate. */
  readonly extensions?: readonly string[];
  /** The whole subject; default: `/C=US/O=Open vSwitch/CN=NAME`. */
  readonly subject?: string;
  readonly days?: number;
  readonly digest?: 'sha1' | 'sha256' | 'sha512';
}

export const CA = ['basicConstraints=CA:TRUE', 'subjectKeyIdentifier=hash'] as const;
export const hostExtensions = (name: string): string[] => ['basicConstraints=CA:FALSE', `subjectAltName=DNS:${name}`];

const CURVE_NAMES: Readonly<Partial<Record<KeyKind, string>>> = {
  p256: 'P-256',
  p384: 'P-384',
  p521: 'P-521',
  secp256k1: 'secp256k1',
};
const RSA_BITS: Readonly<Partial<Record<KeyKind, number>>> = { rsa: 2048, rsa1024: 1024, rsa4096: 4096 };

function makeKey(kind: KeyKind): string {
  const pem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }) as string;
  const modulusLength = RSA_BITS[kind];
  const namedCurve = CURVE_NAMES[kind];
  if (modulusLength !== undefined) return pem(generateKeyPairSync('rsa', { modulusLength }).privateKey);
  if (namedCurve !== undefined) return pem(generateKeyPairSync('ec', { namedCurve }).privateKey);
  return pem((kind === 'ed448' ? generateKeyPairSync('ed448') : generateKeyPairSync('ed25519')).privateKey);
}

/** A directory of certificates; `remove` deletes it. */
export class Pki {
  readonly directory: string;
  #files = 0;
  #serial = 0x1000;

  constructor(directory: string = mkdtempSync(join(tmpdir(), 'espd-pki-'))) {
    this.directory = directory;
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** A self-signed authority. */
  authority(name: string, choices: IssueChoices = {}): Issued {
    return this.#issue(undefined, name, { extensions: CA, ...choices });
  }

  /** A self-signed certificate of a host. */
  selfSigned(name: string, choices: IssueChoices = {}): Issued {
    return this.#issue(undefined, name, { extensions: [`subjectAltName=DNS:${name}`], ...choices });
  }

  /** A host's certificate, or with the extensions of one an intermediate, signed by `issuer`. */
  signed(issuer: Issued, name: string, choices: IssueChoices = {}): Issued {
    return this.#issue(issuer, name, { extensions: hostExtensions(name), ...choices });
  }

  #issue(issuer: Issued | undefined, name: string, choices: IssueChoices): Issued {
    const { key = 'p256', keyOf, extensions = [], days = 3650, digest = 'sha256', subject } = choices;
    const base = this.path(`${name.replace(/\W/g, '_')}-${this.#files++}`);
    const paths = { keyPath: `${base}-privkey.pem`, certificatePath: `${base}-cert.pem` };
    writeFileSync(paths.keyPath, keyOf === undefined ? makeKey(key) : readFileSync(keyOf.keyPath), { mode: 0o600 });
    writeFileSync(`${base}.ext`, `${extensions.join('\n')}\n`);
    const subjectText = subject ?? `/C=US/O=Open vSwitch/CN=${name}`;
    this.openssl('req', '-new', '-utf8', '-key', paths.keyPath, '-subj', subjectText, '-out', `${base}.csr`);
    const serial = (this.#serial++).toString(16);
    const signer =
      issuer === undefined ? ['-signkey', paths.keyPath] : ['-CA', issuer.certificatePath, '-CAkey', issuer.keyPath];
    const words = ['-req', '-in', `${base}.csr`, ...signer, '-set_serial', `0x${serial}`, '-days', String(days)];
    this.openssl('x509', ...words, `-${digest}`, '-extfile', `${base}.ext`, '-out', paths.certificatePath);
    const der = Uint8Array.from(new X509Certificate(this.openssl('x509', '-in', paths.certificatePath)).raw);
    return { name, ...paths, der, serial };
  }

  /** A revocation list in PEM. */
  revocationList(issuer: Issued, revoked: readonly Issued[], { days = 30 }: { days?: number } = {}): string {
    const base = this.path(`crl-${this.#files++}`);
    const rows = revoked.map(({ serial, name }) => `R\t350101000000Z\t240101000000Z\t${serial}\tunknown\t/CN=${name}`);
    writeFileSync(`${base}.txt`, rows.map((row) => `${row}\n`).join(''));
    writeFileSync(`${base}.attr`, '');
    const config = `[ca]\ndefault_ca=own\n[own]\ndatabase=${base}.txt\ndefault_md=sha256\n`;
    writeFileSync(`${base}.cnf`, config);
    const words = ['-gencrl', '-config', `${base}.cnf`, '-cert', issuer.certificatePath, '-keyfile', issuer.keyPath];
    this.openssl('ca', ...words, '-crldays', String(days), '-out', `${base}.pem`);
    return `${base}.pem`;
  }

  /** The certificates of several, in one PEM file. */
  concatenate(path: string, issued: readonly Issued[]): void {
    writeFileSync(path, issued.map(({ certificatePath }) => readFileSync(certificatePath, 'utf8')).join(''));
  }

  path(file: string): string {
    return join(this.directory, file);
  }

  /** Runs openssl and gives what it wrote. @throws with its words if it fails. */
  openssl(...args: readonly string[]): string {
    return execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], cwd: this.directory });
  }
}
