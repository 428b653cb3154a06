/**
 * OVN with `ipsec=true` on chassis whose datapath is in userspace: what no kernel can protect. Debian's ovn-central and
 * ovn-host, certificates by ovs-pki as the OVN IPsec guide makes them, and a wiretap from before the first chassis.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Capture, startCapture } from '../rig/capture.ts';
import { createWire, type Wire } from '../rig/namespace.ts';
import { type Chassis, type OvnCentral, plug, startChassis, startOvnCentral } from '../rig/ovn.ts';
import { HostKeys } from '../rig/ovs-pki.ts';
import { Pki } from '../rig/pki.ts';
import { start } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping, waitForPing } from '../rig/traffic.ts';
import { obstacle } from './two-hosts.ts';

const programs = ['ovs-vswitchd', 'ovn-northd', 'ovn-controller', 'ovn-nbctl', 'ovs-pki', 'tcpdump', 'ping'];
const reason = obstacle(...programs);
const inner = (i: number): string => `192.168.0.${i}`;

describe.skipIf(reason !== '')(`OVN on userspace datapaths with ipsec=true${reason}`, { timeout: 240_000 }, () => {
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

  /** A steady flow to the second chassis' workload; `lost` ends it after some more, and gives the numbers without an answer. */
  async function startPing({ host }: Chassis): Promise<{ lost(): Promise<number[]> }> {
    const args = ['-n', '-i', '0.05', inner(2)];
    const flow = start(rig, { name: 'ping', command: 'ping', args, namespace: host.namespace });
    const answered = () => [...flow.stdout().matchAll(/icmp_seq=(\d+) ttl/g)].map(([, number]) => Number(number));
    await flow.waitForOutput(/icmp_seq=\d+ ttl/);
    const [first = 1] = answered();
    return {
      async lost() {
        const last = Math.max(...answered()) + 10;
        await flow.waitForOutput(new RegExp(`icmp_seq=${last} ttl`));
        const numbers = new Set(answered());
        await flow.stop();
        return Array.from({ length: last - first }, (_, index) => first + index).filter((each) => !numbers.has(each));
      },
    };
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
  }, 180_000);
  afterAll(() => rig?.close());

  it('protects all Geneve between two chassis: logical ports ping, the wire carries ESP and no Geneve', async () => {
    await waitForPing(chassis[0]!.host.namespace, inner(2), 30_000);
    expect((await ping(chassis[0]!.host.namespace, inner(2), { count: 5, size: 1300 })).received).toBe(5);
    await capture.waitFor('esp', 10);
    await capture.settle();
    expect(capture.counts().geneve ?? 0).toBe(0);
    expect(await chassis[0]!.espd.tunnelsShow()).toMatch(/Remote name: +ch2[\s\S]*SA state: +up/);
  });

  it('lets a third chassis join and leave without disturbing the others', async () => {
    const between = await startPing(chassis[0]!);
    const third = await join(3);
    await waitForPing(third.host.namespace, inner(1), 30_000);
    await waitForPing(third.host.namespace, inner(2), 30_000);
    await third.controller.stop();
    await central.sbctl('chassis-del', 'ch3');
    await third.espd.stop();
    expect(await between.lost()).toEqual([]);
    await capture.settle();
    expect(capture.counts().geneve ?? 0).toBe(0);
  });

  it('goes over to another authority and other certificates while the tunnel is up, and no packet is lost', async () => {
    const [first, second] = [chassis[0]!, chassis[1]!];
    const pki = new Pki();
    rig.defer('the other authority', () => pki.remove());
    const authority = pki.authority('switchca');
    const both = pki.path('both.pem');
    writeFileSync(
      both,
      Buffer.concat([readFileSync(first.keys.fetchAuthority()), readFileSync(authority.certificatePath)]),
    );
    const set = ({ ovsdb }: Chassis, settings: Readonly<Record<string, string>>) =>
      ovsdb.vsctl(
        `set Open_vSwitch . ${Object.entries(settings)
          .map(([key, value]) => `other_config:${key}=${value}`)
          .join(' ')}`,
      );
    const spisOf = async ({ espd }: Chassis) =>
      [...(await espd.appctl('sas/show')).matchAll(/SPI (0x[0-9a-f]{8})/g)].map(([, spi]) => spi!);
    const between = await startPing(first);

    for (const each of [first, second]) await set(each, { ca_cert: both });
    for (const { name, ...each } of [first, second]) {
      const { certificatePath, keyPath } = pki.signed(authority, name);
      await set({ name, ...each }, { certificate: certificatePath, private_key: keyPath });
    }
    // From here on a certificate of the former authority is refused.
    const before = new Set((await Promise.all([first, second].map(spisOf))).flat());
    for (const each of [first, second]) await set(each, { ca_cert: authority.certificatePath });
    for (const each of [first, second])
      await each.espd.running.waitUntil('other SAs, and none from before', async () => {
        const now = await spisOf(each);
        return /SA state: +up/.test(await each.espd.tunnelsShow()) && now.every((spi) => !before.has(spi));
      });
    expect(await between.lost()).toEqual([]);
    for (const each of [first, second]) expect(each.espd.log()).not.toMatch(/is refused|INVALID/);
    await capture.settle();
    expect(capture.counts().geneve ?? 0).toBe(0);
  });
});
