import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { OvsdbClient } from '../../../control/ovsdb/client.ts';
import { JsonStream } from '../../../control/ovsdb/json-stream.ts';
import { parseRemote } from '../../../control/ovsdb/remote.ts';
import { COLUMNS } from '../../../control/ovsdb/switch-columns.ts';

const SCHEMA = {
  tables: {
    Bridge: { columns: { name: { type: 'string' }, ports: { type: { key: 'uuid', min: 0, max: 'unlimited' } } } },
  },
};
const UUID = '11111111-1111-1111-1111-111111111111';
const FIRST = 'aaaaaaaa-1111-1111-1111-111111111111';
const SECOND = 'bbbbbbbb-1111-1111-1111-111111111111';

interface Request {
  readonly method: string;
  readonly params: readonly unknown[];
  readonly id: number;
}

/** A server whose answers the test scripts; `old` ones know neither monitor_cond_since nor many columns. */
describe('the client of a scripted server', () => {
  let directory: string;
  let server: Server;
  let client: OvsdbClient;
  let answer: (request: Request, socket: Socket) => unknown;
  const requests: Request[] = [];
  const sockets = new Set<Socket>();

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'espd-fake-'));
    const path = join(directory, 'db.sock');
    requests.length = 0;
    sockets.clear();
    server = createServer((socket) => {
      sockets.add(socket);
      const json = new JsonStream({ maxBytes: 1 << 20, maxDepth: 32 });
      socket.on('error', () => {});
      socket.on('data', (chunk) => {
        for (const value of json.push(chunk)) {
          const request = value as Request;
          requests.push(request);
          if (request.method === 'get_schema') reply(socket, request, SCHEMA);
          else reply(socket, request, answer(request, socket));
        }
      });
    });
    server.listen(path);
    await once(server, 'listening');
    const timers = {
      after: (ms: number, callback: () => void) => {
        const timer = setTimeout(callback, ms / 100);
        return () => clearTimeout(timer);
      },
    };
    const name = `unix:${path}`;
    client = new OvsdbClient({ name, remote: parseRemote(name), columns: COLUMNS, timers });
  });

  afterEach(async () => {
    await client.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    rmSync(directory, { recursive: true, force: true });
  });

  function reply(socket: Socket, { id }: Request, result: unknown): void {
    if (result instanceof Error) socket.write(JSON.stringify({ id, result: null, error: result.message }));
    else if (result !== undefined) socket.write(JSON.stringify({ id, result, error: null }));
  }

  const names = (): unknown[] => [...(client.replica().get('Bridge')?.values() ?? [])].map((row) => row.name);

  it('asks only for tables and columns that the schema has', async () => {
    answer = () => [false, FIRST, {}];
    client.start();
    await once(client, 'synced');
    expect(requests[1]).toMatchObject({
      method: 'monitor_cond_since',
      params: [
        'Open_vSwitch',
        'monitor_cond_since',
        { Bridge: [{ columns: ['name', 'ports'] }] },
        '00000000-0000-0000-0000-000000000000',
      ],
    });
    expect(client.hasColumn('Bridge', 'name')).toBe(true);
    expect(client.hasColumn('Bridge', 'other_config')).toBe(false);
    expect(client.hasColumn('Interface', 'name')).toBe(false);
  });

  it('asks for what came after the last transaction it knows, and applies that to what it has', async () => {
    answer = () => [false, FIRST, { Bridge: { [UUID]: { initial: { name: 'br0' } } } }];
    client.start();
    await once(client, 'synced');
    const [socket] = sockets;
    socket!.write(
      JSON.stringify({
        id: null,
        method: 'update3',
        params: ['monitor_cond_since', SECOND, { Bridge: { [UUID]: { modify: { name: 'br1' } } } }],
      }),
    );
    await once(client, 'changed');
    expect(names()).toEqual(['br1']);
    answer = () => [true, SECOND, { Bridge: { [UUID]: { modify: { ports: ['uuid', UUID] } } } }];
    const again = once(client, 'synced');
    socket!.destroy();
    await again;
    expect(requests.at(-1)?.params[3]).toBe(SECOND);
    expect([...client.replica().get('Bridge')!.values()]).toEqual([{ name: 'br1', ports: [UUID] }]);
  });

  it('forgets what it has when the server does not know that transaction', async () => {
    answer = () => [false, FIRST, { Bridge: { [UUID]: { initial: { name: 'br0' } } } }];
    client.start();
    await once(client, 'synced');
    answer = () => [false, SECOND, {}];
    const again = once(client, 'synced');
    for (const socket of sockets) socket.destroy();
    await again;
    expect(names()).toEqual([]);
  });

  it('falls back to monitor_cond, whose updates are update2', async () => {
    answer = ({ method }) =>
      method === 'monitor_cond_since'
        ? new Error('unknown method')
        : { Bridge: { [UUID]: { initial: { name: 'br0' } } } };
    client.start();
    await once(client, 'synced');
    expect(requests.map(({ method }) => method)).toEqual(['get_schema', 'monitor_cond_since', 'monitor_cond']);
    const changed = once(client, 'changed');
    for (const socket of sockets)
      socket.write(
        JSON.stringify({
          id: null,
          method: 'update2',
          params: ['monitor_cond', { Bridge: { [UUID]: { delete: null } } }],
        }),
      );
    await changed;
    expect(names()).toEqual([]);
  });

  it.each([
    [
      'a delta for a row that is not there',
      { method: 'update3', params: ['m', SECOND, { Bridge: { [UUID]: { modify: { name: 'x' } } } }] },
    ],
    [
      'a value of another type',
      { method: 'update3', params: ['m', SECOND, { Bridge: { [UUID]: { insert: { name: 5 } } } }] },
    ],
    ['an update that is none', { method: 'update3', params: [] }],
  ])('starts over from nothing when the server sends %s', async (_, notification) => {
    answer = () => [false, FIRST, {}];
    client.start();
    await once(client, 'synced');
    const gone = once(client, 'disconnected');
    const again = once(client, 'synced');
    for (const socket of sockets) socket.write(JSON.stringify({ id: null, ...notification }));
    expect((await gone)[0]).toMatch(/^unix:.*: protocol error: [^\n]+; trying again$/);
    await again;
    expect(requests.at(-1)?.params[3]).toBe('00000000-0000-0000-0000-000000000000');
  });

  it('says of a transaction that was under way when the connection broke that nobody knows', async () => {
    answer = ({ method }, socket) => {
      if (method !== 'transact') return [false, FIRST, {}];
      socket.destroy();
      return undefined;
    };
    client.start();
    await once(client, 'synced');
    const result = await client.transact([{ op: 'delete', table: 'Bridge', uuid: UUID }]);
    expect(result).toMatchObject({
      committed: false,
      reason: `connection to ${client.name} lost before the reply: it may have been committed or not`,
    });
  });

  it('gives up a server that takes the connection and then says nothing, and tries again', async () => {
    answer = () => undefined;
    client.start();
    expect((await once(client, 'disconnected'))[0]).toBe(`${client.name}: no answer within 30 s; trying again`);
    const before = sockets.size;
    answer = () => [false, FIRST, {}];
    await once(client, 'synced');
    expect(sockets.size).toBe(before + 1);
  });

  it('says why when the server refuses the database', async () => {
    answer = () => new Error('no such database');
    client.start();
    expect((await once(client, 'disconnected'))[0]).toBe(
      `${client.name}: monitor_cond_since: "no such database"; trying again`,
    );
  });
});

describe('DATABASE', () => {
  it.each([
    ['unix:/run/x', { kind: 'unix', path: '/run/x' }],
    ['file:conf.json', { kind: 'file', path: 'conf.json' }],
    ['tcp:10.0.0.1:6641', { kind: 'tcp', host: '10.0.0.1', port: 6641 }],
    ['tcp:host', { kind: 'tcp', host: 'host', port: 6640 }],
    ['ssl:[fd00::1]:6640', { kind: 'ssl', host: 'fd00::1', port: 6640 }],
  ])('%s is understood', (text, remote) => {
    expect(parseRemote(text)).toEqual(remote);
  });

  it.each([
    '',
    'unix:',
    '/run/db.sock',
    'ptcp:6640',
    'tcp:',
    'tcp:a:0',
    'tcp:a:65536',
    'tcp:fd00::1',
    'ssl:[x]:1',
    'http://x',
  ])('%j is refused in one line', (text) => {
    expect(() => parseRemote(text)).toThrow(
      expect.objectContaining({
        message: `ovs-espd: DATABASE is ${JSON.stringify(text)}, expected unix:PATH, tcp:HOST:PORT, ssl:HOST:PORT or file:PATH; for instance unix:/var/run/openvswitch/db.sock`,
      }),
    );
  });
});
