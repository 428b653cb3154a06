// The books of a soak: what is read from daemon and kernel, and that a packet without a counter is found.
import { describe, expect, it } from 'vitest';
import {
  balances,
  growth,
  type HostBooks,
  parseCoverage,
  parseLink,
  parseRawDrops,
  parseUdpDrops,
  since,
} from '../../bench/soak/books.ts';
import { residentOf } from '../rig/resident.ts';

const COVERAGE = `Packets dropped, by reason:
  replayed                                       12  the sequence number was received before
  frame-too-short                                 3  a frame without an Ethernet header, 14 bytes
IKE:
  established: IKE SAs                            1
Workers:
  0: turns 5, sleeps 2, framesRead 100, packetsReceived 7, packetsSent 90, framesWritten 2
  1: turns 5, sleeps 2, framesRead 11, packetsReceived 1, packetsSent 11, framesWritten 1
`;

describe('the counters of a host', () => {
  it('of the daemon are drops by reason and the sums over its workers; those of IKE are no drops', () => {
    expect(parseCoverage(COVERAGE)).toEqual({
      drops: { replayed: 12, 'frame-too-short': 3 },
      framesRead: 111,
      packetsReceived: 8,
      packetsSent: 101,
      framesWritten: 3,
    });
    expect(() => parseCoverage('Packets dropped, by reason:\nIKE:\n')).toThrow('no line of a worker');
  });

  it('of raw sockets are the last column of every row', () => {
    const text = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
   50: 00000000:0032 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0000000000000000 41
   47: 00000000:002F 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 2 2 0000000000000000 1
`;
    expect(parseRawDrops(text + text)).toBe(84);
    expect(parseRawDrops('')).toBe(0);
  });

  it('of UDP sockets are those of IPv4, by the name of their column', () => {
    const text = 'Ip: Forwarding\nIp: 1\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 9 8 7 6 5\n';
    expect(parseUdpDrops(text)).toBe(5);
    expect(() => parseUdpDrops('Ip: 1\n')).toThrow('no RcvbufErrors');
  });

  it('of the TAP are what it gave the daemon, what it had no room for, and what it took', () => {
    const json = JSON.stringify([{ stats64: { rx: { packets: 5, dropped: 1 }, tx: { packets: 7, dropped: 2 } } }]);
    expect(parseLink(json)).toEqual({ tapSent: 7, tapSendDropped: 2, tapReceived: 5 });
    expect(() => parseLink('[{}]')).toThrow('no statistics');
  });

  it('tell the resident memory in bytes', () => {
    expect(residentOf('Name:\tnode\nVmRSS:\t   1024 kB\n')).toBe(1 << 20);
    expect(() => residentOf('Name:\tnode\n')).toThrow('no VmRSS');
  });
});

const host = (daemon: Partial<HostBooks['daemon']>, kernel: Partial<HostBooks['kernel']>): HostBooks => ({
  daemon: { drops: {}, framesRead: 0, packetsReceived: 0, packetsSent: 0, framesWritten: 0, ...daemon },
  kernel: { tapSent: 0, tapSendDropped: 0, tapReceived: 0, socketDropped: 0, udpDropped: 0, ...kernel },
});
const sender = host({ framesRead: 100, packetsSent: 97, drops: { flooded: 3 } }, { tapSent: 100 });
const receiver = (received: number) =>
  host(
    { packetsReceived: received, framesWritten: received - 1, drops: { replayed: 1 } },
    { tapReceived: received - 1, socketDropped: 2 },
  );

describe('the books', () => {
  const unexplained = (b: HostBooks) => balances(sender, b).map((row) => row.unexplained);

  it('are even where every missing packet was counted: by the daemon, or by the kernel before it', () => {
    expect(unexplained(receiver(95))).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it('show a packet that vanished, and between which two places', () => {
    const rows = balances(sender, receiver(94)).filter((row) => row.unexplained !== 0);
    expect(rows).toEqual([{ what: 'wire: a to b', before: 97, after: 94, counted: 2, unexplained: 1 }]);
  });

  it('of a run leave out what was counted before it', () => {
    const before = host({ framesRead: 40, drops: { flooded: 3 } }, { tapSent: 40 });
    const run = since(before, sender);
    expect(run.daemon).toMatchObject({ framesRead: 60, packetsSent: 97, drops: {} });
    expect(run.kernel.tapSent).toBe(60);
  });
});

describe('growth', () => {
  it('compares peaks, so that a garbage collector that lets memory rise and fall does not count', () => {
    expect(growth(Array.from({ length: 100 }, (_, index) => 100 + (index % 25)))).toBe(0);
    expect(growth(Array.from({ length: 100 }, (_, index) => 100 + index + (index % 25)))).toBeGreaterThan(0.2);
    expect(growth([1])).toBeNaN();
  });
});
