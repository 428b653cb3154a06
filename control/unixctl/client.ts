/** A small client of the control socket, for our own subcommands and tests: one request, one reply. */
import { connect } from 'node:net';
import { messageOf } from '../message-of.ts';
import { JsonStream } from '../ovsdb/json-stream.ts';
import { isObject } from '../ovsdb/schema.ts';

const REPLY_LIMIT = 64 * 1024 * 1024;
const DEPTH_LIMIT = 64;

export interface UnixctlReply {
  /** True: `text` is the result. False: it is the server's error. */
  readonly ok: boolean;
  readonly text: string;
}

/**
 * Sends one command and waits for its reply.
 * Rejects with one line when the socket can't be reached, closes early, or `timeoutMs` pass.
 */
export function callUnixctl(
  path: string,
  command: string,
  args: readonly string[] = [],
  timeoutMs = 30_000,
): Promise<UnixctlReply> {
  return new Promise((resolve, reject) => {
    const json = new JsonStream({ maxBytes: REPLY_LIMIT, maxDepth: DEPTH_LIMIT });
    const socket = connect(path);
    const fail = (reason: string): void => {
      socket.destroy();
      reject(new Error(`${path}: ${reason}`));
    };
    socket.setTimeout(timeoutMs, () => fail(`no reply within ${timeoutMs / 1000} s`));
    socket.on('error', (error: NodeJS.ErrnoException) => fail(`cannot connect (${error.code ?? error.message})`));
    socket.on('close', () => reject(new Error(`${path}: closed without a reply`)));
    socket.on('connect', () => socket.write(JSON.stringify({ method: command, params: args, id: 0 })));
    socket.on('data', (chunk) => {
      try {
        const [reply] = json.push(chunk);
        if (reply === undefined) return;
        if (!isObject(reply)) throw new Error('the reply is no JSON object');
        const ok = reply.error === null || reply.error === undefined;
        const value = ok ? reply.result : reply.error;
        resolve({ ok, text: typeof value === 'string' ? value : JSON.stringify(value) });
        socket.destroy();
      } catch (error) {
        fail(messageOf(error));
      }
    });
  });
}
