/**
 * Every encapsulation over both address families, in the clear, in ESP and in ESP in UDP: two hosts with real ovsdb-servers
 * and four bridges each, one for each type. Ping of all sizes and TCP transfers whose bytes are checked.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { startEspd } from '../rig/espd.ts';
import { createLan, ip } from '../rig/namespace.ts';
import { startOvsdb } from '../rig/ovsdb.ts';
import type { Kind } from '../rig/pcap.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { pingAll, waitForPing } from '../rig/traffic.ts';
import { transfer } from '../rig/transfer.ts';
import { obstacle, PSK, type TutorialHost } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'tcpdump', 'ping');
const TYPES = ['gre', 'geneve', 'vxlan', 'stt'] as const;
/** Of the neighbours' own, and the set-up. */
const ALWAYS: readonly Kind[] = ['arp', 'icmpv6', 'ike', 'igmp'];
/** Long enough to pass replay windows, queues and segment sizes many times over. */
const LONG = 200_000_000;
const SHORT = 20_000_000;

interface Way {
  readonly name: string;
  readonly options: Readonly<Record<string, string>>;
  /** What may be on the wire of a tunnel of this type. */
  readonly kind: (type: (typeof TYPES)[number]) => Kind;
  readonly esp: boolean;
  readonly bytes: number;
}

const WAYS: readonly Way[] = [
  { name: 'in the clear', options: {}, kind: (type) => type, esp: false, bytes: LONG },
  { name: 'in ESP', options: { psk: PSK }, kind: () => 'esp', esp: true, bytes: LONG },
  {
    name: 'in ESP in UDP',
    options: { psk: PSK, ipsec_encapsulation: 'yes' },
    kind: () => 'esp-in-udp',
    esp: true,
    bytes: LONG,
  },
  {
    name: 'in ESP tunnel mode',
    options: { psk: PSK, ipsec_type: 'tunnel' },
    kind: () => 'esp',
    esp: true,
    bytes: SHORT,
  },
];
const CASES = WAYS.flatMap((way) => ([4, 6] as const).map((family) => ({ ...way, way, family })));

describe.skipIf(reason !== '')(`gre, geneve, vxlan and stt${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  async function begin(family: 4 | 6, way: Way): Promise<readonly [TutorialHost, TutorialHost]> {
    const lan = await createLan(rig, { ipv6: family === 6 });
    const outer = family === 6 ? ['fd00:1::1', 'fd00:1::2'] : [lan.a.address, lan.b.address];
    const sides = await Promise.all(
      [lan.a, lan.b].map(async (host, index) => {
        const ovsdb = await startOvsdb(rig, host);
        const espd = await startEspd(rig, host, { database: ovsdb.remote, directory: ovsdb.directory });
        const options = { local_ip: outer[index]!, remote_ip: outer[1 - index]!, ...way.options };
        const words = TYPES.flatMap((type) => [
          ...['--', 'add-br', `br-${type}`, '--', 'add-port', `br-${type}`, type],
          ...['--', 'set', 'interface', type, `type=${type}`],
          ...Object.entries(options).map(([key, value]) => `options:${key}="${value}"`),
        ]);
        await ovsdb.vsctl(['--timeout=10', ...words.slice(1)]);
        for (const [number, type] of TYPES.entries()) {
          await ip(host.namespace, 'addr', 'add', `192.168.${number}.${index + 1}/24`, 'dev', `br-${type}`);
          await ip(host.namespace, 'link', 'set', `br-${type}`, 'up');
        }
        return { host, ovsdb, espd };
      }),
    );
    return [sides[0]!, sides[1]!];
  }

  it.each(CASES)(
    'over IPv$family $name carry pings and TCP, and nothing else is on the wire',
    async ({ way, family }) => {
      const [a, b] = await begin(family, way);
      if (way.esp) for (const type of TYPES) await a.espd.waitForTunnel(type);
      for (const [number] of TYPES.entries()) await waitForPing(a.host.namespace, `192.168.${number}.2`);
      const capture = await startCapture(rig, { namespace: a.host.namespace, device: a.host.device });
      for (const [number, type] of TYPES.entries()) {
        const target = `192.168.${number}.2`;
        for (const size of [0, 57, 1000]) {
          await pingAll(a.host.namespace, target, { size });
        }
        await capture.waitFor(way.kind(type), 18);
      }
      const kinds = new Set((await capture.stop()).map((packet) => packet.kind));
      for (const kind of ALWAYS) kinds.delete(kind);
      expect([...kinds].sort()).toEqual([...new Set(TYPES.map(way.kind))].sort());
      for (const [number, type] of TYPES.entries()) {
        const to = { namespace: b.host.namespace, address: `192.168.${number}.2` };
        const { sent, received } = await transfer(rig, { from: a.host.namespace, to }, way.bytes, `${type} ${family}`);
        expect(received).toBe(sent);
        expect(received).toMatch(new RegExp(`^${way.bytes} `));
      }
    },
  );
});
