import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { espFilter, espInUdpFilter, greFilter, IKE_IN_UDP, portFilter, portShare } from '../../../dataplane/io/bpf.ts';
import { makeSpi, SpiAllocator, slotOfSpi, workerOfSpi } from '../../../dataplane/steering.ts';
import { runFilter } from '../io/bpf-interpreter.ts';

let counter = 0;
const random = (bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, () => (counter = (counter * 73 + 41) & 255));

function allocator(workers: number, slots: number, clock = { ms: 0 }): { spis: SpiAllocator; clock: { ms: number } } {
  return { spis: new SpiAllocator({ workers, slots, random, now: () => clock.ms, quarantineMs: 1000 }), clock };
}

function packet(
  protocol: number,
  source: number,
  destination: number,
  payload: readonly number[],
  options = 0,
): Uint8Array {
  const header = 20 + 4 * options;
  const bytes = new Uint8Array(header + payload.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = 0x40 | (header / 4);
  view.setUint16(2, bytes.length);
  bytes[9] = protocol;
  view.setUint32(12, source);
  view.setUint32(16, destination);
  bytes.set(payload, header);
  return bytes;
}

const uint32 = fc.integer({ min: 0, max: 0xffffffff });

describe('SPIs', () => {
  it('are of the worker that is asked for, and of workers in turn otherwise', () => {
    const { spis } = allocator(3, 100);
    const workers = [undefined, 2, 2, undefined, 0, undefined].map((of) => workerOfSpi(spis.allocate(of)));
    expect(workers).toEqual([0, 2, 2, 1, 0, 2]);
  });

  it('carry worker and slot and are never below 256', () => {
    const { spis } = allocator(4, 100);
    const seen = new Set<number>();
    for (let i = 0; i < 100; i++) {
      const spi = spis.allocate();
      expect(spi).toBeGreaterThanOrEqual(0x10000);
      expect(workerOfSpi(spi)).toBe(i % 4);
      expect(slotOfSpi(spi)).toBe(i);
      seen.add(spi);
    }
    expect(seen.size).toBe(100);
  });

  it('fit 63 workers and the last slot without a sign', () => {
    const spi = makeSpi(63, 0x3ff, 0xffff);
    expect(spi).toBe(0xffffffff);
    expect(workerOfSpi(spi)).toBe(63);
    expect(slotOfSpi(spi)).toBe(0xffff);
  });

  it('are not used again before their quarantine is over, and then differ', () => {
    const { spis, clock } = allocator(1, 1);
    const first = spis.allocate();
    expect(() => spis.allocate()).toThrow(/no free SPI/);
    spis.release(first);
    expect(spis.holds(first)).toBe(false);
    expect(() => spis.allocate()).toThrow(/no free SPI/);
    clock.ms = 1000;
    const second = spis.allocate();
    expect(slotOfSpi(second)).toBe(slotOfSpi(first));
    expect(second).not.toBe(first);
  });

  it('released twice, or unknown, free nothing', () => {
    const { spis, clock } = allocator(1, 2);
    const first = spis.allocate();
    spis.release(first);
    spis.release(first);
    spis.release(0xdeadbeef);
    clock.ms = 5000;
    spis.allocate();
    spis.allocate();
    expect(() => spis.allocate()).toThrow(/no free SPI/);
  });
});

describe('the filters of the workers', () => {
  it('give each ESP packet to exactly one worker, the one its SPI names', () => {
    fc.assert(
      fc.property(uint32, fc.integer({ min: 1, max: 64 }), fc.integer({ min: 0, max: 10 }), (spi, workers, options) => {
        const bytes = packet(
          50,
          1,
          2,
          [spi >>> 24, (spi >>> 16) & 255, (spi >>> 8) & 255, spi & 255, 0, 0, 0, 1],
          options,
        );
        const takers = [...Array(workers).keys()].filter((worker) => runFilter(espFilter(worker, workers), bytes) > 0);
        const named = workerOfSpi(spi);
        expect(takers).toEqual([named < workers ? named : 0]);
      }),
    );
  });

  it('give each GRE packet to exactly one worker, all of a pair of addresses to the same', () => {
    fc.assert(
      fc.property(uint32, uint32, fc.integer({ min: 1, max: 64 }), (source, destination, workers) => {
        const takers = (first: number) =>
          [...Array(workers).keys()].filter(
            (worker) =>
              runFilter(greFilter(worker, workers), packet(47, source, destination, [first, 0, 0x65, 0x58])) > 0,
          );
        expect(takers(0)).toHaveLength(1);
        expect(takers(0x20)).toEqual(takers(0));
      }),
    );
  });

  it('give each UDP packet of a tunnel port to exactly one worker, and no other UDP packet to anybody', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 1, max: 65535 }), { maxLength: 200 }),
        fc.integer({ min: 0, max: 65535 }),
        uint32,
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 0, max: 10 }),
        (ports, other, source, workers, options) => {
          for (const port of [other, ...ports.slice(0, 3), ...ports.slice(-1)]) {
            const bytes = packet(17, source, 7, [1, 2, port >>> 8, port & 255, 0, 8, 0, 0], options);
            const takers = [...Array(workers).keys()].filter(
              (worker) => runFilter(portFilter(ports, worker, workers), bytes) > 0,
            );
            expect(takers).toHaveLength(ports.includes(port) ? 1 : 0);
          }
        },
      ),
    );
  });

  it('give each packet over IPv6, of which they see the payload, to exactly one worker', () => {
    const words = fc.uint8Array({ minLength: 40, maxLength: 40 });
    fc.assert(
      fc.property(words, uint32, fc.integer({ min: 1, max: 8 }), (header, spi, workers) => {
        const takersOf = (filterOf: (worker: number) => ReturnType<typeof espFilter>, payload: readonly number[]) =>
          [...Array(workers).keys()].filter(
            (worker) => runFilter(filterOf(worker), Uint8Array.from(payload), header) > 0,
          );
        const bytes = [spi >>> 24, (spi >>> 16) & 255, (spi >>> 8) & 255, spi & 255];
        const named = workerOfSpi(spi);
        expect(takersOf((worker) => espFilter(worker, workers, 6), bytes)).toEqual([named < workers ? named : 0]);
        const [gre] = takersOf((worker) => greFilter(worker, workers, 6), [0, 0, 0x65, 0x58]);
        expect(takersOf((worker) => portFilter([4789], worker, workers, 6), [1, 2, 0x12, 0xb5])).toEqual([gre]);
        expect(takersOf((worker) => portFilter([4789], worker, workers, 6), [1, 2, 0x12, 0xb6])).toEqual([]);
      }),
    );
  });

  it.each([4, 6] as const)(
    'give each ESP packet in UDP over IPv%i to the worker of its SPI, and IKE to nobody',
    (family) => {
      const port = fc.constantFrom(4500, 4500, 4500, 4501, 500);
      fc.assert(
        fc.property(
          uint32,
          port,
          fc.integer({ min: 1, max: 64 }),
          fc.integer({ min: 0, max: 10 }),
          (spi, to, workers, options) => {
            const spiBytes = [spi >>> 24, (spi >>> 16) & 255, (spi >>> 8) & 255, spi & 255];
            const takersOf = (...payload: number[]): number[] => {
              const udp = [0x30, 1, to >> 8, to & 255, 0, 8 + payload.length, 0, 0, ...payload];
              const bytes = family === 4 ? packet(17, 1, 2, udp, options) : Uint8Array.from(udp);
              return [...Array(workers).keys()].filter(
                (worker) => runFilter(espInUdpFilter(worker, workers, family), bytes) > 0,
              );
            };
            const named = workerOfSpi(spi) < workers ? workerOfSpi(spi) : 0;
            expect(takersOf(...spiBytes, 0, 0, 0, 1)).toEqual(to === 4500 && spi !== 0 ? [named] : []);
            expect(takersOf(0, 0, 0, 0, 1, 2, 3, 4)).toEqual([]);
            expect(takersOf(0xff)).toEqual(to === 4500 ? [0] : []);
            expect(takersOf(1, 2, 3)).toEqual(to === 4500 ? [0] : []);
          },
        ),
      );
    },
  );

  it('share port 4500: IKE to the first socket, ESP to that of the worker its SPI names', () => {
    fc.assert(
      fc.property(uint32, fc.integer({ min: 1, max: 64 }), (spi, workers) => {
        const socketOf = (...payload: number[]) => runFilter(portShare(workers), Uint8Array.from(payload));
        const named = workerOfSpi(spi) < workers ? workerOfSpi(spi) : 0;
        const bytes = [spi >>> 24, (spi >>> 16) & 255, (spi >>> 8) & 255, spi & 255];
        expect(socketOf(...bytes, 0, 0, 0, 1)).toBe(spi === 0 ? 0 : 1 + named);
        expect(socketOf(0, 0, 0, 0, 1, 2, 3, 4)).toBe(0);
        for (const short of [[], [0xff], [1, 2, 3]]) expect(socketOf(...short)).toBe(1);
      }),
    );
  });

  it('let the IKE socket on port 4500 hear IKE only', () => {
    const datagram = (...payload: number[]): Uint8Array =>
      Uint8Array.of(1, 2, 0x11, 0x94, 0, 8 + payload.length, 0, 0, ...payload);
    expect(runFilter(IKE_IN_UDP, datagram(0, 0, 0, 0, 9))).toBeGreaterThan(0);
    for (const payload of [[0, 0, 0, 1, 9], [1, 2, 3, 4], [0xff], [0, 0, 0], []])
      expect(runFilter(IKE_IN_UDP, datagram(...payload))).toBe(0);
  });

  it('take no UDP fragment', () => {
    const bytes = packet(17, 1, 2, [1, 2, 0x12, 0xb5, 0, 8, 0, 0]);
    expect(runFilter(portFilter([4789], 0, 1), bytes)).toBeGreaterThan(0);
    bytes[7] = 1;
    expect(runFilter(portFilter([4789], 0, 1), bytes)).toBe(0);
  });

  it('drop truncated packets at every byte instead of reading beyond them', () => {
    const bytes = packet(17, 1, 2, [1, 2, 0x12, 0xb5]);
    for (let length = 0; length < bytes.length; length++)
      expect(runFilter(portFilter([4789], 0, 2), bytes.subarray(0, length))).toBe(0);
  });

  it('refuse more UDP ports than a program can jump over', () => {
    expect(() => portFilter([...Array(201).keys()], 0, 1)).toThrow(/201 different tunnel ports/);
  });
});
