/**
 * OVSDB schemas and values (RFC 7047 §3.2 and §5.1): column types from a server's get_schema, and the way
 * between a value on the wire and the plain JavaScript of database.ts.
 *
 * A server's data is checked here against its own schema; whatever does not fit throws OvsdbFormatError,
 * which ends the session.
 */
import type { Atom, Row, Value } from './database.ts';

export type AtomType = 'integer' | 'real' | 'boolean' | 'string' | 'uuid';

export interface ColumnType {
  readonly key: AtomType;
  /** Present: the column is a map. */
  readonly value?: AtomType;
  readonly min: 0 | 1;
  readonly max: number | 'unlimited';
}

export type TableColumns = ReadonlyMap<string, ColumnType>;
export type DatabaseSchema = ReadonlyMap<string, TableColumns>;

/** The other end sent something that is no OVSDB. */
export class OvsdbFormatError extends Error {
  override readonly name = 'OvsdbFormatError';
}

export const ZERO_UUID = '00000000-0000-0000-0000-000000000000';
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const ATOM_TYPES: ReadonlySet<string> = new Set(['integer', 'real', 'boolean', 'string', 'uuid']);

export function isUuid(text: string): boolean {
  return UUID.test(text);
}

export type JsonObject = { readonly [key: string]: unknown };

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function objectOf(value: unknown, what: string): JsonObject {
  if (!isObject(value)) throw new OvsdbFormatError(`${what} is no JSON object`);
  return value;
}

/** Reads `{"tables": {T: {"columns": {C: {"type": …}}}}}`. */
export function parseSchema(json: unknown): DatabaseSchema {
  const schema = new Map<string, TableColumns>();
  for (const [table, description] of Object.entries(objectOf(objectOf(json, 'schema').tables, 'schema tables'))) {
    const columns = new Map<string, ColumnType>();
    const described = objectOf(objectOf(description, `table ${table}`).columns, `columns of table ${table}`);
    for (const [column, row] of Object.entries(described)) {
      columns.set(column, parseType(objectOf(row, `column ${table}.${column}`).type, `${table}.${column}`));
    }
    schema.set(table, columns);
  }
  return schema;
}

function parseType(json: unknown, where: string): ColumnType {
  if (typeof json === 'string') return { key: atomType(json, where), min: 1, max: 1 };
  const type = objectOf(json, `type of ${where}`);
  const { min = 1, max = 1 } = type;
  if (min !== 0 && min !== 1) throw new OvsdbFormatError(`type of ${where} has a bad min`);
  if (max !== 'unlimited' && !(typeof max === 'number' && Number.isInteger(max) && max >= 1)) {
    throw new OvsdbFormatError(`type of ${where} has a bad max`);
  }
  const key = baseType(type.key, where);
  return type.value === undefined ? { key, min, max } : { key, value: baseType(type.value, where), min, max };
}

function baseType(json: unknown, where: string): AtomType {
  return atomType(isObject(json) ? json.type : json, where);
}

function atomType(json: unknown, where: string): AtomType {
  if (typeof json !== 'string' || !ATOM_TYPES.has(json)) throw new OvsdbFormatError(`type of ${where} is unknown`);
  return json as AtomType;
}

/** Whether a `modify` of update2 holds a difference for this column, and not its new value (ovsdb-server(7)). */
export function isComposite(type: ColumnType): boolean {
  return type.max !== 1;
}

// --- wire to JavaScript

/** Reads a `<value>` of RFC 7047 §5.1 by its column type. */
export function decodeValue(type: ColumnType, json: unknown): Value {
  if (type.value !== undefined) return decodeMap(type.key, type.value, json);
  const atoms = tagged(json, 'set');
  if (atoms === undefined) {
    const atom = decodeAtom(type.key, json);
    return isComposite(type) ? [atom] : atom;
  }
  const decoded = atoms.map((atom) => decodeAtom(type.key, atom));
  if (isComposite(type)) return decoded.length === 0 ? EMPTY_SET : decoded;
  if (decoded.length > 1) throw new OvsdbFormatError('a set has more members than its column takes');
  return decoded[0];
}

function decodeMap(key: AtomType, value: AtomType, json: unknown): ReadonlyMap<Atom, Atom> {
  const pairs = tagged(json, 'map');
  if (pairs === undefined) throw new OvsdbFormatError('expected ["map", …]');
  if (pairs.length === 0) return EMPTY_MAP;
  const map = new Map<Atom, Atom>();
  for (const pair of pairs) {
    if (!Array.isArray(pair) || pair.length !== 2) throw new OvsdbFormatError('expected a pair in ["map", …]');
    map.set(decodeAtom(key, pair[0]), decodeAtom(value, pair[1]));
  }
  return map;
}

function tagged(json: unknown, tag: 'set' | 'map'): readonly unknown[] | undefined {
  if (Array.isArray(json) && json.length === 2 && json[0] === tag && Array.isArray(json[1])) return json[1];
  return undefined;
}

function decodeAtom(type: AtomType, json: unknown): Atom {
  switch (type) {
    case 'string':
      if (typeof json === 'string') return json;
      break;
    case 'boolean':
      if (typeof json === 'boolean') return json;
      break;
    case 'integer':
    case 'real':
      if (typeof json === 'number') return json;
      break;
    case 'uuid':
      if (Array.isArray(json) && json[0] === 'uuid' && typeof json[1] === 'string' && isUuid(json[1])) return json[1];
      break;
  }
  throw new OvsdbFormatError(`expected an atom of type ${type}`);
}

/** Most columns of most rows are empty, and there may be thousands of rows. */
const EMPTY_MAP: ReadonlyMap<Atom, Atom> = new Map();
const EMPTY_SET: readonly Atom[] = [];

/** What a column holds when `initial` or `insert` of update2 leaves it out (RFC 7047 §5.2.1). */
export function defaultValue(type: ColumnType): Value {
  if (type.value !== undefined) return EMPTY_MAP;
  if (isComposite(type)) return EMPTY_SET;
  if (type.min === 0) return undefined;
  return { string: '', boolean: false, integer: 0, real: 0, uuid: ZERO_UUID }[type.key];
}

// --- JavaScript to wire

/** Writes a value by its column type. A uuid that is no UUID is taken for the name of an insert. */
export function encodeValue(type: ColumnType, value: Value): unknown {
  if (value instanceof Map) {
    const pairs = [...value].map(([key, item]) => [
      encodeAtom(type.key, key as Atom),
      encodeAtom(type.value ?? 'string', item as Atom),
    ]);
    return ['map', pairs];
  }
  if (Array.isArray(value)) return ['set', value.map((atom: Atom) => encodeAtom(type.key, atom))];
  return value === undefined ? ['set', []] : encodeAtom(type.key, value as Atom);
}

export function encodeAtom(type: AtomType, atom: Atom): unknown {
  return type === 'uuid' ? [isUuid(String(atom)) ? 'uuid' : 'named-uuid', atom] : atom;
}

/** The columns of a row that the table has, as wire values. */
export function encodeRow(columns: TableColumns, row: Row): Record<string, unknown> {
  const encoded: Record<string, unknown> = {};
  for (const [column, value] of Object.entries(row)) {
    const type = columns.get(column);
    if (type !== undefined) encoded[column] = encodeValue(type, value);
  }
  return encoded;
}
