/** Bytes that nobody has thought of: whatever the wire or a port brings, the engine goes on and counts each drop. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { frame, openPair, type Pair, settle } from './pair.ts';

const RUNS = 300;

describe('random bytes', () => {
  let clear: Pair;
  let esp: Pair;
  let captured: Uint8Array;

  beforeAll(async () => {
    clear = await openPair({ type: 'geneve', tunnel: { checksum: true } });
    const packets: Uint8Array[] = [];
    esp = await openPair({ type: 'vxlan', protection: 'never-up', tap: (packet) => packets.push(packet.slice()) > 0 });
    await esp.protect();
    esp.a.port.put(frame(255, 1));
    await esp.b.frame();
    captured = packets[0];
  });
  afterAll(async () => {
    await clear.stop();
    await esp.stop();
  });

  /** The tunnel still works afterwards, and everything that came in was either delivered or counted. */
  async function stillWorks(pair: Pair): Promise<void> {
    await settle();
    while (pair.b.port.take() !== undefined);
    pair.a.port.put(frame(255, 1));
    expect(await pair.b.frame()).toEqual(frame(255, 1));
  }

  it('as IPv4 packets of any protocol do no harm', async () => {
    const protocol = fc.constantFrom(17, 47, 50, 1, 255);
    await fc.assert(
      fc.asyncProperty(protocol, fc.uint8Array({ minLength: 1, maxLength: 300 }), async (number, bytes) => {
        for (const pair of [clear, esp]) {
          const whole = new Uint8Array(20 + bytes.length);
          whole.set(captured.subarray(0, 20));
          whole[2] = whole.length >> 8;
          whole[3] = whole.length & 255;
          whole[9] = number;
          whole.set(bytes, 20);
          pair.wire.inject(whole);
          pair.wire.inject(bytes);
        }
      }),
      { numRuns: RUNS },
    );
    await stillWorks(clear);
    await stillWorks(esp);
  });

  it('as IPv6 packets of any protocol do no harm', async () => {
    const pair = await openPair({ type: 'geneve', family: 6, protection: 'never-up' });
    await pair.protect();
    const protocol = fc.constantFrom(17, 47, 50, 0, 44, 59);
    const size = fc.constantFrom(0, 0, -1, 1, 9);
    await fc.assert(
      fc.asyncProperty(protocol, size, fc.uint8Array({ maxLength: 300 }), async (number, lie, bytes) => {
        const whole = new Uint8Array(40 + bytes.length);
        const length = Math.max(0, bytes.length + lie);
        whole.set([0x60, 0, 0, 0, length >> 8, length & 255, number, 64, 0x20, 1, 0xd, 0xb8]);
        whole.set([1, 0x20, 1, 0xd, 0xb8], 23);
        whole[39] = 2;
        whole.set(bytes, 40);
        pair.wire.inject(whole);
        pair.wire.inject(whole.subarray(0, bytes.length % 41));
      }),
      { numRuns: RUNS },
    );
    await stillWorks(pair);
    await pair.stop();
  });

  it('in place of any part of an ESP packet do no harm and are never delivered', async () => {
    await settle();
    while (esp.b.port.take() !== undefined);
    await fc.assert(
      fc.asyncProperty(
        fc.nat(captured.length - 1),
        fc.uint8Array({ minLength: 1, maxLength: 40 }),
        async (at, bytes) => {
          const packet = captured.slice();
          packet.set(bytes.subarray(0, packet.length - at), at);
          esp.wire.inject(packet);
          await settle();
          expect(esp.b.port.delivered).toBe(0);
        },
      ),
      { numRuns: RUNS / 3 },
    );
    await stillWorks(esp);
  });

  it('in tunnel headers do no harm', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 0, maxLength: 80 }), fc.nat(255), async (bytes, options) => {
        const packet = new Uint8Array(20 + 8 + bytes.length);
        packet.set([0x45, 0, 0, packet.length, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        packet.set([0x80, 0, 6081 >> 8, 6081 & 255, 0, 8 + bytes.length, 0, 0], 20);
        packet.set(bytes, 28);
        if (bytes.length > 8) packet.set([options & 0x3f, 0, 0x65, 0x58, 0, 0, 77, 0], 28);
        clear.wire.inject(packet);
      }),
      { numRuns: RUNS },
    );
    await stillWorks(clear);
  });

  it('as frames from a port do no harm', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 0, maxLength: 200 }), async (bytes) => {
        clear.a.port.put(bytes);
        esp.a.port.put(bytes);
      }),
      { numRuns: RUNS },
    );
    await stillWorks(clear);
    await stillWorks(esp);
  });

  it('longer than a slot are dropped and counted', async () => {
    const pair = await openPair();
    try {
      const long = frame(255, 1, 9600);
      const longer = new Uint8Array(9601).fill(1);
      pair.a.port.put(longer);
      pair.a.port.put(long);
      await settle();
      // The port's own queue takes no frame beyond 9600 bytes, and the wire none beyond 9000.
      expect(pair.a.drops()).toEqual({ 'too-big': 1 });
    } finally {
      await pair.stop();
    }
  });
});
