// What the benchmark reads from other programs and from the kernel: iperf3's JSON, ping's lines, /proc.
import { describe, expect, it } from 'vitest';
import { parsePidStat, parseStat } from '../../bench/traffic/cpu.ts';
import { parseTcp, parseUdp } from '../../bench/traffic/iperf.ts';
import { parsePing, roundTrips } from '../../bench/traffic/round-trips.ts';

// As iperf3 3.12 writes it, shortened to the fields that are read.
const TCP = {
  intervals: [
    { sum: { seconds: 1, bytes: 1_000_000_000, bits_per_second: 8e9, retransmits: 7, omitted: true } },
    { sum: { seconds: 2, bytes: 2_000_000_000, bits_per_second: 8e9, retransmits: 17, omitted: false } },
  ],
  end: {
    sum_sent: { seconds: 2, bytes: 2_000_000_000, bits_per_second: 8e9, retransmits: 17 },
    sum_received: { seconds: 2, bytes: 1_900_000_000, bits_per_second: 7.6e9 },
    cpu_utilization_percent: { host_total: 20, remote_total: 30 },
  },
};
const UDP = {
  intervals: [{ sum: { seconds: 2, bytes: 5_875_840, bits_per_second: 23e6, packets: 91_810, omitted: false } }],
  end: {
    sum: { seconds: 2, bytes: 5_875_840, bits_per_second: 23e6, lost_packets: 47_261, packets: 91_810 },
    cpu_utilization_percent: { host_total: 50, remote_total: 25 },
  },
};

describe('the report of iperf3', () => {
  it('of TCP gives what the receiver got, retransmissions, and the cost of the whole run with its warm-up', () => {
    expect(parseTcp(JSON.stringify(TCP))).toEqual({
      gigabitsPerSecond: 7.6,
      retransmits: 17,
      bitsInAll: 24e9,
      cpuSeconds: expect.closeTo(1.5, 10),
    });
  });

  it('of UDP gives the datagrams that arrived, those sent, and the share lost', () => {
    const { kilopacketsPerSecond, offeredKilopackets, loss, cpuSeconds } = parseUdp(JSON.stringify(UDP));
    expect(kilopacketsPerSecond).toBeCloseTo(22.2745, 3);
    expect(offeredKilopackets).toBeCloseTo(45.905, 3);
    expect(loss).toBeCloseTo(0.51477, 4);
    expect(cpuSeconds).toBeCloseTo(1.5, 10);
  });

  it.each([
    ['an error', '{"error": "unable to connect to server"}', 'iperf3: unable to connect to server'],
    ['nothing', '', 'iperf3 gave no JSON: nothing at all'],
    ['half a report', '{"start": {', 'iperf3 gave no JSON: {"start": {'],
    ['no summary', '{"start": {}, "end": {}}', 'iperf3 gave no summary'],
    ['a UDP run', JSON.stringify(UDP), 'no TCP run?'],
  ])('that holds %s is refused with what it says', (_what, json, message) => {
    expect(() => parseTcp(json)).toThrow(message);
  });
});

const PING = `PING 10.0.0.2 (10.0.0.2) from 10.0.0.1 : 56(84) bytes of data.
64 bytes from 10.0.0.2: icmp_seq=1 ttl=64 time=0.400 ms
64 bytes from 10.0.0.2: icmp_seq=2 ttl=64 time=0.200 ms
64 bytes from 10.0.0.2: icmp_seq=2 ttl=64 time=9.000 ms (DUP!)
64 bytes from 10.0.0.2: icmp_seq=4 ttl=64 time=12 ms

--- 10.0.0.2 ping statistics ---
4 packets transmitted, 3 received, +1 duplicates, 25% packet loss, time 6ms
rtt min/avg/max/mdev = 0.200/5.400/12.000/5.001 ms
`;

describe('what ping prints', () => {
  it('gives every time once, answers that came twice too, and the requests without an answer', () => {
    expect(parsePing(PING)).toEqual({ times: [0.4, 0.2, 12], sent: 4 });
    expect(roundTrips(PING)).toMatchObject({ p50: 0.4, max: 12, loss: 0.25, count: 3 });
  });

  it('without one answer is an error, and so is none of it', () => {
    expect(() => roundTrips('--- x ping statistics ---\n5 packets transmitted, 0 received')).toThrow('not one of 5');
    expect(() => roundTrips('ping: bad address')).toThrow('ping gave no summary: ping: bad address');
  });
});

describe('/proc', () => {
  it('tells the time of the machine, with steal apart', () => {
    const stat = 'cpu  100 20 300 4000 50 6 70 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n';
    expect(parseStat(stat)).toEqual({ busy: 4.96, softirq: 0.7, steal: 0.08, total: expect.closeTo(45.54, 10) });
    expect(() => parseStat('intr 1 2 3')).toThrow('no line "cpu"');
  });

  it('tells the time of a process whose name holds blanks and brackets', () => {
    const fields = ['S', 1, 1, 1, 0, -1, 4194560, 100, 0, 0, 0, 250, 50, 7, 8, 20, 0].join(' ');
    expect(parsePidStat(`4711 (a) b (c) ${fields}`)).toBe(3);
  });
});
