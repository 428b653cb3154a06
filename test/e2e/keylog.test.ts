/** `--keylog`: its tables, as they are, let Wireshark read a capture of the wire, IKE and ESP. And ike/show, ike/log on a daemon. */
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';

import { createRig, type Rig } from '../rig/rig.ts';
import { waitForPing } from '../rig/traffic.ts';
import { addBridge, addTunnel, INNER, obstacle, startTutorial } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'ovs-appctl', 'tcpdump', 'tshark', 'ping');

describe.skipIf(reason !== '')(`a daemon with --keylog${reason}`, { timeout: 120_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  it('writes tables with which tshark decrypts IKE and ESP of a capture, readable by their owner only', async () => {
    const keys = join(rig.directory, 'keys');
    const { a, b } = await startTutorial(rig, { args: [`--keylog=${keys}`] });
    const capture = await startCapture(rig, { namespace: a.host.namespace, device: a.host.device });
    await addBridge(a, INNER.a);
    await addBridge(b, INNER.b);
    const options = { psk: 'swordfish', ipsec_esp: 'aes256gcm16-noesn' };
    await addTunnel(b, 'gre', a.host.address, options);
    await addTunnel(a, 'gre', b.host.address, options);
    await Promise.all([a.espd.waitForTunnel('tun'), b.espd.waitForTunnel('tun')]);
    await waitForPing(a.host.namespace, INNER.b);
    await capture.stop();

    for (const file of ['ikev2_decryption_table', 'esp_sa'])
      expect(statSync(join(keys, file)).mode & 0o777).toBe(0o600);
    expect(a.espd.log()).toMatch(/WARN.*every key of IKE and ESP is written to /);
    expect(readFileSync(join(keys, 'ikev2_decryption_table'), 'utf8')).not.toContain('swordfish');
    const text = execFileSync(
      'tshark',
      ['-r', capture.path, '-o', 'esp.enable_encryption_decode:TRUE', '-O', 'isakmp,esp,icmp'],
      {
        env: { ...process.env, WIRESHARK_CONFIG_DIR: keys, HOME: keys },
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    );
    expect(text).toContain('Exchange type: IKE_AUTH (35)');
    expect(text).toContain('Payload: Traffic Selector - Responder (45)');
    expect(text).toContain('Shared Key Message Integrity Code (2)');
    expect(text).toMatch(/Type: 8 \(Echo \(ping\) request\)/);

    // The keys that the additional key exchange replaced decrypt that exchange, as a profile of their own.
    const before = execFileSync('tshark', ['-r', capture.path, '-Y', 'isakmp.exchangetype == 43', '-O', 'isakmp'], {
      env: { ...process.env, WIRESHARK_CONFIG_DIR: join(keys, 'intermediate-1'), HOME: keys },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    expect(statSync(join(keys, 'intermediate-1', 'ikev2_decryption_table')).mode & 0o777).toBe(0o600);
    // Twice that if both ends began at once.
    expect(before.match(/Payload: Key Exchange \(34\)/g)?.length).toBeGreaterThanOrEqual(2);
    expect(before).toMatch(/Group #: \w*.*\(36\)/);

    const show = await a.espd.appctl('ike/show');
    expect(show).toMatch(/IKE SA [0-9a-f]{16}_i\*? [0-9a-f]{16}_r\*?: established/);
    expect(show).toMatch(/child tun\{\d+\}: installed/);
    const log = await a.espd.appctl('ike/log', 'tun');
    expect(log).toMatch(/IKE_SA_INIT request 0 \[SA\(1:IKE AES_GCM_16_256/);
    expect(log).toMatch(/sent IKE_INTERMEDIATE (request|response) 1 \[KE\(ML_KEM_768\)\]/);
    expect(show).toMatch(/MODP_2048\/KE1_ML_KEM_768; no NAT/);
    expect(log).toMatch(/CHILD_SA tun\{\d+\} established/);
    expect(log).not.toContain('swordfish');
    await expect(a.espd.appctl('ike/log', 'nobody')).rejects.toThrow(/no IKE connection of "nobody"/);
  });
});
