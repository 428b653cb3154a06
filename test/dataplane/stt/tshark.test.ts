/** STT of ours in tshark, whose dissector is the only other implementation that is left: its fields, its checksum verdict, the frame it puts together. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { sttFragmentOffset, sttFrameId, sttFrameLength } from '../../../dataplane/wire/stt.ts';
import { LINKTYPE_RAW, writePcap } from '../../rig/pcap.ts';
import { frame, openPair, TUNNEL_PORT } from '../engine/pair.ts';

const directory = mkdtempSync(join(tmpdir(), 'ovs-espd-stt-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const FIELDS = [
  'stt.stream_id',
  'stt.dport',
  'stt.pkt_len',
  'stt.seg_off',
  'stt.pkt_id',
  'stt.version',
  'stt.flags',
  'stt.mss',
  'stt.vlan',
  'stt.context_id',
  'stt.checksum.status',
  'frame.protocols',
  'eth.src',
  'ip.dst',
  '_ws.expert.message',
] as const;

function tshark(packets: readonly Uint8Array[]): Record<string, string>[] {
  const file = join(directory, 'stt.pcap');
  writePcap(file, packets, undefined, LINKTYPE_RAW);
  const run = spawnSync(
    'tshark',
    [
      ...['-r', file, '-T', 'fields', '-E', 'separator=;', '-o', 'ip.try_heuristic_first:TRUE'],
      ...['-o', 'stt.reassemble:TRUE', '-o', 'stt.check_checksum:TRUE'],
      ...FIELDS.flatMap((field) => ['-e', field]),
    ],
    // Preferences of whoever runs the tests must not matter.
    { encoding: 'utf8', env: { ...process.env, WIRESHARK_CONFIG_DIR: directory, XDG_CONFIG_HOME: directory } },
  );
  if (run.status !== 0) throw new Error(`tshark exited ${run.status}: ${run.stderr}`);
  const lines = run.stdout.split('\n').filter((line) => line !== '');
  return lines.map((line) => Object.fromEntries(line.split(';').map((value, i) => [FIELDS[i], value])));
}

/** What the engine sent for frames of these lengths over a path of 1500 bytes. */
async function sentFor(lengths: readonly number[]): Promise<readonly Uint8Array[]> {
  const packets: Uint8Array[] = [];
  const pair = await openPair({ type: 'stt', tap: (packet) => packets.push(packet.slice()) > 0 });
  try {
    await pair.a.engine.apply({ op: 'set-path-mtu', port: TUNNEL_PORT, mtu: 1500 });
    for (const length of lengths) {
      pair.a.port.put(frame(255, 1, length));
      await pair.b.frame();
    }
  } finally {
    await pair.stop();
  }
  return packets;
}

/**
 * tshark 4.0 sums up packet and checksum, which makes 0 if it is right, then compares the 0 with the checksum field and complains:
 * with 0 it means that all is well.
 */
const SUM_IS_RIGHT = 'Bad checksum [should be 0x0000]';

const name = 'STT of ours in tshark';
if (spawnSync('tshark', ['--version'], { stdio: 'ignore' }).status !== 0) {
  describe(name, () => {
    it.skip('is not tested: tshark is not installed (Debian: tshark)', () => {});
  });
} else {
  describe(name, () => {
    it('has the fields of a frame in one segment, a good checksum, and nothing to complain of', async () => {
      const [packet] = await sentFor([98]);
      const [shown] = tshark([packet!]);
      expect(shown).toMatchObject({
        'stt.dport': '7471',
        'stt.stream_id': `0x${Buffer.from(packet!.subarray(20, 22)).toString('hex')}`,
        'stt.pkt_len': String(18 + 98),
        'stt.seg_off': '0',
        'stt.version': '0',
        'stt.flags': '0x00',
        'stt.mss': '0',
        'stt.vlan': '0x0000',
        'stt.context_id': '0x000000000000004d',
        'eth.src': '02:00:00:00:00:01',
        'ip.dst': '192.0.2.2,10.0.0.255',
      });
      expect(shown!['_ws.expert.message']).toContain(SUM_IS_RIGHT);
      expect(shown!['_ws.expert.message']).not.toMatch(/offset|version/i);
    });

    it('has segments that it puts together to the frame that went in, with the fields that we read', async () => {
      const packets = await sentFor([98, 4000]);
      const shown = tshark(packets);
      expect(shown).toHaveLength(4);
      shown.forEach((row, i) => {
        const packet = packets[i]!;
        expect(Number(row['stt.pkt_len'])).toBe(sttFrameLength(packet, 20));
        expect(Number(row['stt.seg_off'])).toBe(sttFragmentOffset(packet, 20));
        expect(Number(row['stt.pkt_id'])).toBe(sttFrameId(packet, 20) >>> 0);
      });
      expect(new Set(shown.slice(1).map((row) => row['stt.pkt_id'])).size).toBe(1);
      // The inner frame shows at the last segment, when it is whole.
      expect(shown.map((row) => row['frame.protocols']!.includes('eth'))).toEqual([true, false, false, true]);
      expect(shown[3]!['stt.context_id']).toBe('0x000000000000004d');
    });

    it('has a bad checksum when a byte was changed on the way', async () => {
      const [packet] = await sentFor([98]);
      packet![100]! ^= 1;
      const [shown] = tshark([packet!]);
      expect(shown!['_ws.expert.message']).toMatch(/Bad checksum/);
      expect(shown!['_ws.expert.message']).not.toContain(SUM_IS_RIGHT);
    });
  });
}
