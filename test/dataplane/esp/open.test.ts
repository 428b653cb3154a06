/** Opening: published packets, packets of the independent reference, and every way a packet can be wrong. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_PAIR } from '../../../dataplane/address-pairs.ts';
import type { EspAlgorithm } from '../../../dataplane/commands.ts';
import { DROP, type DropName } from '../../../dataplane/drops.ts';
import { createNodeAead } from '../../../dataplane/esp/aead-node.ts';
import { openBatch } from '../../../dataplane/esp/open.ts';
import { REPLAY_TOP_HIGH, REPLAY_TOP_LOW } from '../../../dataplane/esp/replay.ts';
import { SA_FIRST_PACKET, SA_SOFT_LIMIT, SaMemory } from '../../../dataplane/esp/sa-memory.ts';
import { InboundSas } from '../../../dataplane/esp/sa-table.ts';
import vectors from '../../vectors/esp/packets.json' with { type: 'json' };
import { fromPeer } from './reference.ts';
import {
  ALICE,
  anything,
  BOB,
  bytesOf,
  eventsOf,
  GRE,
  hexOf,
  inboundSa,
  payload,
  reasons,
  SaRig,
  SLOT,
  SPI,
  UDP,
  verdicts,
} from './sa-rig.ts';

describe('opening', () => {
  it.each(vectors)('$name, from the wire, gives the published payload', (vector) => {
    const aad = Buffer.from(vector.aad, 'hex');
    const spi = aad.readUInt32BE(0);
    const esn = aad.length === 12;
    const low = aad.readUInt32BE(aad.length - 4);
    const slot = spi & 0xffff;
    const rig = new SaRig(createNodeAead(), new SaMemory({ inboundSlots: 0x10000, outboundSlots: 1, workers: 1 }));
    const keyAndSalt = bytesOf(vector.key + vector.salt);
    rig.addInbound({ slot, spi, esn, keyAndSalt, algorithm: vector.algorithm as EspAlgorithm });
    if (esn) {
      // The packet before this one was the last that came in.
      const before = aad.readBigUInt64BE(4) - 1n;
      const base = rig.memory.replayBase(slot);
      rig.memory.inbound[base + REPLAY_TOP_LOW] = Number(BigInt.asIntN(32, before));
      rig.memory.inbound[base + REPLAY_TOP_HIGH] = Number(BigInt.asIntN(32, before >> 32n));
    }
    const header = Buffer.alloc(8);
    header.writeUInt32BE(spi, 0);
    header.writeUInt32BE(low, 4);
    const wire = bytesOf(hexOf(header) + vector.iv + vector.ciphertext + vector.icv);
    const plaintext = bytesOf(vector.plaintext);
    const padLength = plaintext[plaintext.length - 2];
    const [opened] = rig.open([wire]);
    expect(opened).toEqual({
      bytes: plaintext.subarray(0, plaintext.length - 2 - padLength),
      protocol: plaintext[plaintext.length - 1],
      verdict: 0,
    });
  });

  it('gives SA and protection to the row, and counts payload', () => {
    const rig = new SaRig();
    rig.addInbound();
    rig.open([fromPeer(1), fromPeer(2)]);
    expect([rig.batch.sa[0], rig.batch.protection[0]]).toEqual([SLOT, 7]);
    expect(rig.memory.inboundStatus(SLOT)).toEqual({
      sequence: 2,
      packets: 2,
      bytes: 40,
      replayed: 0,
      forged: 0,
      softLimit: false,
      seenPacket: true,
    });
    expect(eventsOf(rig.inbound.events)).toEqual([[SLOT, SA_FIRST_PACKET]]);
  });

  it('leaves rows alone that have a verdict, are no ESP, or are not in the batch', () => {
    const rig = new SaRig();
    rig.addInbound();
    const packets = [1, 2, 3, 4].map((sequence) => fromPeer(sequence));
    rig.load(packets, 50, -1);
    rig.batch.pair.fill(rig.backPair, 0, packets.length);
    rig.batch.verdict[0] = DROP['policy-mark'];
    rig.batch.protocol[1] = UDP;
    rig.batch.count = 3;
    openBatch(rig.batch, rig.list, rig.inbound);
    rig.batch.count = 4;
    const left = rig.result();
    expect(verdicts(left)).toEqual(reasons('policy-mark', 'none', 'none', 'none'));
    expect(left.map(({ protocol }) => protocol)).toEqual([50, UDP, GRE, 50]);
    for (const row of [0, 1, 3]) expect(left[row].bytes).toEqual(packets[row]);
    expect(rig.memory.inboundStatus(SLOT).packets).toBe(1);
  });

  it('refuses a packet cut anywhere, and never throws', () => {
    const whole = fromPeer(1, { payload: payload(21) });
    for (let length = 0; length < whole.length; length++) {
      const rig = new SaRig();
      rig.addInbound();
      const [cut] = rig.open([whole.subarray(0, length)]);
      const expected: DropName = length < 36 ? 'esp-too-short' : length % 4 === 0 ? 'icv-mismatch' : 'esp-unaligned';
      expect(cut.verdict, `${length} bytes`).toBe(DROP[expected]);
    }
  });

  it('refuses any bytes that nobody sealed', () => {
    const rig = new SaRig();
    rig.addInbound();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.boolean(), (bytes, ours) => {
        if (ours && bytes.length >= 4) bytes.set([0x00, 0x41, 0x00, SLOT]);
        const [packet] = rig.open([bytes]);
        expect(packet.verdict).not.toBe(0);
      }),
    );
    expect(rig.memory.inboundStatus(SLOT).packets).toBe(0);
  });

  it('knows an SPI only as a whole', () => {
    const rig = new SaRig();
    rig.addInbound();
    const spis = [SPI ^ 0x80000000, SPI ^ 0x00010000, SPI ^ 1, SPI | 0xff, 0xffffffff, 0, SLOT].map((spi) => spi >>> 0);
    expect(verdicts(rig.open(spis.map((spi) => fromPeer(1, { spi }))))).toEqual(spis.map(() => DROP['unknown-spi']));
    rig.inbound.remove(SLOT);
    expect(verdicts(rig.open([fromPeer(1)]))).toEqual(reasons('unknown-spi'));
    expect(verdicts(rig.open([fromPeer(1, { spi: 0 })]))).toEqual(reasons('unknown-spi'));
  });

  it('refuses packets from or to another address than the SA has', () => {
    const rig = new SaRig();
    rig.addInbound();
    rig.load([fromPeer(1), fromPeer(2), fromPeer(3)], 50, -1);
    rig.batch.pair[0] = NO_PAIR;
    rig.batch.pair[1] = rig.pairs.take(BOB, '192.0.2.77');
    rig.batch.pair[2] = rig.backPair;
    openBatch(rig.batch, rig.list, rig.inbound);
    expect(verdicts(rig.result())).toEqual(reasons('sa-address', 'sa-address', 'none'));
  });

  it('refuses a changed bit anywhere, counts it for the SA, and lets the true packet in afterwards', () => {
    const rig = new SaRig();
    rig.addInbound();
    const whole = fromPeer(1);
    let forged = 0;
    for (let bit = 4 * 8; bit < whole.length * 8; bit += 5) {
      const changed = whole.slice();
      changed[bit >> 3] ^= 0x80 >> (bit & 7);
      expect(verdicts(rig.open([changed])), `bit ${bit}`).toEqual(reasons('icv-mismatch'));
      forged++;
    }
    expect(rig.memory.inboundStatus(SLOT)).toMatchObject({ forged, packets: 0, sequence: 0, seenPacket: false });
    expect(verdicts(rig.open([whole]))).toEqual([0]);
  });

  it('does not move the window for a forged packet', () => {
    const rig = new SaRig();
    rig.addInbound();
    const far = fromPeer(1_000_000);
    far[20] ^= 1;
    expect(verdicts(rig.open([far, fromPeer(1)]))).toEqual(reasons('icv-mismatch', 'none'));
  });

  it('takes a packet once, also when both copies are in one batch', () => {
    const rig = new SaRig();
    rig.addInbound();
    const packet = fromPeer(5);
    expect(verdicts(rig.open([packet, packet, fromPeer(4)]))).toEqual(reasons('none', 'replay-duplicate', 'none'));
    expect(verdicts(rig.open([packet]))).toEqual(reasons('replay-duplicate'));
    expect(rig.memory.inboundStatus(SLOT)).toMatchObject({ packets: 2, replayed: 2 });
  });

  it('refuses what is behind the window before it decrypts', () => {
    const rig = new SaRig();
    rig.addInbound({ replayWindow: 64 });
    rig.open([fromPeer(100)]);
    const opened: number[] = [];
    const spy = new InboundSas(
      rig.memory,
      {
        ...createNodeAead(),
        open: (_columns, _first, count) => opened.push(count),
      },
      rig.pairs,
    );
    spy.add(inboundSa());
    rig.load([fromPeer(36), fromPeer(100)], 50, -1);
    rig.batch.pair.fill(rig.backPair, 0, 2);
    openBatch(rig.batch, rig.list, spy);
    expect(verdicts(rig.result())).toEqual(reasons('replay-old', 'replay-duplicate'));
    expect(opened).toEqual([]);
    expect(verdicts(rig.open([fromPeer(37)]))).toEqual([0]);
  });

  it('with ESN finds the high half on both sides of 2^32, in one batch', () => {
    const rig = new SaRig();
    rig.addInbound({ esn: true });
    const edge = 2n ** 32n;
    const numbers = [edge - 2n, edge, edge - 1n, edge + 1n, edge - 3n];
    const base = rig.memory.replayBase(SLOT);
    rig.memory.inbound[base + REPLAY_TOP_LOW] = Number(BigInt.asIntN(32, edge - 5n));
    expect(verdicts(rig.open(numbers.map((number) => fromPeer(number, { esn: true }))))).toEqual([0, 0, 0, 0, 0]);
    expect(rig.memory.inboundStatus(SLOT).sequence).toBe(2 ** 32 + 1);
    expect(verdicts(rig.open(numbers.map((number) => fromPeer(number, { esn: true }))))).toEqual(
      numbers.map(() => DROP['replay-duplicate']),
    );
    // The same low half one epoch later is another packet; one epoch earlier it is a forgery.
    expect(verdicts(rig.open([fromPeer(edge - 4n + edge, { esn: true })]))).not.toEqual([0]);
    expect(verdicts(rig.open([fromPeer(2n * edge - 100_000n, { esn: true })]))).toEqual([0]);
  });

  it.each([
    ['a pad length beyond the payload', Uint8Array.of(1, 2, 3, GRE), 'esp-pad-length'],
    ['padding that is not 1, 2, 3', Uint8Array.of(9, 9, 9, 9, 1, 3, 2, GRE), 'esp-padding'],
    ['padding of zeros', Uint8Array.of(0, 0, 2, GRE), 'esp-padding'],
    ['next header 59', Uint8Array.of(9, 9, 9, 9, 1, 2, 2, 59), 'esp-dummy'],
  ] as const)('drops a packet with %s', (_what, plaintext, reason) => {
    const rig = new SaRig();
    rig.addInbound();
    expect(verdicts(rig.open([fromPeer(1, { plaintext })]))).toEqual([DROP[reason]]);
    expect(verdicts(rig.open([fromPeer(1, { plaintext })]))).toEqual(reasons('replay-duplicate'));
  });

  it('accepts up to 255 bytes of padding, as RFC 4303 §2.4 allows', () => {
    const rig = new SaRig();
    rig.addInbound();
    const padding = Array.from({ length: 255 }, (_, i) => i + 1);
    const [packet] = rig.open([fromPeer(1, { plaintext: Uint8Array.of(7, 7, 7, ...padding, 255, GRE) })]);
    expect(packet).toEqual({ bytes: Uint8Array.of(7, 7, 7), protocol: GRE, verdict: 0 });
  });

  it('drops a decrypted packet that is outside the selectors of its SA', () => {
    const rig = new SaRig();
    rig.addInbound({
      tsLocal: [{ protocol: UDP, startAddress: BOB, endAddress: BOB, startPort: 4789, endPort: 4789 }],
      tsRemote: anything(ALICE),
    });
    const udp = (port: number): Uint8Array => Uint8Array.of(0x80, 0, port >> 8, port & 255, 0, 8, 0, 0);
    expect(
      verdicts(
        rig.open([
          fromPeer(1, { payload: udp(4789), next: UDP }),
          fromPeer(2, { payload: udp(6081), next: UDP }),
          fromPeer(3, { payload: udp(4789), next: 6 }),
          fromPeer(4, { payload: payload(0), next: UDP }),
          fromPeer(5, { next: GRE }),
        ]),
      ),
    ).toEqual(reasons('none', 'esp-selector-in', 'esp-selector-in', 'esp-selector-in', 'esp-selector-in'));
  });

  it('reports the soft limits once', () => {
    const rig = new SaRig();
    rig.addInbound({ softPackets: 2 });
    rig.open([fromPeer(1), fromPeer(2), fromPeer(3)]);
    expect(eventsOf(rig.inbound.events)).toEqual([
      [SLOT, SA_FIRST_PACKET],
      [SLOT, SA_SOFT_LIMIT],
    ]);
  });

  it('keeps its window when the worker is replaced', () => {
    const rig = new SaRig();
    rig.addInbound();
    rig.open([fromPeer(10)]);
    const successor = new SaRig(createNodeAead(), new SaMemory(rig.memory.size, rig.memory.buffer));
    successor.inbound.add(inboundSa());
    expect(verdicts(successor.open([fromPeer(10), fromPeer(11)]))).toEqual(reasons('replay-duplicate', 'none'));
  });
});
