import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { loadNative, type TapOptions } from '../../native-shims/index.ts';
import { column, frames, put, row } from './columns.ts';
import { itAsRoot } from './privilege.ts';

const native = loadNative();
const NAME = `esptst${process.pid % 100000}`;
const PLAIN: TapOptions = { kind: 'tap', multiQueue: false, vnetHeader: false, persistent: false };
/** Ethertype of IEEE 802 for local experiments: nothing else on the device uses it. */
const ETHERTYPE = [0x88, 0xb5];
let opened: number[] = [];

function keep(fd: number): number {
  opened.push(fd);
  return fd;
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: 'pipe' });
}

const exists = () => existsSync(`/sys/class/net/${NAME}`);

afterEach(() => {
  opened.forEach(native.close);
  opened = [];
  if (exists()) ip('link', 'delete', NAME);
});

function setUp(mtu = 1500): void {
  // Without IPv6 the kernel sends nothing of its own.
  execFileSync('sysctl', ['-q', '-w', `net.ipv6.conf.${NAME}.disable_ipv6=1`], { stdio: 'pipe' });
  ip('link', 'set', NAME, 'mtu', String(mtu), 'up');
}

function frame(bytes: number, mark: number): Uint8Array {
  const made = new Uint8Array(bytes).fill(mark);
  made.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, ...ETHERTYPE]);
  return made;
}

function isReadable(fd: number): boolean {
  return native.poll(Int32Array.of(fd), column(1), 1, 2000) === 1;
}

const NO_ADDRESS = new Int32Array(8).fill(-1);

describe('a TAP', () => {
  itAsRoot('hands frames both ways, byte for byte', () => {
    const tap = keep(native.openTap(NAME, PLAIN));
    setUp();
    const packet = keep(native.openPacketSocket(NAME, {}));
    const bystander = keep(native.openPacketSocket(NAME, {}));
    const out = frames(3, 2048);
    for (const [i, bytes] of [60, 1514, 777].entries()) put(out, i, frame(bytes, i + 1));

    expect(native.sendBatch(packet, out, 0, 3, new Uint8Array(0), NO_ADDRESS, column(3))).toBe(3);
    const fromKernel = frames(8, 2048);
    expect(isReadable(tap)).toBe(true);
    expect(native.readFrames(tap, fromKernel, 2, 6, 2048)).toBe(3);
    for (let i = 0; i < 3; i++) expect(row(fromKernel, 2 + i)).toEqual(row(out, i));
    expect(native.readFrames(tap, fromKernel, 0, 8, 2048)).toBe(0);
    // Packet sockets see what comes in, not what goes out.
    expect(native.receiveBatch(bystander, fromKernel, 0, 8, 2048)).toBe(0);

    expect(native.writeFrames(tap, out, 0, 3)).toBe(3);
    const toKernel = frames(8, 2048);
    const from = new Uint8Array(8 * 28).fill(255);
    expect(isReadable(packet)).toBe(true);
    expect(native.receiveBatch(packet, toKernel, 0, 8, 2048, from)).toBe(3);
    expect(native.receiveBatch(bystander, fromKernel, 0, 8, 2048)).toBe(3);
    for (let i = 0; i < 3; i++) expect(row(toKernel, i)).toEqual(row(out, i));
    // sockaddr_ll begins with AF_PACKET (17) and has 20 bytes.
    expect(from[0]).toBe(17);
    expect([...from.slice(20, 28)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  });

  itAsRoot('cuts a frame that is longer than the capacity, and leaves what is behind it alone', () => {
    const tap = keep(native.openTap(NAME, PLAIN));
    setUp();
    const packet = keep(native.openPacketSocket(NAME, {}));
    const out = frames(3, 2048);
    for (const [i, bytes] of [100, 101, 100].entries()) put(out, i, frame(bytes, i + 1));
    native.sendBatch(packet, out, 0, 3, new Uint8Array(0), NO_ADDRESS, column(3));
    const got = frames(3, 128);
    expect(isReadable(tap)).toBe(true);
    expect(native.readFrames(tap, got, 0, 3, 100)).toBe(3);
    expect([...got.length]).toEqual([100, -1, 100]);
    expect(got.arena.slice(128 + 100, 256).every((byte) => byte === 0)).toBe(true);

    native.writeFrames(tap, out, 0, 3);
    expect(isReadable(packet)).toBe(true);
    expect(native.receiveBatch(packet, got, 0, 3, 100)).toBe(3);
    expect([...got.length]).toEqual([100, -1, 100]);
  });

  itAsRoot('with a vnet header has 10 bytes in front of each frame', () => {
    const tap = keep(native.openTap(NAME, { ...PLAIN, vnetHeader: true }));
    native.setTapOffload(tap, 0);
    setUp();
    const packet = keep(native.openPacketSocket(NAME, {}));
    const out = frames(1, 2048);
    put(out, 0, frame(60, 9));
    native.sendBatch(packet, out, 0, 1, new Uint8Array(0), NO_ADDRESS, column(1));
    const got = frames(1, 2048);
    expect(isReadable(tap)).toBe(true);
    expect(native.readFrames(tap, got, 0, 1, 2048)).toBe(1);
    expect(got.length[0]).toBe(70);
    expect(row(got, 0).subarray(10)).toEqual(row(out, 0));

    expect(native.writeFrames(tap, got, 0, 1)).toBe(1);
    expect(isReadable(packet)).toBe(true);
    native.receiveBatch(packet, got, 0, 1, 2048);
    expect(row(got, 0)).toEqual(row(out, 0));
  });

  itAsRoot('has the same header on the packet socket of its device, both ways', () => {
    const tap = keep(native.openTap(NAME, { ...PLAIN, vnetHeader: true }));
    setUp();
    const packet = keep(native.openPacketSocket(NAME, { vnetHeader: true }));
    const out = frames(1, 2048);
    put(out, 0, Uint8Array.of(...new Uint8Array(10), ...frame(60, 9)));
    native.sendBatch(packet, out, 0, 1, new Uint8Array(0), NO_ADDRESS, column(1));
    const got = frames(1, 2048);
    expect(isReadable(tap)).toBe(true);
    expect(native.readFrames(tap, got, 0, 1, 2048)).toBe(1);
    expect(row(got, 0)).toEqual(row(out, 0));
    native.writeFrames(tap, got, 0, 1);
    expect(isReadable(packet)).toBe(true);
    native.receiveBatch(packet, got, 0, 1, 2048);
    expect(row(got, 0)).toEqual(row(out, 0));
  });

  for (const vnetHeader of [false, true])
    itAsRoot(`gives VLAN tags whole to the packet socket of its device (vnet header: ${vnetHeader})`, () => {
      const tap = keep(native.openTap(NAME, { ...PLAIN, vnetHeader }));
      setUp();
      const packet = keep(native.openPacketSocket(NAME, { vnetHeader }));
      // A checksum that is left to do, at byte 34 of the frame without its tag, 50 from there.
      const header = vnetHeader ? [1, 0, 0, 0, 0, 0, 38, 0, 16, 0] : [];
      const tagged = (bytes: number, ...tag: number[]) => {
        const plain = frame(bytes, 7);
        return Uint8Array.of(...header, ...plain.subarray(0, 12), ...tag, ...plain.subarray(12));
      };
      const out = frames(4, 2048);
      put(out, 0, tagged(100, 0x81, 0, 0xa0, 10));
      put(out, 1, tagged(100));
      put(out, 2, tagged(100, 0x88, 0xa8, 0, 20, 0x81, 0, 0, 30));
      put(out, 3, tagged(190, 0x81, 0, 0, 1));
      expect(native.writeFrames(tap, out, 0, 4)).toBe(4);
      expect(isReadable(packet)).toBe(true);
      const got = frames(4, 2048);
      const capacity = header.length + 194;
      expect(native.receiveDevice(packet, got, 0, 4, capacity - 1, vnetHeader)).toBe(4);
      for (const at of [0, 1, 2]) expect(row(got, at)).toEqual(row(out, at));
      expect(got.length[3]).toBe(-1);
      native.writeFrames(tap, out, 3, 1);
      expect(isReadable(packet)).toBe(true);
      expect(native.receiveDevice(packet, got, 0, 1, capacity, vnetHeader)).toBe(1);
      expect(row(got, 0)).toEqual(row(out, 3));
    });

  itAsRoot('with several queues can be opened once per worker', () => {
    keep(native.openTap(NAME, { ...PLAIN, multiQueue: true }));
    keep(native.openTap(NAME, { ...PLAIN, multiQueue: true }));
  });

  itAsRoot('outlives its descriptor only if persistent', () => {
    native.close(native.openTap(NAME, PLAIN));
    expect(exists()).toBe(false);
    native.close(native.openTap(NAME, { ...PLAIN, persistent: true }));
    expect(exists()).toBe(true);
    const again = native.openTap(NAME, PLAIN);
    native.setTapPersistent(again, false);
    native.close(again);
    expect(exists()).toBe(false);
  });

  itAsRoot('skips and counts the frames that the kernel refuses', () => {
    const tap = keep(native.openTap(NAME, PLAIN));
    setUp();
    const packet = keep(native.openPacketSocket(NAME, {}));
    const out = frames(3, 64);
    const [good, short, longer] = [frame(60, 0), frame(60, 1).subarray(0, 5), frame(61, 2)];
    put(out, 0, good);
    put(out, 1, short);
    put(out, 2, longer);
    const failed = column(1).fill(40);
    expect(native.writeFrames(tap, out, 0, 3, failed)).toBe(3);
    expect(failed[0]).toBe(41);
    const got = frames(3, 64);
    expect(isReadable(packet)).toBe(true);
    expect(native.receiveBatch(packet, got, 0, 3, 64)).toBe(2);
    expect([...got.length.slice(0, 2)]).toEqual([60, 61]);
  });

  itAsRoot('that is down refuses every frame', () => {
    const tap = keep(native.openTap(NAME, PLAIN));
    const out = frames(2, 60);
    const failed = column(1);
    expect(native.writeFrames(tap, out, 0, 2, failed)).toBe(2);
    expect(failed[0]).toBe(2);
  });

  itAsRoot('that was deleted is an error of the descriptor', () => {
    const tap = keep(native.openTap(NAME, PLAIN));
    ip('link', 'delete', NAME);
    expect(() => native.readFrames(tap, frames(1, 64), 0, 1, 64)).toThrow(
      expect.objectContaining({ code: 'EBADFD', attempted: `read frames from fd ${tap}` }),
    );
    expect(() => native.writeFrames(tap, frames(1, 64), 0, 1)).toThrow(expect.objectContaining({ code: 'EBADFD' }));
  });
});

describe('a packet socket', () => {
  itAsRoot('stops sending at a full queue and says how far it came', () => {
    keep(native.openTap(NAME, PLAIN));
    setUp();
    // A queue that lets a packet out now and then holds the sender's buffer.
    execFileSync('tc', [
      'qdisc',
      'add',
      'dev',
      NAME,
      'root',
      'tbf',
      'rate',
      '8kbit',
      'burst',
      '2000',
      'latency',
      '100s',
    ]);
    const packet = keep(native.openPacketSocket(NAME, { sendBuffer: 16384 }));
    const out = frames(200, 1500);
    for (let i = 0; i < 200; i++) put(out, i, frame(1500, i));
    const errors = column(200).fill(-5);
    const toIndex = column(200).fill(-1);
    const sent = native.sendBatch(packet, out, 0, 200, new Uint8Array(0), toIndex, errors);
    expect(sent).toBeGreaterThan(0);
    expect(sent).toBeLessThan(200);
    expect(errors.subarray(0, sent).every((error) => error === 0)).toBe(true);
    expect(errors.subarray(sent).every((error) => error === -5)).toBe(true);
  });

  it('needs a device that exists', () => {
    expect(() => native.openPacketSocket('nosuchdevice', {})).toThrow(
      expect.objectContaining({ code: 'ENODEV', attempted: 'find device nosuchdevice' }),
    );
  });
});

describe('openTap says what is wrong', () => {
  itAsRoot('when the device is open elsewhere', () => {
    keep(native.openTap(NAME, PLAIN));
    expect(() => native.openTap(NAME, PLAIN)).toThrow(
      expect.objectContaining({ code: 'EBUSY', attempted: `open TAP ${NAME} (TUNSETIFF)` }),
    );
  });

  itAsRoot('when a device of the name is of another kind', () => {
    native.close(native.openTap(NAME, { ...PLAIN, persistent: true }));
    expect(() => native.openTap(NAME, { ...PLAIN, kind: 'tun' })).toThrow(
      expect.objectContaining({ code: 'EINVAL', attempted: `open TUN ${NAME} (TUNSETIFF)` }),
    );
    expect(() => native.openTap(NAME, { ...PLAIN, kind: 'tun' })).toThrow(/is of another kind/);
    expect(() => native.openTap(NAME, { ...PLAIN, multiQueue: true })).toThrow(/is of another kind/);
  });

  itAsRoot('without privilege', () => {
    const uid = process.geteuid?.() ?? 0;
    process.seteuid?.(65534);
    try {
      expect(() => native.openTap(NAME, PLAIN)).toThrow(
        /^open (TAP|\/dev).* \((EPERM|EACCES)\); run as root, or with CAP_/,
      );
    } finally {
      process.seteuid?.(uid);
    }
  });

  it.each([
    ['', RangeError],
    ['a'.repeat(16), RangeError],
    ['tap%d', RangeError],
    ['a\0b', TypeError],
    [5 as unknown as string, TypeError],
  ])('when the name is %j', (name, kind) => {
    expect(() => native.openTap(name, PLAIN)).toThrow(kind);
  });
});
