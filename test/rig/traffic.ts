/** Traffic through a tunnel: ping, and one run of iperf3. */
import { run, start, until } from './process.ts';
import type { Rig } from './rig.ts';

/** What ping counted. */
export type PingResult = {
  readonly sent: number;
  readonly received: number;
  /** 0 to 1. */
  readonly loss: number;
  /** Average round trip in ms; NaN if none came back. */
  readonly averageMs: number;
  readonly output: string;
};

/** Pings `target` from a namespace; `pingAll` is for tests that want every answer. Loss is a result, not an error; a ping that cannot run at all is one. */
export async function ping(
  namespace: string,
  target: string,
  {
    count = 3,
    interval = 0.1,
    wait = 1,
    size = 56,
    from,
    dontFragment = false,
    mark,
  }: {
    count?: number;
    interval?: number;
    wait?: number;
    size?: number;
    from?: string;
    dontFragment?: boolean;
    /** SO_MARK of the requests. */
    mark?: number;
  } = {},
): Promise<PingResult> {
  const args = ['-n', '-c', String(count), '-i', String(interval), '-W', String(wait), '-s', String(size)];
  if (from !== undefined) args.push('-I', from);
  if (dontFragment) args.push('-M', 'do');
  if (mark !== undefined) args.push('-m', String(mark));
  const ms = count * interval * 1000 + wait * 1000 + 10_000;
  const { stdout, stderr } = await run({ command: 'ping', args: [...args, target], namespace }, { ms, expect: 'any' });
  const summary = /(\d+) packets transmitted, (\d+) received/.exec(stdout);
  if (summary === null)
    throw new Error(`ping ${target} in ${namespace} did not run: ${stderr.trim() || stdout.trim()}`);
  const [sent, received] = [Number(summary[1]), Number(summary[2])];
  const averageMs = Number(/= [\d.]+\/([\d.]+)\//.exec(stdout)?.[1] ?? Number.NaN);
  return { sent, received, loss: sent === 0 ? 1 : 1 - received / sent, averageMs, output: stdout };
}

/** Pings until one answer comes back, at most `ms`: for a tunnel that negotiates on its first packet. */
export async function waitForPing(namespace: string, target: string, ms = 15_000, from?: string): Promise<void> {
  const options = { count: 1, wait: 0.5, ...(from === undefined ? {} : { from }) };
  await until(
    `an answer of ${target} to ping from ${namespace}`,
    async () => (await ping(namespace, target, options)).received > 0,
    ms,
  );
}

/**
 * Pings until all of `count` are answered, at most `ms`. ping waits for the last answers no longer than two round trips
 * if others have come, so on a busy machine a run can miss one that is only late; a size that never passes still fails.
 */
export async function pingAll(
  namespace: string,
  target: string,
  {
    count = 3,
    size = 56,
    ms = 10_000,
    dontFragment = false,
  }: { count?: number; size?: number; ms?: number; dontFragment?: boolean } = {},
): Promise<void> {
  await until(
    `${count} answers of ${target} to pings of ${size} bytes from ${namespace}`,
    async () => (await ping(namespace, target, { count, size, interval: 0.02, dontFragment })).received === count,
    ms,
  );
}

/** What one run of iperf3 gave, as the receiver counted it. */
export type ThroughputResult = {
  readonly gigabitsPerSecond: number;
  readonly retransmits: number;
  readonly seconds: number;
  /** Of the sending and the receiving host, in percent of one core. */
  readonly cpu: { readonly sender: number; readonly receiver: number };
};

type IperfReport = {
  error?: string;
  end: {
    sum_sent: { retransmits?: number };
    sum_received: { bits_per_second: number; seconds: number };
    cpu_utilization_percent: { host_total: number; remote_total: number };
  };
};

/** One iperf3 run, TCP, from `client` to `server`; both ends are stopped afterwards. The first `omit` seconds don't count. */
export async function measureThroughput(
  rig: Rig,
  {
    server,
    client,
    seconds = 5,
    omit = 1,
    streams = 1,
  }: {
    server: { namespace: string; address: string };
    client: { namespace: string; address?: string };
    seconds?: number;
    omit?: number;
    streams?: number;
  },
): Promise<ThroughputResult> {
  const listener = start(rig, {
    name: `iperf3 server (${server.namespace})`,
    command: 'iperf3',
    args: ['--server', '--one-off', '--forceflush', '--bind', server.address],
    namespace: server.namespace,
  });
  try {
    await listener.waitForOutput(/Server listening/);
    const args = ['--client', server.address, '--time', String(seconds), '--omit', String(omit), '--json'];
    args.push('--parallel', String(streams), '--connect-timeout', '5000');
    if (client.address !== undefined) args.push('--bind', client.address);
    const ms = (seconds + omit) * 1000 + 20_000;
    const command = { command: 'iperf3', args, namespace: client.namespace };
    const { stdout, stderr } = await run(command, { ms, expect: 'any' });
    const report = JSON.parse(stdout || '{}') as Partial<IperfReport>;
    if (report.error !== undefined || report.end === undefined) {
      throw new Error(`iperf3 to ${server.address} failed: ${report.error ?? (stderr.trim() || 'no report')}`);
    }
    const { sum_received: received, sum_sent: sent, cpu_utilization_percent: cpu } = report.end;
    return {
      gigabitsPerSecond: received.bits_per_second / 1e9,
      retransmits: sent.retransmits ?? 0,
      seconds: received.seconds,
      cpu: { sender: cpu.host_total, receiver: cpu.remote_total },
    };
  } finally {
    await listener.stop();
  }
}
