/**
 * Where log lines go: stderr, the syslog socket, a file. A thousand tunnels that come up say thousands of lines, so lines are
 * gathered while one event is handled and written when it is done, all destinations together. Nothing waits
 * longer: an error is written at once, with all that was said before it, and what is left when the process exits, for
 * whatever reason it can still tell, is written then. Writes are synchronous.
 *
 * Node has no Unix datagram sockets, so syslog is reached through `logger(1)`, kept running with a pipe;
 * where /dev/log or logger is missing, vlog/list says so.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeDirectory } from './directories.ts';
import { DESTINATIONS, type Destination, type Level } from './vlog-spec.ts';
import { writeWhole } from './write-whole.ts';

export interface VlogDestinations {
  write(destination: Destination, level: Level, line: string, atMs: number): void;
  /** Throws Error with one line. */
  reopenFile(): void;
  closeFile(): void;
  /** Writes what has been gathered. */
  flush(): void;
  /** Number of RFC 5424 §6.2.1. */
  setFacility(facility: number): void;
  /** Sentences about destinations that do not work, for vlog/list. */
  notes(): readonly string[];
}

/** RFC 5424 §6.2.1 severities. */
const SEVERITY: Readonly<Record<Level, number>> = { off: 7, emer: 0, err: 3, warn: 4, info: 6, dbg: 7 };
const DAEMON_FACILITY = 3;
const SYSLOG_SOCKET = '/dev/log';
/** Bytes that may wait for logger(1) before lines are dropped. */
const SYSLOG_BACKLOG = 1024 * 1024;
/** Characters that are gathered for one destination before they are written. */
const GATHERED_LIMIT = 64 * 1024;
const NEWLINE = 0x0a;
/** Levels that are not gathered: after them there may be nothing more. */
const AT_ONCE: ReadonlySet<Level> = new Set(['emer', 'err']);

export interface SystemDestinationsOptions {
  readonly program: string;
  /** Undefined: no log file until vlog/reopen, which then has nothing to open. */
  readonly logFile: string | undefined;
  /** False once the daemon is detached: nobody reads stderr any more. */
  readonly console: boolean;
  /** Default /dev/log. */
  readonly syslogSocket?: string;
}

export class SystemDestinations implements VlogDestinations {
  readonly #options: SystemDestinationsOptions;
  #file: number | undefined;
  #fileError: string | undefined;
  readonly #gathered: Record<Destination, string[]> = { console: [], syslog: [], file: [] };
  #characters = 0;
  #flushIsDue = false;
  readonly #atExit = (): void => this.flush();
  /** Lines that the file could not take since it last took one. */
  #lost = 0;
  #facility = DAEMON_FACILITY;
  #syslog: ChildProcess | undefined;
  #syslogError: string | undefined;

  /** Opens the log file; throws Error with one line when that fails. */
  constructor(options: SystemDestinationsOptions) {
    this.#options = options;
    const socket = options.syslogSocket ?? SYSLOG_SOCKET;
    if (!existsSync(socket)) this.#syslogError = `syslog: no ${socket} here, nothing is sent`;
    if (options.logFile !== undefined) this.reopenFile();
    process.on('exit', this.#atExit);
  }

  write(destination: Destination, level: Level, line: string): void {
    if (!this.#takes(destination)) return;
    const prefix = destination === 'syslog' ? `<${this.#facility * 8 + SEVERITY[level]}>` : '';
    this.#gathered[destination].push(`${prefix}${line}\n`);
    this.#characters += line.length;
    if (AT_ONCE.has(level) || this.#characters >= GATHERED_LIMIT) {
      this.flush();
    } else if (!this.#flushIsDue) {
      this.#flushIsDue = true;
      process.nextTick(() => {
        this.#flushIsDue = false;
        this.flush();
      });
    }
  }

  #takes(destination: Destination): boolean {
    if (destination === 'console') return this.#options.console;
    return destination === 'file' ? this.#file !== undefined : this.#syslogError === undefined;
  }

  flush(): void {
    this.#characters = 0;
    for (const destination of DESTINATIONS) {
      const lines = this.#gathered[destination];
      if (lines.length === 0) continue;
      this.#gathered[destination] = [];
      if (destination === 'file') this.#writeFile(lines);
      else if (destination === 'syslog') this.#writeSyslog(lines.join(''));
      // A reader that is slow or gone loses lines of stderr; waiting for it would stop the daemon.
      else writeWhole(2, Buffer.from(lines.join('')));
    }
  }

  reopenFile(): void {
    const path = this.#options.logFile;
    if (path === undefined) return;
    this.closeFile();
    try {
      makeDirectory(dirname(path));
      this.#file = openSync(path, 'a', 0o640);
      this.#fileError = undefined;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      this.#fileError = `file: cannot open ${path} (${code})`;
      throw new Error(`cannot open log file ${path} (${code}); give a writable one with --log-file=FILE`);
    }
  }

  closeFile(): void {
    this.flush();
    if (this.#file === undefined) return;
    closeSync(this.#file);
    this.#file = undefined;
  }

  setFacility(facility: number): void {
    this.#facility = facility;
  }

  notes(): readonly string[] {
    return [this.#syslogError, this.#fileError].filter((note) => note !== undefined);
  }

  /** Ends logger(1) after it has sent what it holds. */
  close(): void {
    this.closeFile();
    process.off('exit', this.#atExit);
    this.#syslog?.stdin?.end();
    this.#syslog = undefined;
  }

  /** A full disk must not stop the daemon: vlog/list tells of it, and the first line that finds room again says what is missing. */
  #writeFile(lines: readonly string[]): void {
    if (this.#file === undefined) return;
    // The line break ends what a full disk took a part of.
    const gap = this.#lost === 0 ? '' : `\n(${this.#lost} lines are missing here: ${this.#fileError})\n`;
    const told = Buffer.from(gap);
    const bytes = Buffer.concat([told, Buffer.from(lines.join(''))]);
    const { written, failure } = writeWhole(this.#file, bytes);
    if (failure === undefined || written >= told.length) this.#lost = 0;
    this.#fileError = failure === undefined ? undefined : `file: writing failed (${failure.code})`;
    // What is not whole counts as lost.
    for (const byte of bytes.subarray(Math.max(written, told.length))) if (byte === NEWLINE) this.#lost++;
  }

  #writeSyslog(lines: string): void {
    if (this.#syslogError !== undefined) return;
    this.#syslog ??= this.#startLogger();
    const stdin = this.#syslog.stdin;
    if (stdin === null || stdin.writableLength > SYSLOG_BACKLOG) return;
    stdin.write(lines);
  }

  #startLogger(): ChildProcess {
    const { program, syslogSocket = SYSLOG_SOCKET } = this.#options;
    const child = spawn(
      'logger',
      ['--prio-prefix', '--socket', syslogSocket, '--tag', program, `--id=${process.pid}`],
      {
        stdio: ['pipe', 'ignore', 'ignore'],
      },
    );
    const failed = (reason: string): void => {
      this.#syslogError = `syslog: ${reason}`;
      this.#syslog = undefined;
    };
    child.on('error', (error: NodeJS.ErrnoException) => failed(`cannot run logger(1) (${error.code})`));
    child.on('exit', (code) => {
      if (this.#syslog === child) failed(`logger(1) ended with ${code}`);
    });
    child.stdin?.on('error', () => {});
    child.unref();
    return child;
  }
}

/** Keeps lines in memory: for tests, and for who shows the log on a screen of its own. */
export class MemoryDestinations implements VlogDestinations {
  readonly lines: { readonly destination: Destination; readonly level: Level; readonly line: string }[] = [];

  write(destination: Destination, level: Level, line: string): void {
    this.lines.push({ destination, level, line });
  }

  reopenFile(): void {}

  closeFile(): void {}

  flush(): void {}

  setFacility(): void {}

  notes(): readonly string[] {
    return [];
  }
}
