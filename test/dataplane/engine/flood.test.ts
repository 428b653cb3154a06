/**
 * Floods to more tunnels than a batch has rows for copies, beside packets of the same batch that are dropped. In the batch before,
 * each row went to the TAP: what a dropped one would do if it were forgotten that it is dropped.
 */
import { describe, expect, it } from 'vitest';
import type { EngineCommand } from '../../../dataplane/commands.ts';
import type { DropName } from '../../../dataplane/drops.ts';
import {
  FLOOD_BURST,
  FLOOD_COPIES_PER_MS,
  FloodBudget,
  FREE_FLOOD_PORTS,
} from '../../../dataplane/switch/flood-budget.ts';
import { commands } from '../../fuzz/packets.ts';
import { BATCH, LIMITS, Victim } from '../../fuzz/victim.ts';

const HOST = [2, 0, 0, 0, 0, 1];
const FAR = [2, 0, 0, 0, 1, 1];
const EVERYBODY = [255, 255, 255, 255, 255, 255];
/** Hosts of test/fuzz/packets.ts: a peer in the clear, one with an SA. */
const CLEAR = 2;
const PROTECTED = 3;
const KEY = 77;
const FLOODED = 8;

function frame(to: readonly number[], from: readonly number[]): Uint8Array {
  return Uint8Array.of(...to, ...from, 0x88, 0xb5, ...new Uint8Array(46).fill(7));
}

/** A frame in GRE in the clear. */
function plaintext(peer: number, content: Uint8Array, key = KEY): Uint8Array {
  const gre = [0x20, 0, 0x65, 0x58, 0, 0, 0, key];
  const length = 20 + gre.length + content.length;
  const ip = [0x45, 0, length >> 8, length & 255, 0, 0, 0, 0, 64, 47, 0, 0, 192, 0, 2, peer, 192, 0, 2, 1];
  return Uint8Array.of(...ip, ...gre, ...content);
}

function delivered(victim: Victim): number[] {
  const bytes = new Uint8Array(65_536);
  const lengths: number[] = [];
  for (let length = victim.port.takeInto(bytes); length > 0; length = victim.port.takeInto(bytes)) lengths.push(length);
  return lengths;
}

const droppedFor = (victim: Victim, reason: DropName) => victim.reader.drops().get(reason)?.[0] ?? 0;

describe('a flood in the same batch', () => {
  it.each<[string, DropName, Uint8Array]>([
    ['plaintext for a tunnel that has an SA', 'policy-plaintext-in', plaintext(PROTECTED, frame(HOST, FAR))],
    ['a frame too short', 'inner-too-short', plaintext(CLEAR, frame(HOST, FAR).subarray(0, 9))],
  ])('does not let %s through, which is counted once', (_, reason, bad) => {
    const victim = new Victim(commands(), 0);
    victim.port.put(frame(EVERYBODY, HOST));
    victim.run();
    for (let i = 0; i < BATCH; i++) victim.incoming.push(plaintext(CLEAR, frame(HOST, FAR)));
    victim.run();
    expect(delivered(victim)).toHaveLength(BATCH);

    for (let i = 0; i < FLOODED; i++) victim.incoming.push(plaintext(CLEAR, frame(EVERYBODY, FAR)));
    for (let i = FLOODED; i < BATCH; i++) victim.incoming.push(bad);
    victim.run();
    expect(delivered(victim)).toEqual(new Array<number>(FLOODED).fill(frame(HOST, FAR).length));
    expect(droppedFor(victim, reason)).toBe(BATCH - FLOODED);
  });

  it("leaves a frame to one tunnel all its VLAN tags but the one that is the bridge's", () => {
    const victim = new Victim(commands(), 0);
    victim.incoming.push(plaintext(CLEAR, frame(HOST, FAR)));
    victim.run();
    for (let i = 0; i < FLOODED; i++) victim.port.put(frame(EVERYBODY, HOST));
    const tagged = frame(FAR, HOST);
    // VLAN 0, which is a priority only, and behind it VLAN 5 of somebody else.
    victim.port.put(Uint8Array.of(...tagged.subarray(0, 12), 0x81, 0, 0, 0, 0x81, 0, 0, 5, ...tagged.subarray(12)));
    const sent: string[] = [];
    victim.onSent = (packet) => sent.push(Buffer.from(packet).toString('hex'));
    victim.run();
    const addresses = Buffer.from(tagged.subarray(0, 12)).toString('hex');
    expect(sent.filter((packet) => packet.includes(addresses))).toEqual([
      expect.stringMatching(new RegExp(`${addresses}8100000588b5`)),
    ]);
  });
});

describe('a bridge of many tunnels', () => {
  const TUNNELS = 1000;
  const FLOODS = 100;
  const ports = TUNNELS + 1;

  /** The tunnels differ in their key only, from 1 on; the TAP is port 0. */
  function manyTunnels(): Victim {
    const rows = commands();
    const local = rows.filter(({ op }) => op !== 'set-tunnel-port' && op !== 'set-path-mtu');
    const first = rows.find((row) => row.op === 'set-tunnel-port')!;
    const tunnels = Array.from({ length: TUNNELS }, (_, index): EngineCommand => {
      const key = { kind: 'fixed', key: index + 1 } as const;
      const tunnel = { ...first.tunnel, inKey: key, outKey: key };
      return { ...first, port: index + 1, name: `t${index}`, tunnel };
    });
    return new Victim([...local, ...tunnels], 0, { ...LIMITS, ports: 2048 });
  }

  it('is flooded up to the limit, frames whole, and the rest is counted; frames to one of them still pass', () => {
    const victim = manyTunnels();
    victim.incoming.push(plaintext(CLEAR, frame(HOST, FAR), 5));
    victim.run();
    victim.now += 1000;
    const before = victim.sentPackets;
    for (let i = 0; i < FLOODS; i++) victim.port.put(frame(EVERYBODY, HOST));
    victim.port.put(frame(FAR, HOST));
    victim.run();
    const flooded = Math.floor(FLOOD_BURST / ports) + 1;
    expect(victim.sentPackets - before).toBe(flooded * TUNNELS + 1);
    expect(droppedFor(victim, 'flood-limit')).toBe(FLOODS - flooded);

    // A second later there is room again.
    victim.now += 1000;
    victim.port.put(frame(EVERYBODY, HOST));
    victim.run();
    expect(victim.sentPackets - before).toBe((flooded + 1) * TUNNELS + 1);
  });

  it('takes no more of the worker than the rate, however long the flood; a bridge of few ports is never limited', () => {
    const budget = new FloodBudget();
    let copies = 0;
    for (let now = 0; now < 10_000; now++)
      for (let i = 0; i < 10; i++) if (budget.admits(10_000, now)) copies += 10_000;
    expect(copies).toBeLessThanOrEqual(FLOOD_BURST + 10_000 * FLOOD_COPIES_PER_MS + 10_000);
    expect(copies).toBeGreaterThan(9_000 * FLOOD_COPIES_PER_MS);
    for (let i = 0; i < 10_000; i++) expect(budget.admits(FREE_FLOOD_PORTS, 10_000)).toBe(true);
  });
});
