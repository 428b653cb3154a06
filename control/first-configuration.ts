/**
 * When whoever started the daemon may go on: systemd, and the shell that gave `--detach`. Not before the first configuration is in force,
 * since a device that is set up in the next line would send in the clear; but a database that nobody can reach holds nobody up, and
 * what another process has to enforce (it holds the lock) is not waited for.
 */
import type { Timers } from './ovsdb/timers.ts';
import type { Logger } from './vlog.ts';

/** How long the first configuration is waited for. */
const PATIENCE_MS = 5000;

export class FirstConfiguration {
  /** Resolves when it is decided, or has been waited for long enough. */
  readonly awaited: Promise<void>;
  #settle: () => void = () => {};

  constructor(timers: Timers, log: () => Logger) {
    this.awaited = new Promise((resolve) => {
      const cancel = timers.after(PATIENCE_MS, () => {
        log().warn(
          `no configuration is in force ${PATIENCE_MS / 1000} s after the start: who waits for it goes on without, and tunnels are down until it is`,
        );
        resolve();
      });
      this.#settle = () => {
        cancel();
        resolve();
      };
    });
  }

  /** It is in force, or it is another process's to enforce. */
  decided(): void {
    this.#settle();
  }
}
