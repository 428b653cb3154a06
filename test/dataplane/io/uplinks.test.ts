/**
 * The backends under the compliance suite. mmsg and raw-socket run over loopback with two addresses of 127/8:
 * a raw socket sees every ESP packet of the host, so each end takes only what is sent to its address.
 */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import type { FrameList } from '../../../dataplane/batch.ts';
import { MemoryWire } from '../../../dataplane/io/memory.ts';
import { MmsgBackend } from '../../../dataplane/io/mmsg.ts';
import { MmsgUplink } from '../../../dataplane/io/mmsg-uplink.ts';
import { loadRawSocket, RawSocketBackend } from '../../../dataplane/io/raw-socket.ts';
import type { Uplink, UplinkBackend } from '../../../dataplane/io/uplink.ts';
import { type FrameColumns, loadNative } from '../../../native-shims/index.ts';
import { ipv4, Packets, QUIET, send, type UplinkEnd, type UplinkPair, uplinkCompliance } from './compliance.ts';

const isRoot = process.getuid?.() === 0;
const rootOnly = isRoot ? '' : ' (skipped: needs root)';
const ignore = (): void => {};

describe('the memory uplink', () => {
  uplinkCompliance(async () => {
    const wire = new MemoryWire({ mtu: 1500 });
    const end = (last: number): UplinkEnd => {
      const uplink = wire.attach();
      return { backend: uplink, uplink, address: [192, 0, 2, last] };
    };
    return { a: end(1), b: end(2), mtu: 1500, close: ignore };
  }, false);

  it('loses what its queue cannot hold and what the wire drops', () => {
    const wire = new MemoryWire({ slots: 2, tap: (packet) => packet[27] !== 9 });
    const a = { backend: wire.attach(), address: [1, 1, 1, 1] as const };
    const b = { backend: wire.attach(), address: [1, 1, 1, 2] as const };
    const ends = [a, b].map((end) => ({ ...end, uplink: end.backend.uplink() }));
    const packet = (number: number): Uint8Array =>
      ipv4(ends[0], ends[1], 50, Uint8Array.of(0, 1, 0, 0, 0, 0, 0, number));
    send(ends[0], [packet(1), packet(9), packet(2), packet(3)]);
    const list = new Packets();
    expect(ends[1].uplink.receive(list, 0, 8, 100)).toBe(2);
    expect([list.packet(0)[27], list.packet(1)[27]]).toEqual([1, 2]);
  });
});

/** Passes on what is for one address, so that two ends can share a host. */
class ForAddress implements Uplink {
  private readonly inner: Uplink;
  private readonly last: number;

  constructor(inner: Uplink, last: number) {
    this.inner = inner;
    this.last = last;
  }

  descriptors(): readonly number[] {
    return this.inner.descriptors();
  }

  use(descriptors: Parameters<Uplink['use']>[0]): void {
    this.inner.use(descriptors);
  }

  receive(columns: FrameColumns, first: number, count: number, capacity: number): number {
    let filled = 0;
    while (filled < count && this.inner.receive(columns, first + filled, 1, capacity) === 1)
      if (columns.arena[columns.offset[first + filled] + 19] === this.last) filled++;
    return filled;
  }

  send(list: FrameList, mark: number): void {
    this.inner.send(list, mark);
  }

  watch(callback: () => void): () => void {
    return this.inner.watch(callback);
  }
}

async function loopback(make: () => Promise<{ backend: UplinkBackend; uplink: Uplink }>): Promise<UplinkPair> {
  const end = async (last: number): Promise<UplinkEnd> => {
    const { backend, uplink } = await make();
    return { backend, uplink: new ForAddress(uplink, last), address: [127, 0, 0, last] };
  };
  const a = await end(11);
  const b = await end(12);
  const close = (): void => {
    a.backend.close();
    b.backend.close();
  };
  return { a, b, mtu: 65536, close };
}

describe.skipIf(!isRoot)(`the mmsg uplink over loopback${rootOnly}`, () => {
  uplinkCompliance(
    () =>
      loopback(async () => {
        const native = loadNative();
        return { backend: new MmsgBackend(native, 1, ignore), uplink: new MmsgUplink(native, 64) };
      }),
    true,
  );
});

const raw = await loadRawSocket().catch(() => undefined);
const rawOnly = raw === undefined ? ' (skipped: the package raw-socket is not built)' : rootOnly;

describe.skipIf(raw === undefined || !isRoot)(`the raw-socket uplink over loopback${rawOnly}`, () => {
  uplinkCompliance(
    () =>
      loopback(async () => {
        const backend = new RawSocketBackend(raw!, ignore);
        return { backend, uplink: backend };
      }),
    true,
  );

  it('is there for who waits for a packet, though nothing else refers to it', async () => {
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    const open = (): RawSocketBackend => {
      const backend = new RawSocketBackend(raw!, ignore);
      backend.open(QUIET);
      return backend;
    };
    const arrival = (): Promise<void> => {
      const backend = open();
      return new Promise((resolve) =>
        backend.watch(() => {
          backend.close();
          resolve();
        }),
      );
    };
    const arrived = arrival();
    collectGarbage();
    await new Promise(setImmediate);
    collectGarbage();
    const sender = open();
    const ends = { uplink: sender, backend: sender };
    const [from, to] = [11, 12].map((last) => ({ ...ends, address: [127, 0, 0, last] as const }));
    send(from!, [ipv4(from!, to!, 50, Uint8Array.of(0, 1, 0, 0, 0, 0, 0, 1))]);
    await arrived;
    sender.close();
  });
});

// To oneself there is no next hop: this is the suite with the sockets of both ways, direct-sender.test.ts the way past the stack.
describe.skipIf(!isRoot)(`the packet uplink over loopback${rootOnly}`, () => {
  uplinkCompliance(
    () =>
      loopback(async () => {
        const native = loadNative();
        return { backend: new MmsgBackend(native, 1, ignore, { direct: true }), uplink: new MmsgUplink(native, 64) };
      }),
    true,
  );
});

it('the raw-socket backend says in one line what is missing when its package does not load', async () => {
  if (raw !== undefined) return expect(raw.createSocket).toBeTypeOf('function');
  await expect(loadRawSocket()).rejects.toThrow(/^uplink-io raw-socket: .* use --uplink-io=mmsg$/);
});
