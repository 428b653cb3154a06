/** The metrics of a model in the text format of Prometheus, version 0.0.4. */
import type { StatusModel } from '../model/model.ts';
import { METRICS, type MetricRow } from './metrics.ts';

export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export function exposition(model: StatusModel): string {
  return METRICS.map((row) => family(row, model)).join('');
}

function family(row: MetricRow, model: StatusModel): string {
  const lines = [`# HELP ${row.name} ${escapeHelp(row.help)}`, `# TYPE ${row.name} ${row.type}`];
  for (const [values, number] of row.samples(model)) {
    const labels = row.labels.map((label, index) => `${label}="${escapeLabel(values[index] ?? '')}"`);
    lines.push(`${row.name}${labels.length === 0 ? '' : `{${labels.join(',')}}`} ${number}`);
  }
  return `${lines.join('\n')}\n`;
}

function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}
