/**
 * The metrics there are: a row each, with the samples that it takes from the status model. docs/reference.md and the
 * exposition are made of this table. Names and labels are a contract: dashboards and alerts of others rely on them.
 */

import type { ModelTunnel, StatusModel } from '../model/model.ts';
import { POLICY_ROWS } from '../model/policy-rows.ts';

/** The values of a row's labels, in their order, and the number. */
export type Sample = readonly [labels: readonly string[], value: number];

export interface MetricRow {
  /** In base units; counters end in _total. */
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
  samples(model: StatusModel): Iterable<Sample>;
}

const single = (value: (model: StatusModel) => number) => (model: StatusModel) => [[[], value(model)] as const];

const ofTunnels =
  (samples: (tunnel: ModelTunnel) => readonly Sample[]) =>
  (model: StatusModel): Sample[] =>
    model.tunnels.flatMap((tunnel) =>
      samples(tunnel).map(([labels, value]) => [[tunnel.name, ...labels], value] as const),
    );

/** Both directions of every child SA: connection, child, direction, SPI. */
function ofSas(value: (sa: StatusModel['protections'][number]['children'][number], direction: 'in' | 'out') => number) {
  return (model: StatusModel): Sample[] =>
    model.protections.flatMap(({ key, children }) =>
      children.flatMap((sa) =>
        (['in', 'out'] as const).map((direction) => {
          const spi = direction === 'in' ? sa.inboundSpi : sa.outboundSpi;
          return [[key, sa.name, direction, `0x${spi.toString(16).padStart(8, '0')}`], value(sa, direction)] as const;
        }),
      ),
    );
}

/** What each counter of a worker means; its metric has the same name in snake case. */
const WORKER_HELP: Readonly<Record<keyof StatusModel['workers'][number], string>> = {
  turns: 'Turns of a packet worker, each a batch from every source that has something.',
  sleeps: 'How often a packet worker had nothing to do and slept.',
  framesRead: 'Frames read from TAPs and devices.',
  framesWritten: 'Frames written to TAPs and devices.',
  packetsReceived: 'Packets received from the uplink.',
  packetsSent: 'Packets handed to the uplink.',
  tfcPadded: 'Packets received with traffic flow confidentiality padding, which was cut off (RFC 4303 2.7).',
};

const WORKER_ROWS: readonly MetricRow[] = Object.entries(WORKER_HELP).map(([counter, help]) => ({
  name: `ovs_espd_worker_${counter.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}_total`,
  type: 'counter',
  help,
  labels: ['worker'],
  samples: ({ workers }) =>
    workers.map((worker, index) => [[String(index)], worker[counter as keyof typeof worker]] as const),
}));

const SA_LABELS = ['connection', 'child', 'direction', 'spi'];

export const METRICS: readonly MetricRow[] = [
  {
    name: 'ovs_espd_info',
    type: 'gauge',
    help: 'Always 1; the label tells the version.',
    labels: ['version'],
    samples: ({ version }) => [[[version], 1]],
  },
  {
    name: 'ovs_espd_configured',
    type: 'gauge',
    help: '1 after the database has been read, else 0.',
    labels: [],
    samples: single(({ isConfigured }) => Number(isConfigured)),
  },
  {
    name: 'ovs_espd_tunnel_info',
    type: 'gauge',
    help: 'Always 1; the labels tell what a tunnel is and whether its settings are CONFIGURED or INVALID.',
    labels: ['tunnel', 'bridge', 'type', 'remote', 'state'],
    samples: ofTunnels(({ bridge, type, remoteIp, state }) => [[[bridge, type, remoteIp ?? '', state], 1]]),
  },
  {
    name: 'ovs_espd_tunnel_policy',
    type: 'gauge',
    help: `1 for the row of the policy table that a tunnel is in (${POLICY_ROWS.map(({ id }) => id).join(', ')}), 0 for the others.`,
    labels: ['tunnel', 'row'],
    samples: ofTunnels(({ policyRow }) => POLICY_ROWS.map(({ id }) => [[id], Number(id === policyRow)])),
  },
  {
    name: 'ovs_espd_tunnel_packets_total',
    type: 'counter',
    help: 'Inner frames that came out of a tunnel (rx) and that were encapsulated for it (tx).',
    labels: ['tunnel', 'direction'],
    samples: ofTunnels(({ traffic }) => [
      [['rx'], traffic.rxPackets],
      [['tx'], traffic.txPackets],
    ]),
  },
  {
    name: 'ovs_espd_tunnel_bytes_total',
    type: 'counter',
    help: 'Bytes of these frames.',
    labels: ['tunnel', 'direction'],
    samples: ofTunnels(({ traffic }) => [
      [['rx'], traffic.rxBytes],
      [['tx'], traffic.txBytes],
    ]),
  },
  {
    name: 'ovs_espd_tunnel_drops_total',
    type: 'counter',
    help: 'Packets of a tunnel that were dropped, by reason (docs/drops.md); reasons that never happened are absent.',
    labels: ['tunnel', 'reason'],
    samples: ofTunnels(({ drops }) => Object.entries(drops).map(([reason, count]) => [[reason], count])),
  },
  {
    name: 'ovs_espd_sa_packets_total',
    type: 'counter',
    help: 'Packets of an ESP SA: opened and authentic (in), sealed (out).',
    labels: SA_LABELS,
    samples: ofSas((sa, direction) => (direction === 'in' ? sa.packetsIn : sa.packetsOut)),
  },
  {
    name: 'ovs_espd_sa_bytes_total',
    type: 'counter',
    help: 'Payload bytes of these packets, without ESP.',
    labels: SA_LABELS,
    samples: ofSas((sa, direction) => (direction === 'in' ? sa.bytesIn : sa.bytesOut)),
  },
  {
    name: 'ovs_espd_sa_rekey_seconds',
    type: 'gauge',
    help: 'Time until this end rekeys the child SA; absent where it does not.',
    labels: ['connection', 'child', 'spi'],
    samples: ({ protections }) =>
      protections.flatMap(({ key, children }) =>
        children.flatMap(({ name, inboundSpi, rekeyInSeconds }) =>
          rekeyInSeconds === undefined
            ? []
            : [[[key, name, `0x${inboundSpi.toString(16).padStart(8, '0')}`], rekeyInSeconds] as const],
        ),
      ),
  },
  {
    name: 'ovs_espd_drops_total',
    type: 'counter',
    help: 'Packets dropped, by reason (docs/drops.md) and worker; reasons that never happened are absent.',
    labels: ['reason', 'worker'],
    samples: ({ drops }) =>
      Object.entries(drops).flatMap(([reason, counts]) =>
        counts.map((count, worker) => [[reason, String(worker)], count] as const),
      ),
  },
  ...WORKER_ROWS,
  {
    name: 'ovs_espd_ike_sas',
    type: 'gauge',
    help: 'IKE SAs by state: connecting, established, rekeying, deleting; states that none is in are absent.',
    labels: ['state'],
    samples: ({ ikeSas }) => Object.entries(ikeSas).map(([state, count]) => [[state], count]),
  },
  {
    name: 'ovs_espd_ike_events_total',
    type: 'counter',
    help: 'Events of IKE under the names of coverage/show; events that never happened are absent.',
    labels: ['event'],
    samples: ({ ikeCounters }) => Object.entries(ikeCounters).map(([event, count]) => [[event], count]),
  },
  {
    name: 'ovs_espd_main_thread_delay_seconds',
    type: 'gauge',
    help: 'How long events (OVSDB, IKE, control socket) had to wait for the main thread since the start: median, 0.99 quantile, and 1 for the longest.',
    labels: ['quantile'],
    samples: ({ mainThread }) => [
      [['0.5'], mainThread.median / 1000],
      [['0.99'], mainThread.p99 / 1000],
      [['1'], mainThread.longest / 1000],
    ],
  },
  {
    name: 'process_start_time_seconds',
    type: 'gauge',
    help: 'When the daemon started, in seconds since 1970.',
    labels: [],
    samples: single(({ startedAtMs }) => startedAtMs / 1000),
  },
  {
    name: 'process_resident_memory_bytes',
    type: 'gauge',
    help: 'Resident memory of the daemon.',
    labels: [],
    samples: single(() => process.memoryUsage.rss()),
  },
  {
    name: 'process_cpu_seconds_total',
    type: 'counter',
    help: 'Processor time that the daemon has used, workers included.',
    labels: [],
    samples: single(() => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    }),
  },
];
