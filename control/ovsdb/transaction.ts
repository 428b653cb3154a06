/** Our operations as those of RFC 7047 §5.2, and the reply to `transact` (§4.1.3) as one result. */
import type { Operation, OperationResult, TransactionResult } from './database.ts';
import type { RpcReply } from './rpc.ts';
import { type DatabaseSchema, encodeAtom, encodeRow, encodeValue, isObject, type TableColumns } from './schema.ts';

export function encodeOperations(schema: DatabaseSchema, operations: readonly Operation[]): unknown[] {
  return operations.map((operation) => encodeOperation(schema, operation));
}

function encodeOperation(schema: DatabaseSchema, operation: Operation): unknown {
  if (operation.op === 'assert-lock') return { op: 'assert', lock: operation.lock };
  const { table } = operation;
  const columns: TableColumns = schema.get(table) ?? new Map();
  if (operation.op === 'insert') {
    const row = encodeRow(columns, operation.row);
    return { op: 'insert', table, row, ...(operation.name === undefined ? {} : { 'uuid-name': operation.name }) };
  }
  const where = [['_uuid', '==', ['uuid', operation.uuid]]];
  switch (operation.op) {
    case 'update':
      return { op: 'update', table, where, row: encodeRow(columns, operation.row) };
    case 'delete':
      return { op: 'delete', table, where };
    case 'set-keys': {
      const { column, entries } = operation;
      const type = columns.get(column);
      const keyType = type?.key ?? 'string';
      const keys = Object.keys(entries).map((key) => encodeAtom(keyType, key));
      const pairs = Object.entries(entries).map(([key, value]) => [
        encodeAtom(keyType, key),
        encodeAtom(type?.value ?? 'string', value),
      ]);
      // `insert` leaves existing keys alone (RFC 7047 §5.1), so they are deleted first.
      return {
        op: 'mutate',
        table,
        where,
        mutations: [
          [column, 'delete', ['set', keys]],
          [column, 'insert', ['map', pairs]],
        ],
      };
    }
    case 'remove-keys': {
      const keys = operation.keys.map((key) => encodeAtom(columns.get(operation.column)?.key ?? 'string', key));
      return { op: 'mutate', table, where, mutations: [[operation.column, 'delete', ['set', keys]]] };
    }
    case 'expect': {
      const type = columns.get(operation.column);
      const value = type === undefined ? operation.value : encodeValue(type, operation.value);
      const rows = [{ [operation.column]: value }];
      return { op: 'wait', timeout: 0, table, where, columns: [operation.column], until: '==', rows };
    }
  }
}

export function failedTransaction(reason: string, results: readonly OperationResult[] = []): TransactionResult {
  return { committed: false, reason, results };
}

/** Errors stand in the array at the place of their operation, or behind all for the commit itself. */
export function readTransactionReply(reply: RpcReply, operations: readonly Operation[]): TransactionResult {
  if (reply.error !== null) return failedTransaction(`transact refused: ${JSON.stringify(reply.error)}`);
  if (!Array.isArray(reply.result)) return failedTransaction('malformed reply to transact');
  const results = reply.result.map(readResult);
  const at = results.findIndex((result) => result.error !== undefined);
  if (at < 0) return { committed: true, reason: undefined, results };
  const { error, details } = results[at]!;
  const operation = operations[at];
  const what = operation === undefined ? 'commit' : describe(operation);
  return failedTransaction(`${what}: ${error}${details === undefined ? '' : `: ${details}`}`, results);
}

function readResult(json: unknown): OperationResult {
  // null stands for operations that were not tried because an earlier one failed.
  if (!isObject(json)) return {};
  const { error, details, uuid, count } = json;
  return {
    ...(typeof error === 'string' ? { error } : {}),
    ...(typeof details === 'string' ? { details } : {}),
    ...(Array.isArray(uuid) && typeof uuid[1] === 'string' ? { uuid: uuid[1] } : {}),
    ...(typeof count === 'number' ? { count } : {}),
  };
}

function describe(operation: Operation): string {
  return operation.op === 'assert-lock' ? `assert-lock ${operation.lock}` : `${operation.op} ${operation.table}`;
}
