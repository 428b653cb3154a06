import fc from 'fast-check';
import { afterEach, describe, expect } from 'vitest';
import { FrameList } from '../../../dataplane/batch.ts';
import { loadNative } from '../../../native-shims/index.ts';
import { itAsRoot } from '../../native-shims/privilege.ts';
import { run } from '../../rig/process.ts';
import { largeFrames, segmentsOf, withVnetHeader } from './large-frames.ts';
import { coalesce, openAndCut } from './segmenting.ts';

const native = loadNative();
const NAME = `ovsoff${process.pid % 100000}`;
let opened: number[] = [];

afterEach(() => {
  opened.forEach(native.close);
  opened = [];
});

function keep(fd: number): number {
  opened.push(fd);
  return fd;
}

/** A TAP and a packet socket on its other side, both with vnet headers. `flags`: the TAP's offloads. */
async function device(flags: number): Promise<{ tap: number; packet: number }> {
  const tap = keep(native.openTap(NAME, { kind: 'tap', multiQueue: false, vnetHeader: true, persistent: false }));
  native.setTapOffload(tap, flags);
  await run({ command: 'sysctl', args: ['-q', '-w', `net.ipv6.conf.${NAME}.disable_ipv6=1`] });
  await run({ command: 'ip', args: ['link', 'set', NAME, 'mtu', '1600', 'txqueuelen', '10000', 'up'] });
  return { tap, packet: keep(native.openPacketSocket(NAME, { vnetHeader: true, sendBuffer: 8 << 20 })) };
}

const ROWS = 80;
const CAPACITY = 66_000;

function emptyList(): FrameList {
  const list = new FrameList(new Uint8Array(ROWS * CAPACITY), ROWS);
  for (let row = 0; row < ROWS; row++) list.offset[row] = row * CAPACITY;
  return list;
}

function sendTo(packet: number, frame: Uint8Array): void {
  const list = emptyList();
  list.arena.set(frame);
  list.length[0] = frame.length;
  expect(native.sendBatch(packet, list, 0, 1, new Uint8Array(0), list.toIndex, list.errors)).toBe(1);
  expect(list.errors[0]).toBe(0);
}

/** All frames that the kernel gives to the TAP; they are there when the send returns. */
function readAll(tap: number): Uint8Array[] {
  const list = emptyList();
  const count = native.readFrames(tap, list, 0, ROWS, CAPACITY);
  return Array.from({ length: count }, (_, row) => list.arena.slice(row * CAPACITY, row * CAPACITY + list.length[row]));
}

const hex = (frames: readonly Uint8Array[]) => frames.map((frame) => Buffer.from(frame).toString('hex'));

describe('beside the kernel', () => {
  itAsRoot('our segments are those that Linux makes of the same large frame', async () => {
    const { tap, packet } = await device(0);
    fc.assert(
      fc.property(
        largeFrames().filter(({ frame, size }) => frame.payload.length > size),
        ({ frame, size }) => {
          const read = withVnetHeader(frame, size);
          sendTo(packet, read);
          const kernels = readAll(tap);
          expect(kernels.every((bytes) => bytes[1] === 0)).toBe(true);
          expect(hex(openAndCut(read).segments)).toEqual(hex(kernels.map((bytes) => bytes.slice(10))));
        },
      ),
      { numRuns: 60 },
    );
  });

  itAsRoot('what we join, Linux takes as a large frame and cuts into the same segments', async () => {
    const { tap, packet } = await device(0);
    const joined = largeFrames().filter(
      ({ frame, size }) => frame.protocol === 'tcp' && (frame.flags & 0x97) === 16 && frame.payload.length > size,
    );
    fc.assert(
      fc.property(joined, ({ frame, size }) => {
        const segments = segmentsOf(frame, size);
        const written = coalesce(segments);
        expect(written).toHaveLength(1);
        sendTo(packet, written[0]!);
        expect(hex(readAll(tap).map((bytes) => bytes.slice(10)))).toEqual(hex(segments));
      }),
      { numRuns: 30 },
    );
  });
});
