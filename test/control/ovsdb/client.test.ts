import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { OvsdbClient } from '../../../control/ovsdb/client.ts';
import { mapOf, numberOf, type Row, textOf, textsOf } from '../../../control/ovsdb/database.ts';
import { parseRemote } from '../../../control/ovsdb/remote.ts';
import { COLUMNS } from '../../../control/ovsdb/switch-columns.ts';
import type { Timers } from '../../../control/ovsdb/timers.ts';
import { missingOvs, TestOvsdbServer } from './ovsdb-server.ts';

/** Timers that run at a hundredth of their time and note what was asked for. */
function fastTimers(): Timers & { readonly asked: number[] } {
  const asked: number[] = [];
  return {
    asked,
    after(ms, callback) {
      asked.push(ms);
      const timer = setTimeout(callback, ms / 100);
      return () => clearTimeout(timer);
    },
  };
}

const reason = missingOvs();

describe.skipIf(reason !== undefined)(
  `the client of a real ovsdb-server${reason === undefined ? '' : ` (${reason})`}`,
  () => {
    let server: TestOvsdbServer;
    const clients: OvsdbClient[] = [];

    beforeEach(async () => {
      server = new TestOvsdbServer();
      await server.start();
    });

    afterEach(async () => {
      for (const client of clients.splice(0)) await client.close();
      await server.remove();
    });

    function connect(timers: Timers = fastTimers()): OvsdbClient {
      const name = `unix:${server.socket}`;
      const client = new OvsdbClient({
        name,
        remote: parseRemote(name),
        columns: COLUMNS,
        timers,
        random: () => 0.5,
      });
      clients.push(client);
      client.start();
      return client;
    }

    async function synced(client: OvsdbClient): Promise<void> {
      if (!client.synced) await once(client, 'synced');
    }

    /** Waits until the replica is as wanted; the condition is looked at after each change. */
    async function until(client: OvsdbClient, condition: () => boolean): Promise<void> {
      const signal = AbortSignal.timeout(10_000);
      while (!condition())
        await Promise.race([once(client, 'changed', { signal }), once(client, 'synced', { signal })]);
    }

    function named(client: OvsdbClient, table: string, name: string): Row | undefined {
      return [...(client.replica().get(table)?.values() ?? [])].find((row) => textOf(row, 'name') === name);
    }

    it('replicates what is there when it connects, with every column decoded by its type', async () => {
      server.vsctl('--no-wait', 'add-br', 'br0', '--', 'set', 'bridge', 'br0', 'other_config:mac-aging-time=20');
      server.vsctl(
        '--no-wait',
        'add-port',
        'br0',
        'tun',
        '--',
        'set',
        'interface',
        'tun',
        'type=gre',
        'options:remote_ip=10.0.0.2',
      );
      const client = connect();
      await synced(client);
      const bridge = named(client, 'Bridge', 'br0')!;
      const tunnel = named(client, 'Interface', 'tun')!;
      expect(mapOf(bridge, 'other_config')).toEqual(new Map([['mac-aging-time', '20']]));
      expect(textsOf(bridge, 'ports')).toHaveLength(2);
      expect(textOf(tunnel, 'type')).toBe('gre');
      expect(mapOf(tunnel, 'options')).toEqual(new Map([['remote_ip', '10.0.0.2']]));
      expect(numberOf(tunnel, 'ofport')).toBeUndefined();
      expect([...(client.replica().get('Open_vSwitch')?.keys() ?? [])]).toHaveLength(1);
    });

    it('follows insertions, differences of maps and sets, and deletions', async () => {
      const client = connect();
      await synced(client);
      server.vsctl('--no-wait', 'add-br', 'br0');
      await until(client, () => named(client, 'Bridge', 'br0') !== undefined);
      server.vsctl(
        '--no-wait',
        'add-port',
        'br0',
        'tun',
        '--',
        'set',
        'interface',
        'tun',
        'type=gre',
        'options:a=1',
        'options:b=2',
      );
      await until(client, () => named(client, 'Interface', 'tun') !== undefined);
      server.vsctl(
        '--no-wait',
        'set',
        'interface',
        'tun',
        'options:b=3',
        'options:c=4',
        '--',
        'remove',
        'interface',
        'tun',
        'options',
        'a',
      );
      const options = (): ReadonlyMap<string, string> => mapOf(named(client, 'Interface', 'tun') ?? {}, 'options');
      await until(client, () => options().has('c'));
      expect(options()).toEqual(
        new Map([
          ['b', '3'],
          ['c', '4'],
        ]),
      );
      server.vsctl('--no-wait', 'set', 'interface', 'tun', 'ofport_request=7');
      await until(client, () => numberOf(named(client, 'Interface', 'tun') ?? {}, 'ofport_request') === 7);
      server.vsctl('--no-wait', 'clear', 'interface', 'tun', 'ofport_request');
      await until(client, () => numberOf(named(client, 'Interface', 'tun') ?? {}, 'ofport_request') === undefined);
      server.vsctl('--no-wait', 'del-port', 'tun');
      await until(client, () => named(client, 'Interface', 'tun') === undefined);
      expect(textsOf(named(client, 'Bridge', 'br0')!, 'ports')).toHaveLength(1);
    });

    it.each([['monitor_cond', ['ovsdb-server/disable-monitor-cond']]])(
      'falls back when the server does not know monitor_cond_since or %s',
      async (_, command) => {
        server.appctl(...command);
        const client = connect();
        await synced(client);
        server.vsctl('--no-wait', 'add-br', 'br0', '--', 'set', 'bridge', 'br0', 'other_config:x=1');
        await until(client, () => named(client, 'Bridge', 'br0') !== undefined);
        server.vsctl('--no-wait', 'set', 'bridge', 'br0', 'other_config:y=2');
        await until(client, () => mapOf(named(client, 'Bridge', 'br0')!, 'other_config').size === 2);
        server.vsctl('--no-wait', 'del-br', 'br0');
        await until(client, () => named(client, 'Bridge', 'br0') === undefined);
        expect(client.synced).toBe(true);
      },
    );

    it('commits a transaction and has its own change in the replica before the result', async () => {
      server.vsctl('--no-wait', 'add-br', 'br0');
      const client = connect();
      await synced(client);
      const [uuid] = [...client.replica().get('Interface')!.keys()] as [string];
      const result = await client.transact([
        {
          op: 'update',
          table: 'Interface',
          uuid,
          row: { ofport: 65534, statistics: new Map([['rx_packets', 5]]), no_such_column: 1 },
        },
        {
          op: 'set-keys',
          table: 'Interface',
          uuid,
          column: 'external_ids',
          entries: { 'ipsec-state': 'up', other: 'x' },
        },
        { op: 'set-keys', table: 'Interface', uuid, column: 'external_ids', entries: { 'ipsec-state': 'down' } },
        { op: 'remove-keys', table: 'Interface', uuid, column: 'external_ids', keys: ['other'] },
      ]);
      expect(result).toMatchObject({ committed: true, reason: undefined });
      const row = client.replica().get('Interface')!.get(uuid)!;
      expect(numberOf(row, 'ofport')).toBe(65534);
      expect(mapOf(row, 'external_ids')).toEqual(new Map([['ipsec-state', 'down']]));
      expect(server.vsctl('get', 'interface', 'br0', 'statistics').trim()).toBe('{rx_packets=5}');
    });

    it('inserts rows that refer to each other by name', async () => {
      const client = connect();
      await synced(client);
      const [root] = [...client.replica().get('Open_vSwitch')!.keys()] as [string];
      const result = await client.transact([
        { op: 'insert', table: 'Interface', name: 'i', row: { name: 'br9', type: 'internal' } },
        { op: 'insert', table: 'Port', name: 'p', row: { name: 'br9', interfaces: ['i'] } },
        { op: 'insert', table: 'Bridge', name: 'b', row: { name: 'br9', ports: ['p'] } },
        { op: 'update', table: 'Open_vSwitch', uuid: root, row: { bridges: ['b'] } },
      ]);
      expect(result.reason).toBeUndefined();
      expect(server.vsctl('list-br').trim()).toBe('br9');
    });

    it('says which operation failed, and commits nothing', async () => {
      server.vsctl('--no-wait', 'add-br', 'br0');
      const client = connect();
      await synced(client);
      const [uuid] = [...client.replica().get('Interface')!.keys()] as [string];
      const result = await client.transact([
        { op: 'update', table: 'Interface', uuid, row: { error: 'x' } },
        { op: 'expect', table: 'Interface', uuid, column: 'type', value: 'gre' },
      ]);
      expect(result.committed).toBe(false);
      expect(result.reason).toMatch(/^expect Interface: timed out/);
      expect(result.results[1]?.error).toBe('timed out');
      expect(textOf(client.replica().get('Interface')!.get(uuid)!, 'error')).toBeUndefined();
    });

    it('finishes plain ovs-vsctl by writing cur_cfg', async () => {
      const client = connect();
      await synced(client);
      client.on('changed', () => {
        const [uuid, root] = [...client.replica().get('Open_vSwitch')!][0]!;
        const next = numberOf(root, 'next_cfg')!;
        if (numberOf(root, 'cur_cfg') !== next)
          void client.transact([{ op: 'update', table: 'Open_vSwitch', uuid, row: { cur_cfg: next } }]);
      });
      const { execFile } = await import('node:child_process');
      const done = await new Promise<Error | null>((resolve) => {
        execFile('ovs-vsctl', [`--db=unix:${server.socket}`, '--timeout=10', 'add-br', 'br0'], (error) =>
          resolve(error),
        );
      });
      expect(done).toBeNull();
    });

    it('gets a lock when nobody has it, waits while another has it, and gets it when that one goes', async () => {
      const first = connect();
      const second = connect();
      await Promise.all([synced(first), synced(second)]);
      first.lock('ovs_vswitchd');
      await once(first, 'lock');
      expect(first.holdsLock('ovs_vswitchd')).toBe(true);
      expect((await first.transact([{ op: 'assert-lock', lock: 'ovs_vswitchd' }])).committed).toBe(true);
      const waits = once(second, 'lock');
      second.lock('ovs_vswitchd');
      expect(await waits).toEqual(['ovs_vswitchd', false]);
      const refused = await second.transact([{ op: 'assert-lock', lock: 'ovs_vswitchd' }]);
      expect(refused.reason).toMatch(/^assert-lock ovs_vswitchd: not owner/);
      const granted = once(second, 'lock');
      first.unlock('ovs_vswitchd');
      expect(await granted).toEqual(['ovs_vswitchd', true]);
    });

    it('tells when its lock is stolen', async () => {
      const client = connect();
      await synced(client);
      client.lock('ovs_vswitchd');
      await once(client, 'lock');
      const stolen = once(client, 'lock');
      const { RpcSession } = await import('../../../control/ovsdb/rpc.ts');
      const { connect: connectSocket } = await import('node:net');
      const thief = new RpcSession(connectSocket(server.socket), {
        probeMs: 0,
        onNotification: () => {},
        onClose: () => {},
      });
      thief.call('steal', ['ovs_vswitchd'], () => {});
      expect(await stolen).toEqual(['ovs_vswitchd', false]);
      expect(client.holdsLock('ovs_vswitchd')).toBe(false);
      thief.close('done');
    });

    it('comes back after the server was killed, with what changed meanwhile and with its lock', async () => {
      const client = connect();
      await synced(client);
      client.lock('ovs_vswitchd');
      await once(client, 'lock');
      const locks: boolean[] = [];
      client.on('lock', (_, held) => locks.push(held));
      const gone = once(client, 'disconnected');
      await server.kill();
      expect((await gone)[0]).toContain('closed by peer');
      expect(client.synced).toBe(false);
      expect(client.replica().get('Open_vSwitch')?.size).toBe(1);
      expect(await client.transact([])).toMatchObject({
        committed: false,
        reason: `not connected to unix:${server.socket}`,
      });
      const back = once(client, 'synced');
      await server.start();
      await back;
      server.vsctl('--no-wait', 'add-br', 'br-new');
      await until(client, () => named(client, 'Bridge', 'br-new') !== undefined);
      while (!client.holdsLock('ovs_vswitchd')) await once(client, 'lock');
      expect(locks).toEqual([false, true]);
    });

    it('resumes from the last transaction, and has lost nothing and kept nothing deleted', async () => {
      server.vsctl('--no-wait', 'add-br', 'br-old');
      const client = connect();
      await synced(client);
      const { callUnixctl } = await import('../../../control/unixctl/client.ts');
      const back = once(client, 'synced');
      await callUnixctl(server.control, 'ovsdb-server/reconnect');
      server.vsctl('--no-wait', 'del-br', 'br-old', '--', 'add-br', 'br-new');
      await back;
      await until(client, () => named(client, 'Bridge', 'br-new') !== undefined);
      expect(named(client, 'Bridge', 'br-old')).toBeUndefined();
    });
  },
);

describe('a client whose server is not there', () => {
  it('says so in one line, once, and tries again at growing intervals up to 8 s', async () => {
    const timers = fastTimers();
    const name = 'unix:/nonexistent/db.sock';
    const client = new OvsdbClient({
      name,
      remote: parseRemote(name),
      columns: COLUMNS,
      timers,
      random: () => 0.5,
    });
    const reasons: string[] = [];
    client.on('disconnected', (text) => reasons.push(text));
    client.start();
    const delays = (): number[] => timers.asked.filter((ms) => ms !== 30_000);
    while (delays().length < 6) await new Promise((resolve) => setTimeout(resolve, 10));
    await client.close();
    expect(delays().slice(0, 6)).toEqual([1000, 2000, 4000, 8000, 8000, 8000]);
    expect(reasons).toEqual([
      `${name}: no such socket (ENOENT); is ovsdb-server running, and is its socket there?; trying again`,
    ]);
  });

  it('spreads the intervals by a quarter either way', async () => {
    for (const [random, expected] of [
      [0, 750],
      [0.999, 1249.5],
    ] as const) {
      const timers = fastTimers();
      const name = 'unix:/nonexistent/db.sock';
      const client = new OvsdbClient({ name, remote: parseRemote(name), columns: {}, timers, random: () => random });
      const told = once(client, 'disconnected');
      client.start();
      await told;
      await client.close();
      expect(timers.asked).toContain(expected);
    }
  });
});
