/**
 * A host with the real control and data plane of OVS, userspace datapath, and ovs-espd as its companion:
 *
 *     br-int 192.0.0.N ── tun ══ br-phy 10.1.0.N ── up0 ─ ovs-espd ─ eth0        external_ids:espd=uplink
 *     br-int 192.0.0.N ── tun ══ br-phy 10.1.0.N ── eth0, and ipsec0 ─ ovs-espd   external_ids:espd=port
 */
import { type Espd, fileConfig, startEspd } from './espd.ts';
import { type Host, ip } from './namespace.ts';
import { forgetFlows, type Ovsdb, startOvsdb, startVswitchd } from './ovsdb.ts';
import { type Running, run } from './process.ts';
import type { Rig } from './rig.ts';
import { waitForPing } from './traffic.ts';

export interface CompanionHost {
  readonly host: Host;
  /** Its underlay address, which is br-phy's, and that of br-int. */
  readonly physical: string;
  readonly inner: string;
  readonly ovsdb: Ovsdb;
  vswitchd: Running;
  espd: Espd;
  /** ovs-ofctl on br-phy: `command`, the bridge, then `words`. */
  ofctl(command: string, ...words: string[]): Promise<string>;
  addTunnel(name: string, type: string, options: Readonly<Record<string, string>>): Promise<void>;
  /** What a restart of ovs-vswitchd takes away: addresses and MTUs. */
  setAddresses(): Promise<void>;
  restartVswitchd(): Promise<void>;
  restartEspd(): Promise<void>;
}

/** The last number of its addresses is `number`. The NIC has no address: that is the physical bridge's. */
export async function startCompanion(
  rig: Rig,
  host: Host,
  { attach, number, mtu = 1400 }: { attach: 'uplink' | 'port'; number: number; mtu?: number },
): Promise<CompanionHost> {
  const physical = `10.1.0.${number}`;
  const inner = `192.0.0.${number}`;
  await ip(host.namespace, 'address', 'flush', 'dev', host.device);
  const ovsdb = await startOvsdb(rig, host);
  const vswitchd = await startVswitchd(rig, host, ovsdb);
  const startDaemon = () => startEspd(rig, host, { database: ovsdb.remote, directory: ovsdb.directory });
  const espd = await startDaemon();
  const vsctl = (...words: string[]) => ovsdb.vsctl(['--timeout=10', ...words]);
  await vsctl('add-br', 'br-phy', '--', 'set', 'bridge', 'br-phy', 'datapath_type=netdev');
  if (attach === 'uplink') {
    const ids = ['external_ids:espd=uplink', `external_ids:espd-nic=${host.device}`];
    await vsctl('add-port', 'br-phy', 'up0', '--', 'set', 'interface', 'up0', ...ids);
  } else {
    await vsctl('set-fail-mode', 'br-phy', 'secure');
    await vsctl('add-port', 'br-phy', host.device);
    await vsctl('add-port', 'br-phy', 'ipsec0', '--', 'set', 'interface', 'ipsec0', 'external_ids:espd=port');
  }
  await vsctl('add-br', 'br-int', '--', 'set', 'bridge', 'br-int', 'datapath_type=netdev');
  const companion: CompanionHost = {
    ...{ host, physical, inner, ovsdb, vswitchd, espd },
    async ofctl(command, ...words) {
      const args = [command, `unix:${ovsdb.directory}/br-phy.mgmt`, ...words];
      return (await run({ command: 'ovs-ofctl', args, namespace: host.namespace, env: ovsdb.env })).stdout;
    },
    async addTunnel(name, type, options) {
      const words = Object.entries(options).map(([key, value]) => `options:${key}=${value}`);
      await vsctl('add-port', 'br-int', name, '--', 'set', 'interface', name, `type=${type}`, ...words);
    },
    async setAddresses() {
      for (const [device, address] of [
        ['br-phy', physical],
        ['br-int', inner],
      ] as const) {
        await ip(host.namespace, 'address', 'replace', `${address}/24`, 'dev', device);
        await ip(host.namespace, 'link', 'set', device, 'up');
      }
      await ip(host.namespace, 'link', 'set', 'br-int', 'mtu', String(mtu));
    },
    async restartVswitchd() {
      await companion.vswitchd.stop();
      companion.vswitchd = await startVswitchd(rig, host, ovsdb);
      await companion.setAddresses();
      await forgetFlows(ovsdb);
    },
    async restartEspd() {
      companion.espd = await startDaemon();
    },
  };
  await companion.setAddresses();
  return companion;
}

/**
 * The other end of a tunnel `tun` of the companion: ovs-espd as the datapath itself, with `inner` in br-ipsec. Resolves when pings pass.
 * Nobody fills in checksums that the kernel leaves open, as a NIC would; a port of OVS does not.
 */
export async function startFarEnd(
  rig: Rig,
  companion: CompanionHost,
  host: Host,
  { inner, psk }: { inner: string; psk: string },
): Promise<Espd> {
  for (const { namespace, device } of [{ ...companion.host, device: 'br-phy' }, host])
    await run({ command: 'ethtool', args: ['-K', device, 'tx', 'off'], namespace });
  await companion.addTunnel('tun', 'geneve', { local_ip: companion.physical, remote_ip: host.address, psk });
  const options = { local_ip: host.address, remote_ip: companion.physical, psk };
  const espd = await startEspd(rig, host, {
    config: fileConfig('br-ipsec', [{ name: 'tun', type: 'geneve', options }]),
  });
  await ip(host.namespace, 'address', 'add', `${inner}/24`, 'dev', 'br-ipsec');
  await ip(host.namespace, 'link', 'set', 'br-ipsec', 'mtu', '1400', 'up');
  await companion.espd.waitForTunnel('tun');
  await espd.waitForTunnel('tun');
  await waitForPing(host.namespace, companion.inner);
  return espd;
}
