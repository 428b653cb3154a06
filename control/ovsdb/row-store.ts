/**
 * The replica of a database: rows as they follow from `update` (RFC 7047 §4.1.6) and from `update2` and
 * `update3` (ovsdb-server(7), "Update2 Notification", where a `modify` holds differences of sets and maps).
 */
import { copyWith } from '../copy.ts';
import type { Atom, Replica, Row, Value } from './database.ts';
import {
  type ColumnType,
  type DatabaseSchema,
  decodeValue,
  defaultValue,
  isComposite,
  isObject,
  isUuid,
  type JsonObject,
  OvsdbFormatError,
  type TableColumns,
} from './schema.ts';

/** Keys of map columns, by table and column. */
export type OwnKeys = Readonly<Record<string, Readonly<Record<string, ReadonlySet<string>>>>>;

export class RowStore {
  readonly #columns: DatabaseSchema;
  readonly #ownKeys: OwnKeys;
  readonly #tables = new Map<string, Map<string, Row>>();

  /**
   * @param columns the tables and columns that are monitored, with their types
   * @param ownKeys what we write ourselves: a row that differs in them alone has not changed
   */
  constructor(columns: DatabaseSchema, ownKeys: OwnKeys = {}) {
    this.#columns = columns;
    this.#ownKeys = ownKeys;
    for (const table of columns.keys()) this.#tables.set(table, new Map());
  }

  get tables(): Replica {
    return this.#tables;
  }

  /** Applies `{table: {uuid: {old?, new?}}}`; gives the tables that changed. Throws OvsdbFormatError. */
  applyUpdate(updates: unknown): Set<string> {
    return this.#apply(updates, (columns, before, change) => {
      if (change.new === undefined) return undefined;
      return readRow(columns, change.new, before ?? defaultRow(columns));
    });
  }

  /** Applies `{table: {uuid: {initial|insert|delete|modify}}}`; gives the tables that changed. Throws OvsdbFormatError. */
  applyUpdate2(updates: unknown): Set<string> {
    return this.#apply(updates, (columns, before, change) => {
      const whole = change.initial ?? change.insert;
      if (whole !== undefined) return readRow(columns, whole, defaultRow(columns));
      if (change.modify !== undefined) {
        if (before === undefined) throw new OvsdbFormatError('modify of a row that is not there');
        return modifyRow(columns, before, change.modify);
      }
      if ('delete' in change) return undefined;
      throw new OvsdbFormatError('row update without initial, insert, modify or delete');
    });
  }

  #apply(
    updates: unknown,
    next: (columns: TableColumns, before: Row | undefined, change: JsonObject) => Row | undefined,
  ): Set<string> {
    if (!isObject(updates)) throw new OvsdbFormatError('table updates are no JSON object');
    const changed = new Set<string>();
    for (const [table, rows] of Object.entries(updates)) {
      const columns = this.#columns.get(table);
      const held = this.#tables.get(table);
      if (columns === undefined || held === undefined) throw new OvsdbFormatError('update of a table not monitored');
      if (!isObject(rows)) throw new OvsdbFormatError('row updates are no JSON object');
      for (const [uuid, change] of Object.entries(rows)) {
        if (!isUuid(uuid) || !isObject(change)) throw new OvsdbFormatError('malformed row update');
        const before = held.get(uuid);
        const row = next(columns, before, change);
        if (row === undefined) held.delete(uuid);
        else held.set(uuid, row);
        if (!isEcho(before, row, this.#ownKeys[table])) changed.add(table);
      }
    }
    return changed;
  }
}

/** Whether two rows differ in nothing but our own keys. Columns that were not in the update are the same objects. */
function isEcho(before: Row | undefined, after: Row | undefined, ownKeys: OwnKeys[string] | undefined): boolean {
  if (ownKeys === undefined || before === undefined || after === undefined) return false;
  return Object.keys(after).every((column) => {
    const [old, now, own] = [before[column], after[column], ownKeys[column]];
    if (old === now) return true;
    return own !== undefined && old instanceof Map && now instanceof Map && sameOtherwise(old, now, own);
  });
}

function sameOtherwise(old: ReadonlyMap<Atom, Atom>, now: ReadonlyMap<Atom, Atom>, own: ReadonlySet<string>): boolean {
  const others = (map: ReadonlyMap<Atom, Atom>): Map<Atom, Atom> =>
    new Map([...map].filter(([key]) => !own.has(String(key))));
  const [a, b] = [others(old), others(now)];
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);
}

function defaultRow(columns: TableColumns): Row {
  return Object.fromEntries([...columns].map(([column, type]) => [column, defaultValue(type)]));
}

function readRow(columns: TableColumns, json: unknown, base: Row): Row {
  return mergeColumns(columns, json, base, (type, value) => decodeValue(type, value));
}

function modifyRow(columns: TableColumns, before: Row, json: unknown): Row {
  return mergeColumns(columns, json, before, (type, difference, old) => {
    const decoded = decodeValue(type, difference);
    if (!isComposite(type)) return decoded;
    if (decoded instanceof Map) return modifyMap(old instanceof Map ? old : new Map(), decoded);
    return modifySet(Array.isArray(old) ? old : [], Array.isArray(decoded) ? decoded : []);
  });
}

function mergeColumns(
  columns: TableColumns,
  json: unknown,
  base: Row,
  read: (type: ColumnType, value: unknown, old: Value) => Value,
): Row {
  if (!isObject(json)) throw new OvsdbFormatError('a row is no JSON object');
  const changes: Record<string, Value> = {};
  for (const [column, value] of Object.entries(json)) {
    const type = columns.get(column);
    if (type === undefined) throw new OvsdbFormatError('update of a column not monitored');
    changes[column] = read(type, value, base[column]);
  }
  return rowWith(base, changes);
}

/** The row with other values in these columns. */
export function rowWith(base: Row, changes: Row): Row {
  return copyWith<Row>(base, changes);
}

/** Members of the difference that were there go, the others come. */
export function modifySet(old: readonly Atom[], difference: readonly Atom[]): readonly Atom[] {
  const members = new Set(old);
  for (const atom of difference) if (!members.delete(atom)) members.add(atom);
  return [...members];
}

/** A pair of the difference that was there goes; one with a new key or value is put in. */
export function modifyMap(old: ReadonlyMap<Atom, Atom>, difference: ReadonlyMap<Atom, Atom>): ReadonlyMap<Atom, Atom> {
  const map = new Map(old);
  for (const [key, value] of difference) {
    if (map.get(key) === value) map.delete(key);
    else map.set(key, value);
  }
  return map;
}
