/**
 * The control socket of an OVS daemon (ovs-appctl(8)): JSON-RPC 1.0 with texts only, over a Unix stream socket
 * at RUNDIR/NAME.PID.ctl, which ovs-appctl finds through RUNDIR/NAME.pid.
 *
 * Each connection has one request at work; what it sends meanwhile waits in the kernel. Whoever sends
 * anything but a request is disconnected. Requests are bounded; which commands there are is command.ts.
 */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { JsonStream, JsonStreamError } from '../ovsdb/json-stream.ts';
import { isObject } from '../ovsdb/schema.ts';
import { type Command, type CommandContext, CommandError, type CommandReply, CommandTable } from './command.ts';

/** What ovs-appctl sends is far below these. */
const REQUEST_LIMIT = 256 * 1024;
const DEPTH_LIMIT = 8;
const CONNECTION_LIMIT = 64;
/** Owner and group may write, which is what connecting needs; nobody executes a socket. */
const SOCKET_MODE = 0o660;
/** sun_path, without the terminating zero. */
const PATH_LIMIT = 107;

export interface UnixctlOptions {
  /** Full path of the socket. A socket that a dead process left there is replaced. */
  readonly path: string;
  /** The text of `version`, without a line end. */
  readonly version: string;
  /** Beside list-commands, help, version and set-options, which every server has. */
  readonly commands: readonly Command[];
  /** A command threw something that is no CommandError: a bug, for the log. */
  readonly onBug: (command: string, error: unknown) => void;
}

export class UnixctlServer {
  readonly #options: UnixctlOptions;
  readonly #table: CommandTable;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Requests that are being answered. */
  readonly #atWork = new Set<Promise<void>>();

  /** @throws Error when two commands have one name. */
  constructor(options: UnixctlOptions) {
    this.#options = options;
    this.#table = new CommandTable([...this.#builtins(), ...options.commands]);
    this.#server = createServer((socket) => this.#serve(socket));
    this.#server.maxConnections = CONNECTION_LIMIT;
  }

  get path(): string {
    return this.#options.path;
  }

  /** The table that help, completion and documentation are made of. */
  get commands(): readonly Command[] {
    return this.#table.all();
  }

  /** Rejects with one line when the socket can't be made. */
  listen(): Promise<void> {
    const { path } = this.#options;
    if (Buffer.byteLength(path) > PATH_LIMIT) {
      return Promise.reject(
        new Error(
          `control socket ${path}: longer than ${PATH_LIMIT} bytes; give a shorter one with --unixctl=SOCK or OVS_RUNDIR`,
        ),
      );
    }
    return new Promise((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException): void =>
        reject(new Error(`control socket ${path}: cannot listen (${error.code}); ${mendOf(error.code)}`));
      this.#server.once('error', failed);
      this.#server.once('listening', () => {
        this.#server.off('error', failed);
        chmodSync(path, SOCKET_MODE);
        const { uid, mode } = lstatSync(path);
        if (uid === process.geteuid?.() && (mode & 0o777) === SOCKET_MODE) resolve();
        else
          reject(
            new Error(`control socket ${path}: it is not ours alone; choose a directory that nobody else writes to`),
          );
      });
      // The pid in the name is ours, so whatever has that name was left by a process that is no more.
      removeIfThere(path);
      // The socket must not be open to others between bind and chmod.
      const former = process.umask(0o117);
      try {
        this.#server.listen(path);
      } finally {
        process.umask(former);
      }
    });
  }

  /** Takes no more requests, lets the answers to those at work leave, removes the socket. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await Promise.all(this.#atWork);
    for (const socket of this.#sockets) socket.end(() => socket.destroy());
    await closed;
  }

  #serve(socket: Socket): void {
    const json = new JsonStream({ maxBytes: REQUEST_LIMIT, maxDepth: DEPTH_LIMIT });
    const connection: Connection = { format: 'text' };
    const queue: unknown[] = [];
    let working = false;
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    const work = async (): Promise<void> => {
      if (working) return;
      working = true;
      socket.pause();
      while (queue.length > 0 && !socket.destroyed) {
        const answer = await this.#answer(queue.shift(), connection);
        if (answer === undefined) socket.destroy();
        else if (!socket.destroyed) socket.write(JSON.stringify(answer));
      }
      working = false;
      socket.resume();
    };
    socket.on('data', (chunk) => {
      try {
        queue.push(...json.push(chunk));
      } catch (error) {
        if (!(error instanceof JsonStreamError)) throw error;
        socket.destroy();
        return;
      }
      const atWork = work().finally(() => this.#atWork.delete(atWork));
      this.#atWork.add(atWork);
    });
  }

  /** Undefined for what is no request. */
  async #answer(message: unknown, connection: Connection): Promise<object | undefined> {
    if (!isObject(message)) return undefined;
    const { method, params, id } = message;
    if (typeof method !== 'string' || !Array.isArray(params) || id === undefined || id === null) return undefined;
    try {
      const command = this.#table.find(method, params.length);
      const args = params.map((param: unknown) => {
        if (typeof param === 'string') return param;
        throw new CommandError(`"${method}" command has non-string argument`);
      });
      const reply = await (command.name === 'set-options'
        ? setOptions(args, connection)
        : command.run(args, connection satisfies CommandContext));
      return { result: wrap(reply, connection), error: null, id };
    } catch (error) {
      if (error instanceof CommandError) return { result: null, error: error.message, id };
      this.#options.onBug(method, error);
      return { result: null, error: `"${method}" failed: internal error, see the log`, id };
    }
  }

  #builtins(): readonly Command[] {
    const list = (): string => this.#table.list();
    return [
      { name: 'list-commands', usage: '', min: 0, max: 0, run: list },
      { name: 'help', usage: '', min: 0, max: 0, run: list },
      { name: 'version', usage: '', min: 0, max: 0, run: () => this.#options.version },
      // Changes the connection and not the daemon, so #answer carries it out.
      { name: 'set-options', usage: '[--format text|json]', min: 2, max: 2, run: () => '' },
    ];
  }
}

interface Connection {
  format: 'text' | 'json';
}

function setOptions(args: readonly string[], connection: Connection): string {
  const [option = '', value = ''] = args;
  if (option !== '--format') throw new CommandError(`unrecognized option '${option}'`);
  if (value !== 'text' && value !== 'json') throw new CommandError(`option '${option}' has invalid value '${value}'`);
  connection.format = value;
  return '';
}

/**
 * Text replies to a connection that wants JSON are wrapped as newer OVS does. ovs-appctl prints a text as it
 * is, so one that says something ends its last line.
 */
function wrap(reply: CommandReply, connection: Connection): unknown {
  if (typeof reply !== 'string') return connection.format === 'json' ? reply.json : JSON.stringify(reply.json);
  const text = reply === '' || reply.endsWith('\n') ? reply : `${reply}\n`;
  return connection.format === 'json' ? { 'reply-format': 'plain', reply: text } : text;
}

function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    // Anything but its absence will show itself when the socket is bound.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
  }
}

function mendOf(code: string | undefined): string {
  // libuv says EACCES for a missing directory too.
  if (code === 'EACCES' || code === 'EPERM') {
    return 'check that its directory exists and that you may write there, or set OVS_RUNDIR to one of yours';
  }
  if (code === 'EADDRINUSE') return 'another daemon uses it';
  return 'give another with --unixctl=SOCK';
}
