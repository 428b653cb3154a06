/**
 * OVN with `ipsec=true` on chassis whose datapath is in userspace: what no kernel can protect. Debian's ovn-central and
 * ovn-host, certificates by ovs-pki as the OVN IPsec guide makes them, and a wiretap from before the first chassis.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Capture, startCapture } from '../rig/capture.ts';
import { createWire, type Wire } from '../rig/namespace.ts';
import { type Chassis, type OvnCentral, plug, startChassis, startOvnCentral } from '../rig/ovn.ts';
import { HostKeys } from '../rig/ovs-pki.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping, waitForPing } from '../rig/traffic.ts';
import { obstacle } from './two-hosts.ts';

const programs = ['ovs-vswitchd', 'ovn-northd', 'ovn-controller', 'ovn-nbctl', 'ovs-pki', 'tcpdump', 'ping'];
const reason = obstacle(...programs);
const inner = (i: number): string => `192.168.0.${i}`;

describe.skipIf(reason !== '')(`OVN on userspace datapaths with ipsec=true${reason}`, { timeout: 120_000 }, () => {
  let rig: Rig;
  let wire: Wire;
  let central: OvnCentral;
  let capture: Capture;
  const chassis: Chassis[] = [];

  async function join(i: number): Promise<Chassis> {
    const name = `ch${i}`;
    const keys = new HostKeys(rig.directory, name);
    await keys.ovsPki('-u', 'req+sign', name, 'switch');
    // Nothing in the clear, not even before the first SA.
    const otherConfig = { ipsec_skb_mark: '0/1' };
    const joined = await startChassis(rig, wire, central, { name, address: `10.1.0.${i}/24`, keys, otherConfig });
    await plug(joined, `lp${i}`, `02:00:00:00:01:0${i}`, `${inner(i)}/24`);
    chassis.push(joined);
    return joined;
  }

  beforeAll(async () => {
    rig = createRig();
    wire = await createWire(rig);
    capture = await startCapture(rig, wire);
    central = await startOvnCentral(rig, wire, '10.1.0.100/24');
    await central.nbctl('set', 'nb_global', '.', 'ipsec=true');
    await central.nbctl('ls-add', 'ls0');
    for (const i of [1, 2, 3]) {
      await central.nbctl('lsp-add', 'ls0', `lp${i}`);
      await central.nbctl('lsp-set-addresses', `lp${i}`, `02:00:00:00:01:0${i} ${inner(i)}`);
    }
    await new HostKeys(rig.directory, 'authority').ovsPki('init');
    await join(1);
    await join(2);
  }, 120_000);
  afterAll(() => rig?.close());

  it('protects all Geneve between two chassis: logical ports ping, the wire carries ESP and no Geneve', async () => {
    await waitForPing(chassis[0]!.host.namespace, inner(2), 30_000);
    expect((await ping(chassis[0]!.host.namespace, inner(2), { count: 5, size: 1300 })).received).toBe(5);
    await capture.waitFor('esp', 10);
    expect(capture.counts().geneve ?? 0).toBe(0);
    expect(await chassis[0]!.espd.tunnelsShow()).toMatch(/Remote name: +ch2[\s\S]*SA state: +up/);
  });

  it('lets a third chassis join and leave without disturbing the others', async () => {
    const between = ping(chassis[0]!.host.namespace, inner(2), { count: 300, interval: 0.1 });
    const third = await join(3);
    await waitForPing(third.host.namespace, inner(1), 30_000);
    await waitForPing(third.host.namespace, inner(2), 30_000);
    await third.controller.stop();
    await central.sbctl('chassis-del', 'ch3');
    await third.espd.stop();
    const { sent, received } = await between;
    expect(received).toBe(sent);
    expect(capture.counts().geneve ?? 0).toBe(0);
  });
});
