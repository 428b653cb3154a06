/**
 * Runs contenders in interleaved rounds (A B C, A B C, …), so that a machine that grows warm or busy meets all alike.
 * Each run has a rig of its own: two fresh namespaces, one veth, no idle neighbours; and it first proves, by a capture
 * while it pings, that only ESP and IKE are on the wire.
 */
import { startCapture } from '../../test/rig/capture.ts';
import { createLan } from '../../test/rig/namespace.ts';
import { createRig } from '../../test/rig/rig.ts';
import { measureThroughput, ping } from '../../test/rig/traffic.ts';
import type { Peer } from '../peers/peer.ts';

/** The two columns of every table: with the veth's segmentation offloads, and as a wire would be (none). */
export const COLUMNS = ['offload', 'wire-honest'] as const;
export type Column = (typeof COLUMNS)[number];

/** One run of one contender. */
export type Sample = {
  readonly peer: string;
  readonly column: Column;
  readonly round: number;
  readonly gigabitsPerSecond: number;
  readonly retransmits: number;
  /** Average of three pings before the run, in ms. */
  readonly roundTripMs: number;
};

/** Measures one contender once: one iperf3 TCP stream over an underlay of MTU 1500. */
async function runOnce(peer: Peer, column: Column, seconds: number): Promise<Omit<Sample, 'round'>> {
  const rig = createRig();
  try {
    const lan = await createLan(rig, { mtu: 1500, offloads: column === 'offload' });
    const { client, server } = await peer.start(rig, lan);
    const capture = await startCapture(rig, lan.a);
    const { averageMs, received } = await ping(client.namespace, server.address, { from: client.address });
    await capture.stop();
    capture.assertOnlyEsp();
    if (received < 3) throw new Error(`${peer.name}: ${received} of 3 pings came back before the run`);
    const { gigabitsPerSecond, retransmits } = await measureThroughput(rig, { client, server, seconds });
    return { peer: peer.name, column, gigabitsPerSecond, retransmits, roundTripMs: averageMs };
  } finally {
    await rig.close();
  }
}

/** Runs all contenders in both columns, `rounds` times; `report` is told of every run as it is done. */
export async function runInterleaved(
  peers: readonly Peer[],
  { rounds, seconds, columns = COLUMNS }: { rounds: number; seconds: number; columns?: readonly Column[] },
  report: (sample: Sample, done: number, total: number) => void,
): Promise<Sample[]> {
  const samples: Sample[] = [];
  const total = rounds * columns.length * peers.length;
  for (let round = 1; round <= rounds; round += 1) {
    for (const column of columns) {
      for (const peer of peers) {
        const sample = { ...(await runOnce(peer, column, seconds)), round };
        samples.push(sample);
        report(sample, samples.length, total);
      }
    }
  }
  return samples;
}

/** The median of at least one number. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
