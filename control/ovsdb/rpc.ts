/**
 * A JSON-RPC 1.0 session (RFC 7047 §4) over a connected byte stream.
 *
 * It matches replies to requests, answers the peer's `echo`, and probes a peer that has been silent.
 * Replies come through a callback and not a promise: what follows a reply in the same read must find it
 * already dealt with (a monitor's reply and the first update). Connecting is left to remote.ts.
 */
import type { Duplex } from 'node:stream';
import { JsonStream, JsonStreamError } from './json-stream.ts';
import { isObject } from './schema.ts';
import { systemTimers, type Timers } from './timers.ts';

/** Largest message taken from a server, and most that may wait to be sent to it, in bytes. */
const MESSAGE_LIMIT = 64 * 1024 * 1024;
const DEPTH_LIMIT = 64;

export interface RpcReply {
  readonly result: unknown;
  /** Null when it worked. */
  readonly error: unknown;
}

export interface RpcOptions {
  readonly onNotification: (method: string, params: readonly unknown[]) => void;
  /** Exactly once. `reason` is one line. Requests without a reply will get none. */
  readonly onClose: (reason: string) => void;
  /** Idle ms before the peer is probed with `echo`; as long again without an answer closes. 0 is never. */
  readonly probeMs: number;
  readonly timers?: Timers;
}

export class RpcSession {
  readonly #stream: Duplex;
  readonly #options: RpcOptions;
  readonly #timers: Timers;
  readonly #json = new JsonStream({ maxBytes: MESSAGE_LIMIT, maxDepth: DEPTH_LIMIT });
  readonly #waiting = new Map<number, (reply: RpcReply) => void>();
  #nextId = 0;
  #open = true;
  #probeSent = false;
  #stopTimer: () => void = () => {};

  constructor(stream: Duplex, options: RpcOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
    stream.on('data', (chunk: Uint8Array) => this.#receive(chunk));
    stream.on('error', (error) => this.close(error.message));
    stream.on('end', () => this.close('connection closed by peer'));
    stream.on('close', () => this.close('connection closed by peer'));
    this.#armProbe();
  }

  get isOpen(): boolean {
    return this.#open;
  }

  call(method: string, params: readonly unknown[], onReply: (reply: RpcReply) => void): void {
    const id = this.#nextId++;
    this.#waiting.set(id, onReply);
    this.#send({ method, params, id });
  }

  /** Ends the session; later calls do nothing. */
  close(reason: string): void {
    if (!this.#open) return;
    this.#open = false;
    this.#stopTimer();
    this.#waiting.clear();
    this.#stream.destroy();
    this.#options.onClose(reason);
  }

  #send(message: object): void {
    if (!this.#open) return;
    this.#stream.write(JSON.stringify(message));
    if (this.#stream.writableLength > MESSAGE_LIMIT) this.close('the peer reads nothing');
  }

  #receive(chunk: Uint8Array): void {
    if (!this.#open) return;
    this.#probeSent = false;
    this.#armProbe();
    try {
      for (const message of this.#json.push(chunk)) {
        this.#dispatch(message);
        if (!this.#open) return;
      }
    } catch (error) {
      if (error instanceof JsonStreamError) this.close(`protocol error: ${error.message}`);
      else throw error;
    }
  }

  #dispatch(message: unknown): void {
    if (!isObject(message)) {
      this.close('protocol error: a message is no JSON object');
      return;
    }
    const { method, params, id, result, error } = message;
    if (method === undefined) {
      const onReply = typeof id === 'number' ? this.#waiting.get(id) : undefined;
      if (onReply === undefined) {
        this.close('protocol error: reply to a request that was not made');
        return;
      }
      this.#waiting.delete(id as number);
      onReply({ result, error: error ?? null });
      return;
    }
    if (typeof method !== 'string' || !Array.isArray(params)) {
      this.close('protocol error: malformed message');
      return;
    }
    if (id === undefined || id === null) {
      this.#options.onNotification(method, params);
      return;
    }
    if (method === 'echo') {
      this.#send({ result: params, error: null, id });
      return;
    }
    this.#send({ result: null, error: { error: 'unknown method', details: method }, id });
    return;
  }

  #armProbe(): void {
    if (this.#options.probeMs === 0) return;
    this.#stopTimer();
    this.#stopTimer = this.#timers.after(this.#options.probeMs, () => {
      if (this.#probeSent) {
        this.close(`no answer to a probe for ${this.#options.probeMs / 1000} s`);
        return;
      }
      this.call('echo', [], () => {});
      this.#probeSent = true;
      this.#armProbe();
    });
  }
}
