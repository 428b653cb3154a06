/** tshark decrypts ESP of ours with the key given, finds the ICV good, and shows the tunnel inside. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { EspAlgorithm } from '../../../dataplane/commands.ts';
import { LINKTYPE_RAW, writePcap } from '../../rig/pcap.ts';
import { ALICE, BOB, keyFor, SaRig, SPI } from './sa-rig.ts';
import { INNER_DESTINATION, INNER_SOURCE, KEY, TYPES, tunnelPacket, withIpv4 } from './tunnel-packets.ts';

const DATA_LENGTHS = [0, 1, 2, 3, 1000];

const directory = mkdtempSync(join(tmpdir(), 'ovs-espd-tshark-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const FIELDS = [
  'esp.icv_good',
  'esp.sequence',
  'ip.src',
  'ip.dst',
  'gre.key',
  'vxlan.vni',
  'geneve.vni',
  'icmp.type',
  'icmp.checksum.status',
];

function tshark(packets: readonly Uint8Array[], keyAndSalt: Uint8Array): Record<string, string>[] {
  const file = join(directory, 'esp.pcap');
  writePcap(file, packets, undefined, LINKTYPE_RAW);
  const spi = `0x${SPI.toString(16).padStart(8, '0')}`;
  const key = `0x${Buffer.from(keyAndSalt).toString('hex')}`;
  const sa = ['IPv4', ALICE, BOB, spi, 'AES-GCM with 16 octet ICV [RFC4106]', key, 'NULL', ''];
  const run = spawnSync(
    'tshark',
    [
      ...['-r', file, '-T', 'fields', '-E', 'separator=;'],
      ...['-o', 'esp.enable_encryption_decode:TRUE', '-o', 'esp.enable_authentication_check:TRUE'],
      ...['-o', `uat:esp_sa:${sa.map((field) => `"${field}"`).join(',')}`],
      ...FIELDS.flatMap((field) => ['-e', field]),
    ],
    // Preferences of whoever runs the tests must not matter.
    { encoding: 'utf8', env: { ...process.env, WIRESHARK_CONFIG_DIR: directory, XDG_CONFIG_HOME: directory } },
  );
  if (run.status !== 0) throw new Error(`tshark exited ${run.status}: ${run.stderr}`);
  const lines = run.stdout.split('\n').filter((line) => line !== '');
  return lines.map((line) => Object.fromEntries(line.split(';').map((value, i) => [FIELDS[i], value])));
}

const name = 'ESP of ours in tshark';
if (spawnSync('tshark', ['--version'], { stdio: 'ignore' }).status !== 0) {
  describe(name, () => {
    it.skip('is not tested: tshark is not installed (Debian: tshark)', () => {});
  });
} else {
  describe.each(['aes128gcm16', 'aes256gcm16'] as const satisfies EspAlgorithm[])(`${name} (%s)`, (algorithm) => {
    it.each(TYPES)('has a good ICV and a %s packet with an intact ping inside', (type) => {
      const rig = new SaRig();
      rig.addOutbound({ algorithm, keyAndSalt: keyFor(algorithm) });
      const tunnels = DATA_LENGTHS.map((length) => tunnelPacket(type, length));
      const sealed = rig.seal(
        tunnels.map((tunnel) => tunnel.bytes),
        tunnels[0].protocol,
      );
      const shown = tshark(
        sealed.map((packet) => withIpv4(packet.bytes, packet.protocol)),
        keyFor(algorithm),
      );
      expect(shown).toHaveLength(DATA_LENGTHS.length);
      shown.forEach((packet, i) => {
        expect(packet).toMatchObject({
          'esp.icv_good': '1',
          'esp.sequence': `${i + 1}`,
          'ip.src': `${ALICE},${INNER_SOURCE}`,
          'ip.dst': `${BOB},${INNER_DESTINATION}`,
          'icmp.type': '8',
          'icmp.checksum.status': '1',
        });
        expect(Number(packet[type === 'gre' ? 'gre.key' : `${type}.vni`])).toBe(KEY);
      });
    });

    it('has a bad ICV when a bit was changed on the way', () => {
      const rig = new SaRig();
      rig.addOutbound({ algorithm, keyAndSalt: keyFor(algorithm) });
      const { bytes, protocol } = tunnelPacket('gre', 20);
      const [sealed] = rig.seal([bytes], protocol);
      sealed.bytes[sealed.bytes.length - 1] ^= 1;
      const [shown] = tshark([withIpv4(sealed.bytes, 50)], keyFor(algorithm));
      expect(shown['esp.icv_good']).not.toBe('1');
    });
  });
}
