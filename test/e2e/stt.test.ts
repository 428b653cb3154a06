/** STT between two ovs-espd over the kernel's sockets: in the clear without a RST of the kernel, inside ESP, and cut into segments. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { run } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { measureThroughput, ping, waitForPing } from '../rig/traffic.ts';
import { BRIDGE, INNER, obstacle, PSK, runTutorial, startTutorial, type Tutorial } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'tcpdump', 'tshark', 'ping', 'iperf3');

describe.skipIf(reason !== '')(`STT tunnels${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  /** Frames of up to 4014 bytes over a wire of 1500. */
  async function withLargeFrames({ a, b }: Tutorial): Promise<void> {
    for (const { ovsdb, host } of [a, b]) {
      await ovsdb.vsctl(`--timeout=5 set interface ${BRIDGE} mtu_request=4000`);
      const { stdout } = await run({ command: 'ip', args: ['-n', host.namespace, 'link', 'show', 'dev', BRIDGE] });
      expect(stdout).toContain('mtu 4000');
    }
  }

  it('carry ping and TCP in the clear, whole and cut, and the kernel says nothing to it', async () => {
    const tutorial = await startTutorial(rig);
    const { a, b } = tutorial;
    await runTutorial(tutorial, 'stt', { key: '7' });
    // From here on: until b has its tunnel, the kernel there answers for it.
    await waitForPing(a.host.namespace, INNER.b);
    const capture = await startCapture(rig, { namespace: a.host.namespace, device: a.host.device });
    await withLargeFrames(tutorial);
    expect((await ping(a.host.namespace, INNER.b, { count: 5, size: 3900, dontFragment: true })).received).toBe(5);
    // Five requests and as many answers, three segments each: tcpdump writes the last of them after ping has ended.
    await capture.waitFor('stt', 30);
    await capture.stop();
    const read = async (filter: string, ...fields: string[]): Promise<string[]> => {
      const args = [
        '-r',
        capture.path,
        '-o',
        'ip.try_heuristic_first:TRUE',
        '-Y',
        filter,
        '-T',
        'fields',
        '-E',
        'separator=;',
      ];
      const { stdout } = await run({ command: 'tshark', args: [...args, ...fields.flatMap((field) => ['-e', field])] });
      return stdout.split('\n').filter(Boolean);
    };
    expect(await read('stt.tcp.flags.rst == 1 || (tcp.flags.reset == 1 && tcp.port == 7471)', 'frame.number')).toEqual(
      [],
    );
    expect(await read('icmp.type == 3', 'frame.number')).toEqual([]);
    const segments = await read('stt.seg_off > 0', 'stt.pkt_len', 'ip.len');
    expect(segments.length).toBeGreaterThanOrEqual(20);
    for (const line of segments) expect(Number(line.split(';')[1]!.split(',')[0])).toBeLessThanOrEqual(1500);
    const whole = await read('stt.context_id', 'stt.context_id');
    expect(new Set(whole)).toEqual(new Set(['0x0000000000000007']));

    const server = { namespace: b.host.namespace, address: INNER.b };
    const client = { namespace: a.host.namespace, address: INNER.a };
    const result = await measureThroughput(rig, { server, client, seconds: 2, omit: 0 });
    expect(result.gigabitsPerSecond).toBeGreaterThan(0.01);
    for (const { espd } of [a, b]) expect(espd.log()).not.toMatch(/\|(EMER|ERR)\|/);
  });

  it('carry ping and TCP inside ESP, and nothing else is on the wire', async () => {
    const tutorial = await startTutorial(rig);
    const { a, b } = tutorial;
    await runTutorial(tutorial, 'stt', { psk: PSK });
    await a.espd.waitForTunnel('tun');
    await b.espd.waitForTunnel('tun');
    await withLargeFrames(tutorial);
    const capture = await startCapture(rig, { namespace: a.host.namespace, device: a.host.device });
    expect((await ping(a.host.namespace, INNER.b, { count: 5, size: 3900, dontFragment: true })).received).toBe(5);
    await capture.waitFor((packet) => packet.kind === 'esp', 30);
    const server = { namespace: b.host.namespace, address: INNER.b };
    const client = { namespace: a.host.namespace, address: INNER.a };
    const result = await measureThroughput(rig, { server, client, seconds: 2, omit: 0 });
    expect(result.gigabitsPerSecond).toBeGreaterThan(0.01);
    capture.assertOnlyEsp();
    await capture.stop();
  });

  it('count a connection that somebody tries to the port, and answer nothing', async () => {
    const tutorial = await startTutorial(rig);
    const { a, b } = tutorial;
    await runTutorial(tutorial, 'stt', { dst_port: '9999' });
    await waitForPing(a.host.namespace, INNER.b);
    const capture = await startCapture(rig, { namespace: a.host.namespace, device: a.host.device });
    const knock = `exec 3<>/dev/tcp/${b.host.address}/9999`;
    const args = ['2', 'bash', '-c', knock];
    await run({ command: 'timeout', args, namespace: a.host.namespace }, { expect: 'any' });
    const answers = (await capture.stop()).filter(
      ({ source, sourcePort }) => source === b.host.address && sourcePort === 9999,
    );
    expect(answers).toEqual([]);
    expect(await b.espd.appctl('coverage/show')).toContain('stt-flags');
  });
});
