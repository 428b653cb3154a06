import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { flowHash, SOURCE_PORT_COUNT, SOURCE_PORT_FIRST, sourcePort } from '../../../dataplane/encap/flow-hash.ts';

interface Flow {
  readonly source: string;
  readonly destination: string;
  readonly protocol?: number;
  readonly ports?: string;
  readonly tags?: string;
  readonly macs?: string;
  readonly payload?: string;
  readonly fragment?: string;
}

/** An IPv4 frame; addresses and ports as hex. */
function frame(flow: Flow): Uint8Array {
  const protocol = (flow.protocol ?? 6).toString(16).padStart(2, '0');
  const hex =
    (flow.macs ?? '020000000001020000000002') +
    (flow.tags ?? '') +
    `0800 4500 0040 0000 ${flow.fragment ?? '0000'} 40 ${protocol} 0000` +
    flow.source +
    flow.destination +
    (flow.ports ?? '04d20050') +
    (flow.payload ?? '00'.repeat(16));
  return Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
}

const hashOf = (bytes: Uint8Array): number => flowHash(bytes, 0, bytes.length);
const FLOW = { source: '0a000001', destination: '0a000002' };

describe('the flow hash', () => {
  it('is the same for every packet of a flow, whatever else differs', () => {
    const hash = hashOf(frame(FLOW));
    expect(hashOf(frame({ ...FLOW, payload: 'ff'.repeat(100) }))).toBe(hash);
    expect(hashOf(frame({ ...FLOW, macs: '0200000000aa0200000000bb' }))).toBe(hash);
  });

  it('is the same behind one or two VLAN tags', () => {
    const hash = hashOf(frame(FLOW));
    expect(hashOf(frame({ ...FLOW, tags: '81000005' }))).toBe(hash);
    expect(hashOf(frame({ ...FLOW, tags: '88a8000181000005' }))).toBe(hash);
  });

  it('is the same in both directions', () => {
    const there = frame({ source: '0a000001', destination: '0a000002', ports: '04d20050' });
    const back = frame({ source: '0a000002', destination: '0a000001', ports: '005004d2' });
    expect(hashOf(back)).toBe(hashOf(there));
  });

  it('differs with address, port and protocol', () => {
    const hashes = [
      frame(FLOW),
      frame({ ...FLOW, source: '0a000003' }),
      frame({ ...FLOW, ports: '04d30050' }),
      frame({ ...FLOW, ports: '04d20051' }),
      frame({ ...FLOW, protocol: 17 }),
    ].map(hashOf);
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  it('does not count what stands where ports would be if there are none', () => {
    const icmp = (ports: string): number => hashOf(frame({ ...FLOW, protocol: 1, ports }));
    expect(icmp('08000001')).toBe(icmp('00001234'));
  });

  it('keeps the fragments of a packet together', () => {
    const first = frame({ ...FLOW, fragment: '2000' });
    const second = frame({ ...FLOW, fragment: '00b9', ports: 'deadbeef' });
    expect(hashOf(first)).toBe(hashOf(second));
  });

  it('of other frames covers the MAC addresses', () => {
    const arp = (macs: string): number => hashOf(Uint8Array.from(Buffer.from(`${macs}0806${'00'.repeat(28)}`, 'hex')));
    expect(arp('020000000001020000000002')).not.toBe(arp('020000000001020000000003'));
    expect(arp('020000000001020000000002')).toBe(arp('020000000002020000000001'));
  });

  it('of IPv6 covers addresses and ports and is symmetric', () => {
    const six = (source: string, destination: string, ports: string): number =>
      hashOf(
        Uint8Array.from(
          Buffer.from(
            `02000000000102000000000286dd6000000000081140${source.padStart(32, '0')}${destination.padStart(32, '0')}${ports}00080000`,
            'hex',
          ),
        ),
      );
    expect(six('01', '02', '00350036')).toBe(six('02', '01', '00360035'));
    expect(six('01', '02', '00350036')).not.toBe(six('01', '03', '00350036'));
    expect(six('01', '02', '00350036')).not.toBe(six('01', '02', '00350037'));
  });

  it('does not take for ports what lies behind a frame that is cut in its ports', () => {
    const whole = frame(FLOW);
    const cut = 14 + 20 + 3;
    const other = whole.slice();
    other[cut] ^= 0xff;
    expect(flowHash(other, 0, cut)).toBe(flowHash(whole, 0, cut));
  });

  it('takes any bytes of any length, and never reads what lies behind the frame', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 120 }),
        fc.constantFrom('', '0800', '86dd', '8100', '88a8'),
        (data, type) => {
          const bytes = new Uint8Array(200);
          bytes.set(data);
          bytes.set(Buffer.from(type, 'hex'), 12);
          const length = data.length;
          const hash = flowHash(bytes, 0, length);
          bytes.fill(0xff, length);
          expect(flowHash(bytes, 0, length)).toBe(hash);
        },
      ),
    );
  });
});

describe('the UDP source port', () => {
  it('lies from 32768 to 60999, and both ends are reached', () => {
    expect(sourcePort(0)).toBe(32768);
    expect(sourcePort(-1)).toBe(60999);
    expect(SOURCE_PORT_FIRST + SOURCE_PORT_COUNT - 1).toBe(60999);
    fc.assert(
      fc.property(fc.integer(), (hash) => {
        const exact = SOURCE_PORT_FIRST + Math.floor(((hash >>> 0) * SOURCE_PORT_COUNT) / 0x100000000);
        expect(sourcePort(hash)).toBe(exact);
      }),
    );
  });

  it('spreads flows that differ in one port over its range', () => {
    const ports = new Set<number>();
    for (let port = 1024; port < 2048; port++) {
      ports.add(sourcePort(hashOf(frame({ ...FLOW, ports: `${port.toString(16).padStart(4, '0')}0050` }))));
    }
    expect(ports.size).toBeGreaterThan(980);
  });
});
