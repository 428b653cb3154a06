/**
 * The certificates, keys and revocation lists that the configuration names, by path, for config to ask: each answer is
 * the parsed thing or why there is none, in words, and what to warn of beside it.
 */
import type { KeyObject } from 'node:crypto';
import { type Certificate, type CertificateAuthentication, keyProblem, type RevocationList } from '../../ike/index.ts';
import { CredentialFiles, type FileContent } from './files.ts';
import { certificatesIn, privateKeyIn, revocationListsIn } from './pem.ts';

/** Paths as the database has them. */
export interface CredentialPaths {
  readonly certificates: ReadonlySet<string>;
  readonly privateKeys: ReadonlySet<string>;
  readonly revocationLists: ReadonlySet<string>;
}

/** Who we are: the certificate, what is sent with it, and the private key. */
export type LocalCredential = Pick<CertificateAuthentication, 'certificates' | 'privateKey'> & {
  /** The common name: our identity. */
  readonly name: string;
};

/** `problem` and warnings: which file, and what about it, as `"PATH": there is no such file`. */
export type Found<T> =
  | { readonly value: T; readonly warnings: readonly string[]; readonly problem?: undefined }
  | { readonly value?: undefined; readonly warnings?: undefined; readonly problem: string };

/** What config asks. Pure between two calls of `read`. */
export interface Credentials {
  local(certificatePath: string, privateKeyPath: string): Found<LocalCredential>;
  /** The first certificate of a file, as `remote_cert` names it. */
  certificate(path: string): Found<Certificate>;
  authorities(path: string): Found<readonly Certificate[]>;
  revocationLists(path: string): Found<readonly RevocationList[]>;
}

const about = (path: string, what: string): string => `${JSON.stringify(path)}: ${what}`;
const STAYS = 'what it held before stays in force';

export class CredentialStore implements Credentials {
  readonly #certificates = new CredentialFiles(certificatesIn);
  readonly #keys = new CredentialFiles(privateKeyIn);
  readonly #lists = new CredentialFiles(revocationListsIn);
  /** Stays in force while what is configured is no pair: one file new and the other not yet, or a wrong path. */
  #last: LocalCredential | undefined;

  /** Reads what changed. Gives whether anything did. */
  async read(paths: CredentialPaths): Promise<boolean> {
    if (paths.privateKeys.size === 0) this.#last = undefined;
    const changes = await Promise.all([
      this.#certificates.read(paths.certificates),
      this.#keys.read(paths.privateKeys),
      this.#lists.read(paths.revocationLists),
    ]);
    return changes.includes(true);
  }

  local(certificatePath: string, privateKeyPath: string): Found<LocalCredential> {
    const key = this.#keys.get(privateKeyPath);
    const certificate = this.#certificates.get(certificatePath);
    const problem =
      (certificate.problem && about(certificatePath, certificate.problem)) ??
      (key.problem && about(privateKeyPath, key.problem)) ??
      pairProblem(certificatePath, certificate.value, privateKeyPath, key.value);
    const readable =
      (key.mode & 0o007) === 0
        ? []
        : [about(privateKeyPath, `every user of this host may read the private key: chmod 600 it`)];
    const name = certificate.value?.[0].commonNames.at(-1);
    if (problem !== undefined || name === undefined || certificate.value === undefined || key.value === undefined) {
      const before = this.#last;
      const why = problem ?? about(certificatePath, 'it has no common name (CN)');
      return before === undefined
        ? { problem: why }
        : { value: before, warnings: [`${why}; the certificate and key from before stay in force`, ...readable] };
    }
    const credential: LocalCredential = { certificates: certificate.value, privateKey: key.value, name };
    this.#last = credential;
    return { value: credential, warnings: readable };
  }

  certificate(path: string): Found<Certificate> {
    const found = contentOf(path, this.#certificates.get(path));
    return found.value === undefined ? found : { value: found.value[0], warnings: found.warnings };
  }

  authorities(path: string): Found<readonly Certificate[]> {
    const found = contentOf(path, this.#certificates.get(path));
    if (found.value === undefined) return found;
    const authorities = found.value.filter(({ isAuthority }) => isAuthority);
    if (authorities.length > 0) return { value: authorities, warnings: found.warnings };
    const [first] = found.value;
    return {
      problem: about(path, `certificate ${first.subject} is no certificate authority (basicConstraints CA:TRUE)`),
    };
  }

  revocationLists(path: string): Found<readonly RevocationList[]> {
    return contentOf(path, this.#lists.get(path));
  }
}

function contentOf<T>(path: string, { value, problem }: FileContent<T>): Found<T> {
  if (value === undefined) return { problem: about(path, problem ?? 'it is empty') };
  return { value, warnings: problem === undefined ? [] : [about(path, `${problem}; ${STAYS}`)] };
}

/** Why a certificate and a key are no pair; undefined also if one of them is missing, which is said elsewhere. */
function pairProblem(
  certificatePath: string,
  certificates: readonly [Certificate, ...Certificate[]] | undefined,
  keyPath: string,
  key: KeyObject | undefined,
): string | undefined {
  if (certificates === undefined || key === undefined) return undefined;
  const weak = keyProblem(key);
  if (weak !== undefined) return about(keyPath, `the key ${weak}`);
  if (certificates[0].x509.checkPrivateKey(key)) return undefined;
  return about(
    keyPath,
    `it is not the private key of certificate ${JSON.stringify(certificatePath)}: set the two that belong together`,
  );
}
