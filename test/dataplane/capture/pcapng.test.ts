import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { captureHeader, concat, packetBlock, statisticsBlock } from '../../../dataplane/capture/pcapng.ts';
import { missingPrograms } from '../../rig/rig.ts';
import { frame } from '../engine/pair.ts';
import { blocksOf, packetsOf } from './blocks.ts';

const packet = fc.record({
  point: fc.constantFrom('inside' as const, 'outside' as const),
  micros: fc.integer({ min: 0, max: 2 ** 52 }),
  bytes: fc.uint8Array({ maxLength: 200 }),
  outbound: fc.boolean(),
  comment: fc.option(fc.string({ maxLength: 60, unit: 'grapheme' }), { nil: undefined }),
});

describe('pcapng blocks', () => {
  it('say what was put in, for every packet, time, direction and comment', () => {
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 5 }), (packets) => {
        const read = packetsOf(concat([captureHeader('test'), ...packets.map(packetBlock)]));
        expect(read).toEqual(
          packets.map(({ point, micros, bytes, outbound, comment }) => ({
            ...{ point: point === 'inside' ? 0 : 1, micros, bytes: new Uint8Array(bytes) },
            ...{ flags: outbound ? 2 : 1, comment },
          })),
        );
      }),
    );
  });

  it('begin with one section and two interfaces and hold no secrets', () => {
    const file = concat([captureHeader('test'), statisticsBlock('outside', 5, 10, 3)]);
    expect(blocksOf(file).map(({ type }) => type)).toEqual([0x0a0d0d0a, 1, 1, 5]);
  });

  const missing = missingPrograms('tshark', 'capinfos');
  const skipped = missing.length === 0 ? '' : ` (skipped: ${missing.join(', ')} not installed)`;
  it.skipIf(missing.length > 0)(`are read by tshark: link types, names, comments, directions${skipped}`, () => {
    const directory = mkdtempSync(join(tmpdir(), 'espd-pcapng-'));
    try {
      const path = join(directory, 'file.pcapng');
      const inner = frame(2, 1, 60);
      const file = concat([
        captureHeader('ovs-espd test'),
        packetBlock({
          point: 'inside',
          micros: 1_700_000_000_123_456,
          bytes: inner,
          outbound: true,
          comment: undefined,
        }),
        packetBlock({
          ...{ point: 'outside', micros: 1_700_000_000_200_000, bytes: inner.slice(14), outbound: false },
          comment: 'dropped, replay-old: …',
        }),
        statisticsBlock('inside', 1_700_000_000_200_000, 2, 1),
      ]);
      writeFileSync(path, file);
      const fields = ['frame.interface_name', 'frame.protocols', 'frame.comment', 'frame.packet_flags_direction'];
      const text = execFileSync(
        'tshark',
        ['-r', path, '-T', 'fields', ...['frame.time_epoch', ...fields].flatMap((field) => ['-e', field])],
        { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
      );
      const [first = [], second = []] = text.split('\n').map((line) => line.split('\t'));
      expect(first.slice(0, 2)).toEqual(['1700000000.123456000', 'inside']);
      expect(first[2]).toMatch(/^eth:ethertype:ip/);
      expect(first[4]).toMatch(/2$/);
      expect(second[1]).toBe('outside');
      expect(second[2]).toMatch(/^raw:ip/);
      expect(second[3]).toBe('dropped, replay-old: …');
      expect(second[4]).toMatch(/1$/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
