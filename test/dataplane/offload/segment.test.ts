import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DROP } from '../../../dataplane/drops.ts';
import { ACK, type LargeFrame, largeFrames, PSH, plainFrame, segmentsOf, withVnetHeader } from './large-frames.ts';
import { openAndCut } from './segmenting.ts';

const sample: LargeFrame = {
  version: 4,
  protocol: 'tcp',
  tags: 0,
  id: 0xfffe,
  tos: 0,
  sequence: 0xfffffff0,
  flags: ACK | PSH,
  options: new Uint8Array(0),
  payload: new Uint8Array(4000).map((_, i) => i),
  ports: [40000, 5201],
};

const hex = (frames: readonly Uint8Array[]) => frames.map((frame) => Buffer.from(frame).toString('hex'));

describe('the segmenter', () => {
  it('cuts any large frame into the segments that would have been on the wire', () => {
    fc.assert(
      fc.property(largeFrames(), ({ frame, size }) => {
        const { verdict, segments } = openAndCut(withVnetHeader(frame, size));
        expect(verdict).toBe(0);
        expect(hex(segments)).toEqual(hex(segmentsOf(frame, size)));
      }),
      { numRuns: 150 },
    );
  });

  it('cuts 64 KB, with ids and sequence numbers that wrap', () => {
    const frame = { ...sample, payload: new Uint8Array(65_495).map((_, i) => i * 7) };
    expect(hex(openAndCut(withVnetHeader(frame, 1400)).segments)).toEqual(hex(segmentsOf(frame, 1400)));
  });

  it('cuts a frame whose payload fits into one segment', () => {
    const frame = { ...sample, payload: Uint8Array.of(1) };
    expect(openAndCut(withVnetHeader(frame, 1400)).segments).toEqual(segmentsOf(frame, 1400));
  });

  it('completes the open checksum of a small frame', () => {
    fc.assert(
      fc.property(largeFrames(1400), ({ frame }) => {
        const read = withVnetHeader(frame, 1);
        read[1] = 0;
        const { verdict, frame: completed, segments } = openAndCut(read);
        expect(verdict).toBe(0);
        expect(segments).toEqual([]);
        // Linux writes ffff for 0 in TCP too; both are right.
        const wanted = plainFrame(frame);
        const field = frame.protocol === 'tcp' ? 16 : 6;
        const at = new Uint16Array(read.buffer, 6, 1)[0] + field;
        if (wanted[at] === 0 && wanted[at + 1] === 0) wanted.fill(255, at, at + 2);
        expect(completed).toEqual(wanted);
      }),
      { numRuns: 200 },
    );
  });

  it('leaves a frame without open checksum as it is', () => {
    const bytes = plainFrame(sample);
    expect(openAndCut(Uint8Array.of(...new Uint8Array(10), ...bytes)).frame).toEqual(bytes);
  });

  it('drops a checksum whose place is beyond the frame', () => {
    const read = withVnetHeader({ ...sample, payload: new Uint8Array(1) }, 1);
    read[1] = 0;
    new Uint16Array(read.buffer, 8, 1)[0] = 21;
    expect(openAndCut(read).verdict).toBe(DROP['checksum-range']);
  });

  it.each<[string, (read: Uint8Array, header: Uint16Array) => void]>([
    ['no segment size', (_, header) => header.fill(0, 2, 3)],
    ['an unknown type', (read) => read.fill(3, 1, 2)],
    ['the type of IPv6', (read) => read.fill(4, 1, 2)],
    ['no checksum to complete', (read) => read.fill(0, 0, 1)],
    ['a checksum that begins elsewhere', (_, header) => header.fill(30, 3, 4)],
    ['a checksum that stands elsewhere', (_, header) => header.fill(6, 4, 5)],
    ['another protocol', (read) => read.fill(17, 10 + 14 + 9, 10 + 14 + 10)],
    ['another Ethernet type', (read) => read.fill(9, 10 + 12, 10 + 13)],
    ['a TCP header beyond the frame', (read) => read.fill(0xf0, 10 + 34 + 12, 10 + 34 + 13)],
    ['a TCP header that is too short', (read) => read.fill(0x40, 10 + 34 + 12, 10 + 34 + 13)],
    ['segments that no slot takes', (_, header) => header.fill(1600, 2, 3)],
  ])('drops a large frame with %s', (_, change) => {
    const read = withVnetHeader({ ...sample, payload: new Uint8Array(30) }, 10);
    expect(openAndCut(read).verdict).toBe(0);
    change(read, new Uint16Array(read.buffer, 0, 5));
    expect(openAndCut(read).verdict).toBe(DROP['gso-header']);
  });

  it('makes frames or drops out of any bytes', { timeout: 120_000 }, () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const { verdict, segments } = openAndCut(bytes);
        expect([0, DROP['gso-header'], DROP['checksum-range']]).toContain(verdict);
        for (const segment of segments) expect(segment.length).toBeLessThanOrEqual(1600);
      }),
      { numRuns: 1000 },
    );
  });

  it('makes frames or drops out of a large frame cut off anywhere or with any byte changed', () => {
    fc.assert(
      fc.property(largeFrames(300), fc.nat(), fc.nat(255), fc.boolean(), ({ frame, size }, where, byte, cuts) => {
        const read = withVnetHeader(frame, size);
        const at = where % read.length;
        if (!cuts) read[at] = byte;
        const { verdict } = openAndCut(cuts ? read.slice(0, at) : read);
        expect([0, DROP['gso-header'], DROP['checksum-range']]).toContain(verdict);
      }),
      { numRuns: 500 },
    );
  });
});
