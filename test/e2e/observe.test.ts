/** What an operator sees of a running tunnel: trace, captures with keys, through ovs-appctl. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../rig/process.ts';
import { createRig, missingPrograms, type Rig } from '../rig/rig.ts';
import { ping, waitForPing } from '../rig/traffic.ts';
import { BRIDGE, INNER, obstacle, runTutorial, startTutorial, type Tutorial } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'ovs-appctl');

describe.skipIf(reason !== '')(`an operator who looks at a tunnel${reason}`, { timeout: 120_000 }, () => {
  let rig: Rig;
  let tutorial: Tutorial;

  beforeAll(async () => {
    rig = createRig();
    tutorial = await startTutorial(rig, { args: ['--metrics=9475'] });
    await runTutorial(tutorial, 'geneve');
    for (const { espd } of [tutorial.a, tutorial.b]) await espd.waitForTunnel('tun');
    await waitForPing(tutorial.a.host.namespace, INNER.b);
  }, 180_000);
  afterAll(() => rig.close());

  it('traces a packet to ESP, and the switch learns nothing from it', async () => {
    const { espd } = tutorial.a;
    const flow = `in_port=LOCAL,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:99,icmp,nw_src=${INNER.a},nw_dst=${INNER.b}`;
    const text = await espd.appctl('trace', BRIDGE, flow);
    expect(text).toMatch(/^Frame from br-ipsec on br-ipsec, 106 bytes\n 1\. switch +02:00:00:00:00:99 is unknown/);
    expect(text).toMatch(/\d\. encapsulate +tun: geneve header of 16 bytes/);
    expect(text).toMatch(/\d\. outer-header +tun: IPv4 10\.1\.0\.1 to 10\.1\.0\.2, ESP/);
    expect(text).toMatch(/\nFinal: sent through tun as ESP\n$/);
    expect(await espd.appctl('fdb/show', BRIDGE)).not.toContain('02:00:00:00:00:01');
    await expect(espd.appctl('trace', BRIDGE, 'in_port=nobody')).rejects.toThrow(
      /expected a port of br-ipsec: br-ipsec, tun/,
    );
  });

  const missing = missingPrograms('tshark');
  const without = missing.length > 0 ? ' (skipped: tshark not installed)' : '';
  it.skipIf(missing.length > 0)(
    `captures both sides of a tunnel; tshark decrypts it with the keys asked for${without}`,
    async () => {
      const { espd, host } = tutorial.a;
      const [file, keys] = [join(espd.directory, 'c.pcapng'), join(espd.directory, 'esp_sa')];
      await espd.appctl('pcap/start', file, `--keylog=${keys}`);
      const { received } = await ping(host.namespace, INNER.b, { count: 3, wait: 2 });
      expect(received).toBe(3);
      expect(await espd.appctl('pcap/stop')).toMatch(/^\d+ packets, \d+ bytes in/);
      expect(statSync(file).mode & 0o777).toBe(0o600);
      const lines = readFileSync(keys, 'utf8').trimEnd().split('\n');
      for (const line of lines) {
        const key = /"0x([0-9a-f]{72})"/.exec(line)![1]!;
        expect(readFileSync(file).includes(Buffer.from(key, 'hex'))).toBe(false);
      }
      const fields = ['frame.interface_name', 'esp.spi', 'geneve.vni', 'icmp.type'].flatMap((field) => ['-e', field]);
      const table = lines.flatMap((line) => ['-o', `uat:esp_sa:${line}`]);
      const preference = ['-o', 'esp.enable_encryption_decode:TRUE'];
      const { stdout } = await run({
        command: 'tshark',
        args: ['-r', file, '-Y', 'icmp', '-T', 'fields', ...preference, ...table, ...fields],
      });
      const rows = stdout
        .trimEnd()
        .split('\n')
        .map((row) => row.split('\t'));
      expect(rows.filter(([point]) => point === 'inside')).toHaveLength(6);
      expect(
        rows.filter(([point, spi, vni]) => point === 'outside' && /^0x/.test(spi!) && vni === '0x000000'),
      ).toHaveLength(6);
    },
  );

  it('measures what each stage of the packet worker costs, both ways, while it is asked to', async () => {
    const { espd, host } = tutorial.a;
    const [text] = await Promise.all([
      espd.appctl('stages/show', '2'),
      ping(host.namespace, INNER.b, { count: 4, wait: 2 }),
    ]);
    expect(text).toMatch(/^worker 0: \d+\.\d % of 2\.\d\d s in the stages below$/m);
    for (const stage of ['out seal', 'out send', 'in  open', 'in  write'])
      expect(text).toMatch(new RegExp(`^  ${stage} +[1-9]\\d* +[1-9]\\d* +(\\d+|-) +\\d+\\.\\d %$`, 'm'));
    await expect(espd.appctl('stages/show', '11')).rejects.toThrow(/seconds is "11", expected 1 to 10/);
  });

  it('gives Prometheus what the tunnel has carried, on loopback', async () => {
    const { espd, host } = tutorial.a;
    expect(espd.log()).toContain('--metrics: listening on 127.0.0.1:9475');
    const fetch = "fetch('http://127.0.0.1:9475/metrics').then((r) => r.text()).then((t) => process.stdout.write(t))";
    const { stdout } = await run({ command: process.execPath, args: ['-e', fetch], namespace: host.namespace });
    expect(stdout).toMatch(/^ovs_espd_tunnel_policy\{tunnel="tun",row="up"\} 1$/m);
    expect(stdout).toMatch(/^ovs_espd_tunnel_packets_total\{tunnel="tun",direction="rx"\} [1-9]\d*$/m);
    expect(stdout).toMatch(/^ovs_espd_sa_packets_total\{.*direction="out",spi="0x[0-9a-f]{8}"\} [1-9]\d*$/m);
    expect(stdout).toMatch(/^ovs_espd_ike_sas\{state="established"\} 1$/m);
    expect(stdout).not.toMatch(/swordfish/);
  });

  // The last one: afterwards host a has no daemon.
  it('gets what was measured so far when the daemon ends meanwhile, which does not wait for the rest', async () => {
    const { espd } = tutorial.a;
    // Whichever is refused, the other one runs.
    const asked = [1, 2].map(() => espd.appctl('stages/show', '10'));
    await expect(Promise.race(asked)).rejects.toThrow('a measurement runs already');
    await espd.appctl('exit');
    const elapsed = /worker 0: .* of (\d+\.\d\d) s in the stages below/.exec(await Promise.any(asked))?.[1];
    expect(Number(elapsed)).toBeLessThan(9);
    expect(await espd.running.ended).toMatchObject({ status: 0 });
    expect(espd.log()).not.toMatch(/\|(ERR|EMER)\|/);
  });
});
