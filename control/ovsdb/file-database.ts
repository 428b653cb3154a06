/**
 * DATABASE `file:PATH`: the rows come from a JSON file that is read again whenever it changes; write-backs
 * stay in memory. A file that can't be read or taken leaves the last good state in force.
 *
 * Nobody else can hold a lock on a file database, so a lock is granted at once. What the file may say is
 * file-rows.ts.
 */
import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { type Stats, unwatchFile, watchFile } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { inSlices } from '../slices.ts';
import {
  type Atom,
  type Database,
  type DatabaseEvents,
  mapOf,
  type Operation,
  type OperationResult,
  type Replica,
  type Row,
  type TransactionResult,
} from './database.ts';
import { FileDatabaseError } from './file-database-error.ts';
import type { FileTables } from './file-rows.ts';
import { rowWith } from './row-store.ts';
import { defaultValue } from './schema.ts';
import { COLUMNS, SWITCH_SCHEMA } from './switch-columns.ts';
import { failedTransaction } from './transaction.ts';

/** How often the file is looked at, in ms. Polling also sees editors that replace the file, and network disks. */
const WATCH_MS = 250;
const READ_BY_OTHERS = 0o004;
const SIZE_LIMIT = 16 * 1024 * 1024;

type Tables = Map<string, Map<string, Row>>;

export class FileDatabase extends EventEmitter<DatabaseEvents> implements Database {
  readonly name: string;
  readonly isShared = false;
  readonly #path: string;
  readonly #locks = new Set<string>();
  /** Columns written by transact, by row: they come back after each reading unless the file states them. */
  readonly #written = new Map<string, Record<string, Row[string]>>();
  readonly #watcher = (now: Stats, before: Stats): void => {
    if (
      now.mtimeMs !== before.mtimeMs ||
      now.ctimeMs !== before.ctimeMs ||
      now.size !== before.size ||
      now.ino !== before.ino
    )
      void this.#read();
  };
  #tables: Tables = new Map();
  #synced = false;
  #closed = false;
  #told: string | undefined;
  #isOpen = false;
  #reading: Promise<void> = Promise.resolve();

  /** `path` is what follows `file:`. */
  constructor(path: string) {
    super();
    this.name = `file:${path}`;
    this.#path = path;
  }

  get synced(): boolean {
    return this.#synced;
  }

  start(): void {
    watchFile(this.#path, { interval: WATCH_MS }, this.#watcher);
    void this.#read();
  }

  replica(): Replica {
    return this.#tables;
  }

  hasColumn(table: string, column: string): boolean {
    return SWITCH_SCHEMA.get(table)?.has(column) ?? false;
  }

  lock(name: string): void {
    if (this.#locks.has(name)) return;
    this.#locks.add(name);
    queueMicrotask(() => this.emit('lock', name, true));
  }

  unlock(name: string): void {
    if (this.#locks.delete(name)) this.emit('lock', name, false);
  }

  holdsLock(name: string): boolean {
    return this.#locks.has(name);
  }

  close(): Promise<void> {
    this.#closed = true;
    unwatchFile(this.#path, this.#watcher);
    return this.#reading;
  }

  transact(operations: readonly Operation[]): Promise<TransactionResult> {
    if (!this.#synced) return Promise.resolve(failedTransaction(`${this.name} has not been read`));
    const draft: Tables = new Map([...this.#tables].map(([table, rows]) => [table, new Map(rows)]));
    const names = new Map<string, string>();
    const results: OperationResult[] = [];
    for (const operation of operations) {
      const result = this.#carryOut(draft, operation, names);
      results.push(result);
      if (result.error !== undefined) {
        return Promise.resolve(failedTransaction(`${operation.op}: ${result.error}: ${result.details}`, results));
      }
    }
    const changed = changedTables(this.#tables, draft);
    this.#remember(draft);
    this.#tables = draft;
    if (changed.size > 0) this.emit('changed', changed);
    return Promise.resolve({ committed: true, reason: undefined, results });
  }

  // --- reading

  #read(): Promise<void> {
    this.#reading = this.#reading.then(() => this.#readOnce());
    return this.#reading;
  }

  async #readOnce(): Promise<void> {
    let tables: FileTables;
    try {
      const { mode } = await stat(this.#path);
      const text = await readFile(this.#path, 'utf8');
      if (text.length > SIZE_LIMIT) throw new FileDatabaseError(`larger than ${SIZE_LIMIT} bytes`);
      // Not before it is needed: what checks the file is a good part of a start, and most daemons have no file.
      const { parseFileSteps } = await import('./file-rows.ts');
      tables = await inSlices(parseFileSteps(text));
      this.#tellWhoReads(mode, tables);
    } catch (error) {
      this.#refuse(error);
      return;
    }
    if (this.#closed) return;
    const next = this.#withWritten(tables);
    const changed = changedTables(this.#tables, next);
    this.#tables = next;
    this.#told = undefined;
    if (!this.#synced) {
      this.#synced = true;
      this.emit('synced');
    } else if (changed.size > 0) {
      this.emit('changed', changed);
    }
  }

  /** A pre-shared key that every user can read protects nothing; root's group is as good as root. */
  #tellWhoReads(mode: number, tables: FileTables): void {
    const holdsKeys = [...(tables.get('Interface')?.values() ?? [])].some(({ row }) =>
      ['psk', 'ipsec_ppk'].some((key) => mapOf(row, 'options').has(key)),
    );
    const isOpen = holdsKeys && (mode & READ_BY_OTHERS) !== 0;
    if (isOpen && !this.#isOpen)
      this.emit('insecure', `${this.name}: every user of this host may read the pre-shared keys in it: chmod 600 it`);
    this.#isOpen = isOpen;
  }

  #refuse(error: unknown): void {
    let what: string;
    if (error instanceof FileDatabaseError) what = error.message;
    else if (error instanceof Error && 'code' in error) what = `cannot read it (${String(error.code)})`;
    else throw error;
    const meanwhile = this.#synced ? 'the last good state stays in force' : 'waiting until it is mended';
    const reason = `${this.name}: ${what}; ${meanwhile}`;
    if (this.#closed || this.#told === reason) return;
    this.#told = reason;
    this.emit('disconnected', reason);
  }

  #withWritten(file: FileTables): Tables {
    return new Map(
      [...file].map(([table, rows]) => [
        table,
        new Map(
          [...rows].map(([uuid, { row, stated }]) => {
            const written = Object.entries(this.#written.get(uuid) ?? {}).filter(([column]) => !stated.has(column));
            return [uuid, rowWith(row, Object.fromEntries(written))];
          }),
        ),
      ]),
    );
  }

  /** Notes the columns in which `draft` differs from what is. */
  #remember(draft: Tables): void {
    for (const [table, rows] of draft) {
      for (const [uuid, row] of rows) {
        const former = this.#tables.get(table)?.get(uuid);
        if (former === row) continue;
        const noted = this.#written.get(uuid) ?? {};
        for (const [column, value] of Object.entries(row)) {
          if (!isDeepStrictEqual(former?.[column], value)) noted[column] = value;
        }
        this.#written.set(uuid, noted);
      }
    }
  }

  // --- operations (RFC 7047 §5.2) on a draft

  #carryOut(draft: Tables, operation: Operation, names: Map<string, string>): OperationResult {
    if (operation.op === 'assert-lock') {
      return this.#locks.has(operation.lock)
        ? {}
        : { error: 'not owner', details: `lock ${operation.lock} is not held` };
    }
    const columns = SWITCH_SCHEMA.get(operation.table);
    const rows = draft.get(operation.table);
    if (columns === undefined || rows === undefined) {
      return { error: 'unknown table', details: `there is no table ${operation.table}` };
    }
    if (operation.op === 'insert') {
      const uuid = randomUUID();
      if (operation.name !== undefined) names.set(operation.name, uuid);
      const defaults = Object.fromEntries([...columns].map(([column, type]) => [column, defaultValue(type)]));
      rows.set(uuid, rowWith(defaults, this.#known(operation.table, operation.row, names)));
      return { uuid };
    }
    const row = rows.get(operation.uuid);
    if (row === undefined) return { count: 0 };
    switch (operation.op) {
      case 'update':
        rows.set(operation.uuid, rowWith(row, this.#known(operation.table, operation.row, names)));
        return { count: 1 };
      case 'delete':
        rows.delete(operation.uuid);
        return { count: 1 };
      case 'set-keys':
      case 'remove-keys': {
        const value = row[operation.column];
        const map = new Map<Atom, Atom>(value instanceof Map ? value : []);
        if (operation.op === 'remove-keys') for (const key of operation.keys) map.delete(key);
        else for (const [key, item] of Object.entries(operation.entries)) map.set(key, item);
        rows.set(operation.uuid, rowWith(row, { [operation.column]: map }));
        return { count: 1 };
      }
      case 'expect':
        if (isDeepStrictEqual(row[operation.column], operation.value)) return {};
        return { error: 'timed out', details: `${operation.table}.${operation.column} has another value` };
    }
  }

  #known(table: string, row: Row, names: ReadonlyMap<string, string>): Row {
    const named = (atom: Atom): Atom => names.get(String(atom)) ?? atom;
    const known = Object.entries(row).filter(([column]) => this.hasColumn(table, column));
    return Object.fromEntries(
      known.map(([column, value]) => {
        if (SWITCH_SCHEMA.get(table)?.get(column)?.key !== 'uuid' || !Array.isArray(value)) return [column, value];
        return [column, value.map(named)];
      }),
    );
  }
}

/**
 * Tables that differ in a column that a server would be asked to monitor. What the daemon only writes (statistics, link
 * states) is no change: it would reconcile, write them anew, and so on for as long as packets flow.
 */
function changedTables(before: Tables, after: Tables): Set<string> {
  const names = new Set([...before.keys(), ...after.keys()]);
  return new Set([...names].filter((name) => isChanged(name, before.get(name), after.get(name))));
}

/** Rows are replaced and never changed, so most of them are seen to be the same without a look at their columns. */
function isChanged(
  table: string,
  before: ReadonlyMap<string, Row> | undefined,
  after: ReadonlyMap<string, Row> | undefined,
): boolean {
  if (before?.size !== after?.size) return true;
  const columns = COLUMNS[table] ?? [];
  for (const [uuid, row] of after ?? []) {
    const former = before?.get(uuid);
    if (former === row) continue;
    if (former === undefined || columns.some((column) => !isDeepStrictEqual(former[column], row[column]))) return true;
  }
  return false;
}
