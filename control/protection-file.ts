/**
 * What was ever protected, on disk: keys of SPD rows and names of tunnels (protections.ts), in OVS_RUNDIR.
 *
 * The file begins with one line of JSON that is replaced as a whole; each protection that comes up appends a line to
 * it, so that a thousand tunnels that come up do not write a thousand lists. `replace` and `add` have it on disk when they
 * return, `addSoon` when its promise resolves: what is asked for while the disk is busy is written together, and
 * nobody's thread waits for it. A line that a crash has cut off is one that nobody waited for: its SA was not in use yet, and
 * it is left out. After a write that failed nothing is appended any more, as it may have left half a line: what comes next writes the
 * file anew.
 */
import { closeSync, fdatasync, fdatasyncSync, fsyncSync, openSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { writeWhole } from './write-whole.ts';

export interface Remembered {
  readonly keys: readonly string[];
  readonly tunnels: readonly string[];
}

/** Resolves when what was written to the descriptor is on disk (fdatasync(2)). */
export type Sync = (fd: number) => Promise<void>;

export const syncToDisk: Sync = promisify(fdatasync);

/** It could not be written. The message is the operator's: file, errno, mend. */
export class ProtectionFileError extends Error {
  override readonly name = 'ProtectionFileError';
}

/** What helps, by errno. Default: what is true of any. */
const MENDS: Readonly<Record<string, string>> = {
  ENOSPC: 'make room in',
  EDQUOT: 'make room in',
  EROFS: 'make it possible to write in',
  EACCES: 'make it possible to write in',
};
const ANY_MEND = 'look at the disk of';

interface Soon {
  readonly more: Remembered;
  resolve(): void;
  reject(error: unknown): void;
}

export class ProtectionFile {
  readonly #path: string;
  readonly #sync: Sync | undefined;
  /** Of the file that this process has written: what it found may end in the middle of a line. */
  #appending: number | undefined;
  #soon: Soon[] = [];
  #writesSoon = false;
  /** The descriptor that the disk is busy with: closed only afterwards. */
  #syncing: number | undefined;

  /** Without `sync`, `addSoon` is `add`. */
  constructor(path: string, sync?: Sync) {
    this.#path = path;
    this.#sync = sync;
  }

  /** @throws Error naming the file when it cannot be read or is not ours */
  read(): Remembered {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { keys: [], tunnels: [] };
      throw error;
    }
    const [first = '', ...appended] = text.split('\n');
    // What stands behind the last newline is nothing, or was cut off.
    const parts = [first, ...appended.slice(0, -1)].map((line) => this.#parse(line));
    return { keys: parts.flatMap(({ keys }) => keys), tunnels: parts.flatMap(({ tunnels }) => tunnels) };
  }

  /**
   * Puts this in place of all that was remembered.
   * @throws ProtectionFileError, and what was remembered is so still
   */
  replace(remembered: Remembered): void {
    const temporary = `${this.#path}.new`;
    let fd: number | undefined;
    try {
      fd = openSync(temporary, 'w', 0o600);
      write(fd, remembered);
      fsyncSync(fd);
      renameSync(temporary, this.#path);
      syncDirectory(dirname(this.#path));
    } catch (error) {
      if (fd !== undefined) {
        closeSync(fd);
        rmSync(temporary, { force: true });
      }
      throw this.#failed(error);
    }
    this.close();
    this.#appending = fd;
  }

  /**
   * Adds to what is remembered. `all` is what there is then, for a file that is not of this process.
   * @throws ProtectionFileError
   */
  add(more: Remembered, all: () => Remembered): void {
    if (this.#appending === undefined) {
      this.replace(all());
      return;
    }
    try {
      write(this.#appending, more);
      fdatasyncSync(this.#appending);
    } catch (error) {
      throw this.#failed(error);
    }
  }

  /** The same, together with others. What is given to `replace` before it resolves must hold it. Rejects with what `add` throws. */
  addSoon(more: Remembered, all: () => Remembered): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#sync === undefined || this.#appending === undefined) {
        this.add(more, all);
        resolve();
        return;
      }
      this.#soon.push({ more, resolve, reject });
      if (!this.#writesSoon) void this.#writeSoon(this.#sync);
    });
  }

  /** Gives what to throw. Those who wait for their turn hear it too: there is no file to append to any more. */
  #failed(error: unknown): unknown {
    const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
    if (code === undefined) return error;
    this.close();
    const mend = `${MENDS[code] ?? ANY_MEND} ${dirname(this.#path)}`;
    const failure = new ProtectionFileError(`${this.#path}: cannot be written (${code}); ${mend}`);
    for (const { reject } of this.#soon.splice(0)) reject(failure);
    return failure;
  }

  async #writeSoon(sync: Sync): Promise<void> {
    this.#writesSoon = true;
    while (this.#soon.length > 0) {
      // Those of the same turn of the event loop come together.
      await nextTurn();
      const together = this.#soon.splice(0);
      // Closed: nobody waits any more.
      if (this.#appending === undefined) break;
      try {
        await this.#writeTogether(this.#appending, together, sync);
        for (const { resolve } of together) resolve();
      } catch (error) {
        const failure = this.#failed(error);
        for (const { reject } of together) reject(failure);
      }
    }
    this.#writesSoon = false;
  }

  async #writeTogether(fd: number, together: readonly Soon[], sync: Sync): Promise<void> {
    const keys = together.flatMap(({ more }) => more.keys);
    const tunnels = together.flatMap(({ more }) => more.tunnels);
    write(fd, { keys, tunnels });
    this.#syncing = fd;
    try {
      await sync(fd);
    } finally {
      this.#syncing = undefined;
      if (fd !== this.#appending) closeSync(fd);
    }
  }

  close(): void {
    const fd = this.#appending;
    this.#appending = undefined;
    if (fd !== undefined && fd !== this.#syncing) closeSync(fd);
  }

  #parse(line: string): Remembered {
    const mend = `${this.#path} lists the tunnels that must never send plaintext again and cannot be read; look at it, and remove it only if plaintext is acceptable`;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      throw new Error(mend);
    }
    if (typeof value !== 'object' || value === null || !('protected' in value) || !isTexts(value.protected))
      throw new Error(mend);
    // Files of the first version have no names.
    const tunnels = 'tunnels' in value ? value.tunnels : [];
    if (!isTexts(tunnels)) throw new Error(mend);
    return { keys: value.protected, tunnels };
  }
}

/** @throws NodeJS.ErrnoException */
function write(fd: number, remembered: Remembered): void {
  const { failure } = writeWhole(fd, Buffer.from(lineOf(remembered)));
  if (failure !== undefined) throw failure;
}

/** So that the name stands for the new file, whatever happens. */
function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  fsyncSync(fd);
  closeSync(fd);
}

function lineOf({ keys, tunnels }: Remembered): string {
  return `${JSON.stringify({ protected: keys, tunnels })}\n`;
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}
