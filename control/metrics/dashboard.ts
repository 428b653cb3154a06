/**
 * docs/grafana-dashboard.json: one row of this table a panel, with the queries it draws. To import in Grafana; it asks for the
 * data source. `node dist/control/metrics/dashboard.js > docs/grafana-dashboard.json` writes it, a test fails when it is stale.
 */
import { fileURLToPath } from 'node:url';

export interface Panel {
  readonly title: string;
  readonly kind: 'timeseries' | 'stat' | 'table';
  /** A unit of Grafana. */
  readonly unit: string;
  /** Of 24 columns. */
  readonly width: number;
  readonly queries: readonly { readonly expression: string; readonly legend: string }[];
}

const JOB = 'job=~"$job",instance=~"$instance"';
const RATE = '[$__rate_interval]';

export const PANELS: readonly Panel[] = [
  {
    ...{ title: 'Tunnels with an SA', kind: 'stat', unit: 'none', width: 6 },
    queries: [{ expression: `sum(ovs_espd_tunnel_policy{${JOB},row="up"})`, legend: 'up' }],
  },
  {
    ...{ title: 'Tunnels that drop for want of an SA', kind: 'stat', unit: 'none', width: 6 },
    queries: [{ expression: `sum(ovs_espd_tunnel_policy{${JOB},row="down"})`, legend: 'down' }],
  },
  {
    ...{ title: 'Invalid tunnels', kind: 'stat', unit: 'none', width: 6 },
    queries: [{ expression: `sum(ovs_espd_tunnel_policy{${JOB},row="invalid"})`, legend: 'invalid' }],
  },
  {
    ...{ title: 'IKE SAs', kind: 'stat', unit: 'none', width: 6 },
    queries: [{ expression: `sum by (state) (ovs_espd_ike_sas{${JOB}})`, legend: '{{state}}' }],
  },
  {
    ...{ title: 'Throughput of each tunnel', kind: 'timeseries', unit: 'bps', width: 12 },
    queries: [
      { expression: `8 * rate(ovs_espd_tunnel_bytes_total{${JOB}}${RATE})`, legend: '{{tunnel}} {{direction}}' },
    ],
  },
  {
    ...{ title: 'Drops by reason', kind: 'timeseries', unit: 'pps', width: 12 },
    queries: [{ expression: `sum by (reason) (rate(ovs_espd_drops_total{${JOB}}${RATE}))`, legend: '{{reason}}' }],
  },
  {
    ...{ title: 'Packets of each ESP SA', kind: 'timeseries', unit: 'pps', width: 12 },
    queries: [
      {
        expression: `rate(ovs_espd_sa_packets_total{${JOB}}${RATE})`,
        legend: '{{connection}} {{child}} {{direction}} {{spi}}',
      },
    ],
  },
  {
    ...{ title: 'Time until child SAs are rekeyed', kind: 'timeseries', unit: 's', width: 12 },
    queries: [{ expression: `ovs_espd_sa_rekey_seconds{${JOB}}`, legend: '{{connection}} {{child}} {{spi}}' }],
  },
  {
    ...{ title: 'Packets of each worker', kind: 'timeseries', unit: 'pps', width: 12 },
    queries: [
      { expression: `rate(ovs_espd_worker_packets_sent_total{${JOB}}${RATE})`, legend: 'sent, worker {{worker}}' },
      {
        expression: `rate(ovs_espd_worker_packets_received_total{${JOB}}${RATE})`,
        legend: 'received, worker {{worker}}',
      },
    ],
  },
  {
    ...{ title: 'Frames in each turn of a worker', kind: 'timeseries', unit: 'none', width: 12 },
    queries: [
      {
        expression: `(rate(ovs_espd_worker_frames_read_total{${JOB}}${RATE}) + rate(ovs_espd_worker_packets_received_total{${JOB}}${RATE})) / rate(ovs_espd_worker_turns_total{${JOB}}${RATE})`,
        legend: 'worker {{worker}}',
      },
    ],
  },
  {
    ...{ title: 'IKE events', kind: 'timeseries', unit: 'ops', width: 12 },
    queries: [{ expression: `rate(ovs_espd_ike_events_total{${JOB}}${RATE}) > 0`, legend: '{{event}}' }],
  },
  {
    ...{ title: 'Processor and memory', kind: 'timeseries', unit: 'short', width: 12 },
    queries: [
      { expression: `rate(process_cpu_seconds_total{${JOB}}${RATE})`, legend: 'processors' },
      { expression: `process_resident_memory_bytes{${JOB}} / 1e9`, legend: 'GB resident' },
    ],
  },
];

const COLUMNS = 24;
const DATA_SOURCE = { type: 'prometheus', uid: '$datasource' };

export function dashboardText(): string {
  let [x, y] = [0, 0];
  const panels = PANELS.map(({ title, kind, unit, width, queries }, index) => {
    if (x + width > COLUMNS) [x, y] = [0, y + 8];
    const gridPos = { h: kind === 'stat' ? 4 : 8, w: width, x, y };
    x += width;
    if (kind === 'stat' && x === COLUMNS) [x, y] = [0, y + 4];
    return {
      ...{ id: index + 1, title, type: kind, datasource: DATA_SOURCE, gridPos },
      fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
      targets: queries.map(({ expression, legend }, query) => ({
        ...{ refId: String.fromCharCode(65 + query), datasource: DATA_SOURCE },
        ...{ expr: expression, legendFormat: legend },
      })),
    };
  });
  const choice = (name: string, of: string) => ({
    ...{ name, type: 'query', datasource: DATA_SOURCE, includeAll: true, multi: true },
    ...{ query: `label_values(ovs_espd_info${of}, ${name})`, refresh: 2 },
    current: { text: 'All', value: '$__all' },
  });
  const dashboard = {
    ...{ title: 'ovs-espd', uid: 'ovs-espd', schemaVersion: 39, refresh: '10s', time: { from: 'now-1h', to: 'now' } },
    tags: ['openvswitch', 'ipsec'],
    templating: {
      list: [
        { name: 'datasource', type: 'datasource', query: 'prometheus' },
        choice('job', ''),
        choice('instance', '{job=~"$job"}'),
      ],
    },
    panels,
  };
  return `${JSON.stringify(dashboard, null, 2)}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(dashboardText());
