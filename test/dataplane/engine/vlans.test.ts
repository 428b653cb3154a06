/** VLANs of ports through the whole engine: what comes out where, with which tag; OVS as the judge is test/interop/ovs-vlans.test.ts. */
import { afterEach, describe, expect, it } from 'vitest';
import type { PortVlans } from '../../../dataplane/commands.ts';
import { ACK, type LargeFrame, PSH, segmentsOf, withVnetHeader } from '../offload/large-frames.ts';
import { frame, settle, tunnelSettings } from './pair.ts';
import { access, BRIDGE, openSwitch, taggedFrame, type VlanSwitch, vlans } from './vlan-switch.ts';

let open: VlanSwitch;
afterEach(() => open.engine.stop());

const TUNNEL = 20;
const GRE_HEADERS = 28;
const native = (mode: 'native-tagged' | 'native-untagged', tag: number, trunks: readonly number[] = []): PortVlans =>
  vlans({ mode, tag, trunks });
const drops = () => Object.fromEntries([...open.engine.counters().drops()].map(([name, [count]]) => [name, count]));
const out = (entries: [number, Uint8Array][]) => new Map(entries.map(([port, bytes]) => [port, [bytes]]));

async function addTunnel(port: number, remote: string, tunnelVlans?: PortVlans): Promise<void> {
  const tunnel = tunnelSettings('gre', '192.0.2.1', remote);
  await open.engine.apply({ op: 'set-tunnel-port', port, bridge: BRIDGE, name: 't', tunnel, vlans: tunnelVlans });
}

describe('frames of access ports', () => {
  it('go to ports of their VLAN only, with a tag where that is a trunk', async () => {
    open = await openSwitch([
      access(5),
      access(5),
      access(6),
      undefined,
      vlans({ trunks: [5] }),
      vlans({ trunks: [6] }),
    ]);
    const plain = taggedFrame(255, 1);
    const tagged = taggedFrame(255, 1, [5]);
    expect(await open.send(0, plain)).toEqual(
      out([
        [1, plain],
        [3, tagged],
        [4, tagged],
      ]),
    );
    expect(drops()).toEqual({});
  });

  it('are dropped with a VLAN id of their own, be it the right one; a priority is no VLAN id and goes along', async () => {
    open = await openSwitch([access(5), undefined, access(5)]);
    for (const tag of [5, 6]) expect(await open.send(0, taggedFrame(255, 1, [tag]))).toEqual(new Map());
    expect(drops()).toEqual({ 'vlan-in': 2 });
    expect(await open.send(0, taggedFrame(255, 1, [0xe000]))).toEqual(
      out([
        [1, taggedFrame(255, 1, [0xe005])],
        [2, taggedFrame(255, 1)],
      ]),
    );
  });

  it('reach a known address without a flood, their tag put on or taken off in place', async () => {
    open = await openSwitch([access(5), undefined, access(5)]);
    await open.send(1, taggedFrame(255, 9, [0x2005]));
    expect(await open.send(0, taggedFrame(9, 1))).toEqual(out([[1, taggedFrame(9, 1, [5])]]));
    expect(await open.send(1, taggedFrame(1, 9, [0x2005]))).toEqual(out([[0, taggedFrame(1, 9)]]));
  });

  it('keep an inner tag as it is', async () => {
    open = await openSwitch([access(5), undefined]);
    expect(await open.send(1, taggedFrame(255, 9, [5, 7]))).toEqual(out([[0, taggedFrame(255, 9, [7])]]));
  });
});

describe('an address', () => {
  it('is another one in each VLAN', async () => {
    open = await openSwitch([undefined, access(5), access(6)]);
    await open.send(1, taggedFrame(255, 9));
    await open.send(2, taggedFrame(255, 9));
    expect(open.engine.fdb()).toMatchObject([
      { port: 1, vlan: 5 },
      { port: 2, vlan: 6 },
    ]);
    expect(await open.send(0, taggedFrame(9, 1, [5]))).toEqual(out([[1, taggedFrame(9, 1)]]));
    expect(await open.send(0, taggedFrame(9, 1, [6]))).toEqual(out([[2, taggedFrame(9, 1)]]));
    expect(await open.send(0, taggedFrame(9, 1, [7]))).toEqual(new Map());
  });
});

describe('a port with a native VLAN', () => {
  it('takes frames without a tag into it, and others if it carries their VLAN', async () => {
    open = await openSwitch([native('native-tagged', 5, [6]), native('native-untagged', 5, [6]), undefined]);
    expect(await open.send(0, taggedFrame(255, 1))).toEqual(
      out([
        [1, taggedFrame(255, 1)],
        [2, taggedFrame(255, 1, [5])],
      ]),
    );
    expect(await open.send(1, taggedFrame(255, 2))).toEqual(
      out([
        [0, taggedFrame(255, 2, [5])],
        [2, taggedFrame(255, 2, [5])],
      ]),
    );
    expect(await open.send(2, taggedFrame(255, 3, [6]))).toEqual(
      out([
        [0, taggedFrame(255, 3, [6])],
        [1, taggedFrame(255, 3, [6])],
      ]),
    );
    expect(await open.send(2, taggedFrame(255, 3, [7]))).toEqual(new Map());
    expect(await open.send(0, taggedFrame(255, 3, [7]))).toEqual(new Map());
    expect(drops()).toEqual({ 'no-output': 1, 'vlan-in': 1 });
  });
});

describe('other VLANs for a port', () => {
  it('count from the next frame on, and what was learned there is forgotten', async () => {
    open = await openSwitch([access(5), access(5), access(6)]);
    await open.send(1, taggedFrame(255, 9));
    await open.engine.apply({ op: 'set-port-vlans', port: 1, vlans: access(6) });
    expect(open.engine.fdb()).toEqual([]);
    expect(await open.send(0, taggedFrame(9, 1))).toEqual(new Map());
    expect(await open.send(2, taggedFrame(9, 2))).toEqual(out([[1, taggedFrame(9, 2)]]));
  });

  it('must be such as there are, on a port that is there', async () => {
    open = await openSwitch([undefined]);
    const set = (port: number, given: PortVlans) => open.engine.apply({ op: 'set-port-vlans', port, vlans: given });
    await expect(set(0, access(4096))).rejects.toThrow('port p0: VLAN 4096, expected 0 to 4095');
    await expect(set(0, vlans({ trunks: [1.5] }))).rejects.toThrow('port p0: VLAN 1.5, expected 0 to 4095');
    await expect(set(9, access(1))).rejects.toThrow('VLANs of port 9, which is no port of a bridge');
  });
});

describe('tunnels', () => {
  it('are ports like others: tags inside, or an access VLAN without', async () => {
    open = await openSwitch([access(5), undefined]);
    const sent = new Map<number, Uint8Array>();
    const { options } = open.wire;
    Object.assign(options, { tap: (packet: Uint8Array) => sent.set(packet[19]!, packet.slice(GRE_HEADERS)).size > 0 });
    await addTunnel(TUNNEL, '192.0.2.10');
    await addTunnel(TUNNEL + 1, '192.0.2.11', access(5));
    await addTunnel(TUNNEL + 2, '192.0.2.12', access(6));
    await addTunnel(TUNNEL + 3, '192.0.2.13', vlans({ trunks: [5, 6] }));
    await open.send(0, taggedFrame(255, 1));
    expect([...sent].sort(([a], [b]) => a - b)).toEqual([
      [10, taggedFrame(255, 1, [5])],
      [11, taggedFrame(255, 1)],
      [13, taggedFrame(255, 1, [5])],
    ]);
  });

  it('that a tagged frame is too big for are told to the sender without the tag', async () => {
    open = await openSwitch([access(5), undefined]);
    await addTunnel(TUNNEL, '192.0.2.10');
    await open.engine.apply({ op: 'set-path-mtu', port: TUNNEL, mtu: 1000 });
    const big = frame(2, 1, 1000 - GRE_HEADERS - 3);
    big[20] = 0x40;
    const answers = await open.send(0, big);
    const [answer] = answers.get(0)!;
    expect([...answer!.subarray(0, 14)]).toEqual([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    expect((answer![40]! << 8) | answer![41]!).toBe(1000 - GRE_HEADERS - 18);
  });
});

describe('large frames', () => {
  const SIZE = 1000;
  const large: LargeFrame = {
    version: 4,
    protocol: 'tcp',
    tags: 4,
    id: 7,
    tos: 0,
    sequence: 5,
    flags: ACK | PSH,
    options: new Uint8Array(12).fill(1),
    payload: new Uint8Array(12 * SIZE - 1).map((_, i) => i * 7),
    ports: [40000, 5201],
  };
  const bare = { ...large, tags: 0 };
  const VNET = 10;
  /** The tag of `large` has a priority, which a frame without a tag has not. */
  const withoutPriority = (bytes: Uint8Array, at: number) => bytes.with(at, bytes[at]! & 0x1f);

  it.each([true, false])(
    'change their tag whole, or in segments, for one port (knows it: %s) or for all',
    async (known) => {
      open = await openSwitch([undefined, access(5), access(5), undefined], [true, true, false, true]);
      if (known) await open.send(2, taggedFrame(255, 2).with(11, 2));
      const result = await open.send(0, withVnetHeader(large, SIZE));
      const segments = segmentsOf(bare, SIZE);
      if (known) expect(result).toEqual(new Map([[2, segments]]));
      else
        expect(result).toEqual(
          new Map([
            [1, [withVnetHeader(bare, SIZE)]],
            [2, segments],
            [3, [withVnetHeader(large, SIZE)]],
          ]),
        );
    },
  );

  it('get a tag whole, or in segments', async () => {
    open = await openSwitch([access(5), undefined, undefined], [true, true, false]);
    const sent: Uint8Array[] = [];
    Object.assign(open.wire.options, { tap: (packet: Uint8Array) => sent.push(packet.slice(GRE_HEADERS)) > 0 });
    await addTunnel(TUNNEL, '192.0.2.10');
    await open.engine.apply({ op: 'set-path-mtu', port: TUNNEL, mtu: 1500 });
    const result = await open.send(0, withVnetHeader(bare, SIZE));
    const segments = segmentsOf(large, SIZE).map((segment) => withoutPriority(segment, 14));
    expect(result.get(1)).toEqual([withoutPriority(withVnetHeader(large, SIZE), VNET + 14)]);
    expect(result.get(2)).toEqual(segments);
    expect(sent).toEqual(segments);
  });

  it('that are not to be cut and fit no slot are not copied into those of others', async () => {
    open = await openSwitch([access(5), undefined], [true]);
    const sent: Uint8Array[] = [];
    Object.assign(open.wire.options, { tap: (packet: Uint8Array) => sent.push(packet.slice(GRE_HEADERS)) > 0 });
    await addTunnel(TUNNEL, '192.0.2.10');
    await addTunnel(TUNNEL + 1, '192.0.2.11');
    const whole = new Uint8Array(VNET + 5000).fill(0xee, VNET + 12);
    whole.set([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 0x88, 0xb5], VNET);
    const small = Uint8Array.of(...new Uint8Array(VNET), ...taggedFrame(255, 3));
    open.ports[0]!.put(whole);
    open.ports[0]!.put(small);
    await settle();
    expect(sent).toEqual([taggedFrame(255, 3, [5]), taggedFrame(255, 3, [5])]);
    expect(open.ports[1]!.take()).toEqual(taggedFrame(255, 3, [5]));
    expect(drops()['frame-too-long']).toBe(3);
  });
});
