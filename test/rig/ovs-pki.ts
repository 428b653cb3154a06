/**
 * Certificates made by Debian's ovs-pki, as the OVS IPsec tutorial makes them: each host has a directory of keys, and one
 * host has the authority. The tutorial's commands are run as they are, but for the place where the authority lives.
 */
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './process.ts';

/** Key files of one host. */
export class HostKeys {
  readonly directory: string;
  readonly #authority: string;

  /** `shared` holds the authority, which only one host of a test has. */
  constructor(shared: string, host: string) {
    this.directory = join(shared, `keys-${host}`);
    this.#authority = join(shared, 'pki');
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
  }

  /** Runs `ovs-pki WORDS…` in the host's directory. @throws with its words if it fails */
  async ovsPki(...words: readonly string[]): Promise<void> {
    const place = [`--dir=${this.#authority}`, `--log=${join(this.directory, 'ovs-pki.log')}`];
    await run({ command: 'ovs-pki', args: [...place, '--batch', '--force', ...words], cwd: this.directory });
  }

  path(file: string): string {
    return join(this.directory, file);
  }

  /** As `scp FILE host:` would. */
  copyTo(other: HostKeys, file: string): void {
    copyFileSync(this.path(file), other.path(file));
  }

  /** The authority's certificate, as a copy that the host's `ca_cert` can name. */
  fetchAuthority(): string {
    copyFileSync(join(this.#authority, 'switchca/cacert.pem'), this.path('cacert.pem'));
    return this.path('cacert.pem');
  }
}
