/**
 * What the daemon tells systemd, if that has started it (sd_notify(3)): that it is ready, how it is, that it stops, and
 * that it is alive. The watchdog is fed only while every packet worker makes progress: a worker that hangs for longer
 * than WatchdogSec gets the whole daemon started again, which fails closed meanwhile.
 */
import type { Native } from '../native-shims/index.ts';
import { messageOf } from './message-of.ts';

/** Turns and sleeps of each worker: a worker that lives sleeps a second at most. */
export type Pulse = () => readonly number[];

export interface ServiceManagerOptions {
  readonly native: Pick<Native, 'sendNotification'>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly pid: number;
  readonly pulse: Pulse;
  /** One line for STATUS=, shown by `systemctl status`. */
  readonly status: () => string;
  /** One line for the log. */
  readonly warn: (message: string) => void;
}

const STATUS_MS = 10_000;

export class ServiceManager {
  readonly #options: ServiceManagerOptions;
  readonly #socket: string | undefined;
  /** Undefined: no watchdog. */
  readonly #watchdogMs: number | undefined;
  #pulse: readonly number[] | undefined;
  #lastStatus = '';
  #timers: NodeJS.Timeout[] = [];

  constructor(options: ServiceManagerOptions) {
    const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: micros, WATCHDOG_PID: pid } = options.environment;
    this.#options = options;
    this.#socket = socket === undefined || !/^[/@]/.test(socket) ? undefined : socket;
    const isMeant = pid === undefined || Number(pid) === options.pid;
    this.#watchdogMs = isMeant && /^[1-9]\d*$/.test(micros ?? '') ? Number(micros) / 1000 : undefined;
  }

  /** The daemon answers; from now on the watchdog is fed. */
  ready(): void {
    if (this.#socket === undefined) return;
    this.#send(`READY=1\n${this.#statusLine()}`);
    this.#every(STATUS_MS, () => this.#sendStatus());
    // Two looks in one period, as sd_watchdog_enabled(3) asks, and a third because a look may find a worker asleep.
    if (this.#watchdogMs !== undefined) this.#every(this.#watchdogMs / 3, () => this.#feed());
  }

  stopping(): void {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    this.#send('STOPPING=1\n');
  }

  #every(ms: number, action: () => void): void {
    this.#timers.push(setInterval(action, ms).unref());
  }

  #sendStatus(): void {
    const line = this.#statusLine();
    if (line !== this.#lastStatus) this.#send(line);
    this.#lastStatus = line;
  }

  #statusLine(): string {
    return `STATUS=${this.#options.status().replaceAll('\n', ' ').slice(0, 900)}\n`;
  }

  #feed(): void {
    const pulse = this.#options.pulse();
    const before = this.#pulse;
    this.#pulse = pulse;
    const stuck = pulse.findIndex((count, worker) => count === before?.[worker]);
    if (stuck < 0) this.#send('WATCHDOG=1\n');
    else this.#options.warn(`packet worker ${stuck} makes no progress: the watchdog of systemd is not fed`);
  }

  #send(text: string): void {
    if (this.#socket === undefined) return;
    try {
      this.#options.native.sendNotification(this.#socket, text);
    } catch (error) {
      this.#options.warn(messageOf(error));
    }
  }
}
