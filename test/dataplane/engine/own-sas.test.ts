import { afterEach, expect, it } from 'vitest';
import { Protections } from '../../../dataplane/protections.ts';
import { espSequence, espSpi } from '../../../dataplane/wire/esp.ts';
import { connect, frame, openPair, type Pair, PROTECTION, settle } from './pair.ts';

let pair: Pair | undefined;
afterEach(() => pair?.stop());

it('a worker sends on its own SA if it has one, else on that of all, else on none, and never in the clear', async () => {
  const sent: string[] = [];
  const own = await openPair({
    protection: 'never-up',
    tap: (packet) => {
      const isEsp = packet[9] === 50;
      sent.push(isEsp ? `${espSpi(packet, 20) >>> 0} ${espSequence(packet, 20)}` : 'plaintext');
      return true;
    },
  });
  pair = own;
  const { a, b } = own;
  const use = (slot: number | undefined, worker?: number) =>
    a.engine.apply({ op: 'use-outbound-sa', protection: PROTECTION, slot, worker });
  const send = async (): Promise<string> => {
    sent.length = 0;
    a.port.put(frame(2, 1));
    await settle();
    b.port.take();
    return sent.join();
  };
  const spiOf = async (): Promise<{ spi: number; slot: number }> => {
    const { outboundSlot } = await connect(a, b);
    return { spi: Number((await send()).split(' ')[0]), slot: outboundSlot };
  };
  const first = await spiOf();
  const second = await spiOf();
  await use(first.slot);
  // The worker of this pair is number 0: what is said of another one does not concern it.
  await use(second.slot, 1);
  expect(await send()).toBe(`${first.spi} 2`);
  await use(second.slot, 0);
  expect(await send()).toBe(`${second.spi} 2`);
  await use(undefined, 0);
  expect(await send()).toBe(`${first.spi} 3`);
  await use(second.slot, 0);
  await a.engine.apply({ op: 'remove-outbound-sa', slot: first.slot });
  expect(await send()).toBe(`${second.spi} 3`);
  await a.engine.apply({ op: 'remove-outbound-sa', slot: second.slot });
  expect(await send()).toBe('');
  expect(a.drops()['policy-no-sa']).toBe(1);
});

it('an own SA keeps a protection closed like one of all workers', () => {
  const protections = new Protections(2);
  protections.set(1, 'never-up');
  const before = protections.stateOf(1);
  protections.use(1, 7, true);
  protections.stopUsing(1, 7);
  expect(protections.outboundSa[1]).toBe(-1);
  protections.set(1, 'never-up');
  expect(protections.stateOf(1)).not.toBe(before);
});
