import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DROP, type DropName } from '../../../dataplane/drops.ts';
import { encapState } from '../../../dataplane/encap/encap.ts';
import {
  POP_CHECKSUM,
  POP_END,
  POP_KEY,
  POP_KEY_PRESENT,
  POP_PORT,
  POP_RESULTS,
} from '../../../dataplane/encap/encapsulation.ts';
import { stt } from '../../../dataplane/encap/stt.ts';
import {
  checkSttHeader,
  checkSttSegment,
  STT_FLAG_PARTIAL,
  STT_FLAG_TCP,
  sttFlags,
  sttFragmentOffset,
  sttFrameId,
  sttFrameLength,
  sttKey,
  sttL4Offset,
  sttSegmentSize,
  sttVlan,
  writeSttHeader,
} from '../../../dataplane/wire/stt.ts';
import { TCP_ACK, writeTcp } from '../../../dataplane/wire/tcp.ts';
import { tunnelSettings } from '../encap/tunnel-settings.ts';

const refused = (name: DropName): number => -DROP[name];
const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

// draft-davie-stt-08 §3.2: version 0, checksum partial of IPv4 TCP at byte 34, segment size 1460, PCP 3 with tag 5, context id 0x4d.
const FRAME_HEADER = '00 0e 22 00 05b4 7005 000000000000004d 0000';

describe('the STT frame header', () => {
  it('has the layout of the draft', () => {
    const bytes = bytesOf(FRAME_HEADER);
    expect(checkSttHeader(bytes, 0, 18)).toBe(18);
    expect(sttFlags(bytes, 0) & STT_FLAG_PARTIAL).not.toBe(0);
    expect(sttFlags(bytes, 0) & STT_FLAG_TCP).not.toBe(0);
    expect([sttL4Offset(bytes, 0), sttSegmentSize(bytes, 0), sttVlan(bytes, 0), sttKey(bytes, 0)]).toEqual([
      34, 1460, 0x6005, 77,
    ]);
  });

  it('is written whole, and read as it was written, over all keys', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), (key) => {
        const bytes = new Uint8Array(18).fill(0xaa);
        writeSttHeader(bytes, 0, key);
        expect(checkSttHeader(bytes, 0, 18)).toBe(18);
        expect(sttKey(bytes, 0) >>> 0).toBe(key);
        expect([sttFlags(bytes, 0), sttL4Offset(bytes, 0), sttSegmentSize(bytes, 0), sttVlan(bytes, 0)]).toEqual([
          0, 0, 0, -1,
        ]);
        expect(hexOf(bytes)).toMatch(/^0{24}[0-9a-f]{8}0000$/);
      }),
    );
  });

  it('is refused when cut anywhere, of another version, or with a context id that no key can be', () => {
    const bytes = bytesOf(FRAME_HEADER);
    for (let length = 0; length < 18; length++) expect(checkSttHeader(bytes, 0, length)).toBe(refused('stt-too-short'));
    for (let version = 1; version < 256; version++) {
      const other = bytesOf(FRAME_HEADER);
      other[0] = version;
      expect(checkSttHeader(other, 0, 18)).toBe(refused('stt-version'));
    }
    for (let at = 8; at < 12; at++) {
      const other = bytesOf(FRAME_HEADER);
      other[at] = 1;
      expect(checkSttHeader(other, 0, 18)).toBe(refused('stt-context'));
    }
  });
});

describe('the STT segment header', () => {
  const segment = (total: number, at: number, carried: number, flags = TCP_ACK): Uint8Array => {
    const bytes = new Uint8Array(20 + carried);
    writeTcp(bytes, 0, 40_000, 7471, (total << 16) | at, 0x12345678, flags, 0xffff);
    return bytes;
  };

  it('is read as it was written, over all lengths and offsets', () => {
    fc.assert(
      fc.property(fc.integer({ min: 18, max: 0xffff }), fc.nat(0xffff), fc.integer(), (total, at, id) => {
        const bytes = new Uint8Array(20);
        writeTcp(bytes, 0, 1, 2, (total << 16) | at, id, TCP_ACK, 0xffff);
        expect([sttFrameLength(bytes, 0), sttFragmentOffset(bytes, 0), sttFrameId(bytes, 0)]).toEqual([total, at, id]);
      }),
    );
  });

  it('is refused when cut, also within its options', () => {
    const bytes = segment(100, 0, 40);
    for (let length = 0; length < 20; length++)
      expect(checkSttSegment(bytes, 0, length)).toBe(refused('stt-too-short'));
    expect(checkSttSegment(bytes, 0, 20)).toBe(refused('stt-length'));
    expect(checkSttSegment(bytes, 0, 21)).toBe(20);
    bytes[12] = 0x80;
    expect(checkSttSegment(bytes, 0, 60)).toBe(32);
    for (let length = 20; length < 32; length++)
      expect(checkSttSegment(bytes, 0, length)).toBe(refused('stt-too-short'));
    bytes[12] = 0x40;
    expect(checkSttSegment(bytes, 0, 60)).toBe(refused('stt-too-short'));
  });

  it('is refused when it is that of a real TCP connection', () => {
    for (const flags of [0x01, 0x02, 0x04, 0x12])
      expect(checkSttSegment(segment(100, 0, 40, flags), 0, 60)).toBe(refused('stt-flags'));
    for (const flags of [0, TCP_ACK, 0x18]) expect(checkSttSegment(segment(100, 0, 40, flags), 0, 60)).toBe(20);
  });

  it('is refused unless its bytes lie within the frame, and the frame holds a header', () => {
    expect(checkSttSegment(segment(100, 60, 40), 0, 60)).toBe(20);
    expect(checkSttSegment(segment(100, 61, 40), 0, 60)).toBe(refused('stt-length'));
    expect(checkSttSegment(segment(17, 0, 17), 0, 37)).toBe(refused('stt-length'));
  });
});

describe('the STT encapsulation', () => {
  const settings = tunnelSettings('stt', { outKey: { kind: 'fixed', key: 0xfffffffe }, destinationPort: 7471 });

  it('pops what it pushed, for frames of any length', () => {
    fc.assert(
      fc.property(fc.integer({ min: 14, max: 9600 }), fc.integer(), (length, hash) => {
        const bytes = new Uint8Array(64 + length).fill(7);
        const at = stt.push(bytes, 64, length, encapState(stt, settings), hash);
        expect(at).toBe(64 - 38);
        const out = new Int32Array(POP_RESULTS).fill(-9);
        expect(stt.pop(bytes, at, 64 + length, out)).toBe(38);
        expect([out[POP_KEY] >>> 0, out[POP_KEY_PRESENT], out[POP_PORT], out[POP_END], out[POP_CHECKSUM]]).toEqual([
          0xfffffffe,
          1,
          7471,
          64 + length,
          1,
        ]);
        for (const end of [64 + length - 1, at + 20, at]) expect(stt.pop(bytes, at, end, out)).toBeLessThan(0);
      }),
    );
  });

  it('always has a checksum, and two children on its TCP port', () => {
    expect(encapState(stt, settings).checksum).toBe(true);
    expect(stt.selectors(7471)).toEqual([
      { suffix: 'in', protocol: 6, localPort: 7471, remotePort: undefined },
      { suffix: 'out', protocol: 6, localPort: undefined, remotePort: 7471 },
    ]);
  });

  it('makes of a frame that is longer than it can say a packet that nobody takes', () => {
    const bytes = new Uint8Array(70_000);
    const at = stt.push(bytes, 64, 65_518, encapState(stt, settings), 1);
    expect(stt.pop(bytes, at, 64 + 65_518, new Int32Array(POP_RESULTS))).toBe(refused('stt-length'));
  });
});
