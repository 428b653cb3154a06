/**
 * Where log lines go: stderr, the syslog socket, a file. Writes are synchronous, so that the last line
 * before a crash is on disk; a daemon that logs much has its levels wrong.
 *
 * Node has no Unix datagram sockets, so syslog is reached through `logger(1)`, kept running with a pipe;
 * where /dev/log or logger is missing, vlog/list says so.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeDirectory } from './directories.ts';
import type { Destination, Level } from './vlog-spec.ts';

export interface VlogDestinations {
  write(destination: Destination, level: Level, line: string, atMs: number): void;
  /** Throws Error with one line. */
  reopenFile(): void;
  closeFile(): void;
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
  }

  write(destination: Destination, level: Level, line: string): void {
    switch (destination) {
      case 'console':
        if (this.#options.console) writeWhole(2, `${line}\n`);
        break;
      case 'file':
        this.#writeFile(line);
        break;
      case 'syslog':
        this.#writeSyslog(level, line);
        break;
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
    this.#syslog?.stdin?.end();
    this.#syslog = undefined;
  }

  /** A full disk must not stop the daemon: vlog/list tells of it, and the first line that finds room again says what is missing. */
  #writeFile(line: string): void {
    if (this.#file === undefined) return;
    try {
      // The line break ends what a full disk took a part of.
      const gap = this.#lost === 0 ? '' : `\n(${this.#lost} lines are missing here: ${this.#fileError})\n`;
      writeWhole(this.#file, `${gap}${line}\n`);
      this.#lost = 0;
      this.#fileError = undefined;
    } catch (error) {
      this.#lost++;
      this.#fileError = `file: writing failed (${(error as NodeJS.ErrnoException).code})`;
    }
  }

  #writeSyslog(level: Level, line: string): void {
    if (this.#syslogError !== undefined) return;
    this.#syslog ??= this.#startLogger();
    const stdin = this.#syslog.stdin;
    if (stdin === null || stdin.writableLength > SYSLOG_BACKLOG) return;
    stdin.write(`<${this.#facility * 8 + SEVERITY[level]}>${line}\n`);
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

/** writeSync may take a part only, or nothing at all from a full non-blocking pipe. */
function writeWhole(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  let at = 0;
  try {
    while (at < bytes.length) at += writeSync(fd, bytes, at);
  } catch (error) {
    // A reader that is slow or gone loses lines of stderr; waiting for it would stop the daemon.
    const code = (error as NodeJS.ErrnoException).code;
    if (fd !== 2 || (code !== 'EAGAIN' && code !== 'EPIPE')) throw error;
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

  setFacility(): void {}

  notes(): readonly string[] {
    return [];
  }
}
