import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AddressPairs } from '../../../dataplane/address-pairs.ts';
import { Arena } from '../../../dataplane/arena.ts';
import { FrameList } from '../../../dataplane/batch.ts';
import type { TunnelType } from '../../../dataplane/commands.ts';
import { DROP, type DropName } from '../../../dataplane/drops.ts';
import { fillChecksums, noteChecksum, verifyChecksums } from '../../../dataplane/encap/checksums.ts';
import {
  childSelectors,
  ENCAPSULATIONS,
  encapState,
  encapsulationOf,
  tunnelOverhead,
} from '../../../dataplane/encap/encap.ts';
import {
  POP_CHECKSUM,
  POP_END,
  POP_KEY,
  POP_KEY_PRESENT,
  POP_PORT,
  POP_RESULTS,
} from '../../../dataplane/encap/encapsulation.ts';
import { SOURCE_PORT_COUNT, SOURCE_PORT_FIRST } from '../../../dataplane/encap/flow-hash.ts';
import { checksumBatch } from '../../../dataplane/wire/checksum.ts';
import vectors from '../../vectors/encap/scapy.json' with { type: 'json' };
import { tunnelSettings } from './tunnel-settings.ts';

const IPV4 = 20;
const pairs = new AddressPairs();
const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));
const types = Object.values(ENCAPSULATIONS);

/** A flow hash that gives this UDP source port. */
function hashFor(port: number): number {
  return Math.ceil(((port - SOURCE_PORT_FIRST) * 0x100000000) / SOURCE_PORT_COUNT) | 0;
}

/** One packet in row 0 of a batch. */
function batchWith(packet: Uint8Array, protocol: number) {
  const arena = new Arena({ rows: 2, reads: 2, frameBytes: 2048 });
  arena.reset();
  const { batch } = arena;
  batch.count = 1;
  batch.arena.set(packet, batch.offset[0]);
  batch.length[0] = packet.length;
  batch.addressSum[0] = pairs.addressSum[pairs.take('192.0.2.1', '192.0.2.2')];
  batch.protocol[0] = protocol;
  batch.verdict[0] = 0;
  return { batch, list: new FrameList(batch.arena, batch.capacity) };
}

describe('encapsulation', () => {
  it.each(vectors)('pushes $name as scapy does', (vector) => {
    const encapsulation = encapsulationOf(vector.type as TunnelType)!;
    const settings = tunnelSettings(encapsulation.type, {
      outKey: vector.key === null ? { kind: 'none' } : { kind: 'fixed', key: vector.key },
      checksum: vector.checksum,
    });
    const state = encapState(encapsulation, settings);
    const { batch, list } = batchWith(bytesOf(vector.inner), encapsulation.protocol);
    const at = encapsulation.push(batch.arena, batch.offset[0], batch.length[0], state, hashFor(vector.sourcePort));
    expect(batch.offset[0] - at).toBe(encapsulation.overhead(settings));
    const length = batch.length[0] + batch.offset[0] - at;
    if (vector.checksum) noteChecksum(batch, list, 0, at, length);
    fillChecksums(batch, list, checksumBatch);
    expect(Buffer.from(batch.arena.subarray(at, at + length)).toString('hex')).toBe(vector.packet.slice(2 * IPV4));
  });

  it.each(vectors)('pops $name of scapy', (vector) => {
    const encapsulation = encapsulationOf(vector.type as TunnelType)!;
    const { batch, list } = batchWith(bytesOf(vector.packet).subarray(IPV4), encapsulation.protocol);
    const out = new Int32Array(POP_RESULTS);
    const end = batch.offset[0] + batch.length[0];
    const header = encapsulation.pop(batch.arena, batch.offset[0], end, out);
    expect(Buffer.from(batch.arena.subarray(batch.offset[0] + header, out[POP_END])).toString('hex')).toBe(
      vector.inner,
    );
    expect(out[POP_KEY_PRESENT]).toBe(vector.key === null ? 0 : 1);
    expect(out[POP_KEY]).toBe((vector.key ?? 0) | 0);
    expect(out[POP_PORT]).toBe(vector.port);
    expect(out[POP_CHECKSUM]).toBe(vector.checksum ? 1 : 0);
    if (vector.checksum) noteChecksum(batch, list, 0, batch.offset[0], batch.length[0]);
    verifyChecksums(batch, list, checksumBatch);
    expect(batch.verdict[0]).toBe(0);
  });

  it.each(vectors.filter((vector) => vector.checksum))(
    'drops $name with any bit flipped behind the header',
    (vector) => {
      const encapsulation = encapsulationOf(vector.type as TunnelType)!;
      const packet = bytesOf(vector.packet).subarray(IPV4);
      const { batch, list } = batchWith(packet, encapsulation.protocol);
      const reason = encapsulation.type === 'gre' ? 'gre-checksum' : 'udp-checksum';
      for (let bit = 16 * 8; bit < packet.length * 8; bit += 11) {
        batch.verdict[0] = 0;
        batch.arena[batch.offset[0] + (bit >> 3)] ^= 1 << (bit & 7);
        noteChecksum(batch, list, 0, batch.offset[0], batch.length[0]);
        verifyChecksums(batch, list, checksumBatch);
        expect(batch.verdict[0]).toBe(DROP[reason]);
        batch.arena[batch.offset[0] + (bit >> 3)] ^= 1 << (bit & 7);
      }
    },
  );

  it('never sends 0 as UDP checksum, which would mean none', () => {
    // A payload that makes the sum 0xffff, so that the checksum of the arithmetic is 0.
    const { batch, list } = batchWith(new Uint8Array(10), 17);
    batch.addressSum[0] = 0;
    const value = 0xffff - 17 - 10;
    batch.arena[batch.offset[0] + 8] = value >> 8;
    batch.arena[batch.offset[0] + 9] = value & 0xff;
    noteChecksum(batch, list, 0, batch.offset[0], 10);
    fillChecksums(batch, list, checksumBatch);
    expect([...batch.arena.subarray(batch.offset[0] + 6, batch.offset[0] + 8)]).toEqual([0xff, 0xff]);
  });

  it('leaves the verdict that a row has when its checksum is wrong as well', () => {
    const { batch, list } = batchWith(new Uint8Array(12).fill(1), 17);
    batch.verdict[0] = DROP['udp-port'];
    noteChecksum(batch, list, 0, batch.offset[0], 12);
    verifyChecksums(batch, list, checksumBatch);
    expect(batch.verdict[0]).toBe(DROP['udp-port']);
  });

  it.each(types)('of $type gives back what was pushed, over all keys, lengths and hashes', (type) => {
    fc.assert(
      fc.property(
        fc.nat(type.maximumKey),
        fc.uint8Array({ minLength: 14, maxLength: 100 }),
        fc.integer(),
        fc.boolean(),
        (key, frame, hash, checksum) => {
          const state = encapState(type, tunnelSettings(type.type, { outKey: { kind: 'fixed', key }, checksum }));
          const bytes = new Uint8Array(200);
          bytes.set(frame, 64);
          const at = type.push(bytes, 64, frame.length, state, hash);
          const out = new Int32Array(POP_RESULTS);
          const header = type.pop(bytes, at, 64 + frame.length, out);
          expect(header).toBe(state.overhead);
          expect(at + header).toBe(64);
          expect(out[POP_KEY]).toBe(key | 0);
          expect(out[POP_END]).toBe(64 + frame.length);
          expect(out[POP_PORT]).toBe(state.port);
          expect(bytes.subarray(64, 64 + frame.length)).toEqual(frame);
        },
      ),
    );
  });

  it.each(types)('of $type refuses a packet cut anywhere in its header, and says why', (type) => {
    const bytes = new Uint8Array(100);
    const state = encapState(type, tunnelSettings(type.type, { outKey: { kind: 'fixed', key: 5 }, checksum: true }));
    const at = type.push(bytes, 64, 36, state, 1);
    for (let end = at; end < 64; end++) {
      const reason = -type.pop(bytes, at, end, new Int32Array(POP_RESULTS));
      expect(reason).toBeGreaterThan(0);
      expect(reason).toBeLessThan(Object.keys(DROP).length);
    }
  });

  it('believes the UDP length, not the IP length, about where the frame ends', () => {
    const vxlan = encapsulationOf('vxlan')!;
    const bytes = new Uint8Array(100);
    const at = vxlan.push(bytes, 32, 20, encapState(vxlan, tunnelSettings('vxlan')), 0);
    const out = new Int32Array(POP_RESULTS);
    expect(vxlan.pop(bytes, at, 90, out)).toBe(16);
    expect(out[POP_END]).toBe(52);
  });

  it.each([
    ['vxlan', 8, 4, 'vxlan-too-short'],
    ['geneve', 8, 4, 'geneve-too-short'],
  ] as const)('does not read the %s header beyond the UDP length', (type, udp, rest, reason) => {
    const bytes = new Uint8Array(64);
    bytes[5] = udp + rest;
    expect(encapsulationOf(type)!.pop(bytes, 0, 64, new Int32Array(POP_RESULTS))).toBe(-DROP[reason as DropName]);
  });

  it('sends key 0 for a key of flow, and no GRE key for none', () => {
    const gre = encapsulationOf('gre')!;
    expect(encapState(gre, tunnelSettings('gre', { outKey: { kind: 'flow' } }))).toMatchObject({
      key: 0,
      keyPresent: true,
      overhead: 8,
    });
    expect(encapState(gre, tunnelSettings('gre'))).toMatchObject({ keyPresent: false, overhead: 4 });
  });
});

describe('traffic selectors', () => {
  it('of GRE are one child for protocol 47 both ways', () => {
    expect(childSelectors('gre', 0)).toEqual([
      { suffix: '', protocol: 47, localPort: undefined, remotePort: undefined },
    ]);
  });

  it.each([
    ['vxlan', 17],
    ['geneve', 17],
    ['stt', 6],
  ] as const)('of %s are a child for each direction of the port', (type, protocol) => {
    expect(childSelectors(type, 5555)).toEqual([
      { suffix: 'in', protocol, localPort: 5555, remotePort: undefined },
      { suffix: 'out', protocol, localPort: undefined, remotePort: 5555 },
    ]);
  });

  it('have an overhead beside them: what is in front of the frame', () => {
    expect(tunnelOverhead(tunnelSettings('vxlan'))).toBe(16);
    expect(tunnelOverhead(tunnelSettings('stt'))).toBe(38);
  });
});
