/**
 * Logging as OVS does it (ovs-appctl(8), "LOGGING COMMANDS"): modules with a level for each of the three
 * destinations console, syslog and file, and the same lines:
 * `2026-11-23T13:45:00.123Z|00007|module|INFO|message`.
 *
 * What a log line says is partly chosen by peers and by database users, so control characters in it are
 * escaped: one call, one line. Specifications (`vlog/set`) are read in vlog-spec.ts, destinations are
 * opened in vlog-destinations.ts.
 */
import type { VlogDestinations } from './vlog-destinations.ts';
import { DESTINATIONS, type Destination, LEVELS, type Level, parseVlogSpec, type VlogChange } from './vlog-spec.ts';

export type { Destination, Level } from './vlog-spec.ts';

/** What a module logs with. `off` is no level to log at. */
export interface Logger {
  emer(message: string): void;
  err(message: string): void;
  warn(message: string): void;
  info(message: string): void;
  dbg(message: string): void;
  log(level: LogLevel, message: string): void;
  /**
   * For what a peer can cause at will: at most LIMIT_BURST lines at once and LIMIT_PER_MINUTE on average for
   * each `key`, then one line with how many were dropped. Keys are chosen by us, never by input.
   */
  limited(key: string, level: LogLevel, message: string): void;
  /** Whether a line of this level would go anywhere: ask before building a costly message. */
  isEnabled(level: LogLevel): boolean;
}

export type LogLevel = Exclude<Level, 'off'>;

/** The rate OVS gives its own noisy messages. */
const LIMIT_PER_MINUTE = 5;
const LIMIT_BURST = 5;

const DEFAULT_LEVELS: Readonly<Record<Destination, Level>> = { console: 'info', syslog: 'info', file: 'info' };

/** The patterns of OVS, as vlog/list-pattern shows them. */
const DEFAULT_PATTERNS: Readonly<Record<Destination, string>> = {
  console: '%D{%Y-%m-%dT%H:%M:%SZ}|%05N|%c|%p|%m',
  syslog: 'ovs|%05N|%c|%p|%m',
  file: '%D{%Y-%m-%dT%H:%M:%S.###Z}|%05N|%c|%p|%m',
};

interface Bucket {
  tokens: number;
  filledAtMs: number;
  dropped: number;
  firstDroppedAtMs: number;
  lastDroppedAtMs: number;
}

export interface VlogOptions {
  /** Program name, `%A` in patterns. */
  readonly program: string;
  readonly destinations: VlogDestinations;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export class Vlog {
  readonly #options: VlogOptions;
  readonly #levels = new Map<string, Record<Destination, Level>>();
  readonly #patterns: Record<Destination, string> = { ...DEFAULT_PATTERNS };
  readonly #unlimited = new Set<string>();
  readonly #buckets = new Map<string, Bucket>();
  #defaults: Record<Destination, Level> = { ...DEFAULT_LEVELS };
  #sequence = 0;

  constructor(options: VlogOptions) {
    this.#options = options;
  }

  /** Registers the module if it is new. Names as in OVS: lower case with underscores. */
  logger(module: string): Logger {
    if (!this.#levels.has(module)) this.#levels.set(module, { ...this.#defaults });
    const log = (level: LogLevel, message: string): void => this.#log(module, level, message);
    return {
      emer: (message) => log('emer', message),
      err: (message) => log('err', message),
      warn: (message) => log('warn', message),
      info: (message) => log('info', message),
      dbg: (message) => log('dbg', message),
      log,
      limited: (key, level, message) => this.#limited(module, key, level, message),
      isEnabled: (level) => this.#enabledFor(module, level).length > 0,
    };
  }

  /**
   * Carries out one argument of vlog/set or --verbose; an empty one sets everything to dbg.
   * Gives OVS's sentence when it is wrong, and then changes nothing.
   */
  set(spec: string): string | undefined {
    const change = parseVlogSpec(spec, (module) => this.#levels.has(module));
    if ('error' in change) return change.error;
    this.#apply(change);
    return undefined;
  }

  /** The text of vlog/list. */
  list(): string {
    // The notes tell of what could not be written.
    this.#options.destinations.flush();
    const rows = [...this.#levels]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([module, levels]) => {
        const [console, syslog, file] = DESTINATIONS.map((destination) =>
          levels[destination].toUpperCase().padStart(5),
        );
        const limit = this.#unlimited.has(module) ? ' (rate limiting disabled)' : '';
        return `${module.padEnd(16)}  ${console}      ${syslog}      ${file}${limit}\n`;
      });
    const note = this.#options.destinations.notes().map((line) => `(${line})\n`);
    return `                 console    syslog    file\n                 -------    ------    ------\n${rows.join('')}${note.join('')}`;
  }

  /** The text of vlog/list-pattern. */
  listPatterns(): string {
    const rows = DESTINATIONS.map((destination) => {
      const prefix = destination === 'syslog' ? `<%B> %D{%h %e %T} %A:` : 'none';
      return `${destination.toUpperCase().padEnd(7)}  ${prefix.padEnd(32)}  ${this.#patterns[destination]}\n`;
    });
    return `         prefix                            format\n         ------                            ------\n${rows.join('')}`;
  }

  /** No modules: all. Gives `unknown module` for one that is not there. */
  setRateLimit(modules: readonly string[], enabled: boolean): string | undefined {
    if (modules.some((module) => !this.#levels.has(module))) return 'unknown module';
    for (const module of modules.length === 0 ? this.#levels.keys() : modules) {
      if (enabled) this.#unlimited.delete(module);
      else this.#unlimited.add(module);
    }
    return undefined;
  }

  /** Opens the log file anew, after logrotate moved it. Throws Error with one line. */
  reopen(): void {
    this.#options.destinations.reopenFile();
  }

  /** Closes the log file. */
  close(): void {
    this.#options.destinations.closeFile();
  }

  #apply(change: Exclude<VlogChange, { error: string }>): void {
    if ('pattern' in change) {
      for (const destination of change.destinations) this.#patterns[destination] = change.pattern;
      return;
    }
    if ('facility' in change) {
      this.#options.destinations.setFacility(change.facility);
      return;
    }
    for (const [module, levels] of this.#levels) {
      if (change.module !== undefined && change.module !== module) continue;
      for (const destination of change.destinations) levels[destination] = change.level;
    }
    if (change.module === undefined) {
      this.#defaults = { ...this.#defaults };
      for (const destination of change.destinations) this.#defaults[destination] = change.level;
    }
  }

  #enabledFor(module: string, level: LogLevel): Destination[] {
    const levels = this.#levels.get(module) ?? this.#defaults;
    const rank = LEVELS.indexOf(level);
    return DESTINATIONS.filter((destination) => LEVELS.indexOf(levels[destination]) >= rank);
  }

  #log(module: string, level: LogLevel, message: string): void {
    const destinations = this.#enabledFor(module, level);
    if (destinations.length === 0) return;
    this.#sequence++;
    const facts = {
      atMs: this.#options.now(),
      sequence: this.#sequence,
      module,
      level: level.toUpperCase(),
      message: escapeControls(message),
      program: this.#options.program,
    };
    for (const destination of destinations) {
      this.#options.destinations.write(
        destination,
        level,
        formatPattern(this.#patterns[destination], facts),
        facts.atMs,
      );
    }
  }

  #limited(module: string, key: string, level: LogLevel, message: string): void {
    if (this.#unlimited.has(module)) {
      this.#log(module, level, message);
      return;
    }
    const now = this.#options.now();
    const name = `${module}/${key}`;
    let bucket = this.#buckets.get(name);
    if (bucket === undefined) {
      bucket = { tokens: LIMIT_BURST, filledAtMs: now, dropped: 0, firstDroppedAtMs: 0, lastDroppedAtMs: 0 };
      this.#buckets.set(name, bucket);
    }
    const gained = (Math.max(0, now - bucket.filledAtMs) / 60_000) * LIMIT_PER_MINUTE;
    bucket.tokens = Math.min(LIMIT_BURST, bucket.tokens + gained);
    bucket.filledAtMs = now;
    if (bucket.tokens < 1) {
      if (bucket.dropped === 0) bucket.firstDroppedAtMs = now;
      bucket.lastDroppedAtMs = now;
      bucket.dropped++;
      return;
    }
    bucket.tokens--;
    if (bucket.dropped > 0) {
      const first = Math.round((now - bucket.firstDroppedAtMs) / 1000);
      const last = Math.round((now - bucket.lastDroppedAtMs) / 1000);
      this.#log(
        module,
        level,
        `Dropped ${bucket.dropped} log messages in last ${first} seconds (most recently, ${last} seconds ago) due to excessive rate`,
      );
      bucket.dropped = 0;
    }
    this.#log(module, level, message);
  }
}

/** Control characters, the line separators of Unicode, and bidirectional overrides as escapes. */
export function escapeControls(message: string): string {
  return message.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (character) => {
    const code = character.codePointAt(0)!;
    if (character === '\n') return '\\n';
    if (character === '\t') return '\\t';
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

interface LineFacts {
  readonly atMs: number;
  readonly sequence: number;
  readonly module: string;
  readonly level: string;
  readonly message: string;
  readonly program: string;
}

/** Expands the escapes of ovs-appctl(8): %A %c %d %D %m %N %n %p %P %r %t %T %%, with flags `-`, `0` and a width. */
export function formatPattern(pattern: string, facts: LineFacts): string {
  return pattern.replace(
    /%(-?)(0?)(\d{0,2})([AcdDmNnpPrtTBE%])(?:\{([^}]*)\})?/g,
    (_, left: string, zero: string, width: string, letter: string, argument: string | undefined) => {
      const text = patternField(letter, argument, facts);
      const size = Number(width);
      if (left !== '') return text.padEnd(size);
      return text.padStart(size, zero === '' ? ' ' : '0');
    },
  );
}

function patternField(letter: string, argument: string | undefined, facts: LineFacts): string {
  switch (letter) {
    case 'A':
      return facts.program;
    case 'c':
      return facts.module;
    case 'd':
    case 'D':
      return formatDate(argument ?? '%Y-%m-%d %H:%M:%S.###', new Date(facts.atMs));
    case 'm':
      return facts.message;
    case 'N':
      return String(facts.sequence);
    case 'n':
      return '\n';
    case 'p':
      return facts.level;
    case 'P':
      return String(process.pid);
    case 'r':
      return String(Math.round(process.uptime() * 1000));
    case '%':
      return '%';
    default:
      // %t, %T, %B, %E: thread and syslog names, which one main thread and our syslog writer have no use for.
      return '';
  }
}

function formatDate(format: string, date: Date): string {
  const iso = date.toISOString();
  const fields: Readonly<Record<string, string>> = {
    '%Y': iso.slice(0, 4),
    '%m': iso.slice(5, 7),
    '%d': iso.slice(8, 10),
    '%H': iso.slice(11, 13),
    '%M': iso.slice(14, 16),
    '%S': iso.slice(17, 19),
    '%T': iso.slice(11, 19),
    '###': iso.slice(20, 23),
  };
  return format.replace(/%[YmdHMST]|###/g, (field) => fields[field] ?? field);
}
