import { describe, expect, it } from 'vitest';
import type { Selector } from '../../../dataplane/commands.ts';
import { SA_FIRST_PACKET, SA_SOFT_LIMIT } from '../../../dataplane/esp/sa-memory.ts';
import { SaEvents } from '../../../dataplane/esp/sa-table.ts';
import { sealBatch } from '../../../dataplane/esp/seal.ts';
import { fromPeer } from './reference.ts';
import { eventsOf, GRE, inboundSa, outboundSa, payload, reasons, SaRig, SLOT, verdicts } from './sa-rig.ts';

describe('SA slots', () => {
  it('refuse an SPI that names another slot, a taken slot, a slot out of range, and addresses of two families', () => {
    const rig = new SaRig();
    rig.addInbound();
    expect(() => rig.inbound.add(inboundSa({ slot: 4 }))).toThrow(/names slot 3, the SA is for 4/);
    expect(() => rig.inbound.add(inboundSa())).toThrow(/slot 3 is taken/);
    expect(() => rig.addInbound({ slot: 8, spi: 8 })).toThrow(/inbound SA slot: expected 0 to 7, got 8/);
    expect(() => rig.outbound.add(outboundSa({ slot: 8 }))).toThrow(/SA slot: expected 0 to 7, got 8/);
    expect(() => rig.inbound.add(inboundSa({ slot: 4, spi: 4, remote: '2001:db8::1' }))).toThrow(
      /expected both of one family/,
    );
    expect(() => rig.addOutbound({ lastSequence: -1 })).toThrow(/last sequence number/);
  });

  it('are as they were after a key that is refused', () => {
    const rig = new SaRig();
    expect(() => rig.addInbound({ keyAndSalt: new Uint8Array(7) })).toThrow(/key material/);
    rig.addInbound();
    expect(verdicts(rig.open([fromPeer(1)]))).toEqual([0]);
  });

  it.each([
    ['192.0.2.1', '192.0.2.2'],
    ['2001:db8::1', '2001:db8::2'],
  ])('hold selectors by address ranges, as unsigned numbers: %s', (local, remote) => {
    const rig = new SaRig();
    const [below, above] = local.includes(':') ? ['2001:db7:ffff::', 'fe80::1'] : ['10.0.0.0', '223.255.255.255'];
    const range = (startAddress: string, endAddress: string): Selector[] => [
      { protocol: 0, startAddress, endAddress, startPort: 0, endPort: 65535 },
    ];
    const ranges = [
      [below, above, 'none'],
      [local, remote, 'none'],
      [below, local, 'esp-selector-out'],
      [remote, above, 'esp-selector-out'],
    ] as const;
    ranges.forEach(([start, end, reason], slot) => {
      rig.addOutbound({ slot, local, remote, tsLocal: range(start, end), tsRemote: range(start, end) });
      rig.load([payload(4)], GRE, slot);
      rig.batch.pair[0] = rig.pairs.take(local, remote);
      sealBatch(rig.batch, rig.list, rig.outbound);
      expect(verdicts(rig.result())).toEqual(reasons(reason));
    });
  });

  it('take selectors of the other family for selectors of nothing', () => {
    const rig = new SaRig();
    const range = [{ protocol: 0, startAddress: '::', endAddress: 'ffff::', startPort: 0, endPort: 65535 }];
    rig.addOutbound({ tsLocal: range, tsRemote: range });
    expect(verdicts(rig.seal([payload(4)]))).toEqual(reasons('esp-selector-out'));
  });

  it('refuse numbers that are no slot, and belong to no protection while they are free', () => {
    const rig = new SaRig();
    for (const slot of [-1, 0.5, Number.NaN])
      expect(() => rig.outbound.add(outboundSa({ slot }))).toThrow(
        new RangeError(`SA slot: expected 0 to 7, got ${slot}`),
      );
    rig.addInbound();
    expect([rig.inbound.protection[SLOT], rig.inbound.protection[SLOT + 1]]).toEqual([7, -1]);
    rig.inbound.remove(SLOT);
    expect(rig.inbound.protection[SLOT]).toBe(-1);
  });

  it('get a key for sealing outbound, and one for opening inbound', () => {
    const rig = new SaRig();
    const directions: string[] = [];
    const { aead } = rig.inbound;
    const prepareKey = aead.prepareKey.bind(aead);
    aead.prepareKey = (algorithm, direction, keyAndSalt) => {
      directions.push(direction);
      return prepareKey(algorithm, direction, keyAndSalt);
    };
    rig.addInbound();
    rig.addOutbound();
    expect(directions).toEqual(['open', 'seal']);
  });
});

describe('events of SAs', () => {
  it('are the first packet, and each limit when it is reached, not after', () => {
    const rig = new SaRig();
    rig.addInbound({ slot: 3, softPackets: 2 });
    rig.addInbound({ slot: 4, spi: 0x00410004, softBytes: 40 });
    const events = (): number[][] => {
      const all = eventsOf(rig.inbound.events);
      rig.inbound.events.count = 0;
      return all;
    };
    const fourth = (sequence: number): Uint8Array => fromPeer(sequence, { spi: 0x00410004 });
    rig.open([fromPeer(1), fourth(1)]);
    expect(events()).toEqual([
      [3, SA_FIRST_PACKET],
      [4, SA_FIRST_PACKET],
    ]);
    rig.open([fromPeer(2)]);
    expect(events()).toEqual([[3, SA_SOFT_LIMIT]]);
    rig.open([fourth(2)]);
    expect(events()).toEqual([[4, SA_SOFT_LIMIT]]);
    rig.open([fromPeer(3), fourth(3)]);
    expect(events()).toEqual([]);
  });

  it('outbound are the limits of packets and of bytes when they are reached', () => {
    const rig = new SaRig();
    rig.addOutbound({ softPackets: 2 });
    rig.addOutbound({ slot: 4, softBytes: 20 });
    for (const [slot, expected] of [
      [SLOT, 0],
      [SLOT, 1],
      [4, 1],
      [4, 2],
    ] as const) {
      rig.load([payload(10)], GRE, slot);
      sealBatch(rig.batch, rig.list, rig.outbound);
      expect(rig.outbound.events.count).toBe(expected);
    }
  });

  it('beyond those that one batch can cause are left out, and none is overwritten', () => {
    const events = new SaEvents();
    for (let i = 0; i < SaEvents.capacity + 2; i++) events.add(i, 1);
    expect(events.count).toBe(SaEvents.capacity);
    expect(events.slot[SaEvents.capacity - 1]).toBe(SaEvents.capacity - 1);
    expect(SaEvents.capacity).toBeGreaterThanOrEqual(2 * 512);
  });
});
