/**
 * Open vSwitch's own userspace datapath (datapath_type=netdev) with a Geneve tunnel, in the clear: what the tunnels that
 * ovs-espd protects cost in OVS without any encryption. On each host an ovsdb-server and an ovs-vswitchd of its own; the
 * uplink eth0 is a port of br-phy, which takes over its address, and br-int holds the tunnel.
 */
import { type Host, ip } from '../../test/rig/namespace.ts';
import { startOvsdb, startVswitchd } from '../../test/rig/ovsdb.ts';
import type { Rig } from '../../test/rig/rig.ts';
import { waitForPing } from '../../test/rig/traffic.ts';
import type { Peer } from './peer.ts';

const INNER = { a: '10.96.0.1', b: '10.96.0.2' } as const;
/** Underlay MTU 1500 less outer Ethernet payload headers: IPv4 20, UDP 8, Geneve 8, inner Ethernet 14. */
const INNER_MTU = 1450;

async function startHost(rig: Rig, host: Host, remote: Host, inner: string): Promise<void> {
  const { namespace, device } = host;
  const ovsdb = await startOvsdb(rig, host);
  await startVswitchd(rig, host, ovsdb);
  await ovsdb.vsctl(`add-br br-phy -- set bridge br-phy datapath_type=netdev fail_mode=standalone`);
  await ip(namespace, 'address', 'flush', 'dev', device);
  await ovsdb.vsctl(`add-port br-phy ${device}`);
  await ip(namespace, 'address', 'add', `${host.address}/24`, 'dev', 'br-phy');
  await ip(namespace, 'link', 'set', 'br-phy', 'up');
  await ovsdb.vsctl('add-br br-int -- set bridge br-int datapath_type=netdev fail_mode=standalone');
  const options = `options:remote_ip=${remote.address} options:local_ip=${host.address}`;
  await ovsdb.vsctl(`add-port br-int gnv -- set interface gnv type=geneve ${options}`);
  await ovsdb.vsctl(`set interface br-int mtu_request=${INNER_MTU}`);
  await ip(namespace, 'address', 'add', `${inner}/24`, 'dev', 'br-int');
  await ip(namespace, 'link', 'set', 'br-int', 'mtu', `${INNER_MTU}`, 'up');
}

/** Two hosts with ovs-vswitchd. */
export const ovsUserspace: Peer = {
  name: 'OVS userspace Geneve, plaintext',
  what: "Ethernet in geneve, no encryption, Open vSwitch's userspace datapath",
  wire: 'geneve',
  programs: ['ovsdb-server', 'ovsdb-tool', 'ovs-vsctl', 'ovs-vswitchd'],
  async start(rig, lan) {
    await Promise.all([startHost(rig, lan.a, lan.b, INNER.a), startHost(rig, lan.b, lan.a, INNER.b)]);
    await waitForPing(lan.a.namespace, INNER.b, 15_000);
    return {
      client: { namespace: lan.a.namespace, address: INNER.a },
      server: { namespace: lan.b.namespace, address: INNER.b },
    };
  },
};
