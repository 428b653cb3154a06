/**
 * An engine between a datapath of somebody else and the network, in memory: two of them back to back, each with a port for
 * the datapath (inside) and one for the NIC (outside).
 */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { EngineEvent, MarkMatch, ProtectionState, TunnelType } from '../../../dataplane/commands.ts';
import { Engine } from '../../../dataplane/engine.ts';
import { MemoryPort, MemoryWire } from '../../../dataplane/io/memory.ts';
import { loadNative } from '../../../native-shims/index.ts';
import { Pair, PROTECTION, type SaChange, Side, settle, TEST_LIMITS, tunnelSettings } from '../engine/pair.ts';
import { ipv4Frame, ipv6Frame, MACS, udp, VLAN } from './frames.ts';

const INSIDE_FD = 1000;
const OUTSIDE_FD = 1001;
const INSIDE = 7;
const OUTSIDE = 8;
const TUNNEL = 9;
/** The destination in MACS. */
const HOST_MAC = '02:00:00:00:00:02';

interface End {
  readonly side: Side;
  readonly inside: MemoryPort;
  readonly outside: MemoryPort;
}

interface Options {
  readonly type?: TunnelType;
  readonly protection?: ProtectionState | undefined;
  readonly drop?: MarkMatch;
  readonly mark?: number;
  readonly egressMark?: number;
  readonly family?: 4 | 6;
}

const engines: Engine[] = [];
afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.stop()));
});

async function openEnd(local: string, remote: string, options: Options): Promise<End> {
  const { type = 'geneve', protection, drop, mark = 0, egressMark } = options;
  const inside = new MemoryPort();
  const outside = new MemoryPort();
  const events: EngineEvent[] = [];
  const engine = await Engine.create({
    workers: 0,
    native: loadNative(),
    aead: 'native',
    uplinkIo: new MemoryWire({}).attach(),
    random: (bytes) => new Uint8Array(randomBytes(bytes)),
    onEvent: (event) => events.push(event),
    limits: TEST_LIMITS,
    memoryPorts: new Map([
      [INSIDE_FD, inside],
      [OUTSIDE_FD, outside],
    ]),
  });
  engines.push(engine);
  if (protection !== undefined) await engine.apply({ op: 'set-protection', protection: PROTECTION, state: protection });
  await engine.apply({ op: 'set-mark-policy', drop, uplinkMark: 0 });
  const tunnel = {
    ...tunnelSettings(type, local, remote),
    protection: protection === undefined ? undefined : PROTECTION,
    egressMark,
  };
  await engine.apply({ op: 'set-tunnel-port', port: TUNNEL, bridge: undefined, name: 'tun', tunnel });
  const fds = { fds: [INSIDE_FD], nicFds: [OUTSIDE_FD] };
  await engine.apply({ op: 'set-bump-port', port: INSIDE, nicPort: OUTSIDE, name: 'up0', mark, ...fds });
  const hosts = [0, 0x2a].map((vlan) => ({ mac: HOST_MAC, vlan }));
  await engine.apply({ op: 'set-bump-hosts', port: INSIDE, hosts });
  return { side: new Side(local, engine, inside, events), inside, outside };
}

async function openEnds(options: Options = {}): Promise<{ a: End; b: End; protect(change?: SaChange): Promise<void> }> {
  const [here, there] = options.family === 6 ? ['fd00::1', 'fd00::2'] : ['10.1.0.1', '10.1.0.2'];
  const a = await openEnd(here, there, options);
  const b = await openEnd(there, here, options);
  const pair = new Pair(new MemoryWire({}), a.side, b.side);
  return { a, b, protect: (change) => pair.protect('aes256gcm16', true, change) };
}

async function cross(from: MemoryPort, to: MemoryPort, frame: Uint8Array): Promise<Uint8Array | undefined> {
  expect(from.put(frame)).toBe(true);
  await settle();
  return to.take();
}

const protocolOf = (frame: Uint8Array, at = 14 + 9): number => frame[at]!;
const holdsText = (frame: Uint8Array): boolean => Buffer.from(frame).includes('secret');

describe('a tunnel packet of a protected tunnel', () => {
  it.each([
    ['geneve', ipv4Frame(17, udp(6081))],
    ['geneve', ipv4Frame(17, udp(6081), { tags: VLAN, tos: 0xb9 })],
    ['geneve', ipv4Frame(17, udp(6081), { trailer: 13 })],
    ['vxlan', ipv4Frame(17, udp(4789))],
    ['gre', ipv4Frame(47, [0, 0, 0x65, 0x58, ...Buffer.from('secret')])],
  ] as const)('of type %s leaves as ESP and comes out as it was (%#)', async (type, frame) => {
    const { a, b, protect } = await openEnds({ type, protection: 'never-up' });
    await protect();
    const sealed = await cross(a.inside, a.outside, frame);
    expect(sealed).toBeDefined();
    const tagged = frame[12] === 0x81 ? 4 : 0;
    expect(protocolOf(sealed!, 14 + tagged + 9)).toBe(50);
    expect(holdsText(sealed!)).toBe(false);
    expect(sealed!.subarray(0, 14 + tagged)).toEqual(frame.subarray(0, 14 + tagged));
    const opened = await cross(b.outside, b.inside, sealed!);
    const length = 14 + tagged + ((frame[16 + tagged]! << 8) | frame[17 + tagged]!);
    expect(opened).toEqual(frame.subarray(0, length));
  });

  it('over IPv6 leaves as ESP and comes out as it was', async () => {
    const { a, b, protect } = await openEnds({ protection: 'never-up', family: 6 });
    await protect();
    const frame = ipv6Frame(17, udp(6081));
    const sealed = await cross(a.inside, a.outside, frame);
    expect(sealed![20]).toBe(50);
    expect(await cross(b.outside, b.inside, sealed!)).toEqual(frame);
  });

  it.each([
    ['in UDP', { inUdp: true }, 17],
    ['in tunnel mode', { mode: 'tunnel' }, 50],
    ['in tunnel mode in UDP', { mode: 'tunnel', inUdp: true }, 17],
  ] as const)('leaves as ESP %s and comes out as it was', async (_what, change, protocol) => {
    const { a, b, protect } = await openEnds({ protection: 'never-up' });
    await protect(change);
    const frame = ipv4Frame(17, udp(6081));
    const sealed = await cross(a.inside, a.outside, frame);
    expect(protocolOf(sealed!)).toBe(protocol);
    expect(holdsText(sealed!)).toBe(false);
    expect(await cross(b.outside, b.inside, sealed!)).toEqual(frame);
  });

  it('is dropped without an SA once there was one, and asks for one', async () => {
    const { a } = await openEnds({ protection: 'protected' });
    expect(await cross(a.inside, a.outside, ipv4Frame(17, udp(6081)))).toBeUndefined();
    expect(a.side.drops()['policy-no-sa']).toBe(1);
    expect(a.side.events).toContainEqual({ event: 'sa-wanted', protection: PROTECTION });
  });

  it('leaves in the clear before the first SA, unless the mark of its uplink or tunnel forbids it', async () => {
    const frame = ipv4Frame(17, udp(6081));
    const open = await openEnds({ protection: 'never-up' });
    expect(await cross(open.a.inside, open.a.outside, frame)).toEqual(frame);
    const drop = { value: 1, mask: 1 };
    const marked = await openEnds({ protection: 'never-up', drop, mark: 1 });
    expect(await cross(marked.a.inside, marked.a.outside, frame)).toBeUndefined();
    expect(marked.a.side.drops()['policy-mark']).toBe(1);
    const unmarked = await openEnds({ protection: 'never-up', drop, mark: 1, egressMark: 2 });
    expect(await cross(unmarked.a.inside, unmarked.a.outside, frame)).toEqual(frame);
  });

  it.each([
    ['Geneve', ipv4Frame(17, udp(6081))],
    ['VXLAN', ipv4Frame(17, udp(4789))],
    ['STT', ipv4Frame(6, udp(7471))],
    ['GRE', ipv4Frame(47, [0, 0, 0x65, 0x58, 1, 2])],
  ])('is kept back by its mark also when it is %s of a tunnel that we have not heard of yet', async (_type, frame) => {
    const drop = { value: 0, mask: 1 };
    const { a } = await openEnds({ type: 'geneve', drop });
    await a.side.engine.apply({ op: 'remove-port', port: TUNNEL });
    expect(await cross(a.inside, a.outside, frame)).toBeUndefined();
    expect(a.side.drops()['policy-mark']).toBe(1);
    await a.side.engine.apply({ op: 'set-mark-policy', drop: undefined, uplinkMark: 0 });
    expect(await cross(a.inside, a.outside, frame)).toEqual(frame);
  });

  it('is not let in when it comes in the clear', async () => {
    const { b, protect } = await openEnds({ protection: 'never-up' });
    await protect();
    expect(await cross(b.outside, b.inside, ipv4Frame(17, udp(6081)))).toBeUndefined();
    expect(b.side.drops()['policy-plaintext-in']).toBe(1);
  });

  it('is not let in twice, nor changed', async () => {
    const { a, b, protect } = await openEnds({ protection: 'never-up' });
    await protect();
    const sealed = await cross(a.inside, a.outside, ipv4Frame(17, udp(6081)));
    const forged = sealed!.slice();
    forged[60]! ^= 1;
    expect(await cross(b.outside, b.inside, forged)).toBeUndefined();
    expect(await cross(b.outside, b.inside, sealed!)).toBeDefined();
    expect(await cross(b.outside, b.inside, sealed!)).toBeUndefined();
    expect(b.side.drops()).toMatchObject({ 'icv-mismatch': 1, 'replay-duplicate': 1 });
  });

  it('does not leave as a fragment, the first or another', async () => {
    const { a, protect } = await openEnds({ protection: 'never-up' });
    await protect();
    expect(await cross(a.inside, a.outside, ipv4Frame(17, udp(6081), { fragment: 0x2000 }))).toBeUndefined();
    expect(await cross(a.inside, a.outside, ipv4Frame(17, udp(6081), { fragment: 0x00b9 }))).toBeUndefined();
    expect(a.side.drops()['bump-fragment']).toBe(2);
  });

  it('is not let in as a first fragment either', async () => {
    const { b, protect } = await openEnds({ protection: 'never-up' });
    await protect();
    expect(await cross(b.outside, b.inside, ipv4Frame(17, udp(6081), { fragment: 0x2000 }))).toBeUndefined();
    expect(b.side.drops()['policy-plaintext-in']).toBe(1);
  });
});

describe('ESP in a frame that somebody on the wire has readdressed', () => {
  const plain = ipv4Frame(17, udp(6081));
  const tagged = (tags: number[]) => (sealed: Uint8Array) =>
    Uint8Array.of(...sealed.subarray(0, 12), ...tags, ...sealed.subarray(12));
  const sentTo = (mac: number[]) => (sealed: Uint8Array) => Uint8Array.of(...mac, ...sealed.subarray(6));

  it.each([
    ['to another station', sentTo([2, 0, 0, 0, 0, 9])],
    ['to all stations', sentTo([255, 255, 255, 255, 255, 255])],
    ['to a group', sentTo([1, 0, 0x5e, 0, 0, 1])],
    ['to the host with another high half', sentTo([2, 1, 0, 0, 0, 2])],
    ['in another VLAN', tagged([0x81, 0x00, 0x00, 0x2b])],
    ['in another service VLAN', tagged([0x88, 0xa8, 0x00, 0x2b])],
  ])('is not let in %s, as the bridge would send it on in the clear', async (_what, readdress) => {
    const { a, b, protect } = await openEnds({ protection: 'never-up' });
    await protect();
    const sealed = await cross(a.inside, a.outside, plain);
    expect(await cross(b.outside, b.inside, readdress(sealed!))).toBeUndefined();
    expect(b.side.drops()['bump-readdressed']).toBe(1);
  });

  it('is let in with a priority tag, which names no VLAN', async () => {
    const { a, b, protect } = await openEnds({ protection: 'never-up' });
    await protect();
    const sealed = await cross(a.inside, a.outside, plain);
    expect(await cross(b.outside, b.inside, tagged([0x81, 0x00, 0xe0, 0x00])(sealed!))).toBeDefined();
  });

  it('is let in nowhere before the host is known', async () => {
    const { a, b, protect } = await openEnds({ protection: 'never-up' });
    await protect();
    await b.side.engine.apply({ op: 'set-bump-hosts', port: INSIDE, hosts: [] });
    const sealed = await cross(a.inside, a.outside, plain);
    expect(await cross(b.outside, b.inside, sealed!)).toBeUndefined();
  });

  it('does not leave again, opened, when the bridge believes the host to be behind another uplink', async () => {
    const { a, b, protect } = await openEnds({ protection: 'never-up' });
    await protect();
    const sealed = await cross(a.inside, a.outside, plain);
    const opened = await cross(b.outside, b.inside, sealed!);
    expect(await cross(b.inside, b.outside, opened!)).toBeUndefined();
    expect(b.side.drops()['bump-returned']).toBe(1);
  });
});

describe('everything else crosses unchanged', () => {
  const frames: readonly (readonly [string, Uint8Array])[] = [
    ['ARP', Uint8Array.of(...MACS, 0x08, 0x06, ...new Array(28).fill(1))],
    ['IKE', ipv4Frame(17, udp(500))],
    ['IKE on port 4500', ipv4Frame(17, udp(4500))],
    ['ICMP', ipv4Frame(1, [8, 0, 0, 0, 1, 2, 3, 4])],
    ['ESP of others', ipv4Frame(50, [0xde, 0xad, 0xbe, 0xef, ...new Array(40).fill(7)])],
    ['ESP too short for an SPI', ipv4Frame(50, [1, 2])],
    ['tunnel packets between others', ipv4Frame(17, udp(6081), { from: '10.9.0.1', to: '10.9.0.2' })],
    ['a fragment of others', ipv4Frame(17, udp(6081), { from: '10.9.0.1', fragment: 0x2000 })],
    ['a frame of two tags', Uint8Array.of(...MACS, ...VLAN, ...VLAN, 0x88, 0xcc, 1, 2, 3)],
    ['TCP to the port of a UDP tunnel', ipv4Frame(6, udp(6081))],
    ['IPv6 of others', ipv6Frame(58, [128, 0, 0, 0])],
  ];
  it.each(frames)('%s, outwards and inwards', async (_what, frame) => {
    const { a, protect } = await openEnds({ protection: 'never-up' });
    await protect();
    expect(await cross(a.inside, a.outside, frame)).toEqual(frame);
    expect(await cross(a.outside, a.inside, frame)).toEqual(frame);
    expect(Object.values(a.side.drops()).every((count) => count === 0)).toBe(true);
  });

  it('tunnels without IPsec too', async () => {
    const { a } = await openEnds({});
    const frame = ipv4Frame(17, udp(6081));
    expect(await cross(a.inside, a.outside, frame)).toEqual(frame);
    expect(await cross(a.outside, a.inside, frame)).toEqual(frame);
  });
});

/** Judged without the code under test: UDP to 6081 from a to b in an untagged frame; what is not the first fragment has no ports. */
function isTunnelPacket(frame: Uint8Array): boolean {
  const bytes = Buffer.from(frame);
  if (bytes.length < 34 || bytes.readUInt16BE(12) !== 0x0800 || bytes[14]! >> 4 !== 4) return false;
  if ((bytes.readUInt16BE(20) & 0x1fff) !== 0) return false;
  const header = (bytes[14]! & 15) * 4;
  if (bytes[23] !== 17 || bytes.length < 14 + header + 4) return false;
  const pair = `${bytes.readUInt32BE(26).toString(16)}-${bytes.readUInt32BE(30).toString(16)}`;
  return pair === 'a010001-a010002' && bytes.readUInt16BE(14 + header + 2) === 6081;
}

describe('whatever comes', () => {
  it('nothing with the payload of a protected tunnel leaves in the clear, and each frame is passed or counted', async () => {
    const { a, b, protect } = await openEnds({ protection: 'never-up' });
    await protect();
    const tunnelFrame = ipv4Frame(17, udp(6081));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(tunnelFrame.length - 1), fc.nat(255)), { maxLength: 3 }),
        fc.nat(tunnelFrame.length),
        fc.constantFrom('inside', 'outside'),
        async (changes, cut, where) => {
          const frame = tunnelFrame.slice(0, tunnelFrame.length - (changes.length === 0 ? cut : 0));
          for (const [at, value] of changes) frame[at] = value;
          const end = where === 'inside' ? a : b;
          const dropsBefore = Object.values(end.side.drops()).reduce((sum, count) => sum + count, 0);
          const [from, to] = where === 'inside' ? [a.inside, a.outside] : [b.outside, b.inside];
          const came = await cross(from, to, frame);
          const drops = Object.values(end.side.drops()).reduce((sum, count) => sum + count, 0) - dropsBefore;
          expect(drops).toBe(came === undefined ? 1 : 0);
          if (came !== undefined) expect(isTunnelPacket(came)).toBe(false);
        },
      ),
      { numRuns: 500, seed: 7 },
    );
  });
});
