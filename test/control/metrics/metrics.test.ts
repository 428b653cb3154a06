import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dashboardText, PANELS } from '../../../control/metrics/dashboard.ts';
import { exposition } from '../../../control/metrics/exposition.ts';
import { METRICS } from '../../../control/metrics/metrics.ts';
import { ROOT } from '../../rig/root.ts';
import { sampleModel } from './model-sample.ts';

/** The grammar of a sample line (Prometheus, text format 0.0.4). */
const SAMPLE =
  /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*")*\})? (\S+)$/;

function samples(text: string): string[] {
  return text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
}

describe('the exposition', () => {
  it('has every metric with its samples', () => {
    const text = exposition(sampleModel());
    expect(samples(text)).toEqual(
      expect.arrayContaining([
        'ovs_espd_info{version="1.2.3"} 1',
        'ovs_espd_tunnel_policy{tunnel="tun",row="up"} 1',
        'ovs_espd_tunnel_policy{tunnel="tun",row="none"} 0',
        'ovs_espd_tunnel_bytes_total{tunnel="tun",direction="tx"} 2000',
        'ovs_espd_tunnel_drops_total{tunnel="tun",reason="policy-no-sa"} 3',
        'ovs_espd_sa_packets_total{connection="geneve:10.1.0.1-10.1.0.2:6081",child="tun-out",direction="out",spi="0xf0000001"} 12',
        'ovs_espd_sa_rekey_seconds{connection="geneve:10.1.0.1-10.1.0.2:6081",child="tun-out",spi="0x01020304"} 300',
        'ovs_espd_drops_total{reason="policy-no-sa",worker="1"} 2',
        'ovs_espd_worker_turns_total{worker="1"} 19',
        'ovs_espd_ike_events_total{event="established: IKE SAs"} 1',
        'process_start_time_seconds 1000',
      ]),
    );
    for (const { name, type } of METRICS) expect(text).toContain(`# TYPE ${name} ${type}\n`);
  });

  it('keeps the grammar whatever tunnels and events are called', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (name, event) => {
        const [tunnel] = sampleModel().tunnels;
        const text = exposition(sampleModel({ tunnels: [{ ...tunnel!, name }], ikeCounters: { [event]: 1 } }));
        for (const line of samples(text)) expect(line).toMatch(SAMPLE);
      }),
    );
  });

  it('has no sample twice', () => {
    const keys = samples(exposition(sampleModel())).map((line) => line.replace(/ \S+$/, ''));
    expect(new Set(keys).size).toBe(keys.length);
  });

  it('names things as Prometheus asks: counters end in _total, gauges do not', () => {
    for (const { name, type } of METRICS) expect(name.endsWith('_total')).toBe(type === 'counter');
  });
});

describe('docs/grafana-dashboard.json', () => {
  it('is what the table gives (else: node dist/control/metrics/dashboard.js >docs/grafana-dashboard.json)', () => {
    expect(readFileSync(join(ROOT, 'docs/grafana-dashboard.json'), 'utf8')).toBe(dashboardText());
  });

  it('asks for metrics and labels that there are', () => {
    for (const { expression, legend } of PANELS.flatMap((panel) => panel.queries)) {
      const names = expression.match(/\b(?:ovs_espd|process)_[a-z_]+/g) ?? [];
      expect(names.length).toBeGreaterThan(0);
      const rows = names.map((name) => METRICS.find((row) => row.name === name));
      expect(rows).not.toContain(undefined);
      for (const [, label] of legend.matchAll(/\{\{(\w+)\}\}/g)) expect(rows[0]!.labels).toContain(label);
    }
  });

  it('has no panel above another one', () => {
    const { panels } = JSON.parse(dashboardText()) as {
      panels: { gridPos: { x: number; y: number; w: number; h: number } }[];
    };
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
  });
});
