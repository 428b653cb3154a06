import { describe, expect, it } from 'vitest';
import type { Selector } from '../../../dataplane/commands.ts';
import { sealBatch } from '../../../dataplane/esp/seal.ts';
import { fromPeer } from './reference.ts';
import { GRE, inboundSa, outboundSa, payload, reasons, SaRig, verdicts } from './sa-rig.ts';

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
});
