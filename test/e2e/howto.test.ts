/** The pages of docs/howto, followed word by word: every command comes from the page (migration.md has its own test, in test/interop). */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Capture, startCapture } from '../rig/capture.ts';
import { commandsOf, type Machine, onThePeer, START_OVS, startMachine } from '../rig/howto.ts';
import { createWire, type Wire } from '../rig/namespace.ts';
import { startOvnCentral } from '../rig/ovn.ts';
import { until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { obstacle } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'ovs-vswitchd', 'tcpdump', 'ping', 'unshare', 'nsenter');
const ovnReason = obstacle(
  'ovs-vswitchd',
  'ovn-northd',
  'ovn-controller',
  'ovn-nbctl',
  'ovs-pki',
  'tcpdump',
  'unshare',
);

describe.skipIf(reason !== '')(`the how-to pages, word by word${reason}`, { timeout: 240_000 }, () => {
  let rig: Rig;
  let wire: Wire;
  let capture: Capture;
  let one: Machine;
  let two: Machine;
  beforeEach(async () => {
    rig = createRig();
    wire = await createWire(rig);
    capture = await startCapture(rig, wire, 'not ip6');
    [one, two] = [
      await startMachine(rig, await wire.addHost('a', '10.1.0.1/24')),
      await startMachine(rig, await wire.addHost('b', '10.1.0.2/24')),
    ];
  });
  afterEach(() => rig.close());

  async function onBoth(commands: string): Promise<void> {
    await one.sh(commands);
    await two.sh(onThePeer(commands));
  }

  async function expectProtected(ping: string): Promise<void> {
    const shows = () => one.sh('ovs-appctl -t ovs-espd tunnels/show');
    await until('SA state: up', async () => /SA state: +up/.test(await shows()), 20_000);
    await until('three answers of three', async () => / 3 received/.test(await one.sh(ping)), 30_000);
    expect(await one.sh('cat /var/log/openvswitch/ovs-espd.log')).not.toContain('no configuration is in force');
    await capture.settle();
    const { esp = 0, gre = 0, geneve = 0, vxlan = 0 } = capture.counts();
    expect({ gre, geneve, vxlan }).toEqual({ gre: 0, geneve: 0, vxlan: 0 });
    expect(esp).toBeGreaterThanOrEqual(6);
  }

  it('standalone.md', async () => {
    const [set, see] = commandsOf('standalone.md') as [string, string];
    await onBoth(set);
    await expectProtected(see);
  });

  it('kernel-devices.md', async () => {
    const [set, see] = commandsOf('kernel-devices.md') as [string, string];
    await onBoth(set);
    await expectProtected(see);
  });

  it.each([
    ['uplink', 0],
    ['port', 1],
  ] as const)('ovs-userspace.md, %s', async (_attach, block) => {
    await onBoth(START_OVS);
    await onBoth(commandsOf('ovs-userspace.md')[block]!);
    await expectProtected('ping -c 3 192.0.0.2');
  });

  it.skipIf(ovnReason !== '')(`ovn.md${ovnReason}`, async () => {
    const [keys, bridge, controller, central] = commandsOf('ovn.md') as [string, string, string, string];
    const ovn = await startOvnCentral(rig, wire, '10.1.0.100/24');
    await ovn.nbctl(...central.trim().split(' ').slice(1));
    await ovn.nbctl('ls-add', 'ls0');
    await onBoth(START_OVS);
    await followKeys(keys);
    for (const [machine, i] of [
      [one, 1],
      [two, 2],
    ] as const) {
      await ovn.nbctl('lsp-add', 'ls0', `lp${i}`);
      await ovn.nbctl('lsp-set-addresses', `lp${i}`, `02:00:00:00:01:0${i} 192.0.0.${i}`);
      await machine.sh(i === 1 ? bridge : onThePeer(bridge));
      await machine.sh(i === 1 ? controller : onThePeer(controller));
      await machine.sh(`ovn-controller --pidfile --detach --log-file
        ovs-vsctl --timeout=60 wait-until bridge br-int
        ovs-vsctl add-port br-int wl -- set interface wl type=internal external_ids:iface-id=lp${i} \\
          -- set interface wl 'mac="02:00:00:00:01:0${i}"'
        ip addr add 192.0.0.${i}/24 dev wl; ip link set wl mtu 1380 up`);
    }
    await expectProtected('ping -c 3 192.0.0.2');
    expect(await one.sh('ovs-appctl -t ovs-espd tunnels/show')).toMatch(/Remote name: +ch2/);
  });

  /** The page's first step: what is made on one machine is copied to the other. */
  async function followKeys(commands: string): Promise<void> {
    const make = commands.slice(0, commands.indexOf('ovs-vsctl'));
    const set = commands.slice(commands.indexOf('ovs-vsctl'));
    const again = onThePeer(make.slice(make.indexOf('ovs-pki -u')));
    await one.sh(`mkdir -p /etc/keys && cd /etc/keys && ${make}\n${again}`, 60_000);
    const files = await one.sh(
      'cd /etc/keys && cp /var/lib/openvswitch/pki/switchca/cacert.pem . && tar c . | base64 -w0',
    );
    await two.sh(`mkdir -p /etc/keys && cd /etc/keys && base64 -d <<<'${files.trim()}' | tar x`);
    await one.sh(set);
    await two.sh(onThePeer(set));
  }
});
