/** Round trips through a tunnel by ping: every time of a run, and its percentiles. */
import { run } from '../../test/rig/process.ts';
import type { TunnelEnd } from '../peers/peer.ts';
import { percentile } from '../report/statistics.ts';

/** Percentiles of round trips, in ms. */
export type RoundTrips = {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  /** Share of the requests without an answer, 0 to 1. */
  readonly loss: number;
  readonly count: number;
};

/** The times of iputils' ping without -q, in ms, and how many requests it sent. @throws if ping did not run. */
export function parsePing(output: string): { readonly times: number[]; readonly sent: number } {
  const sent = /^(\d+) packets transmitted/m.exec(output)?.[1];
  if (sent === undefined) throw new Error(`ping gave no summary: ${output.trim().slice(0, 200) || 'nothing at all'}`);
  // An answer that comes twice is marked (DUP!) and counts once.
  const times = [...output.matchAll(/ time=([\d.]+) ms$/gm)].map(([, time]) => Number(time));
  return { times, sent: Number(sent) };
}

/** The percentiles of what ping said. @throws if not one answer came. */
export function roundTrips(output: string): RoundTrips {
  const { times, sent } = parsePing(output);
  if (times.length === 0) throw new Error(`not one of ${sent} pings was answered`);
  const at = (share: number) => percentile(times, share);
  return {
    p50: at(0.5),
    p90: at(0.9),
    p99: at(0.99),
    p999: at(0.999),
    max: at(1),
    loss: sent === 0 ? 1 : Math.max(0, 1 - times.length / sent),
    count: times.length,
  };
}

/** The words of the command line: `count` requests of 56 bytes, one each 2 ms. */
export function pingWords(count: number): string[] {
  return ['-n', '-c', `${count}`, '-i', '0.002', '-W', '1'];
}

/** Pings from `client` to `server`. */
export async function measureRoundTrips(
  { client, server }: { client: TunnelEnd; server: TunnelEnd },
  count: number,
): Promise<RoundTrips> {
  const args = [...pingWords(count), '-I', client.address, server.address];
  const command = { command: 'ping', args, namespace: client.namespace };
  const { stdout } = await run(command, { ms: count * 20 + 10_000, expect: 'any' });
  return roundTrips(stdout);
}
