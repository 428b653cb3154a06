import { describe, expect, it } from 'vitest';
import { sealBatch } from '../../../dataplane/esp/seal.ts';
import { ipv4FromText } from '../../../dataplane/wire/ipv4.ts';
import { fromPeer } from './reference.ts';
import { GRE, inboundSa, outboundSa, payload, reasons, SaRig, verdicts } from './sa-rig.ts';

describe('SA slots', () => {
  it('refuse an SPI that names another slot, a taken slot, a slot out of range, and an IPv6 address', () => {
    const rig = new SaRig();
    rig.addInbound();
    expect(() => rig.inbound.add(inboundSa({ slot: 4 }))).toThrow(/names slot 3, the SA is for 4/);
    expect(() => rig.inbound.add(inboundSa())).toThrow(/slot 3 is taken/);
    expect(() => rig.addInbound({ slot: 8, spi: 8 })).toThrow(/inbound SA slot: expected 0 to 7, got 8/);
    expect(() => rig.outbound.add(outboundSa({ slot: 8 }))).toThrow(/SA slot: expected 0 to 7, got 8/);
    expect(() => rig.inbound.add(inboundSa({ slot: 4, spi: 4, remote: '2001:db8::1' }))).toThrow(/expected IPv4/);
    expect(() => rig.addOutbound({ lastSequence: -1 })).toThrow(/last sequence number/);
  });

  it('are as they were after a key that is refused', () => {
    const rig = new SaRig();
    expect(() => rig.addInbound({ keyAndSalt: new Uint8Array(7) })).toThrow(/key material/);
    rig.addInbound();
    expect(verdicts(rig.open([fromPeer(1)]))).toEqual([0]);
  });

  it('count addresses as unsigned: a range from 10/8 to 223/8 holds 192.0.2.1', () => {
    const rig = new SaRig();
    const range = [
      { protocol: 0, startAddress: '10.0.0.0', endAddress: '223.255.255.255', startPort: 0, endPort: 65535 },
    ];
    rig.addOutbound({ tsLocal: range, tsRemote: range });
    expect(verdicts(rig.seal([payload(4)]))).toEqual([0]);
    const addresses = ['9.255.255.255', '10.0.0.0', '127.255.255.255', '128.0.0.0', '223.255.255.255', '224.0.0.0'];
    rig.load(
      addresses.map(() => payload(4)),
      GRE,
    );
    rig.batch.source.set(addresses.map(ipv4FromText));
    sealBatch(rig.batch, rig.list, rig.outbound);
    expect(verdicts(rig.result())).toEqual(
      reasons('esp-selector-out', 'none', 'none', 'none', 'none', 'esp-selector-out'),
    );
  });
});
