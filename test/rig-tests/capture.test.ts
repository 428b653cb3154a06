// What the rig sees on a wire: the kinds of frames, by frames made by hand, and a wire that is honest.
import { afterEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { createLan } from '../rig/namespace.ts';
import { assertOnlyEsp, classify, countKinds, type Kind, parsePcap } from '../rig/pcap.ts';
import { canMakeNamespaces, createRig, missingPrograms, type Rig } from '../rig/rig.ts';
import { measureThroughput, ping } from '../rig/traffic.ts';

const MACS = '020000000002020000000001';

/** An Ethernet frame with an IPv4 datagram (RFC 791 §3.1), its checksum left 0: classify does not judge it. */
function ipv4(protocol: number, payload: string, fragmentOffset = 0): Buffer {
  const length = (20 + payload.length / 2).toString(16).padStart(4, '0');
  const fragment = fragmentOffset.toString(16).padStart(4, '0');
  const header = `4500${length}0000${fragment}40${protocol.toString(16).padStart(2, '0')}00000a0100010a010002`;
  return Buffer.from(`${MACS}0800${header}${payload}`, 'hex');
}

/** The same with IPv6 (RFC 8200 §3); `payload` begins with the extension headers, if any. */
function ipv6(next: number, payload: string): Buffer {
  const length = (payload.length / 2).toString(16).padStart(4, '0');
  const addresses = `fd000001000000000000000000000001fd000001000000000000000000000002`;
  return Buffer.from(
    `${MACS}86dd60000000${length}${next.toString(16).padStart(2, '0')}40${addresses}${payload}`,
    'hex',
  );
}

function udp(source: number, destination: number, payload: string): string {
  const words = [source, destination, 8 + payload.length / 2, 0];
  return words.map((word) => word.toString(16).padStart(4, '0')).join('') + payload;
}

const ESP = '0000100100000007aabbccdd';
const FRAMES: readonly (readonly [string, Kind, Buffer])[] = [
  ['ESP', 'esp', ipv4(50, ESP)],
  ['a later fragment of ESP', 'esp', ipv4(50, 'aabbccdd', 0x00b9)],
  ['ESP behind IPv6 destination options', 'esp', ipv6(60, `3200010400000000${ESP}`)],
  ['ESP cut after the SPI', 'other', ipv4(50, '00001001')],
  ['ESP in UDP', 'esp-in-udp', ipv4(17, udp(4500, 4500, ESP))],
  ['IKE behind the non-ESP marker', 'ike', ipv4(17, udp(4500, 4500, '00000000aabbccdd'))],
  ['IKE', 'ike', ipv4(17, udp(500, 500, 'aabbccdd'))],
  ['a NAT keepalive', 'nat-keepalive', ipv4(17, udp(4500, 4500, 'ff'))],
  ['GRE', 'gre', ipv4(47, '00006558')],
  ['VXLAN', 'vxlan', ipv4(17, udp(40000, 4789, '0800000000000100'))],
  ['Geneve', 'geneve', ipv4(17, udp(40000, 6081, '0000655800000100'))],
  ['Geneve by IPv6', 'geneve', ipv6(17, udp(40000, 6081, '0000655800000100'))],
  ['STT', 'stt', ipv4(6, '9c401d2f')],
  ['ICMP', 'icmp', ipv4(1, '08000000')],
  ['IGMP', 'igmp', ipv4(2, '22000000')],
  ['ICMPv6', 'icmpv6', ipv6(58, '87000000')],
  ['ARP', 'arp', Buffer.from(`${MACS}0806`, 'hex')],
  ['a frame cut within its Ethernet header', 'other', Buffer.from(MACS.slice(2), 'hex')],
];

describe('A captured frame', () => {
  it.each(FRAMES)('is known for what it is: %s', (_name, kind, frame) => {
    expect(classify(frame).kind).toBe(kind);
  });

  it('tells SPI, sequence number and addresses of ESP', () => {
    const facts = { spi: 0x1001, sequence: 7, source: '10.1.0.1', destination: '10.1.0.2' };
    expect(classify(ipv4(50, ESP))).toMatchObject(facts);
    expect(classify(ipv4(17, udp(4500, 4500, ESP)))).toMatchObject({ ...facts, sourcePort: 4500 });
  });

  it('never makes the reader throw, wherever it was cut', () => {
    for (const [, , frame] of FRAMES) {
      for (let length = 0; length < frame.length; length += 1) classify(frame.subarray(0, length));
    }
  });
});

const packetsOf = (frames: readonly Buffer[]) =>
  frames.map((frame) => ({ ...classify(frame), time: 0, frame, wireLength: frame.length }));

describe('assertOnlyEsp', () => {
  const innocent = packetsOf([ipv4(50, ESP), ipv4(17, udp(500, 500, '00')), ipv6(58, '87000000'), ipv4(2, '22000000')]);

  it('accepts ESP with IKE, neighbour discovery and group membership beside it', () => {
    expect(() => assertOnlyEsp(innocent)).not.toThrow();
  });

  it('refuses a wire without ESP', () => {
    expect(() => assertOnlyEsp(innocent.slice(1))).toThrow('no ESP packet');
  });

  it.each([47, 1, 6, 253])('names the plaintext packet among ESP: protocol %i', (protocol) => {
    const [offender] = packetsOf([ipv4(protocol, '0000655800000000')]);
    expect(() => assertOnlyEsp([...innocent, offender!])).toThrow(`but ${offender!.kind} from 10.1.0.1 to 10.1.0.2`);
  });
});

describe('A capture file', () => {
  it('is refused if it is none', () => {
    expect(() => parsePcap(Buffer.alloc(24))).toThrow('wrong magic number');
  });
});

let rig: Rig;
afterEach(() => rig?.close());

const missing = [...(canMakeNamespaces() ? [] : ['root']), ...missingPrograms('tcpdump', 'iperf3', 'ethtool')];
const title = `A LAN${missing.length === 0 ? '' : ` (skipped: needs ${missing.join(', ')})`}`;
describe.skipIf(missing.length > 0)(title, () => {
  it('lets both hosts ping each other, and the capture sees each packet', async () => {
    rig = createRig();
    const lan = await createLan(rig, { ipv6: true });
    const capture = await startCapture(rig, lan.b);
    expect(await ping(lan.a.namespace, lan.b.address)).toMatchObject({ sent: 3, received: 3, loss: 0 });
    expect((await capture.waitFor('icmp', 6)).map(({ source }) => source)).toContain(lan.b.address);
    expect((await ping(lan.b.namespace, 'fd00:1::1')).received).toBe(3);
    expect(countKinds(await capture.stop())).toMatchObject({ icmp: 6 });
  });

  it('has all that has crossed the device once it has settled, however late tcpdump is', async () => {
    rig = createRig();
    const lan = await createLan(rig);
    const capture = await startCapture(rig, lan.b);
    process.kill(capture.pid, 'SIGSTOP');
    expect((await ping(lan.a.namespace, lan.b.address, { count: 20, interval: 0.01 })).received).toBe(20);
    expect(capture.counts().icmp).toBeUndefined();
    process.kill(capture.pid, 'SIGCONT');
    await capture.settle();
    expect(capture.counts().icmp).toBe(40);
  });

  it('counts lost pings', async () => {
    rig = createRig();
    const lan = await createLan(rig);
    expect(await ping(lan.a.namespace, '10.1.0.9', { count: 2, wait: 0.2 })).toMatchObject({ received: 0, loss: 1 });
  });

  it.each([
    ['passes segments larger than its MTU with offloads', true],
    ['is honest without offloads: no frame is larger than a NIC would send', false],
  ])('%s', async (_name, offloads) => {
    rig = createRig();
    const lan = await createLan(rig, { offloads });
    const capture = await startCapture(rig, lan.b, 'tcp', { snapLength: 96 });
    await measureThroughput(rig, { client: lan.a, server: lan.b, seconds: 1, omit: 0 });
    const largest = Math.max(...(await capture.stop()).slice(0, 10_000).map(({ wireLength }) => wireLength));
    if (offloads) expect(largest).toBeGreaterThan(1514);
    else expect(largest).toBeLessThanOrEqual(1514);
  });
});
