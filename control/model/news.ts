/** The last negotiations in words: what IKE logs for an operator, the latest lines kept for the page and `top`. */
import type { Logger, LogLevel } from '../vlog.ts';

export interface NewsLine {
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly level: LogLevel;
  readonly text: string;
}

const KEPT = 50;
const HEARD: readonly LogLevel[] = ['emer', 'err', 'warn', 'info'];

export class News {
  readonly #now: () => number;
  readonly #lines: NewsLine[] = [];

  /** @param now milliseconds since 1970 */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Oldest first. */
  lines(): readonly NewsLine[] {
    return [...this.#lines];
  }

  /** A logger that goes to `logger`, and whose lines are kept from `info` on. */
  listeningTo(logger: Logger): Logger {
    const log = (level: LogLevel, text: string): void => {
      this.#hear(level, text);
      logger.log(level, text);
    };
    return {
      emer: (text) => log('emer', text),
      err: (text) => log('err', text),
      warn: (text) => log('warn', text),
      info: (text) => log('info', text),
      dbg: (text) => log('dbg', text),
      log,
      // What a peer can cause at will must not push everything else out: it is for the log alone.
      limited: (key, level, text) => logger.limited(key, level, text),
      isEnabled: (level) => logger.isEnabled(level) || HEARD.includes(level),
    };
  }

  #hear(level: LogLevel, text: string): void {
    if (!HEARD.includes(level)) return;
    this.#lines.push({ atMs: this.#now(), level, text });
    if (this.#lines.length > KEPT) this.#lines.shift();
  }
}
