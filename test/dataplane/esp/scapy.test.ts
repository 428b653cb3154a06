/** ESP of ours opens in scapy, and scapy's in ours. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { EspAlgorithm } from '../../../dataplane/commands.ts';
import { ESP_ALGORITHMS } from '../../../dataplane/esp/algorithms.ts';
import { REPLAY_TOP_HIGH } from '../../../dataplane/esp/replay.ts';
import { keyFor, SaRig, SLOT, SPI } from './sa-rig.ts';
import { TYPES, tunnelPacket, withIpv4 } from './tunnel-packets.ts';

const SCRIPT = fileURLToPath(new URL('./scapy_esp.py', import.meta.url));
const ALGORITHMS = Object.keys(ESP_ALGORITHMS) as EspAlgorithm[];
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));

interface Request {
  readonly op: 'seal' | 'open';
  readonly algorithm: EspAlgorithm;
  readonly key: string;
  readonly spi: number;
  readonly sequence: number;
  readonly iv: string;
  /** High half of the sequence number, null without ESN. */
  readonly esn: number | null;
  /** IPv4 packet in hex. */
  readonly packet: string;
}

/** Debian installs scapy for its own python3, which need not be the first on the path. */
const python = ['/usr/bin/python3', 'python3'].find(
  (program) => spawnSync(program, ['-c', 'import scapy.layers.ipsec, cryptography'], { stdio: 'ignore' }).status === 0,
);

function scapy(requests: readonly Request[]): string[] {
  const run = spawnSync(python!, [SCRIPT], { input: JSON.stringify(requests), encoding: 'utf8', maxBuffer: 1 << 24 });
  if (run.status !== 0) throw new Error(`scapy_esp.py exited ${run.status}: ${run.stderr}`);
  return JSON.parse(run.stdout) as string[];
}

/** Every algorithm, tunnel type and residue of the padding. */
const cases = ALGORITHMS.flatMap((algorithm) =>
  TYPES.flatMap((type) => [0, 1, 2, 3, 1000].map((length) => ({ algorithm, ...tunnelPacket(type, length) }))),
);

function request(
  op: 'seal' | 'open',
  algorithm: EspAlgorithm,
  packet: Uint8Array,
  sequence: number,
  esn: number | null,
): Request {
  const iv = sequence.toString(16).padStart(16, '0');
  return { op, algorithm, key: hexOf(keyFor(algorithm)), spi: SPI, sequence, iv, esn, packet: hexOf(packet) };
}

const name = 'ESP between ours and scapy';
if (python === undefined) {
  describe(name, () => {
    it.skip('is not tested: no python3 here can import scapy and cryptography (Debian: python3-scapy, python3-cryptography)', () => {});
  });
} else {
  describe(name, () => {
    it.each([null, 0])('opens in scapy when ours has sealed it (ESN %s)', (esn) => {
      const requests = cases.map(({ algorithm, bytes, protocol }) => {
        const rig = new SaRig();
        rig.addOutbound({ algorithm, esn: esn !== null, lastSequence: 0xfffe });
        const [sealed] = rig.seal([bytes], protocol);
        expect(sealed.verdict).toBe(0);
        return request('open', algorithm, withIpv4(sealed.bytes, sealed.protocol), 0xffff, esn);
      });
      expect(scapy(requests)).toEqual(cases.map(({ bytes, protocol }) => hexOf(withIpv4(bytes, protocol))));
    });

    it.each([null, 0, 5])('opens in ours when scapy has sealed it (ESN %s)', (esn) => {
      const requests = cases.map(({ algorithm, bytes, protocol }) =>
        request('seal', algorithm, withIpv4(bytes, protocol), 12345, esn),
      );
      scapy(requests).forEach((answer, i) => {
        const { algorithm, bytes, protocol } = cases[i];
        const rig = new SaRig();
        rig.addInbound({ algorithm, esn: esn !== null });
        rig.memory.inbound[rig.memory.replayBase(SLOT) + REPLAY_TOP_HIGH] = esn ?? 0;
        const [opened] = rig.open([bytesOf(answer).subarray(20)]);
        expect(opened).toEqual({ bytes, protocol, verdict: 0 });
      });
    });

    it('is refused by scapy when a bit was changed on the way', () => {
      const rig = new SaRig();
      rig.addOutbound();
      const { bytes, protocol } = tunnelPacket('gre', 40);
      const [sealed] = rig.seal([bytes], protocol);
      sealed.bytes[30] ^= 1;
      expect(scapy([request('open', 'aes256gcm16', withIpv4(sealed.bytes, 50), 1, null)])).toEqual(['refused']);
    });
  });
}
