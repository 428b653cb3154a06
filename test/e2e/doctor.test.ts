/** `ovs-espd doctor` on hosts that are well and on hosts where things are wrong, with the real things wrong. */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Result } from '../../control/doctor/doctor.ts';
import { startEspd } from '../rig/espd.ts';
import { createLan, type Host, ip, type Lan } from '../rig/namespace.ts';
import { type Ovsdb, startOvsdb } from '../rig/ovsdb.ts';
import { Pki } from '../rig/pki.ts';
import { run, start } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ROOT } from '../rig/root.ts';
import { addBridge, addTunnel, INNER, obstacle } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'openssl');

describe.skipIf(reason !== '')(`ovs-espd doctor${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  let lan: Lan;
  beforeEach(async () => {
    rig = createRig();
    lan = await createLan(rig);
  });
  afterEach(() => rig.close());

  async function doctor(host: Host, ovsdb: Ovsdb, ...words: string[]): Promise<{ status: number; stdout: string }> {
    const args = [join(ROOT, 'bin/ovs-espd'), 'doctor', ...words];
    return run(
      { command: process.execPath, args, namespace: host.namespace, env: ovsdb.env },
      { expect: 'any', ms: 30_000 },
    );
  }

  async function results(host: Host, ovsdb: Ovsdb, ...words: string[]): Promise<{ status: number; all: Result[] }> {
    const { status, stdout } = await doctor(host, ovsdb, '--json', ...words);
    return { status, all: JSON.parse(stdout) as Result[] };
  }

  const told = (all: readonly Result[], level: string): string[] =>
    all.filter((result) => result.level === level).map(({ check, message }) => `${check}: ${message}`);

  it('finds nothing to mend on a host whose daemon runs, and its locks and ports in good hands', async () => {
    const ovsdb = await startOvsdb(rig, lan.a);
    const espd = await startEspd(rig, lan.a, { database: ovsdb.remote, directory: ovsdb.directory });
    const a = { host: lan.a, ovsdb, espd };
    await ovsdb.vsctl('set Open_vSwitch . other_config:ipsec_skb_mark=0/1');
    await addBridge(a, INNER.a);
    await addTunnel(a, 'geneve', lan.b.address);
    await espd.waitForTunnel('tun', /Interface name: tun v1 \(CONFIGURED\)/);
    const { status, all } = await results(lan.a, ovsdb);
    expect(told(all, 'fail')).toEqual([]);
    expect(status).toBe(0);
    expect(told(all, 'ok')).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^program: AEAD of OpenSSL .* gives the right answer$/),
        expect.stringMatching(new RegExp(`^ike-ports: UDP 500: .*ovs-espd.* \\(pid ${espd.running.pid}\\)$`)),
        expect.stringMatching(/^database: ovs_ipsec is held, .*ovs-espd/),
        'database: ovs_vswitchd is held, ovs-espd is the datapath',
        'tunnels: 1 tunnels, 1 of them with IPsec, all well configured',
        'peers: tunnel tun: 10.1.0.1 to 10.1.0.2 by eth0',
        'leaks: tunnel tun: nothing, its mark 0 matches ipsec_skb_mark 0/1',
      ]),
    );
    expect((await doctor(lan.a, ovsdb)).stdout).toMatch(/\n\d+ ok, \d+ to look at, 0 to mend\n$/);
  });

  it('says what is wrong with a host, a line and a remedy for each thing, and its exit status says so', async () => {
    const { a } = lan;
    const pki = new Pki();
    rig.defer('pki', () => pki.remove());
    const own = pki.selfSigned('host_1', { days: 5 });
    const other = pki.selfSigned('host_2');
    chmodSync(own.keyPath, 0o644);
    const ovsdb = await startOvsdb(rig, a);
    const vsctl = (words: string) => ovsdb.vsctl(`--no-wait ${words}`);
    const set = (name: string, type: string, options: string) =>
      vsctl(`add-port br0 ${name} -- set interface ${name} type=${type} ${options}`);
    await vsctl('add-br br0');
    await vsctl(`set Open_vSwitch . other_config:certificate=${own.certificatePath}`);
    await vsctl(`set Open_vSwitch . other_config:private_key=${own.keyPath}`);
    await set('pinned', 'gre', `options:remote_ip=${lan.b.address} options:remote_cert=${other.certificatePath}`);
    await set('stray', 'vxlan', `options:remote_ip=${lan.b.address} options:remote_cert=/nowhere.pem`);
    await set('far', 'gre', 'options:local_ip=10.1.0.1 options:remote_ip=203.0.113.1');
    await set('foreign', 'gre', `options:local_ip=10.1.0.77 options:remote_ip=${lan.b.address}`);
    await set('plain', 'geneve', `options:remote_ip=${lan.b.address} options:colour=blue`);
    await ip(a.namespace, 'tuntap', 'add', 'br0', 'mode', 'tap');
    await a.exec('sysctl', ['-qw', 'net.ipv4.conf.eth0.rp_filter=1']);
    await ip(
      a.namespace,
      ...['xfrm', 'policy', 'add', 'src', '10.1.0.0/24', 'dst', '10.1.0.0/24', 'dir', 'out', 'tmpl', 'proto', 'esp'],
    );
    // A program of charon's name that has its port.
    const pretender = join(rig.directory, 'charon');
    writeFileSync(pretender, "require('node:dgram').createSocket('udp4').bind(500, () => console.log('bound'));\n");
    const charon = start(rig, {
      ...{ name: 'charon', command: process.execPath, args: [pretender], namespace: a.namespace },
    });
    await charon.waitForOutput(/bound/);

    const { status, all } = await results(a, ovsdb);
    expect(status).toBe(1);
    const expected: Record<string, RegExp[]> = {
      fail: [
        new RegExp(`^ike-ports: UDP 500 belongs to .*charon \\(pid ${charon.pid}\\)$`),
        /^tunnels: tunnel stray is INVALID: options:remote_cert: "\/nowhere.pem": there is no such file/,
        /^certificates: .*\/nowhere.pem/,
        /^peers: tunnel far: there is no route to 203.0.113.1$/,
        /^peers: tunnel foreign: 10.1.0.77 is no address of this host that is up$/,
      ],
      warn: [
        /^other-daemons: .*charon \(pid \d+\) runs here and keys tunnels too$/,
        /^tunnels: Open_vSwitch: .*every user of this host may read the private key: chmod 600 it$/,
        /^tunnels: interface plain: options:colour is "\(ignored\)"/,
        new RegExp(`^certificates: ${own.certificatePath}: expires in [45] days$`),
        /^mtu: tunnel pinned: eth0 has MTU 1500, so packets of 14\d\d bytes fit, but bridge br0 has 1500/,
        /^rp-filter: eth0: strict/,
        /^kernel-policies: tunnel pinned: the kernel has a policy src 10.1.0.0\/24 dst 10.1.0.0\/24 dir out/,
        /^leaks: tunnel pinned: plaintext until its first SA, as its mark 0 does not match ipsec_skb_mark \(unset\)$/,
      ],
    };
    for (const [level, patterns] of Object.entries(expected))
      for (const pattern of patterns)
        expect(told(all, level)).toEqual(expect.arrayContaining([expect.stringMatching(pattern)]));
    for (const { level, remedy } of all) if (level !== 'ok') expect(remedy).toBeTruthy();
    expect(told(all, 'ok')).toContain('leaks: tunnel plain: everything, as it asks for no IPsec');
  });

  it('looks at the rest where there is no database, and says that it would wait behind an ovs-vswitchd', async () => {
    const ovsdb = await startOvsdb(rig, lan.a);
    const away = await results(lan.a, ovsdb, `unix:${ovsdb.directory}/nothing.sock`);
    expect(away.status).toBe(1);
    expect(told(away.all, 'fail')).toEqual([
      expect.stringMatching(/^database: unix:.*nothing.sock: no such socket \(ENOENT\)/),
    ]);
    const holder = start(rig, {
      ...{ name: 'ovsdb-client', command: 'ovsdb-client', args: ['lock', ovsdb.remote, 'ovs_vswitchd'] },
      namespace: lan.a.namespace,
    });
    await holder.waitForOutput(/locked|true/i);
    expect(told((await results(lan.a, ovsdb)).all, 'fail')).toEqual([
      expect.stringMatching(
        /^database: ovs_vswitchd is held by another process, and no interface has external_ids:espd/,
      ),
    ]);
  });

  it('refuses arguments that it does not know, in one line', async () => {
    const ovsdb = await startOvsdb(rig, lan.a);
    expect((await doctor(lan.a, ovsdb, '--colour')).status).toBe(1);
  });
});
