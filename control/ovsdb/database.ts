/**
 * What the rest of control sees of a database, be it an ovsdb-server (client.ts) or a file
 * (file-database.ts): a replica of some columns, write-backs, a lock, and four events.
 *
 * Values are plain JavaScript. A column is, by its type in the schema (RFC 7047 §3.2): an atom (exactly
 * one), an atom or undefined (at most one), an array (a set), or a Map. UUIDs are strings.
 */
import type { EventEmitter } from 'node:events';

export type Atom = string | number | boolean;
export type Value = Atom | undefined | readonly Atom[] | ReadonlyMap<Atom, Atom>;
/** One row; a new object whenever anything in it changes. Columns that the schema lacks are absent. */
export type Row = Readonly<Record<string, Value>>;
/** Table name, then UUID. The maps are live: read them within one turn of the event loop. */
export type Replica = ReadonlyMap<string, ReadonlyMap<string, Row>>;

/** What a replica holds now. Rows are replaced, never changed. */
export function snapshotOf(replica: Replica): Replica {
  return new Map([...replica].map(([table, rows]) => [table, new Map(rows)]));
}

/** What `transact` takes; UUIDs in reference columns may also be the `name` of an insert beside them. */
export type Operation =
  | { readonly op: 'insert'; readonly table: string; readonly row: Row; readonly name?: string }
  /** Columns that the server's schema lacks are left out. */
  | { readonly op: 'update'; readonly table: string; readonly uuid: string; readonly row: Row }
  | { readonly op: 'delete'; readonly table: string; readonly uuid: string }
  /** Sets keys of a map column and leaves its other keys alone. */
  | {
      readonly op: 'set-keys';
      readonly table: string;
      readonly uuid: string;
      readonly column: string;
      readonly entries: Readonly<Record<string, Atom>>;
    }
  | {
      readonly op: 'remove-keys';
      readonly table: string;
      readonly uuid: string;
      readonly column: string;
      readonly keys: readonly string[];
    }
  /** Fails the transaction unless the column has this value now. */
  | {
      readonly op: 'expect';
      readonly table: string;
      readonly uuid: string;
      readonly column: string;
      readonly value: Value;
    }
  /** Fails the transaction unless this client holds the lock. */
  | { readonly op: 'assert-lock'; readonly lock: string };

export interface OperationResult {
  /** RFC 7047 §3.1 error string, for instance `constraint violation`. */
  readonly error?: string;
  readonly details?: string;
  /** Of an insert. */
  readonly uuid?: string;
  /** Rows that an update, delete or key operation met. */
  readonly count?: number;
}

/** A transaction commits wholly or not at all. */
export interface TransactionResult {
  readonly committed: boolean;
  /** One line when it did not commit: the first error, or why the server was not asked. */
  readonly reason: string | undefined;
  /** One for each operation, as far as the server came. */
  readonly results: readonly OperationResult[];
}

export type DatabaseEvents = {
  /** The replica is complete: after each connect, or each good read of a file. */
  synced: [];
  /** These tables changed since the last `synced` or `changed`. */
  changed: [tables: ReadonlySet<string>];
  /** The lock was granted, or is not ours: another has it (also told when asked for), or it was lost. */
  lock: [name: string, held: boolean];
  /** One line saying who else may read the secrets in it. Once for each time that it becomes so. */
  insecure: [reason: string];
  /** One line saying what is wrong. Once for each different reason; attempts go on. */
  disconnected: [reason: string];
};

export interface Database extends EventEmitter<DatabaseEvents> {
  /** As the user spelled it. */
  readonly name: string;
  /** Begins connecting or reading; what comes of it is told by events. */
  start(): void;
  /** Whether the replica is the state of a database that answers now. It stays readable in any case. */
  readonly synced: boolean;
  replica(): Replica;
  /** Whether others read what is written here. */
  readonly isShared: boolean;
  /** False for columns that the server's schema lacks. */
  hasColumn(table: string, column: string): boolean;
  /** Never rejects: failure is in the result. */
  transact(operations: readonly Operation[]): Promise<TransactionResult>;
  /** Asks for the lock, now and after each reconnect (RFC 7047 §4.1.8); event `lock` tells. */
  lock(name: string): void;
  unlock(name: string): void;
  holdsLock(name: string): boolean;
  close(): Promise<void>;
}

/** Which columns to replicate. Those that the schema lacks are left out. */
export type ColumnChoice = Readonly<Record<string, readonly string[]>>;

// --- reading a row without casts

/** The text of a column, or undefined when it is empty, missing or no string. */
export function textOf(row: Row, column: string): string | undefined {
  const value = row[column];
  return typeof value === 'string' ? value : undefined;
}

export function numberOf(row: Row, column: string): number | undefined {
  const value = row[column];
  return typeof value === 'number' ? value : undefined;
}

export function booleanOf(row: Row, column: string): boolean | undefined {
  const value = row[column];
  return typeof value === 'boolean' ? value : undefined;
}

/** The texts (UUIDs too) of a set column; an optional or single one gives an array of at most one. */
export function textsOf(row: Row, column: string): readonly string[] {
  const value = row[column];
  if (typeof value === 'string') return [value];
  return Array.isArray(value) ? value.filter((atom): atom is string => typeof atom === 'string') : [];
}

/** The numbers of a set column; an optional or single one gives an array of at most one. */
export function numbersOf(row: Row, column: string): readonly number[] {
  const value = row[column];
  if (typeof value === 'number') return [value];
  return Array.isArray(value) ? value.filter((atom): atom is number => typeof atom === 'number') : [];
}

/** A map column of strings; empty when missing. */
export function mapOf(row: Row, column: string): ReadonlyMap<string, string> {
  const value = row[column];
  const texts = new Map<string, string>();
  if (value instanceof Map) {
    for (const [key, item] of value) if (typeof key === 'string' && typeof item === 'string') texts.set(key, item);
  }
  return texts;
}
