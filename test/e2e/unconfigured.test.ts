/** A daemon that has not read its configuration knows nobody, and says so to nobody: a peer that begins meanwhile must not take it for a refusal. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fileConfig, startEspd } from '../rig/espd.ts';
import { createLan } from '../rig/namespace.ts';
import { startOvsdb, startOvsdbAgain } from '../rig/ovsdb.ts';
import { until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { BRIDGE, obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl');

describe.skipIf(reason !== '')(`a daemon whose database cannot be reached${reason}`, { timeout: 120_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  it('leaves an IKE_SA_INIT request unanswered, and answers its repetition once the configuration is in force', async () => {
    const { a, b } = await createLan(rig);
    const ovsdb = await startOvsdb(rig, a);
    const tunnel = `type=gre options:local_ip=${a.address} options:remote_ip=${b.address} options:psk=${PSK}`;
    await ovsdb.vsctl(`--no-wait add-br ${BRIDGE} -- add-port ${BRIDGE} tun -- set interface tun ${tunnel}`);
    await ovsdb.server.stop();

    const { directory, remote } = ovsdb;
    const ours = await startEspd(rig, a, { database: remote, directory });
    const options = { local_ip: b.address, remote_ip: a.address, psk: PSK };
    const peer = await startEspd(rig, b, { config: fileConfig(BRIDGE, [{ name: 'tun', type: 'gre', options }]) });
    await until('the request and a repetition of it', async () => {
      const dropped = /dropped: not configured yet\s+(\d+)/.exec(await ours.appctl('coverage/show'));
      return Number(dropped?.[1] ?? 0) >= 2;
    });
    await startOvsdbAgain(rig, a, ovsdb);
    await peer.waitForTunnel('tun');
    await ours.waitForTunnel('tun');
    expect(peer.log()).not.toMatch(/NO_PROPOSAL_CHOSEN|peer refused/);
    expect(ours.log()).not.toMatch(/no IPsec tunnel from/);
  });
});
