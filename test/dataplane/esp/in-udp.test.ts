/** SAs whose ESP travels in UDP (RFC 3948): the path beside the tunnel's own addresses, and a peer that moves. */
import { describe, expect, it } from 'vitest';
import { Arena } from '../../../dataplane/arena.ts';
import type { InboundSa, UdpPath } from '../../../dataplane/commands.ts';
import { openBatch } from '../../../dataplane/esp/open.ts';
import { sealBatch } from '../../../dataplane/esp/seal.ts';
import { ipv4FromText, writeIpv4 } from '../../../dataplane/wire/ipv4.ts';
import { fromPeer } from './reference.ts';
import { ALICE, anything, BOB, GRE, inboundSa, outboundSa, payload, reasons, SaRig, SLOT, verdicts } from './sa-rig.ts';

const [HERE, THERE, ELSEWHERE] = ['198.51.100.2', '198.51.100.1', '203.0.113.9'];
const PORT = 6000;
const path = (remote = THERE, port = PORT): UdpPath => ({
  local: { address: HERE, port: 4500 },
  remote: { address: remote, port },
});

/** Bob, whose SA from Alice travels in UDP between other addresses than those of the tunnel. */
class UdpRig extends SaRig {
  readonly there: number;
  readonly elsewhere = this.pairs.take(HERE, ELSEWHERE);

  constructor(changes: Partial<InboundSa> = { udp: path() }) {
    super();
    this.addInbound(changes);
    this.there = this.inbound.path[SLOT];
  }

  /** Verdicts of packets that came in UDP from this port (0: not in UDP) between these addresses. */
  receive(packets: readonly Uint8Array[], pair = this.there, port = PORT): number[] {
    this.load(packets, 50, -1);
    this.batch.pair.fill(pair, 0, packets.length);
    this.batch.udpPort.fill(port, 0, packets.length);
    openBatch(this.batch, this.list, this.inbound);
    return verdicts(this.result());
  }
}

/** Whether anybody uses this pair still. */
function isKnown(rig: SaRig, local: string, remote: string): boolean {
  const header = new Uint8Array(20);
  writeIpv4(header, 0, 20, 0, 0, 0, 64, 17, ipv4FromText(remote), ipv4FromText(local));
  return rig.pairs.find4(header, 0) >= 0;
}

describe('a packet of an SA in UDP', () => {
  it('is opened as one between the addresses of the tunnel', () => {
    const rig = new UdpRig();
    expect(rig.receive([fromPeer(1), fromPeer(2)])).toEqual([0, 0]);
    expect([...rig.batch.pair.subarray(0, 2)]).toEqual([rig.backPair, rig.backPair]);
    expect(rig.batch.addressSum[1]).toBe(rig.pairs.addressSum[rig.backPair]);
    expect(rig.inbound.movedRow).toBe(-1);
  });

  it.each([
    ['another address', true, PORT],
    ['another port', false, PORT + 1],
    ['another address and port', true, PORT + 1],
  ])('from %s moves the peer if it is the newest, and is opened all the same', (_from, moved, port) => {
    const rig = new UdpRig();
    const pair = moved ? rig.elsewhere : rig.there;
    expect(rig.receive([fromPeer(1), fromPeer(3), fromPeer(2)], pair, port)).toEqual([0, 0, 0]);
    expect(rig.inbound.movedRow).toBe(1);
    rig.inbound.movedRow = -1;
    // What the newest was held back by: an older packet, a copy, and a forgery that claims to be newer.
    const forged = fromPeer(9);
    forged[forged.length - 1] ^= 1;
    const late = [fromPeer(3), forged];
    expect(rig.receive(late, pair, port)).toEqual(reasons('replay-duplicate', 'icv-mismatch'));
    rig.receive([fromPeer(60)]);
    expect(rig.receive([fromPeer(59)], pair, port)).toEqual([0]);
    expect(rig.inbound.movedRow).toBe(-1);
  });

  it('with ESN moves the peer if it is the newest across 2^32', () => {
    const rig = new UdpRig({ udp: path(), esn: true });
    const edge = 2n ** 32n;
    for (const number of [edge / 2n, edge - 10n, edge + 5n]) rig.receive([fromPeer(number, { esn: true })]);
    rig.receive([fromPeer(edge - 1n, { esn: true })], rig.elsewhere);
    expect(rig.inbound.movedRow).toBe(-1);
    rig.receive([fromPeer(edge + 6n, { esn: true })], rig.elsewhere);
    expect(rig.inbound.movedRow).toBe(0);
  });

  it('that is not in UDP is taken between the addresses of the path, and moves nobody', () => {
    const rig = new UdpRig();
    expect(rig.receive([fromPeer(1)], rig.there, 0)).toEqual([0]);
    expect(rig.receive([fromPeer(2)], rig.elsewhere, 0)).toEqual(reasons('sa-address'));
    expect(rig.inbound.movedRow).toBe(-1);
  });

  it('and one of an SA without UDP that came in UDP is taken from its own address only', () => {
    const rig = new UdpRig({});
    expect(rig.receive([fromPeer(1)], rig.backPair)).toEqual([0]);
    expect(rig.receive([fromPeer(2)], rig.elsewhere)).toEqual(reasons('sa-address'));
    expect(rig.inbound.movedRow).toBe(-1);
  });

  it('leaves on the path, and may be 8 bytes shorter than one without UDP', () => {
    // 65512 bytes of ESP fit into IPv4, behind UDP 65504.
    for (const [udp, mode, most] of [
      [undefined, 'transport', 65478],
      [path(), 'transport', 65470],
      [undefined, 'tunnel', 65458],
      [path(), 'tunnel', 65450],
    ] as const) {
      const rig = new SaRig();
      rig.addOutbound({ mode, ...(udp && { udp }) });
      const { batch, aead } = new Arena({ rows: 2, reads: 2, frameBytes: 65600 });
      batch.count = 2;
      batch.length.set([most, most + 1]);
      batch.offset.set([512, 67000]);
      batch.protocol.fill(GRE);
      batch.pair.fill(rig.pair);
      batch.sa.fill(SLOT);
      sealBatch(batch, aead, rig.outbound);
      expect([...batch.verdict], `${mode}, ${most} bytes`).toEqual(reasons('none', 'esp-too-long'));
      expect(batch.length[0]).toBe(udp === undefined ? 65512 : 65504);
      expect(batch.pair[0]).toBe(rig.outbound.path[SLOT]);
      expect(rig.outbound.path[SLOT] === rig.pair).toBe(udp === undefined);
    }
  });
});

describe('an SA in UDP', () => {
  it('moves with its peer, and lets go of where that was', () => {
    const rig = new UdpRig();
    rig.inbound.move(SLOT, path(ELSEWHERE, 7000));
    expect(rig.inbound.path[SLOT]).toBe(rig.elsewhere);
    expect([rig.inbound.localPort[SLOT], rig.inbound.remotePort[SLOT]]).toEqual([4500, 7000]);
    expect(isKnown(rig, HERE, THERE)).toBe(false);
    expect(isKnown(rig, HERE, ELSEWHERE)).toBe(true);
    expect(rig.receive([fromPeer(1)], rig.elsewhere, 7000)).toEqual([0]);
    expect(rig.inbound.movedRow).toBe(-1);
  });

  it('does not move to what is no path, nor does an SA without UDP, nor a slot without SA', () => {
    const rig = new UdpRig();
    for (const port of [0, -1, 65536, 0.5])
      for (const wrong of [path(ELSEWHERE, port), { ...path(), local: { address: HERE, port } }])
        expect(() => rig.inbound.move(SLOT, wrong)).toThrow(
          new RangeError(`UDP port of ESP: expected 1 to 65535, got ${port}`),
        );
    expect(() => rig.inbound.move(SLOT, path('2001:db8::1'))).toThrow(/one family/);
    expect(rig.inbound.path[SLOT]).toBe(rig.there);
    expect(rig.inbound.remotePort[SLOT]).toBe(PORT);
    rig.inbound.move(SLOT, path(THERE, 65535));
    expect(rig.inbound.remotePort[SLOT]).toBe(65535);

    const plain = new UdpRig({});
    plain.inbound.move(SLOT, path());
    expect(plain.inbound.path[SLOT]).toBe(plain.backPair);
    for (const slot of [SLOT + 1, 800]) plain.inbound.move(slot, path());
    expect(plain.inbound.path[SLOT + 1]).toBe(-1);
    expect(isKnown(plain, HERE, THERE)).toBe(false);
  });

  it('is counted among those in UDP until it is removed, and leaves no address and no key behind', () => {
    const dropped: number[] = [];
    const rig = new UdpRig();
    const { aead } = rig.inbound;
    const dropKey = aead.dropKey.bind(aead);
    aead.dropKey = (key) => {
      dropped.push(key);
      dropKey(key);
    };
    rig.addInbound({ slot: 4, spi: 4 });
    expect(rig.inbound.encapsulated).toBe(1);
    const key = rig.inbound.key[SLOT];
    rig.inbound.remove(SLOT);
    rig.inbound.remove(SLOT);
    rig.inbound.remove(800);
    expect(dropped).toEqual([key]);
    expect(rig.inbound.encapsulated).toBe(0);
    expect(isKnown(rig, HERE, THERE)).toBe(false);
    rig.inbound.remove(4);
    expect(rig.inbound.encapsulated).toBe(0);
    rig.pairs.release(rig.backPair);
    expect(isKnown(rig, BOB, ALICE)).toBe(false);
  });

  it('that is refused for its ports or addresses leaves its slot as it was', () => {
    const rig = new SaRig();
    expect(() => rig.addOutbound({ udp: path(THERE, 0) })).toThrow(/UDP port of ESP/);
    expect(() => rig.addOutbound({ remote: '2001:db8::1', tsRemote: anything(BOB) })).toThrow(/one family/);
    expect(rig.outbound.key[SLOT]).toBe(-1);
    rig.addOutbound({ udp: path() });
    expect(rig.outbound.encapsulated).toBe(1);
    expect(verdicts(rig.seal([payload(4)]))).toEqual([0]);
    expect(() => rig.outbound.add(outboundSa())).toThrow(/slot 3 is taken/);
    expect(() => rig.inbound.add(inboundSa({ slot: 900, spi: 900 }))).toThrow(/expected 0 to 7, got 900/);
  });
});
