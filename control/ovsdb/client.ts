/**
 * An OVSDB client (RFC 7047, and ovsdb-server(7) for the extensions) that keeps a replica of chosen columns.
 *
 * One connection goes: get_schema, monitor_cond_since (from the last transaction known, so that a
 * reconnect brings only what changed), else monitor_cond, else monitor; then update3, update2 or update
 * notifications. While it is away the replica keeps its last state. Clustered databases are left out:
 * the switch's own database never is one, so no leader is looked for.
 */
import { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import type { ColumnChoice, Database, DatabaseEvents, Operation, Replica, TransactionResult } from './database.ts';
import { LockSet } from './locks.ts';
import { openStream, type Remote, type TlsFiles } from './remote.ts';
import { type OwnKeys, RowStore } from './row-store.ts';
import { RpcSession } from './rpc.ts';
import {
  type DatabaseSchema,
  isObject,
  OvsdbFormatError,
  parseSchema,
  type TableColumns,
  ZERO_UUID,
} from './schema.ts';
import { systemTimers, type Timers } from './timers.ts';
import { encodeOperations, failedTransaction, readTransactionReply } from './transaction.ts';

/** Back-off between attempts in ms: doubles from the first to the largest, each spread by ±25 %. */
const BACKOFF_MS = 1000;
const BACKOFF_MAX_MS = 8000;
const PROBE_MS = 5000;
/** The connection as a whole, from dialling to a complete replica, gets this long. */
const SETUP_MS = 30_000;

/** Names of the monitor methods, best first, and what their updates look like. */
const MONITORS = ['monitor_cond_since', 'monitor_cond', 'monitor'] as const;

export interface OvsdbClientOptions {
  /** As the user spelled the remote; used in reasons. */
  readonly name: string;
  readonly remote: Remote;
  readonly database?: string;
  readonly columns: ColumnChoice;
  /** Keys that this client alone writes. A change in nothing but them is not told. */
  readonly ownKeys?: OwnKeys;
  readonly tls?: TlsFiles;
  readonly timers?: Timers;
  /** 0 up to 1. */
  readonly random?: () => number;
  /** Idle ms before a probe; default 5000 on tcp and ssl, 0 (never) on unix. */
  readonly probeMs?: number;
}

export class OvsdbClient extends EventEmitter<DatabaseEvents> implements Database {
  readonly isShared = true;
  readonly #options: OvsdbClientOptions;
  readonly #timers: Timers;
  readonly #locks: LockSet;
  readonly #inFlight = new Set<(result: TransactionResult) => void>();
  /** All of the server's columns, and those that are monitored. */
  #schema: DatabaseSchema = new Map();
  #columns: DatabaseSchema = new Map();
  #store = new RowStore(new Map());
  #lastTransaction = ZERO_UUID;
  #session: RpcSession | undefined;
  #synced = false;
  #closed = false;
  #attempts = 0;
  #told: string | undefined;
  #stop: () => void = () => {};

  constructor(options: OvsdbClientOptions) {
    super();
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
    this.#locks = new LockSet((name, held) => this.emit('lock', name, held));
  }

  get name(): string {
    return this.#options.name;
  }

  get synced(): boolean {
    return this.#synced;
  }

  start(): void {
    this.#connect();
  }

  replica(): Replica {
    return this.#store.tables;
  }

  hasColumn(table: string, column: string): boolean {
    return this.#schema.get(table)?.has(column) ?? false;
  }

  transact(operations: readonly Operation[]): Promise<TransactionResult> {
    const session = this.#session;
    if (session === undefined || !this.#synced) {
      return Promise.resolve(failedTransaction(`not connected to ${this.name}`));
    }
    return new Promise((resolve) => {
      this.#inFlight.add(resolve);
      const params = [this.#databaseName, ...encodeOperations(this.#schema, operations)];
      session.call('transact', params, (reply) => {
        this.#inFlight.delete(resolve);
        resolve(readTransactionReply(reply, operations));
      });
    });
  }

  lock(name: string): void {
    this.#locks.want(name, this.#synced ? this.#session : undefined);
  }

  unlock(name: string): void {
    this.#locks.release(name, this.#synced ? this.#session : undefined);
  }

  holdsLock(name: string): boolean {
    return this.#locks.holds(name);
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#stop();
    this.#session?.close('closed');
    return Promise.resolve();
  }

  get #databaseName(): string {
    return this.#options.database ?? 'Open_vSwitch';
  }

  // --- one connection, in order

  #connect(): void {
    if (this.#closed) return;
    const { remote, tls } = this.#options;
    let giveUp: () => void = () => {};
    const stopTimer = this.#timers.after(SETUP_MS, () => {
      const reason = `no answer within ${SETUP_MS / 1000} s`;
      giveUp();
      if (this.#session === undefined) this.#lost(reason);
      else this.#session.close(reason);
    });
    this.#stop = () => {
      stopTimer();
      giveUp();
    };
    giveUp = openStream(
      remote,
      tls ?? {},
      (stream) => this.#begin(stream),
      (reason) => this.#lost(reason),
    );
  }

  #begin(stream: Duplex): void {
    const { remote, probeMs = 'path' in remote ? 0 : PROBE_MS } = this.#options;
    const session = new RpcSession(stream, {
      probeMs,
      timers: this.#timers,
      onNotification: (method, params) => this.#guard(session, () => this.#notified(session, method, params)),
      onClose: (reason) => {
        this.#session = undefined;
        this.#lost(reason);
      },
    });
    this.#session = session;
    session.call('get_schema', [this.#databaseName], ({ result, error }) => {
      if (error !== null) {
        session.close(`get_schema ${this.#databaseName}: ${errorText(error)}`);
        return;
      }
      this.#guard(session, () => {
        this.#schema = parseSchema(result);
        const columns = chooseColumns(this.#schema, this.#options.columns);
        if (!sameColumns(columns, this.#columns)) this.#lastTransaction = ZERO_UUID;
        this.#columns = columns;
        this.#monitor(session, 0);
      });
    });
  }

  /** Asks with the best method first; a server that does not know it says `unknown method`. */
  #monitor(session: RpcSession, choice: number): void {
    const method = MONITORS[choice];
    if (method === undefined) {
      session.close('the server knows no monitor method');
      return;
    }
    const requests: Record<string, unknown> = {};
    for (const [table, columns] of this.#columns) requests[table] = [{ columns: [...columns.keys()] }];
    const params: unknown[] = [this.#databaseName, method, requests];
    if (method === 'monitor_cond_since') params.push(this.#lastTransaction);
    session.call(method, params, ({ result, error }) => {
      if (error !== null) {
        if (isUnknownMethod(error)) {
          this.#monitor(session, choice + 1);
          return;
        }
        session.close(`${method}: ${errorText(error)}`);
        return;
      }
      this.#guard(session, () => this.#initial(session, method, result));
    });
  }

  #initial(session: RpcSession, method: (typeof MONITORS)[number], result: unknown): void {
    let updates = result;
    let found = false;
    if (method === 'monitor_cond_since') {
      if (!Array.isArray(result) || result.length !== 3)
        throw new OvsdbFormatError('malformed monitor_cond_since reply');
      found = result[0] === true;
      this.#lastTransaction = String(result[1]);
      updates = result[2];
    }
    // A fresh store takes the place of the old one only when it is complete.
    const store = found ? this.#store : new RowStore(this.#columns, this.#options.ownKeys);
    if (method === 'monitor') store.applyUpdate(updates);
    else store.applyUpdate2(updates);
    this.#store = store;
    this.#stop();
    this.#attempts = 0;
    this.#told = undefined;
    this.#synced = true;
    this.#locks.requestAll(session);
    this.emit('synced');
  }

  #notified(session: RpcSession, method: string, params: readonly unknown[]): void {
    switch (method) {
      case 'update':
        this.#changed(this.#store.applyUpdate(params[1]));
        return;
      case 'update2':
        this.#changed(this.#store.applyUpdate2(params[1]));
        return;
      case 'update3': {
        const changed = this.#store.applyUpdate2(params[2]);
        this.#lastTransaction = String(params[1]);
        this.#changed(changed);
        return;
      }
      case 'locked':
      case 'stolen':
        this.#locks.notified(String(params[0]), method === 'locked');
        return;
      case 'monitor_canceled':
        // The database was converted or removed: its schema has to be asked for again.
        session.close('the server cancelled the monitor');
        return;
      default:
      // Notifications of extensions that were not asked for carry nothing for us.
    }
  }

  #changed(tables: Set<string>): void {
    if (tables.size > 0) this.emit('changed', tables);
  }

  /** A server that sends nonsense ends its session, not the daemon. The replica may be half updated: start over. */
  #guard(session: RpcSession, act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!(error instanceof OvsdbFormatError)) throw error;
      this.#lastTransaction = ZERO_UUID;
      session.close(`protocol error: ${error.message}`);
    }
  }

  #lost(reason: string): void {
    this.#stop();
    this.#synced = false;
    for (const resolve of this.#inFlight) {
      resolve(failedTransaction(`connection to ${this.name} lost before the reply: it may have been committed or not`));
    }
    this.#inFlight.clear();
    this.#locks.lostAll();
    if (this.#closed) return;
    const base = Math.min(BACKOFF_MS * 2 ** Math.min(this.#attempts, 16), BACKOFF_MAX_MS);
    const spread = 0.75 + 0.5 * (this.#options.random ?? Math.random)();
    this.#attempts++;
    this.#stop = this.#timers.after(base * spread, () => this.#connect());
    if (this.#told === reason) return;
    this.#told = reason;
    this.emit('disconnected', `${this.name}: ${reason}; trying again`);
  }
}

function chooseColumns(schema: DatabaseSchema, choice: ColumnChoice): DatabaseSchema {
  const chosen = new Map<string, TableColumns>();
  for (const [table, wanted] of Object.entries(choice)) {
    const known = schema.get(table);
    if (known !== undefined) chosen.set(table, new Map([...known].filter(([column]) => wanted.includes(column))));
  }
  return chosen;
}

function sameColumns(a: DatabaseSchema, b: DatabaseSchema): boolean {
  return JSON.stringify(plain(a)) === JSON.stringify(plain(b));
}

function plain(schema: DatabaseSchema): unknown {
  return [...schema].map(([table, columns]) => [table, [...columns]]);
}

/** ovsdb-server says it as a bare string, other servers as an error object. */
function isUnknownMethod(error: unknown): boolean {
  return error === 'unknown method' || (isObject(error) && error.error === 'unknown method');
}

function errorText(error: unknown): string {
  if (!isObject(error)) return JSON.stringify(error);
  return [error.error, error.details].filter((part) => typeof part === 'string').join(': ');
}
