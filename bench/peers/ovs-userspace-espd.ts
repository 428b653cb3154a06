/**
 * Open vSwitch's userspace datapath with a Geneve tunnel that ovs-espd encrypts in uplink attach: what ovs-userspace.ts measures in
 * the clear, with ovs-espd between the physical bridge and the NIC on each host.
 */
import { startCompanion } from '../../test/rig/companion.ts';
import { waitForPing } from '../../test/rig/traffic.ts';
import type { Peer } from './peer.ts';

const PSK = 'swordfish';

/** Two hosts with ovs-vswitchd and ovs-espd. The inner MTU is 1400, as docs/howto/ovs-userspace.md has it. */
export const ovsUserspaceEspd: Peer = {
  name: 'OVS userspace Geneve, ESP by ovs-espd (uplink)',
  what: "Ethernet in geneve, Open vSwitch's userspace datapath, raw ESP (AES-256-GCM) by ovs-espd between bridge and NIC",
  wire: 'esp',
  programs: ['ovsdb-server', 'ovsdb-tool', 'ovs-vsctl', 'ovs-vswitchd', 'ovs-appctl'],
  async start(rig, lan) {
    const a = await startCompanion(rig, lan.a, { attach: 'uplink', number: 1 });
    const b = await startCompanion(rig, lan.b, { attach: 'uplink', number: 2 });
    await a.addTunnel('tun', 'geneve', { local_ip: a.physical, remote_ip: b.physical, psk: PSK });
    await b.addTunnel('tun', 'geneve', { local_ip: b.physical, remote_ip: a.physical, psk: PSK });
    await Promise.all([a.espd.waitForTunnel('tun'), b.espd.waitForTunnel('tun')]);
    await waitForPing(a.host.namespace, b.inner, 20_000);
    return {
      client: { namespace: a.host.namespace, address: a.inner },
      server: { namespace: b.host.namespace, address: b.inner },
    };
  },
};
