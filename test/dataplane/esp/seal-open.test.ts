import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Arena } from '../../../dataplane/arena.ts';
import type { EspAlgorithm, Selector } from '../../../dataplane/commands.ts';
import { DROP, type DropName } from '../../../dataplane/drops.ts';
import { createNodeAead } from '../../../dataplane/esp/aead-node.ts';
import { ESP_ALGORITHMS, espOverhead } from '../../../dataplane/esp/algorithms.ts';
import { openBatch } from '../../../dataplane/esp/open.ts';
import { REPLAY_TOP_HIGH, REPLAY_TOP_LOW } from '../../../dataplane/esp/replay.ts';
import {
  SA_EXHAUSTED,
  SA_FIRST_PACKET,
  SA_SOFT_LIMIT,
  SaMemory,
  SEQUENCE_LIMIT,
} from '../../../dataplane/esp/sa-memory.ts';
import { InboundSas } from '../../../dataplane/esp/sa-table.ts';
import { sealBatch } from '../../../dataplane/esp/seal.ts';
import { ipv4FromText } from '../../../dataplane/wire/ipv4.ts';
import vectors from '../../vectors/esp/packets.json' with { type: 'json' };
import {
  ALICE,
  anything,
  BOB,
  inboundSa,
  keyFor,
  outboundSa,
  referenceOpen,
  referenceSeal,
  SaRig,
  SLOT,
  SPI,
  withTrailer,
} from './sa-rig.ts';

const ALGORITHMS = Object.keys(ESP_ALGORITHMS) as EspAlgorithm[];
const GRE = 47;
const UDP = 17;
const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const verdicts = (packets: readonly { verdict: number }[]): number[] => packets.map((packet) => packet.verdict);
const reasons = (...names: DropName[]): number[] => names.map((name) => DROP[name]);
const payload = (length: number, fill = 1): Uint8Array => new Uint8Array(length).fill(fill);

/** IV of our packets: the sequence number. */
const ivOf = (sequence: number): Uint8Array => {
  const iv = Buffer.alloc(8);
  iv.writeUInt32BE(sequence, 4);
  return Uint8Array.from(iv);
};

/** A packet of the peer, by the reference. */
function fromPeer(
  sequence: number | bigint,
  options: { payload?: Uint8Array; esn?: boolean; next?: number; plaintext?: Uint8Array; spi?: number } = {},
): Uint8Array {
  const number = BigInt(sequence);
  return referenceSeal(
    {
      algorithm: 'aes256gcm16',
      keyAndSalt: keyFor('aes256gcm16'),
      spi: options.spi ?? SPI,
      sequenceLow: Number(number & 0xffffffffn),
      sequenceHigh: options.esn === true ? Number(number >> 32n) : undefined,
    },
    ivOf(Number(number & 0xffffffffn)),
    options.plaintext ?? withTrailer(options.payload ?? payload(20), options.next ?? GRE),
  );
}

function eventsOf(events: { count: number; slot: Int32Array; flag: Int32Array }): number[][] {
  return Array.from({ length: events.count }, (_, i) => [events.slot[i], events.flag[i]]);
}

describe('sealing', () => {
  describe.each(ALGORITHMS)('with %s', (algorithm) => {
    it.each([false, true])('makes packets that an independent implementation opens (ESN %s)', (esn) => {
      const rig = new SaRig();
      rig.addOutbound({ algorithm, esn, keyAndSalt: keyFor(algorithm) });
      const payloads = Array.from({ length: 40 }, (_, i) => payload(i * 7, i));
      const sealed = rig.seal(payloads);
      sealed.forEach((packet, i) => {
        expect(packet.verdict).toBe(0);
        expect(packet.protocol).toBe(50);
        expect(packet.bytes.length).toBe(payloads[i].length + espOverhead(payloads[i].length));
        expect(hexOf(packet.bytes.subarray(0, 16))).toBe(
          `00410003${(i + 1).toString(16).padStart(8, '0')}${(i + 1).toString(16).padStart(16, '0')}`,
        );
        const opened = referenceOpen(
          { algorithm, keyAndSalt: keyFor(algorithm), spi: SPI, sequenceLow: i + 1, sequenceHigh: esn ? 0 : undefined },
          packet.bytes,
        );
        expect(hexOf(opened)).toBe(hexOf(withTrailer(payloads[i], GRE)));
      });
    });

    it('gives back what was sealed, for any payloads', () => {
      fc.assert(
        fc.property(
          fc.boolean(),
          fc.array(fc.uint8Array({ maxLength: 200 }), { minLength: 1, maxLength: 20 }),
          fc.constantFrom(GRE, UDP),
          (esn, payloads, protocol) => {
            const rig = new SaRig();
            rig.addOutbound({ algorithm, esn, keyAndSalt: keyFor(algorithm) });
            rig.addInbound({ algorithm, esn, keyAndSalt: keyFor(algorithm) });
            const opened = rig.open(rig.seal(payloads, protocol).map((packet) => packet.bytes));
            expect(opened).toEqual(payloads.map((bytes) => ({ bytes, protocol, verdict: 0 })));
          },
        ),
        { numRuns: 20 },
      );
    });
  });

  it('adds 34 to 37 bytes, as the table of algorithms says', () => {
    expect([0, 1, 2, 3].map((length) => espOverhead(length))).toEqual([36, 35, 34, 37]);
  });

  it('writes nothing beside the packet and its headroom', () => {
    const rig = new SaRig();
    rig.addOutbound();
    rig.load([payload(101)], GRE);
    const at = rig.batch.offset[0];
    sealBatch(rig.batch, rig.list, rig.outbound);
    expect(rig.batch.offset[0]).toBe(at - 16);
    const end = rig.batch.offset[0] + rig.batch.length[0];
    expect([...rig.batch.arena.subarray(at - 64, at - 16)].every((byte) => byte === 0xaa)).toBe(true);
    expect([...rig.batch.arena.subarray(end, end + 64)].every((byte) => byte === 0xaa)).toBe(true);
  });

  it('leaves rows alone that have a verdict or no SA', () => {
    const rig = new SaRig();
    rig.addOutbound();
    rig.load([payload(8), payload(8), payload(8)], GRE);
    rig.batch.verdict[0] = DROP['policy-mark'];
    rig.batch.sa[1] = -1;
    sealBatch(rig.batch, rig.list, rig.outbound);
    expect(rig.result().map((packet) => [packet.protocol, packet.bytes.length, packet.verdict])).toEqual([
      [GRE, 8, DROP['policy-mark']],
      [GRE, 8, 0],
      [50, 44, 0],
    ]);
  });

  it('drops rows whose SA is not there', () => {
    const rig = new SaRig();
    rig.addOutbound();
    rig.load([payload(8), payload(8), payload(8)], GRE);
    rig.batch.sa.set([4, 800, SLOT]);
    sealBatch(rig.batch, rig.list, rig.outbound);
    expect(verdicts(rig.result())).toEqual(reasons('policy-no-sa', 'policy-no-sa', 'none'));
    rig.outbound.remove(SLOT);
    expect(verdicts(rig.seal([payload(8)]))).toEqual(reasons('policy-no-sa'));
  });

  it('drops a packet that would not fit into IPv4, and takes the longest that does', () => {
    const rig = new SaRig();
    rig.addOutbound();
    const { batch, aead } = new Arena({ rows: 2, reads: 2, frameBytes: 65600 });
    batch.count = 2;
    // 65512 bytes with ESP, and 65516 of the 65515 that IPv4 has room for.
    batch.length.set([65478, 65479]);
    batch.offset.set([512, 67000]);
    batch.protocol.fill(GRE);
    batch.source.fill(ipv4FromText(ALICE));
    batch.destination.fill(ipv4FromText(BOB));
    batch.sa.fill(SLOT);
    sealBatch(batch, aead, rig.outbound);
    expect([...batch.verdict]).toEqual(reasons('none', 'esp-too-long'));
    expect([...batch.length]).toEqual([65512, 65479]);
  });

  it('gives interleaved SAs consecutive numbers each, and a batch one reservation each', () => {
    const rig = new SaRig();
    rig.addOutbound({ slot: 1, spi: 0x1001 });
    rig.addOutbound({ slot: 2, spi: 0x1002, lastSequence: 100 });
    rig.load(
      Array.from({ length: 10 }, () => payload(8)),
      GRE,
    );
    rig.batch.sa.set([1, 2, 1, 2, 2, 1, 1, 2, 2, 2]);
    sealBatch(rig.batch, rig.list, rig.outbound);
    const numbers = rig.result().map((packet) => Buffer.from(packet.bytes).readUInt32BE(4));
    expect(numbers).toEqual([1, 101, 2, 102, 103, 3, 4, 104, 105, 106]);
    expect(rig.memory.outboundStatus(1).sequence).toBe(4);
    expect(rig.memory.outboundStatus(2).sequence).toBe(106);
  });

  it('never gives two workers one number', () => {
    const memory = new SaMemory({ inboundSlots: 8, outboundSlots: 8, workers: 2 });
    const workers = [0, 1].map((worker) => new SaRig(createNodeAead(), memory, worker));
    memory.resetOutbound(SLOT, 0);
    for (const worker of workers) worker.outbound.add(outboundSa());
    const numbers: number[] = [];
    for (let turn = 0; turn < 10; turn++) {
      for (const packet of workers[turn % 2].seal(Array.from({ length: turn + 1 }, () => payload(4)))) {
        numbers.push(Buffer.from(packet.bytes).readUInt32BE(4));
      }
    }
    expect(numbers).toEqual(Array.from({ length: 55 }, (_, i) => i + 1));
    expect(memory.outboundStatus(SLOT)).toMatchObject({ packets: 55, bytes: 220, sequence: 55 });
  });

  it('sends no number of a new SA on the old key: a worker that has not heard of it drops', () => {
    const rig = new SaRig();
    rig.addOutbound();
    expect(verdicts(rig.seal([payload(8)]))).toEqual([0]);
    rig.memory.resetOutbound(SLOT, 0);
    expect(verdicts(rig.seal([payload(8)]))).toEqual(reasons('policy-no-sa'));
  });

  it('stops at the limit of sequence numbers, says so once, and never goes on', () => {
    const rig = new SaRig();
    rig.addOutbound({ lastSequence: SEQUENCE_LIMIT - 2 });
    expect(verdicts(rig.seal([payload(8), payload(8)]))).toEqual([0, 0]);
    expect(Buffer.from(rig.result()[1].bytes).readUInt32BE(4)).toBe(SEQUENCE_LIMIT);
    expect(verdicts(rig.seal([payload(8)]))).toEqual(reasons('esp-sequence-exhausted'));
    const { sequence } = rig.memory.outboundStatus(SLOT);
    for (let i = 0; i < 3; i++) {
      expect(verdicts(rig.seal([payload(8)]))).toEqual(reasons('esp-sequence-exhausted'));
    }
    // The counter stands still, so it cannot wrap however long somebody tries.
    expect(rig.memory.outboundStatus(SLOT).sequence).toBe(sequence);
    expect(eventsOf(rig.outbound.events)).toEqual([[SLOT, SA_EXHAUSTED]]);
    expect(rig.memory.outboundStatus(SLOT).exhausted).toBe(true);
    expect(SEQUENCE_LIMIT).toBeLessThan(2 ** 32 - 64 * 4096);
  });

  it('does not start an SA that is used up already', () => {
    const rig = new SaRig();
    rig.addOutbound({ lastSequence: 0xffffffff });
    expect(verdicts(rig.seal([payload(8)]))).toEqual(reasons('esp-sequence-exhausted'));
  });

  it('goes over 2^31 without a break', () => {
    const rig = new SaRig();
    rig.addOutbound({ lastSequence: 2 ** 31 - 2 });
    const sealed = rig.seal([payload(8), payload(8), payload(8)]);
    expect(sealed.map((packet) => Buffer.from(packet.bytes).readUInt32BE(4))).toEqual([
      2 ** 31 - 1,
      2 ** 31,
      2 ** 31 + 1,
    ]);
    const last = {
      algorithm: 'aes256gcm16',
      keyAndSalt: keyFor('aes256gcm16'),
      spi: SPI,
      sequenceLow: 2 ** 31 + 1,
    } as const;
    expect(hexOf(referenceOpen({ ...last, sequenceHigh: undefined }, sealed[2].bytes))).toBe(
      hexOf(withTrailer(payload(8), GRE)),
    );
  });

  it('reports the soft limit of packets or of bytes once', () => {
    const rig = new SaRig();
    rig.addOutbound({ slot: 1, softPackets: 3 });
    rig.addOutbound({ slot: 2, softBytes: 100 });
    const send = (): void => {
      rig.load([payload(30), payload(30)], GRE);
      rig.batch.sa.set([1, 2]);
      sealBatch(rig.batch, rig.list, rig.outbound);
    };
    send();
    send();
    expect(eventsOf(rig.outbound.events)).toEqual([]);
    send();
    expect(eventsOf(rig.outbound.events)).toEqual([[1, SA_SOFT_LIMIT]]);
    send();
    send();
    expect(eventsOf(rig.outbound.events)).toEqual([
      [1, SA_SOFT_LIMIT],
      [2, SA_SOFT_LIMIT],
    ]);
    expect(verdicts(rig.result())).toEqual([0, 0]);
  });

  it('drops what is outside the selectors of the SA', () => {
    const to = (port: number): Selector[] => [
      { protocol: UDP, startAddress: BOB, endAddress: BOB, startPort: port, endPort: port },
    ];
    const rig = new SaRig();
    rig.addOutbound({ tsRemote: to(4789) });
    const udp = (destination: number): Uint8Array =>
      Uint8Array.of(0x80, 0, destination >> 8, destination & 255, 0, 8, 0, 0);
    expect(verdicts(rig.seal([udp(4789), udp(4790), udp(4789).subarray(0, 3)], UDP))).toEqual(
      reasons('none', 'esp-selector-out', 'esp-selector-out'),
    );
    expect(verdicts(rig.seal([udp(4789)], GRE))).toEqual(reasons('esp-selector-out'));
    rig.load([udp(4789), udp(4789)], UDP);
    rig.batch.source[0] ^= 1;
    rig.batch.destination[1] ^= 1;
    sealBatch(rig.batch, rig.list, rig.outbound);
    expect(verdicts(rig.result())).toEqual(reasons('esp-selector-out', 'esp-selector-out'));
  });
});

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
    rig.batch.source[0] ^= 1;
    rig.batch.destination[1] ^= 1;
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
    const spy = new InboundSas(rig.memory, {
      ...createNodeAead(),
      open: (_columns, _first, count) => opened.push(count),
    });
    spy.add(inboundSa());
    rig.load([fromPeer(36), fromPeer(100)], 50, -1);
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

describe('SA slots', () => {
  it('refuse an SPI that names another slot, a taken slot, a slot out of range, and an IPv6 address', () => {
    const rig = new SaRig();
    rig.addInbound();
    expect(() => rig.inbound.add(inboundSa({ slot: 4 }))).toThrow(/names slot 3, the SA is for 4/);
    expect(() => rig.inbound.add(inboundSa())).toThrow(/slot 3 is taken/);
    expect(() => rig.addInbound({ slot: 8, spi: 8 })).toThrow(/inbound SA slot: expected 0 to 7, got 8/);
    expect(() => rig.outbound.add(outboundSa({ slot: 8 }))).toThrow(/SA slot: expected 0 to 7, got 8/);
    expect(() => rig.inbound.add(inboundSa({ slot: 4, spi: 4, remote: '2001:db8::1' }))).toThrow(/expected IPv4/);
    expect(() => rig.addOutbound({ lastSequence: -1 })).toThrow(/last sequence number/);
  });

  it('are as they were after a key that is refused', () => {
    const rig = new SaRig();
    expect(() => rig.addInbound({ keyAndSalt: new Uint8Array(7) })).toThrow(/key material/);
    rig.addInbound();
    expect(verdicts(rig.open([fromPeer(1)]))).toEqual([0]);
  });

  it('count addresses as unsigned: a range from 10/8 to 223/8 holds 192.0.2.1', () => {
    const rig = new SaRig();
    const range = [
      { protocol: 0, startAddress: '10.0.0.0', endAddress: '223.255.255.255', startPort: 0, endPort: 65535 },
    ];
    rig.addOutbound({ tsLocal: range, tsRemote: range });
    expect(verdicts(rig.seal([payload(4)]))).toEqual([0]);
    rig.load([payload(4)], GRE);
    rig.batch.source[0] = ipv4FromText('224.0.0.1');
    sealBatch(rig.batch, rig.list, rig.outbound);
    expect(verdicts(rig.result())).toEqual(reasons('esp-selector-out'));
  });
});
