/**
 * The pidfile as OVS keeps it: `PID\n`, with an fcntl write lock held on it for as long as the daemon lives.
 * ovs-appctl believes no other. Nobody in this process may open that file again: closing any
 * descriptor of it would drop the lock (fcntl(2)), so it is only ever looked at with stat.
 */
import { fstatSync, statSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Native } from '../native-shims/types.ts';
import { makeDirectory } from './directories.ts';

export class Pidfile {
  readonly path: string;
  readonly #ino: number;
  readonly #dev: number;

  private constructor(path: string, fd: number) {
    this.path = path;
    const { ino, dev } = fstatSync(fd);
    this.#ino = ino;
    this.#dev = dev;
  }

  /**
   * Writes and locks it. `overwrite` (--overwrite-pidfile) starts even if another daemon holds it.
   * @throws Error with one line when another daemon holds it or it can't be written
   */
  static take(path: string, native: Pick<Native, 'lockPidfile'>, overwrite: boolean, pid = process.pid): Pidfile {
    try {
      makeDirectory(dirname(path));
      // A new file takes the place of the old one, whose holder keeps the lock on what is now nameless.
      if (overwrite) unlinkIfThere(path);
      return new Pidfile(path, native.lockPidfile(path, `${pid}\n`));
    } catch (error) {
      throw new Error(describe(path, error));
    }
  }

  /** Deletes the file if it is still ours. Safe to call twice. */
  remove(): void {
    const now = statSync(this.path, { throwIfNoEntry: false });
    if (now?.ino === this.#ino && now.dev === this.#dev) unlinkIfThere(this.path);
  }
}

function describe(path: string, error: unknown): string {
  const { code, message = String(error), holder } = error as { code?: string; message?: string; holder?: number };
  if (code === 'EAGAIN' || code === 'EACCES') {
    if (holder !== undefined && holder > 0)
      return `${path}: already running as pid ${holder}, aborting; stop it first, or give --overwrite-pidfile`;
    if (code === 'EAGAIN')
      return `${path}: locked by another daemon, aborting; stop it first, or give --overwrite-pidfile`;
  }
  return `${path}: cannot write the pidfile (${code ?? message}); give a writable one with --pidfile=FILE or OVS_RUNDIR`;
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
