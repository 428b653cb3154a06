/**
 * A wiretap for the demonstration: every frame that comes in on one device, as JSON lines on standard output.
 *
 * Run as a program inside a network namespace: `node wiretap.js DEVICE`. Takes frames through the native
 * AF_PACKET socket, so that it works where there is no tcpdump; says what each frame is with the rig's own
 * classifier, which shares no code with the packet engine.
 */
import { loadNative } from '../../native-shims/index.ts';
import { classify, type Kind } from '../../test/rig/pcap.ts';

/** One frame on the wire, as a line of this program's output. */
export interface TappedFrame {
  readonly kind: Kind;
  readonly source: string;
  readonly destination: string;
  readonly spi: number;
  readonly sequence: number;
  /** Bytes of the frame. */
  readonly length: number;
  /** The frame's IP payload in hex, as much as a line of a terminal shows. */
  readonly payload: string;
}

const FRAMES = 64;
const FRAME_BYTES = 2048;
/** Ethernet and IPv4 headers without options. */
const PAYLOAD_AT = 34;
const PAYLOAD_SHOWN = 16;

function tap(device: string): void {
  const native = loadNative();
  const fd = native.openPacketSocket(device, { receiveBuffer: 8 << 20 });
  const arena = new Uint8Array(new SharedArrayBuffer(FRAMES * FRAME_BYTES));
  const offset = Int32Array.from({ length: FRAMES }, (_, row) => row * FRAME_BYTES);
  const columns = { arena, offset, length: new Int32Array(FRAMES) };
  const read = () => {
    const count = native.receiveBatch(fd, columns, 0, FRAMES, FRAME_BYTES);
    for (let row = 0; row < count; row++) {
      const length = Math.max(0, columns.length[row]!);
      // A copy, because Buffer's text methods do not take shared memory.
      const frame = Buffer.from(arena.slice(offset[row]!, offset[row]! + length));
      const { kind, source, destination, spi, sequence } = classify(frame);
      const payload = frame.subarray(PAYLOAD_AT, PAYLOAD_AT + PAYLOAD_SHOWN).toString('hex');
      const line: TappedFrame = { kind, source, destination, spi, sequence, length, payload };
      process.stdout.write(`${JSON.stringify(line)}\n`);
    }
  };
  native.watchReadable(fd, read);
  process.stdout.write('listening\n');
}

const [device] = process.argv.slice(2);
if (device !== undefined && process.argv[1]?.endsWith('wiretap.js')) tap(device);
