/**
 * Which persistent TAPs are ours, remembered in OVS_RUNDIR: a TAP whose row went away while the daemon was
 * down is removed at its next start, and a device of somebody else is never touched.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Native } from '../native-shims/index.ts';
import type { Links } from './links.ts';

export class OwnedTaps {
  readonly #path: string;
  readonly #names: Set<string>;

  constructor(path: string) {
    this.#path = path;
    this.#names = new Set(readNames(path));
  }

  /** @throws NodeJS.ErrnoException when it cannot be written; then it is not ours, and must not be made. */
  add(name: string): void {
    if (this.#names.has(name)) return;
    this.#write([...this.#names, name]);
    this.#names.add(name);
  }

  /** The TAP is gone. If that cannot be written it stays listed, and the next call of `removeUnused` tries again. */
  remove(name: string): void {
    if (!this.#names.has(name)) return;
    try {
      this.#write([...this.#names].filter((other) => other !== name));
    } catch (error) {
      if (error instanceof Error && 'code' in error) return;
      throw error;
    }
    this.#names.delete(name);
  }

  /** Removes the TAPs of ours that are not in `used`. */
  async removeUnused(used: ReadonlySet<string>, native: Native, links: Links): Promise<void> {
    for (const name of [...this.#names].filter((owned) => !used.has(owned))) {
      if ((await links.linkFacts(name)) !== undefined) {
        const fd = native.openTap(name, { kind: 'tap', multiQueue: true, vnetHeader: false, persistent: true });
        native.setTapPersistent(fd, false);
        native.close(fd);
      }
      this.remove(name);
    }
  }

  #write(names: readonly string[]): void {
    writeFileSync(`${this.#path}.new`, `${names.toSorted().join('\n')}\n`, { mode: 0o600 });
    renameSync(`${this.#path}.new`, this.#path);
  }
}

function readNames(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter(Boolean);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

/** Whether TAPs can be made at all: found out at the start, in one line, and not when the first bridge is added. */
export function probeTap(native: Native): void {
  native.close(
    native.openTap(`espd${process.pid}`, { kind: 'tap', multiQueue: true, vnetHeader: false, persistent: false }),
  );
}
