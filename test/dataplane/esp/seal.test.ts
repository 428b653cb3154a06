/** Sealing: against the independent reference, and what must be dropped, counted and reported. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Arena } from '../../../dataplane/arena.ts';
import type { Selector } from '../../../dataplane/commands.ts';
import { DROP } from '../../../dataplane/drops.ts';
import { createNodeAead } from '../../../dataplane/esp/aead-node.ts';
import { espOverhead } from '../../../dataplane/esp/algorithms.ts';
import { SA_EXHAUSTED, SA_SOFT_LIMIT, SaMemory, SEQUENCE_LIMIT } from '../../../dataplane/esp/sa-memory.ts';
import { sealBatch } from '../../../dataplane/esp/seal.ts';
import { referenceOpen, withTrailer } from './reference.ts';
import {
  ALGORITHMS,
  ALICE,
  BOB,
  eventsOf,
  GRE,
  hexOf,
  keyFor,
  outboundSa,
  payload,
  reasons,
  SaRig,
  SLOT,
  SPI,
  UDP,
  verdicts,
} from './sa-rig.ts';

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

  it('seals in slot 0 as in any other', () => {
    const rig = new SaRig();
    rig.addOutbound({ slot: 0, spi: 0x00410000 });
    rig.load([payload(8), payload(8)], GRE, 0);
    sealBatch(rig.batch, rig.list, rig.outbound);
    expect(rig.result().map((packet) => [packet.protocol, packet.bytes.length, packet.verdict])).toEqual([
      [50, 44, 0],
      [50, 44, 0],
    ]);
  });

  it('takes no number for what an earlier batch left behind the rows of this one', () => {
    const rig = new SaRig();
    rig.addOutbound();
    rig.load([payload(8), payload(8), payload(8)], GRE);
    rig.batch.count = 2;
    sealBatch(rig.batch, rig.list, rig.outbound);
    expect(rig.list.count).toBe(2);
    expect(rig.memory.outboundStatus(SLOT)).toMatchObject({ packets: 2, sequence: 2 });
    rig.batch.count = 3;
    expect(rig.result().map((packet) => [packet.protocol, packet.bytes.length])).toEqual([
      [50, 44],
      [50, 44],
      [GRE, 8],
    ]);
  });

  it('writes all of the additional data, whatever packets with ESN that were opened left there', () => {
    const rig = new SaRig();
    const { algorithm, keyAndSalt } = rig.addOutbound({ esn: true });
    rig.batch.arena.fill(0xaa, rig.list.scratchOffset[0], rig.list.scratchOffset[3]);
    rig.seal([payload(8), payload(9), payload(10)]).forEach(({ bytes }, i) => {
      const opened = referenceOpen({ algorithm, keyAndSalt, spi: SPI, sequenceLow: i + 1, sequenceHigh: 0 }, bytes);
      expect(hexOf(opened)).toBe(hexOf(withTrailer(payload(8 + i), GRE)));
    });
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
    batch.pair.fill(rig.pair);
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
    rig.batch.pair[0] = rig.pairs.take('192.0.2.77', BOB);
    rig.batch.pair[1] = rig.pairs.take(ALICE, '192.0.2.77');
    sealBatch(rig.batch, rig.list, rig.outbound);
    expect(verdicts(rig.result())).toEqual(reasons('esp-selector-out', 'esp-selector-out'));
  });
});
