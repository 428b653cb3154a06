import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Arena } from '../../../dataplane/arena.ts';
import { DROP, type DropName } from '../../../dataplane/drops.ts';
import { BridgePorts } from '../../../dataplane/switch/bridge-ports.ts';
import { Fdb } from '../../../dataplane/switch/fdb.ts';
import { FLOOD, forward } from '../../../dataplane/switch/switch.ts';
import { Vlans } from '../../../dataplane/switch/vlans.ts';

const A = '020000000001';
const B = '020000000002';
const BROADCAST = 'ffffffffffff';
const reason = (name: DropName): number => DROP[name];

/** Bridge 0 has ports 1, 2, 3 and 4, bridge 1 has ports 5 and 6. */
class Rig {
  readonly arena = new Arena({ rows: 16, reads: 16, frameBytes: 2048 });
  readonly fdb = new Fdb({ cells: 1024, bridges: 2 });
  readonly ports = new BridgePorts(2, 8);
  readonly vlans = new Vlans(8);

  constructor() {
    for (const bridge of [0, 1]) this.fdb.setBridge(bridge, 300_000, 1024);
    for (const port of [1, 2, 3, 4]) this.ports.add(0, port);
    for (const port of [5, 6]) this.ports.add(1, port);
  }

  load(frames: readonly { readonly port: number; readonly frame: string }[]): void {
    this.arena.reset();
    const { batch } = this.arena;
    batch.count = frames.length;
    frames.forEach(({ port, frame }, row) => {
      const bytes = Buffer.from(frame, 'hex');
      batch.arena.set(bytes, batch.offset[row]);
      batch.length[row] = bytes.length;
      batch.port[row] = port;
      batch.bridge[row] = this.ports.bridgeOf[port];
      batch.verdict[row] = 0;
      batch.output[row] = -1;
    });
  }

  /** Output of each frame, or minus its drop reason. */
  forward(...frames: { port: number; frame: string }[]): number[] {
    this.load(frames);
    const { batch } = this.arena;
    forward(batch, this.fdb, this.ports, this.vlans, 1000);
    return frames.map((_, row) => (batch.verdict[row] === 0 ? batch.output[row] : -batch.verdict[row] - 1000));
  }
}

const dropped = (name: DropName): number => -reason(name) - 1000;
const frame = (destination: string, source: string, rest = '0800deadbeef'): string => destination + source + rest;

describe('the learning switch', () => {
  it('floods what it does not know, and learns from what it sees', () => {
    const rig = new Rig();
    expect(rig.forward({ port: 1, frame: frame(B, A) })).toEqual([FLOOD]);
    expect(rig.forward({ port: 2, frame: frame(A, B) })).toEqual([1]);
    expect(rig.forward({ port: 1, frame: frame(B, A) })).toEqual([2]);
  });

  it('learns within a batch', () => {
    const rig = new Rig();
    expect(rig.forward({ port: 1, frame: frame(B, A) }, { port: 2, frame: frame(A, B) })).toEqual([FLOOD, 1]);
  });

  it('decides for a batch as for each of its frames alone', () => {
    const addresses = [A, B, '020000000003', '020001000001', BROADCAST];
    const rests = ['0800deadbeef', '810000050800', '8100e0050800', '810000060800', '8100'];
    // Each frame differs from the one before in one thing, or in nothing: so are those that might be taken for the same.
    const changes = fc.array(fc.tuple(fc.nat({ max: 4 }), fc.nat({ max: 4 })), { minLength: 1, maxLength: 48 });
    fc.assert(
      fc.property(changes, (steps) => {
        const [whole, single] = [new Rig(), new Rig()];
        for (const { vlans } of [whole, single])
          vlans.set(3, { mode: 'access', tag: 5, trunks: [], priorityTags: 'never' });
        const now = [0, 1, 0, 0, 0];
        const frames = steps.map(([what, value]) => {
          now[what] = value;
          const [destination = 0, source = 0, rest = 0, port = 0] = now;
          return { port: port + 1, frame: frame(addresses[destination]!, addresses[source]!, rests[rest]) };
        });
        for (let first = 0; first < frames.length; first += 16) {
          const batch = frames.slice(first, first + 16);
          expect(whole.forward(...batch)).toEqual(batch.flatMap((one) => single.forward(one)));
        }
        expect(whole.fdb.entries(1000)).toEqual(single.fdb.entries(1000));
      }),
      { numRuns: 200 },
    );
  });

  it('floods broadcast and multicast always', () => {
    const rig = new Rig();
    expect(rig.forward({ port: 1, frame: frame(BROADCAST, A) }, { port: 1, frame: frame('01005e000001', A) })).toEqual([
      FLOOD,
      FLOOD,
    ]);
  });

  it('never sends a frame back to the port it came from', () => {
    const rig = new Rig();
    rig.forward({ port: 1, frame: frame(BROADCAST, A) });
    expect(rig.forward({ port: 1, frame: frame(A, B) })).toEqual([dropped('same-port')]);
  });

  it('drops and does not learn from a group address as source', () => {
    const rig = new Rig();
    const results = rig.forward({ port: 1, frame: frame(B, BROADCAST) }, { port: 1, frame: frame(B, '01005e000001') });
    expect(results).toEqual([dropped('source-multicast'), dropped('source-multicast')]);
    expect(rig.fdb.entries(1000)).toEqual([]);
  });

  it('drops what is sent to 01:80:c2:00:00:0x and forwards 01:80:c2:00:00:10', () => {
    const rig = new Rig();
    const results = rig.forward(
      { port: 1, frame: frame('0180c2000000', A) },
      { port: 1, frame: frame('0180c200000e', A) },
      { port: 1, frame: frame('0180c2000010', A) },
    );
    expect(results).toEqual([dropped('reserved-destination'), dropped('reserved-destination'), FLOOD]);
  });

  it('drops what is shorter than an Ethernet header, or than its VLAN tag', () => {
    const rig = new Rig();
    for (const rest of ['08', '8100', '81000005', '8100000508'])
      expect(rig.forward({ port: 1, frame: frame(B, A, rest) })).toEqual([dropped('frame-too-short')]);
    expect(rig.forward({ port: 1, frame: frame(B, A, '810000050800') })).toEqual([FLOOD]);
  });

  it('keeps bridges apart, and VLANs', () => {
    const rig = new Rig();
    rig.forward({ port: 1, frame: frame(BROADCAST, A) });
    expect(rig.forward({ port: 5, frame: frame(A, B) })).toEqual([FLOOD]);
    expect(rig.forward({ port: 2, frame: frame(A, B, '810000050800') })).toEqual([FLOOD]);
    expect(rig.forward({ port: 2, frame: frame(A, B) })).toEqual([1]);
  });

  it('drops a frame in a VLAN that its port does not carry, and learns nothing from it', () => {
    const rig = new Rig();
    rig.vlans.set(1, { mode: 'access', tag: 5, trunks: [], priorityTags: 'never' });
    expect(rig.forward({ port: 1, frame: frame(B, A, '810000050800') })).toEqual([dropped('vlan-in')]);
    expect(rig.fdb.entries(1000)).toEqual([]);
  });

  it('learns in the VLAN of the port, and does not send into a VLAN that the port it has learned carries no more', () => {
    const rig = new Rig();
    rig.vlans.set(1, { mode: 'access', tag: 5, trunks: [], priorityTags: 'never' });
    rig.forward({ port: 1, frame: frame(BROADCAST, A) });
    expect(rig.fdb.entries(1000)).toMatchObject([{ port: 1, vlan: 5 }]);
    expect(rig.forward({ port: 2, frame: frame(A, B, '810000050800') })).toEqual([1]);
    expect(rig.forward({ port: 2, frame: frame(A, B) })).toEqual([FLOOD]);
    rig.vlans.set(1, { mode: 'access', tag: 6, trunks: [], priorityTags: 'never' });
    expect(rig.forward({ port: 2, frame: frame(A, B, '810000050800') })).toEqual([FLOOD]);
  });

  it('floods instead of sending to a port that has left the bridge', () => {
    const rig = new Rig();
    rig.forward({ port: 1, frame: frame(BROADCAST, A) });
    rig.ports.remove(1);
    expect(rig.forward({ port: 2, frame: frame(A, B) })).toEqual([FLOOD]);
  });

  it('leaves rows alone that have a verdict', () => {
    const rig = new Rig();
    rig.load([{ port: 1, frame: frame(B, A) }]);
    rig.arena.batch.verdict[0] = reason('frame-too-long');
    forward(rig.arena.batch, rig.fdb, rig.ports, rig.vlans, 0);
    expect(rig.arena.batch.output[0]).toBe(-1);
    expect(rig.fdb.entries(0)).toEqual([]);
  });
});

describe('the ports of a bridge', () => {
  it('move with the port, and know no port twice', () => {
    const ports = new BridgePorts(2, 8);
    ports.add(0, 1);
    ports.add(0, 1);
    ports.add(0, 2);
    ports.add(1, 1);
    ports.remove(7);
    expect([...ports.ports(0)]).toEqual([2]);
    expect([...ports.ports(1)]).toEqual([1]);
    expect(ports.bridgeOf[1]).toBe(1);
  });
});
