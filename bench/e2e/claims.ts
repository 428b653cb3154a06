/**
 * What the project holds itself to end to end, as ratios within one run. A bound is *held* where the whole 95 % interval
 * lies on its good side, *missed* where the whole interval lies on the other, and else *not shown*.
 */
import { type Estimate, ratio } from '../report/statistics.ts';
import { BASELINES } from './lineup.ts';
import { type Column, type Results, samplesOf } from './results.ts';

/** A bound on the ratio of two contenders. */
export type Claim = {
  readonly what: string;
  readonly contender: string;
  readonly baseline: string;
  readonly measurement: string;
  readonly column: Column;
  /** A name in the samples' `values`; undefined: the headline number. */
  readonly quantity?: string;
  readonly atLeast?: number;
  readonly atMost?: number;
};

const { libipsec, kernelVxlan, wireguard, rawEsp, udpEsp, packet, again } = BASELINES;
const honest = { measurement: 'tcp-1', column: 'wire-honest' } as const;
const offload = { measurement: 'tcp-1', column: 'offload' } as const;
const latency = (measurement: string, quantity: string) =>
  ({ contender: rawEsp, baseline: wireguard, measurement, column: 'wire-honest', quantity, atMost: 0.6 }) as const;

export const CLAIMS: readonly Claim[] = [
  { what: 'raw ESP ÷ kernel-libipsec', contender: rawEsp, baseline: libipsec, ...honest, atLeast: 6 },
  { what: 'ESP in UDP ÷ kernel-libipsec', contender: udpEsp, baseline: libipsec, ...honest, atLeast: 6 },
  { what: 'raw ESP ÷ kernel VXLAN in plaintext', contender: rawEsp, baseline: kernelVxlan, ...honest, atLeast: 0.7 },
  { what: 'ESP in UDP ÷ kernel-libipsec', contender: udpEsp, baseline: libipsec, ...offload, atLeast: 9 },
  {
    what: 'ESP in UDP ÷ kernel VXLAN in plaintext',
    contender: udpEsp,
    baseline: kernelVxlan,
    ...offload,
    atLeast: 0.33,
  },
  { what: 'median round trip ÷ wireguard-go', ...latency('latency-idle', 'p50') },
  { what: '99th percentile under load ÷ wireguard-go', ...latency('latency-load', 'p99') },
];

/** Without a bound: what sending past the IP stack gains, and the same tunnel against itself, which shows how wide the noise is. */
export const CONTROLS: readonly Claim[] = [
  { what: 'raw ESP, --uplink-io=packet ÷ mmsg', contender: packet, baseline: rawEsp, ...honest },
  { what: 'raw ESP ÷ itself (A/A)', contender: again, baseline: rawEsp, ...honest },
  { what: 'raw ESP ÷ itself (A/A)', contender: again, baseline: rawEsp, ...offload },
];

export type Verdict = 'held' | 'missed' | 'not shown' | 'not measured' | 'control';

/** The ratio of a claim in these results; undefined if both were never measured in one block. */
export function ratioOf(results: Pick<Results, 'samples'>, claim: Claim): Estimate | undefined {
  const values = (contender: string) =>
    samplesOf(results, contender, claim.measurement, claim.column).map(({ block, value, values: more }) => ({
      block,
      value: claim.quantity === undefined ? value : (more[claim.quantity] ?? Number.NaN),
    }));
  return ratio(values(claim.contender), values(claim.baseline));
}

/** Whether the estimate keeps the claim's bound. */
export function verdict({ atLeast, atMost }: Claim, estimate: Estimate | undefined): Verdict {
  if (estimate === undefined) return 'not measured';
  if (atLeast === undefined && atMost === undefined) return 'control';
  const { low, high } = estimate;
  if (atLeast !== undefined) return low >= atLeast ? 'held' : high < atLeast ? 'missed' : 'not shown';
  return high <= atMost! ? 'held' : low > atMost! ? 'missed' : 'not shown';
}
