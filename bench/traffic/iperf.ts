/**
 * iperf3 through a tunnel: one run of TCP streams, or of UDP datagrams of one size, and what its JSON report says. The
 * server is started for each run and stopped after it.
 */
import { run, start } from '../../test/rig/process.ts';
import type { Rig } from '../../test/rig/rig.ts';
import type { TunnelEnd } from '../peers/peer.ts';

/** Beyond this a run does not end by itself any more. */
const GRACE_MS = 20_000;

/** What the receiver of TCP streams got. */
export type TcpRun = {
  readonly gigabitsPerSecond: number;
  readonly retransmits: number;
  /** Bits that the sender sent in the whole run, the warm-up included: what the CPU time of the run paid for. */
  readonly bitsInAll: number;
  /** CPU seconds of both iperf3 processes in the whole run. */
  readonly cpuSeconds: number;
};

/** What the receiver of datagrams got. */
export type UdpRun = {
  /** Datagrams a second that arrived, in thousands. */
  readonly kilopacketsPerSecond: number;
  /** Datagrams a second that were sent, in thousands. */
  readonly offeredKilopackets: number;
  /** Share of the datagrams sent that did not arrive, 0 to 1. */
  readonly loss: number;
  readonly bitsInAll: number;
  readonly cpuSeconds: number;
};

type Sum = { seconds: number; bytes: number; bits_per_second: number; retransmits?: number };
type UdpSum = Sum & { packets: number; lost_packets: number };
type Cpu = { host_total?: number; remote_total?: number };
type Report = {
  error?: string;
  intervals?: { sum: Sum }[];
  end?: { sum?: UdpSum; sum_sent?: Sum; sum_received?: Sum; cpu_utilization_percent?: Cpu };
};

/** Parses iperf3's JSON. @throws with iperf3's own error, or what is missing. */
function parse(json: string): Report & { end: NonNullable<Report['end']> } {
  let report: Report;
  try {
    report = JSON.parse(json) as Report;
  } catch {
    throw new Error(`iperf3 gave no JSON: ${json.trim().slice(0, 200) || 'nothing at all'}`);
  }
  if (report.error !== undefined) throw new Error(`iperf3: ${report.error}`);
  if (report.end === undefined || Object.keys(report.end).length === 0) throw new Error('iperf3 gave no summary');
  return { ...report, end: report.end };
}

/** What the sender's intervals add up to, those of the warm-up too. */
function total(report: Report, quantity: 'bytes' | 'seconds'): number {
  return (report.intervals ?? []).reduce((sum, interval) => sum + interval.sum[quantity], 0);
}

/** iperf3 tells its CPU time as a share of its whole run. */
function cpuSeconds({ end, ...report }: Report): number {
  const { host_total: host = 0, remote_total: remote = 0 } = end?.cpu_utilization_percent ?? {};
  return ((host + remote) / 100) * total(report, 'seconds');
}

/** The report of a TCP run, `iperf3 --json`. */
export function parseTcp(json: string): TcpRun {
  const report = parse(json);
  const { sum_received: received, sum_sent: sent } = report.end;
  if (received === undefined) throw new Error('iperf3 gave no sum_received: no TCP run?');
  return {
    gigabitsPerSecond: received.bits_per_second / 1e9,
    retransmits: sent?.retransmits ?? 0,
    bitsInAll: 8 * total(report, 'bytes'),
    cpuSeconds: cpuSeconds(report),
  };
}

/** The report of a UDP run, `iperf3 --udp --json`. */
export function parseUdp(json: string): UdpRun {
  const report = parse(json);
  const { sum } = report.end;
  if (sum?.packets === undefined) throw new Error('iperf3 gave no sum of packets: no UDP run?');
  const arrived = Math.max(0, sum.packets - sum.lost_packets);
  return {
    kilopacketsPerSecond: arrived / sum.seconds / 1000,
    offeredKilopackets: sum.packets / sum.seconds / 1000,
    loss: sum.packets === 0 ? 1 : 1 - arrived / sum.packets,
    bitsInAll: 8 * total(report, 'bytes'),
    cpuSeconds: cpuSeconds(report),
  };
}

/** The words of the client's command line for TCP: the first `omit` seconds do not count. */
export function tcpWords(streams: number, seconds: number, omit: number): string[] {
  return ['--time', `${seconds}`, '--omit', `${omit}`, '--parallel', `${streams}`];
}

/** The same for datagrams with `size` bytes of payload; without `rate` (bits a second) as fast as they can be sent. */
export function udpWords(size: number, seconds: number, rate = 0): string[] {
  return ['--udp', '--length', `${size}`, '--bitrate', `${rate}`, '--time', `${seconds}`];
}

/** Runs iperf3 from `client` to `server` with these words; gives the client's JSON. */
export async function iperf(
  rig: Rig,
  { client, server }: { client: TunnelEnd; server: TunnelEnd },
  words: readonly string[],
): Promise<string> {
  const listener = start(rig, {
    name: `iperf3 server (${server.namespace})`,
    command: 'iperf3',
    args: ['--server', '--one-off', '--forceflush', '--bind', server.address],
    namespace: server.namespace,
  });
  try {
    await listener.waitForOutput(/Server listening/);
    const args = [
      '--client',
      server.address,
      '--bind',
      client.address,
      '--json',
      '--connect-timeout',
      '5000',
      ...words,
    ];
    const seconds = Number(words[words.indexOf('--time') + 1] ?? 0);
    const command = { command: 'iperf3', args, namespace: client.namespace };
    const { stdout } = await run(command, { ms: seconds * 1000 + GRACE_MS, expect: 'any' });
    return stdout;
  } finally {
    await listener.kill();
  }
}
