/**
 * When whoever started the daemon may go on: systemd, and the shell that gave `--detach`. Not before the first configuration is in force,
 * since a device that is set up in the next line would send in the clear; but a database that nobody can reach holds nobody up.
 */
import type { Timers } from './ovsdb/timers.ts';

/** How long the first configuration is waited for. */
const PATIENCE_MS = 5000;

export class FirstConfiguration {
  /** Resolves when the configuration is in force, or has been waited for long enough. */
  readonly awaited: Promise<void>;
  #settle: () => void = () => {};

  constructor(timers: Timers) {
    this.awaited = new Promise((resolve) => {
      const cancel = timers.after(PATIENCE_MS, resolve);
      this.#settle = () => {
        cancel();
        resolve();
      };
    });
  }

  inForce(): void {
    this.#settle();
  }
}
