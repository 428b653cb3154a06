/**
 * Tells when credential files may have changed: inotify on the directories they are in, so that a file that is renamed into
 * place or appears later is seen, and a look at all of them every few seconds for what inotify cannot see (a symlink's target
 * in another directory, a network file system). What has really changed, CredentialFiles finds out.
 */
import { type FSWatcher, watch } from 'node:fs';
import { dirname } from 'node:path';
import type { Timers } from '../ovsdb/timers.ts';

/** Writers take a moment for a certificate and its key. */
const SETTLE_MS = 200;
const LOOK_MS = 5000;
/** More directories than this are only looked at. */
const DIRECTORIES_LIMIT = 64;

export class CredentialWatcher {
  readonly #timers: Timers;
  readonly #look: () => void;
  readonly #watchers = new Map<string, FSWatcher>();
  #stopLooking: (() => void) | undefined;
  #settling: (() => void) | undefined;

  /** @param look is called when something may have changed */
  constructor(timers: Timers, look: () => void) {
    this.#timers = timers;
    this.#look = look;
  }

  /** Watches these files from now on, and no others. */
  set(paths: ReadonlySet<string>): void {
    const directories = new Set([...paths].map(dirname).slice(0, DIRECTORIES_LIMIT));
    for (const [directory, watcher] of this.#watchers) {
      if (directories.has(directory)) continue;
      watcher.close();
      this.#watchers.delete(directory);
    }
    for (const directory of directories) this.#watch(directory);
    if (paths.size === 0) {
      this.#stopLooking?.();
      this.#stopLooking = undefined;
    } else if (this.#stopLooking === undefined) this.#lookLater();
  }

  close(): void {
    this.set(new Set());
    this.#settling?.();
    this.#settling = undefined;
  }

  #watch(directory: string): void {
    if (this.#watchers.has(directory)) return;
    try {
      const watcher = watch(directory, { persistent: false }, () => this.#settle());
      watcher.on('error', () => this.#forget(directory, watcher));
      this.#watchers.set(directory, watcher);
    } catch {
      // The directory is not there, or there are too many watches on this host: then looking has to do.
    }
  }

  /** The directory went away; should it come back, looking finds it. */
  #forget(directory: string, watcher: FSWatcher): void {
    watcher.close();
    if (this.#watchers.get(directory) === watcher) this.#watchers.delete(directory);
  }

  #settle(): void {
    this.#settling?.();
    this.#settling = this.#timers.after(SETTLE_MS, () => {
      this.#settling = undefined;
      this.#look();
    });
  }

  #lookLater(): void {
    this.#stopLooking = this.#timers.after(LOOK_MS, () => {
      this.#lookLater();
      this.#look();
    });
  }
}
