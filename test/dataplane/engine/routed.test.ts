/** The engine between the kernel's routing and the network, in memory: IP packets from a TUN, ESP on the wire. */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { addressWords } from '../../../dataplane/address-pairs.ts';
import type { EngineEvent, ProtectionState, TunnelType } from '../../../dataplane/commands.ts';
import { Engine } from '../../../dataplane/engine.ts';
import { MemoryPort, MemoryWire } from '../../../dataplane/io/memory.ts';
import { writeIpv4 } from '../../../dataplane/wire/ipv4.ts';
import { writeIpv6 } from '../../../dataplane/wire/ipv6.ts';
import { loadNative } from '../../../native-shims/index.ts';
import { Pair, PROTECTION, Side, settle, TEST_LIMITS, tunnelSettings } from './pair.ts';

const TUN_FD = 1000;
const TUN = 7;
const TUNNEL = 9;

const engines: Engine[] = [];
afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.stop()));
});

interface Options {
  readonly type?: TunnelType;
  readonly family?: 4 | 6;
  readonly protection?: ProtectionState;
}

async function openPair({ type = 'vxlan', family = 4, protection = 'never-up' }: Options = {}) {
  const sent: Uint8Array[] = [];
  const wire = new MemoryWire({ tap: (packet) => sent.push(packet.slice()) > 0 });
  const open = async (local: string, remote: string): Promise<Side> => {
    const tun = new MemoryPort();
    const events: EngineEvent[] = [];
    const engine = await Engine.create({
      workers: 0,
      native: loadNative(),
      aead: 'native',
      uplinkIo: wire.attach(),
      random: (bytes) => new Uint8Array(randomBytes(bytes)),
      onEvent: (event) => events.push(event),
      limits: TEST_LIMITS,
      memoryPorts: new Map([[TUN_FD, tun]]),
    });
    engines.push(engine);
    await engine.apply({ op: 'set-protection', protection: PROTECTION, state: protection });
    const tunnel = { ...tunnelSettings(type, local, remote), protection: PROTECTION };
    await engine.apply({ op: 'set-tunnel-port', port: TUNNEL, bridge: undefined, name: 'tun', tunnel });
    await engine.apply({ op: 'set-route-port', port: TUN, name: 'espd-route', fds: [TUN_FD] });
    return new Side(local, engine, tun, events);
  };
  const [here, there] = family === 6 ? ['fd00::1', 'fd00::2'] : ['10.1.0.1', '10.1.0.2'];
  const a = await open(here, there);
  const b = await open(there, here);
  return { a, b, wire, sent, pair: new Pair(wire, a, b) };
}

function udp(destination: number, text = 'secret payload'): number[] {
  const body = [...Buffer.from(text)];
  const length = 8 + body.length;
  return [0xc3, 0x50, destination >> 8, destination & 255, length >> 8, length & 255, 0, 0, ...body];
}

function packet4(
  protocol: number,
  payload: readonly number[],
  { from = '10.1.0.1', fragment = 0, tos = 0 } = {},
): Uint8Array {
  const bytes = new Uint8Array(20 + payload.length);
  const [source, destination] = [addressWords(from)[0]!, addressWords('10.1.0.2')[0]!];
  writeIpv4(bytes, 0, bytes.length, tos, 0, fragment, 64, protocol, source, destination);
  bytes.set(payload, 20);
  return bytes;
}

function packet6(protocol: number, payload: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(40 + payload.length);
  const words = Int32Array.of(...addressWords('fd00::1'), ...addressWords('fd00::2'));
  writeIpv6(bytes, 0, payload.length, 0, 64, protocol, words, 0, 4);
  bytes.set(payload, 40);
  return bytes;
}

const GRE = [0, 0, 0x65, 0x58, ...Buffer.from('secret')];
const holdsText = (packet: Uint8Array): boolean => Buffer.from(packet).includes('secret');

describe("a tunnel packet of the kernel's", () => {
  it.each([
    ['vxlan', 4, packet4(17, udp(4789), { tos: 0xb9 })],
    ['geneve', 4, packet4(17, udp(6081))],
    ['gre', 4, packet4(47, GRE)],
    ['vxlan', 6, packet6(17, udp(4789))],
    ['gre', 6, packet6(47, GRE)],
  ] as const)(
    'of type %s over IPv%i leaves as ESP and comes out of the other TUN as it was',
    async (type, family, packet) => {
      const { a, b, sent, pair } = await openPair({ type, family });
      await pair.protect('aes256gcm16', true);
      a.port.put(packet);
      const out = await b.frame();
      expect(sent).toHaveLength(1);
      expect(sent[0]![family === 4 ? 9 : 6]).toBe(50);
      expect(holdsText(sent[0]!)).toBe(false);
      const header = family === 4 ? 20 : 40;
      expect(out.subarray(header)).toEqual(packet.subarray(header));
      expect(out.subarray(header === 20 ? 12 : 8, header)).toEqual(packet.subarray(header === 20 ? 12 : 8, header));
      expect(out[family === 4 ? 9 : 6]).toBe(packet[family === 4 ? 9 : 6]);
      if (family === 4) expect(out[1]).toBe(packet[1]);
    },
  );

  it('is dropped without an SA once there was one, or when the tunnel is invalid, and leaves in the clear before', async () => {
    for (const [protection, packets, drop] of [
      ['never-up', 1, undefined],
      ['protected', 0, 'policy-no-sa'],
      ['invalid', 0, 'policy-invalid'],
    ] as const) {
      const { a, sent } = await openPair({ protection });
      a.port.put(packet4(17, udp(4789)));
      await settle();
      expect(sent).toHaveLength(packets);
      if (drop !== undefined) expect(a.drops()).toEqual({ [drop]: 1 });
    }
  });

  it('that no tunnel is known for is dropped, and so is a fragment', async () => {
    const { a, sent, pair } = await openPair();
    await pair.protect('aes256gcm16', true);
    a.port.put(packet4(17, udp(4789), { from: '10.1.0.9' }));
    a.port.put(packet4(17, udp(4790)));
    a.port.put(packet4(1, [8, 0, 0, 0, 0, 0, 0, 0]));
    a.port.put(packet4(17, udp(4789), { fragment: 0x2000 }));
    await settle();
    expect(sent).toHaveLength(0);
    expect(a.drops()).toEqual({ 'route-unknown': 3, 'ip-fragment': 1 });
  });

  it('is taken from the wire as ESP only: the clear ones are the kernel’s', async () => {
    const { b, wire } = await openPair();
    wire.inject(packet4(17, udp(4789)));
    await settle();
    expect(b.port.delivered).toBe(0);
  });

  it('of any bytes never makes anything but ESP of the known tunnel', async () => {
    const { a, sent, pair } = await openPair();
    await pair.protect('aes256gcm16', true);
    const good = packet4(17, udp(4789));
    await fc.assert(
      fc.asyncProperty(
        fc.nat(good.length),
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 6 }),
        async (cut, edits) => {
          const bytes = good.slice(0, cut);
          for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
          sent.length = 0;
          a.port.put(bytes);
          await settle();
          for (const packet of sent) expect(packet[9]).toBe(50);
        },
      ),
      { numRuns: 60 },
    );
  });
});
