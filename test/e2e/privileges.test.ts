/** What the daemon may do while it works, in every thread, and what it says of secrets that others may read. */
import { chmodSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fileConfig, startEspd } from '../rig/espd.ts';
import { createLan, ip } from '../rig/namespace.ts';
import { until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { waitForPing } from '../rig/traffic.ts';
import { BRIDGE, INNER, obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('ping');
/** CAP_NET_BIND_SERVICE, CAP_NET_ADMIN and CAP_NET_RAW. */
const KEPT = (1n << 10n) | (1n << 12n) | (1n << 13n);

function field(status: string, name: string): bigint {
  return BigInt(`0x${new RegExp(`^${name}:\\s*([0-9a-f]+)`, 'm').exec(status)?.[1]}`);
}

describe.skipIf(reason !== '')(`the privileges of the daemon${reason}`, { timeout: 120_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  it('are three capabilities in every thread, with which a tunnel comes up; a file of secrets open to all is named', async () => {
    const lan = await createLan(rig);
    const tunnel = (remote: string) =>
      fileConfig(BRIDGE, [{ name: 'tun', type: 'gre', options: { remote_ip: remote, psk: PSK } }]);
    const a = await startEspd(rig, lan.a, { config: tunnel(lan.b.address), args: ['--workers=2'] });
    const b = await startEspd(rig, lan.b, { config: tunnel(lan.a.address) });
    await ip(lan.a.namespace, 'address', 'add', `${INNER.a}/24`, 'dev', BRIDGE);
    await ip(lan.b.namespace, 'address', 'add', `${INNER.b}/24`, 'dev', BRIDGE);
    await ip(lan.a.namespace, 'link', 'set', BRIDGE, 'up');
    await ip(lan.b.namespace, 'link', 'set', BRIDGE, 'up');
    await a.waitForTunnel('tun');
    await b.waitForTunnel('tun');
    await waitForPing(lan.a.namespace, INNER.b);

    const tasks = readdirSync(`/proc/${a.running.pid}/task`);
    // The main one, two packet workers, and those of Node.
    expect(tasks.length).toBeGreaterThan(6);
    for (const task of tasks) {
      const status = readFileSync(`/proc/${a.running.pid}/task/${task}/status`, 'utf8');
      const masks = ['CapPrm', 'CapEff', 'CapBnd', 'CapInh', 'CapAmb'].map((name) => field(status, name));
      expect(masks).toEqual([KEPT, KEPT, KEPT, 0n, 0n]);
      expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    }
    // That the peer refused while it had not read its own configuration yet is none of this.
    expect(a.log().replace(/.*peer refused IKE_SA_INIT.*\n/g, '')).not.toMatch(/\|WARN\|/);
    const socket = statSync(join(a.directory, `ovs-espd.${a.running.pid}.ctl`));
    expect([socket.mode & 0o777, socket.uid]).toEqual([0o660, 0]);

    const database = join(a.directory, 'espd-config.json');
    chmodSync(database, 0o640);
    chmodSync(database, 0o644);
    await until('the warning', () =>
      a.log().includes(`file:${database}: every user of this host may read the pre-shared keys in it: chmod 600 it`),
    );
    expect(a.log().match(/may read the pre-shared keys/g)).toHaveLength(1);
  });
});
