/**
 * The text of a file database as rows. It is JSON of the tables, columns and keys of the Open_vSwitch
 * schema, in a form fit for hands: maps are objects, sets are arrays, names stand for UUIDs, and rows
 * that follow from others may be left out (README.md of this folder has it in full).
 */
import { createHash } from 'node:crypto';
import * as z from 'zod';
import { quote } from '../config/issue.ts';
import { inOneGo } from '../slices.ts';
import type { Atom, Row, Value } from './database.ts';
import { FileDatabaseError } from './file-database-error.ts';
import { rowWith } from './row-store.ts';
import { type AtomType, type ColumnType, defaultValue, isUuid } from './schema.ts';
import { SWITCH_SCHEMA } from './switch-columns.ts';

export interface FileRow {
  readonly row: Row;
  /** Columns that the file itself states. */
  readonly stated: ReadonlySet<string>;
}

export type FileTables = ReadonlyMap<string, ReadonlyMap<string, FileRow>>;

// --- the shape, made from the columns

const ATOMS: Readonly<Record<AtomType, z.ZodType<Atom>>> = {
  string: z.union([z.string(), z.number(), z.boolean()], 'expected a text').transform(String),
  uuid: z.string('expected a name or UUID'),
  integer: z.int('expected an integer'),
  real: z.number('expected a number'),
  boolean: z.boolean('expected true or false'),
};

function shapeOf(type: ColumnType): z.ZodType<Value> {
  const atom = ATOMS[type.key];
  if (type.value !== undefined) {
    return z
      .record(z.string(), ATOMS[type.value], 'expected an object')
      .transform((map) => new Map(Object.entries(map)));
  }
  if (type.max === 1) return type.min === 1 ? atom : atom.nullable().transform((value) => value ?? undefined);
  return z.union([z.array(atom), atom.transform((single) => [single])], `expected an array of ${type.key}s`);
}

function rowShape(table: string): z.ZodType<Record<string, Value>> {
  const columns = [...(SWITCH_SCHEMA.get(table) ?? [])].map(([column, type]) => [column, shapeOf(type).optional()]);
  const shape: Record<string, z.ZodType<Value>> = Object.fromEntries(columns);
  return z.strictObject({ _uuid: z.string().refine(isUuid, 'expected a UUID').optional(), ...shape }) as z.ZodType<
    Record<string, Value>
  >;
}

const ROOT = 'Open_vSwitch';
const FILE_SHAPE = z.strictObject({
  [ROOT]: z
    .union([rowShape(ROOT).transform((row) => [row]), z.array(rowShape(ROOT)).length(1, 'expected one row')])
    .optional(),
  Bridge: z.array(z.unknown()).optional(),
  Port: z.array(z.unknown()).optional(),
  Interface: z.array(z.unknown()).optional(),
});
/** Looked at row by row. */
const ROW_SHAPES = [
  ['Bridge', rowShape('Bridge')],
  ['Port', rowShape('Port')],
  ['Interface', rowShape('Interface')],
] as const;

type FileContent = Readonly<Record<string, readonly Record<string, Value>[] | undefined>>;

/** Reads the whole text. @throws FileDatabaseError */
export function parseFileRows(text: string): FileTables {
  return inOneGo(parseFileSteps(text));
}

/** The same, row by row: there may be thousands. */
export function* parseFileSteps(text: string): Generator<undefined, FileTables> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new FileDatabaseError(`bad JSON${lineOfError(text, error)}`);
  }
  const parsed = FILE_SHAPE.safeParse(json);
  if (!parsed.success) throw new FileDatabaseError(describeIssue(parsed.error.issues[0]));
  const file: Record<string, readonly Record<string, Value>[] | undefined> = { [ROOT]: parsed.data[ROOT] };
  for (const [table, shape] of ROW_SHAPES) {
    const rows: Record<string, Value>[] = [];
    for (const given of parsed.data[table] ?? []) {
      const row = shape.safeParse(given);
      if (!row.success) throw new FileDatabaseError(describeIssue(row.error.issues[0], [table, rows.length]));
      rows.push(row.data);
      yield;
    }
    file[table] = rows;
  }
  return yield* new RowBuilder(file).steps();
}

/** `at line 3`. V8's message quotes the text, which may hold a psk, so only the place is taken from it. */
function lineOfError(text: string, error: unknown): string {
  const message = error instanceof Error ? error.message : '';
  const position = /at position (\d+)/.exec(message)?.[1];
  const snippet = /, (?:\.\.\.)?"(.*?)"(?:\.\.\.)? is not valid JSON$/s.exec(message)?.[1];
  if (message.includes('end of JSON input')) return ': it ends too early';
  const at = position === undefined ? (snippet === undefined ? -1 : text.indexOf(snippet)) : Number(position);
  if (at < 0) return '';
  return ` ${position === undefined ? 'near' : 'at'} line ${text.slice(0, at).split('\n').length}`;
}

/** @param within where that stands to which the issue's path leads */
function describeIssue(issue: z.core.$ZodIssue | undefined, within: readonly PropertyKey[] = []): string {
  if (issue === undefined) return 'does not have the shape of a database';
  // Within a union the branch that came furthest says it best.
  if (issue.code === 'invalid_union') {
    const deepest = issue.errors.flat().sort((a, b) => b.path.length - a.path.length)[0];
    if (deepest !== undefined && deepest.path.length > 0) {
      return describeIssue({ ...deepest, path: [...issue.path, ...deepest.path] } as z.core.$ZodIssue, within);
    }
  }
  const where = [...within, ...issue.path]
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('');
  const what =
    issue.code === 'unrecognized_keys' ? `unknown ${issue.keys.map((key) => quote(key)).join(', ')}` : issue.message;
  return `${where.slice(1) || 'the file'}: ${what}`;
}

// --- rows out of it

/** Fills in what follows: UUIDs from names, ports from bridges, interfaces from ports, bridges of the root. */
class RowBuilder {
  readonly #file: FileContent;
  readonly #tables = new Map<string, Map<string, FileRow>>();
  readonly #byName = new Map<string, string>();

  constructor(file: FileContent) {
    this.#file = file;
    for (const table of SWITCH_SCHEMA.keys()) this.#tables.set(table, new Map());
  }

  *steps(): Generator<undefined, FileTables> {
    for (const table of ['Interface', 'Port', 'Bridge']) {
      for (const row of this.#file[table] ?? []) {
        this.#add(table, row);
        yield;
      }
    }
    for (const row of this.#file.Port ?? []) {
      const interfaces = namesOf(row, 'interfaces') ?? [String(row.name)];
      yield* this.#refer('Port', row, 'interfaces', 'Interface', interfaces, (name) => this.#addInterface(name, ''));
    }
    for (const row of this.#file.Bridge ?? []) {
      const bridge = String(row.name);
      // As ovs-vsctl add-br: a bridge has a local port of its own name.
      const ports = [...new Set([bridge, ...(namesOf(row, 'ports') ?? [])])];
      yield* this.#refer('Bridge', row, 'ports', 'Port', ports, (name) =>
        this.#addPort(name, name === bridge ? 'internal' : ''),
      );
      this.#makeInternal(bridge);
    }
    const root = this.#file[ROOT]?.[0] ?? {};
    this.#add(ROOT, { ...root, name: ROOT });
    const bridges = namesOf(root, 'bridges') ?? (this.#file.Bridge ?? []).map((row) => String(row.name));
    yield* this.#refer(ROOT, { ...root, name: ROOT }, 'bridges', 'Bridge', bridges, (name) => {
      throw new FileDatabaseError(`${ROOT}.bridges: there is no Bridge ${quote(name)}`);
    });
    return this.#tables;
  }

  #add(table: string, given: Readonly<Record<string, Value>>): string {
    const { _uuid, name, ...columns } = given;
    if (typeof name !== 'string' || name === '') throw new FileDatabaseError(`${table}: a row has no name`);
    const uuid = typeof _uuid === 'string' ? _uuid : uuidOf(table, name);
    if (this.#byName.has(`${table} ${name}`) || this.#tables.get(table)?.has(uuid)) {
      throw new FileDatabaseError(`${table}: two rows are ${quote(name)}`);
    }
    const values = table === ROOT ? columns : { ...columns, name };
    const row = Object.fromEntries(
      [...(SWITCH_SCHEMA.get(table) ?? [])].map(([column, type]) => [column, values[column] ?? defaultValue(type)]),
    );
    this.#byName.set(`${table} ${name}`, uuid);
    this.#tables.get(table)?.set(uuid, { row, stated: new Set(Object.keys(given)) });
    return uuid;
  }

  *#refer(
    table: string,
    owner: Readonly<Record<string, Value>>,
    column: string,
    target: string,
    names: readonly string[],
    make: (name: string) => string,
  ): Generator<undefined, void> {
    const uuids: string[] = [];
    for (const name of names) {
      yield;
      if (isUuid(name) && !this.#tables.get(target)?.has(name))
        throw new FileDatabaseError(`${table}.${column}: there is no ${target} ${name}`);
      uuids.push(isUuid(name) ? name : (this.#byName.get(`${target} ${name}`) ?? make(name)));
    }
    const uuid = this.#byName.get(`${table} ${String(owner.name)}`)!;
    const held = this.#tables.get(table)?.get(uuid);
    if (held === undefined) return;
    const stated = new Set([...held.stated, column]);
    this.#tables.get(table)?.set(uuid, { row: rowWith(held.row, { [column]: uuids }), stated });
  }

  #addPort(name: string, type: string): string {
    const uuid = this.#add('Port', { name });
    inOneGo(
      this.#refer('Port', { name }, 'interfaces', 'Interface', [name], (missing) => this.#addInterface(missing, type)),
    );
    return uuid;
  }

  #addInterface(name: string, type: string): string {
    return this.#add('Interface', { name, type });
  }

  /** The interface named after its bridge is internal unless the file says otherwise. */
  #makeInternal(bridge: string): void {
    const uuid = this.#byName.get(`Interface ${bridge}`);
    const held = uuid === undefined ? undefined : this.#tables.get('Interface')?.get(uuid);
    if (uuid === undefined || held === undefined || held.row.type !== '') return;
    this.#tables.get('Interface')?.set(uuid, { ...held, row: rowWith(held.row, { type: 'internal' }) });
  }
}

function namesOf(row: Readonly<Record<string, Value>>, column: string): string[] | undefined {
  const value = row[column];
  return Array.isArray(value) ? value.map(String) : undefined;
}

/** The same name keeps its UUID from one reading to the next. */
function uuidOf(table: string, name: string): string {
  const hex = createHash('sha256').update(`${table}\0${name}`).digest('hex');
  const parts = [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `8${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ];
  // Joined, it is one string; a template would stay a tree of strings ten times its size, for each row.
  return parts.join('-');
}
