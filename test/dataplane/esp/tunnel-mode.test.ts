import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DROP_REASONS } from '../../../dataplane/drops.ts';
import { openBatch } from '../../../dataplane/esp/open.ts';
import { ipv4FromText, writeIpv4 } from '../../../dataplane/wire/ipv4.ts';
import { ipv6FromText, writeIpv6 } from '../../../dataplane/wire/ipv6.ts';
import { fromPeer } from './reference.ts';
import { ALICE, anything, BOB, payload, reasons, SaRig, SLOT, verdicts } from './sa-rig.ts';

const GRE = 47;
const ENDS = { 4: [ALICE, BOB], 6: ['2001:db8::a', '2001:db8::b'] } as const;
type Family = keyof typeof ENDS;
const NEXT = { 4: 4, 6: 41 } as const;

interface Inner {
  readonly tos?: number;
  readonly protocol?: number;
  readonly behind?: Uint8Array;
}

/** Alice's GRE packet to Bob with an IP header of its own, and TFC padding behind it. */
function inner(family: Family, body: Uint8Array, { tos = 0, protocol = GRE, behind = new Uint8Array() }: Inner = {}) {
  const [from, to] = ENDS[family];
  const header = family === 6 ? 40 : 20;
  const bytes = new Uint8Array(header + body.length + behind.length);
  if (family === 4)
    writeIpv4(bytes, 0, 20 + body.length, tos, 0, 0, 64, protocol, ipv4FromText(from), ipv4FromText(to));
  else {
    const words = Int32Array.of(...ipv6FromText(from), ...ipv6FromText(to));
    writeIpv6(bytes, 0, body.length, tos, 64, protocol, words, 0, 4);
  }
  bytes.set(body, header);
  bytes.set(behind, header + body.length);
  return bytes;
}

/** Bob's SA in tunnel mode; `openAll` gives him packets whose outer header has this DSCP/ECN byte. */
class TunnelRig extends SaRig {
  readonly ends: number;

  constructor(family: Family) {
    super();
    const [remote, local] = ENDS[family];
    this.addInbound({ mode: 'tunnel', local, remote, tsLocal: anything(local), tsRemote: anything(remote) });
    this.ends = this.pairs.take(local, remote);
  }

  openAll(packets: readonly Uint8Array[], tos = 0) {
    this.load(packets, 50, -1);
    this.batch.pair.fill(this.ends, 0, packets.length);
    this.batch.tos.fill(tos, 0, packets.length);
    openBatch(this.batch, this.list, this.inbound);
    return this.result();
  }
}

describe.each([4, 6] as const)('tunnel mode with an inner header of IPv%i', (family) => {
  it('gives the tunnel packet, without the TFC padding behind it, which is counted', () => {
    const rig = new TunnelRig(family);
    const body = payload(33, 7);
    const packets = [new Uint8Array(), payload(1), payload(400, 0xee)].map((behind, i) =>
      fromPeer(i + 1, { payload: inner(family, body, { behind }), next: NEXT[family] }),
    );
    for (const packet of rig.openAll(packets)) expect(packet).toEqual({ bytes: body, protocol: GRE, verdict: 0 });
    expect(rig.inbound.padded).toBe(2);
  });

  it('combines ECN as RFC 6040 figure 4 says, and keeps the DSCP of the inner header', () => {
    const NOT_ECT = 0;
    const ECT1 = 1;
    const ECT0 = 2;
    const CE = 3;
    const table = new Map([
      [NOT_ECT, [NOT_ECT, NOT_ECT, NOT_ECT, undefined]],
      [ECT0, [ECT0, ECT1, ECT0, CE]],
      [ECT1, [ECT1, ECT1, ECT1, CE]],
      [CE, [CE, CE, CE, CE]],
    ]);
    const rig = new TunnelRig(family);
    let sequence = 1;
    for (const [ecn, row] of table) {
      row.forEach((expected, outer) => {
        const packet = fromPeer(sequence++, {
          payload: inner(family, payload(8), { tos: 0xb8 | ecn }),
          next: NEXT[family],
        });
        const [{ verdict }] = rig.openAll([packet], 0x28 | outer);
        expect([verdict]).toEqual(reasons(expected === undefined ? 'ecn-ce' : 'none'));
        if (expected !== undefined) expect(rig.batch.tos[0]).toBe(0xb8 | expected);
      });
    }
  });

  it('refuses another next header, an inner packet cut anywhere, and one between other addresses', () => {
    const rig = new TunnelRig(family);
    const whole = inner(family, payload(12));
    let sequence = 1;
    const open = (bytes: Uint8Array, next: number) => rig.openAll([fromPeer(sequence++, { payload: bytes, next })]);
    expect(verdicts(open(whole, GRE))).toEqual(reasons('esp-selector-in'));
    expect(verdicts(open(whole, NEXT[family === 4 ? 6 : 4]))).toEqual(
      reasons(family === 4 ? 'ip-too-short' : 'ip-version'),
    );
    for (let length = 0; length < whole.length; length++)
      expect(open(whole.slice(0, length), NEXT[family])[0].verdict).toBeGreaterThan(0);
    for (const bit of [family === 4 ? 12 : 8, whole.length - 13]) {
      const changed = whole.slice();
      changed[bit] ^= 1;
      expect(verdicts(open(changed, NEXT[family]))).toEqual(reasons('esp-selector-in'));
    }
    expect(verdicts(open(whole, NEXT[family]))).toEqual([0]);
  });

  it('says of a damaged inner packet what is wrong with it, whatever the selectors', () => {
    const [remote, local] = ENDS[family];
    const rig = new TunnelRig(family);
    rig.inbound.remove(SLOT);
    rig.addInbound({ mode: 'tunnel', local, remote, tsLocal: [], tsRemote: [] });
    const cut = inner(family, payload(12)).slice(0, 8);
    const [{ verdict }] = rig.openAll([fromPeer(1, { payload: cut, next: NEXT[family] })]);
    expect([verdict]).toEqual(reasons('ip-too-short'));
  });

  it('takes dummy packets for what they are', () => {
    const rig = new TunnelRig(family);
    const dummies = [new Uint8Array(), payload(700, 3)].map((bytes, i) =>
      fromPeer(i + 1, { payload: bytes, next: 59 }),
    );
    expect(verdicts(rig.openAll(dummies))).toEqual(reasons('esp-dummy', 'esp-dummy'));
  });

  it('either drops random authentic bytes for a reason or leaves a packet inside them', () => {
    const rig = new TunnelRig(family);
    let sequence = 1;
    const start = inner(family, payload(4)).subarray(0, family === 6 ? 40 : 20);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.nat(39), fc.boolean(), (bytes, at, likely) => {
        if (likely) bytes.set(start.subarray(0, Math.min(at, bytes.length)));
        const packet = fromPeer(sequence++, { payload: bytes, next: NEXT[family] });
        const [{ verdict, bytes: left }] = rig.openAll([packet]);
        if (verdict === 0) expect(left.length).toBeLessThanOrEqual(bytes.length);
        else expect(DROP_REASONS[verdict]).toBeDefined();
      }),
    );
  });
});
