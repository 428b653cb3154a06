/**
 * An engine behind one TAP of a datapath of somebody else, both ways through it: two of them, each with what flows would
 * lead there. Frames are put in and taken out at the same port.
 */
import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import type { EngineEvent, MarkMatch, ProtectionState, TunnelType } from '../../../dataplane/commands.ts';
import { Engine } from '../../../dataplane/engine.ts';
import { MemoryPort, MemoryWire } from '../../../dataplane/io/memory.ts';
import { loadNative } from '../../../native-shims/index.ts';
import { Pair, PROTECTION, type SaChange, Side, settle, TEST_LIMITS, tunnelSettings } from '../engine/pair.ts';
import { ipv4Frame, ipv6Frame, MACS, udp, VLAN } from './frames.ts';

const TAP_FD = 1000;
const PORT = 7;
const TUNNEL = 9;

const engines: Engine[] = [];
afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.stop()));
});

interface Options {
  readonly type?: TunnelType;
  readonly protection?: ProtectionState;
  readonly drop?: MarkMatch;
  readonly family?: 4 | 6;
}

async function openEnd(local: string, remote: string, { type = 'geneve', protection, drop }: Options): Promise<Side> {
  const tap = new MemoryPort();
  const events: EngineEvent[] = [];
  const engine = await Engine.create({
    workers: 0,
    native: loadNative(),
    aead: 'native',
    uplinkIo: new MemoryWire({}).attach(),
    random: (bytes) => new Uint8Array(randomBytes(bytes)),
    onEvent: (event) => events.push(event),
    limits: TEST_LIMITS,
    memoryPorts: new Map([[TAP_FD, tap]]),
  });
  engines.push(engine);
  if (protection !== undefined) await engine.apply({ op: 'set-protection', protection: PROTECTION, state: protection });
  await engine.apply({ op: 'set-mark-policy', drop, uplinkMark: 0 });
  const settings = {
    ...tunnelSettings(type, local, remote),
    protection: protection === undefined ? undefined : PROTECTION,
  };
  await engine.apply({ op: 'set-tunnel-port', port: TUNNEL, bridge: undefined, name: 'tun', tunnel: settings });
  await engine.apply({ op: 'set-hairpin-port', port: PORT, name: 'ipsec0', fds: [TAP_FD] });
  return new Side(local, engine, tap, events);
}

async function openEnds(
  options: Options = {},
): Promise<{ a: Side; b: Side; protect(change?: SaChange): Promise<void> }> {
  const [here, there] = options.family === 6 ? ['fd00::1', 'fd00::2'] : ['10.1.0.1', '10.1.0.2'];
  const a = await openEnd(here, there, options);
  const b = await openEnd(there, here, options);
  const pair = new Pair(new MemoryWire({}), a, b);
  return { a, b, protect: (change) => pair.protect('aes256gcm16', true, change) };
}

async function through(side: Side, ...frames: Uint8Array[]): Promise<Uint8Array[]> {
  for (const frame of frames) expect(side.port.put(frame)).toBe(true);
  await settle();
  const came: Uint8Array[] = [];
  for (let frame = side.port.take(); frame !== undefined; frame = side.port.take()) came.push(frame);
  return came;
}

/** As the flows do for a packet whose pkt_mark ipsec_skb_mark names. */
function marked(frame: Uint8Array): Uint8Array {
  const copy = frame.slice();
  copy[6]! |= 1;
  return copy;
}

const holdsText = (frame: Uint8Array): boolean => Buffer.from(frame).includes('secret');
const NEVER_UP: Options = { protection: 'never-up' };

describe('a tunnel packet that is led through the TAP', () => {
  it.each([
    ['geneve', ipv4Frame(17, udp(6081)), 4],
    ['geneve with a tag', ipv4Frame(17, udp(6081), { tags: VLAN, tos: 0xb9 }), 4],
    ['geneve over IPv6', ipv6Frame(17, udp(6081)), 6],
  ] as const)('of type %s comes back as ESP, and at the peer as it was', async (_type, frame, family) => {
    const { a, b, protect } = await openEnds({ ...NEVER_UP, family });
    await protect();
    const [sealed, ...more] = await through(a, frame);
    expect(more).toEqual([]);
    expect(holdsText(sealed!)).toBe(false);
    expect(await through(b, sealed!)).toEqual([frame]);
  });

  it('crosses with packets of the other direction in one batch', async () => {
    const { a, b, protect } = await openEnds(NEVER_UP);
    await protect();
    const frame = ipv4Frame(17, udp(6081, 'secret of a'));
    const back = ipv4Frame(17, udp(6081, 'secret of b'), { from: '10.1.0.2', to: '10.1.0.1' });
    const [sealedBack] = await through(b, back);
    const came = await through(a, frame, sealedBack!, frame);
    expect(came).toHaveLength(3);
    expect(came.filter(holdsText)).toEqual([back]);
    expect(await through(b, ...came.filter((one) => !holdsText(one)))).toEqual([frame, frame]);
  });

  it('comes back as ESP whatever its mark, once there is an SA', async () => {
    const { a, b, protect } = await openEnds({ ...NEVER_UP, drop: { value: 0, mask: 1 } });
    await protect();
    const frame = ipv4Frame(17, udp(6081));
    const [sealed] = await through(a, marked(frame));
    expect(await through(b, sealed!)).toEqual([frame]);
  });

  it('before the first SA comes back in the clear, unless the flows have seen a mark that ipsec_skb_mark names', async () => {
    const { a } = await openEnds({ ...NEVER_UP, drop: { value: 0, mask: 0 } });
    const frame = ipv4Frame(17, udp(6081));
    expect(await through(a, frame)).toEqual([frame]);
    expect(await through(a, marked(frame))).toEqual([]);
    expect(a.drops()['policy-mark']).toBe(1);
    expect(a.events).toContainEqual({ event: 'sa-wanted', protection: PROTECTION });
  });

  it.each([
    ['protected', 'policy-no-sa'],
    ['invalid', 'policy-invalid'],
  ] as const)('of a tunnel that is %s does not come back without an SA', async (protection, reason) => {
    const { a } = await openEnds({ protection });
    expect(await through(a, ipv4Frame(17, udp(6081)))).toEqual([]);
    expect(a.drops()[reason]).toBe(1);
  });

  it('of the peer in the clear is judged by the table', async () => {
    const plain = ipv4Frame(17, udp(6081), { from: '10.1.0.2', to: '10.1.0.1' });
    const open = await openEnds(NEVER_UP);
    expect(await through(open.a, plain)).toEqual([plain]);
    await open.protect();
    expect(await through(open.a, plain)).toEqual([]);
    expect(open.a.drops()['policy-plaintext-in']).toBe(1);
    const ruled = await openEnds({ ...NEVER_UP, drop: { value: 1, mask: 1 } });
    expect(await through(ruled.a, plain)).toEqual([]);
  });

  it('is not let in twice, nor changed', async () => {
    const { a, b, protect } = await openEnds(NEVER_UP);
    await protect();
    const [sealed] = await through(a, ipv4Frame(17, udp(6081)));
    const forged = sealed!.slice();
    forged[60]! ^= 1;
    expect(await through(b, forged, sealed!, sealed!)).toHaveLength(1);
    expect(b.drops()).toMatchObject({ 'icv-mismatch': 1, 'replay-duplicate': 1 });
  });
});

describe('what nobody leads through the TAP', () => {
  it.each([
    ['our own ESP, flooded', ipv4Frame(50, [0xde, 0xad, 0xbe, 0xef, ...new Array(40).fill(7)])],
    ['our own IKE', ipv4Frame(17, udp(500))],
    ['tunnel packets between others', ipv4Frame(17, udp(6081), { from: '10.9.0.1', to: '10.9.0.2' })],
    ['ARP', Uint8Array.of(...MACS, 0x08, 0x06, ...new Array(28).fill(1))],
    ['a frame cut within its tags', Uint8Array.of(...MACS, ...VLAN)],
    ['a frame cut within its addresses', ipv4Frame(17, udp(6081)).slice(0, 30)],
  ])('does not come back: %s', async (_what, frame) => {
    const { a, protect } = await openEnds(NEVER_UP);
    await protect();
    expect(await through(a, frame)).toEqual([]);
    expect(a.drops()['bump-foreign']).toBe(1);
  });

  it('but IKE of the peer on port 4500 does, for the flows cannot tell it from ESP in UDP', async () => {
    const { a, protect } = await openEnds(NEVER_UP);
    await protect();
    const ike = ipv4Frame(17, udp(4500), { from: '10.1.0.2', to: '10.1.0.1' });
    expect(await through(a, ike)).toEqual([ike]);
  });
});
