/** A report as data: what a suite has to say, before it becomes Markdown (markdown.ts) or a web page (html.ts). */
import type { Environment } from './environment.ts';
import type { Estimate } from './statistics.ts';

/** Rows of texts under a head; the first column is the name of the row. */
export type Table = { readonly head: readonly string[]; readonly rows: readonly (readonly string[])[] };

/** Horizontal bars with whiskers from low to high, one group for each label. */
export type BarChart = {
  readonly kind: 'bars';
  readonly title: string;
  readonly unit: string;
  readonly labels: readonly string[];
  /** Bars of each group; a value that was not measured is undefined. */
  readonly series: readonly { readonly name: string; readonly values: readonly (Estimate | undefined)[] }[];
  readonly logarithmic?: boolean;
};

/** Lines through points. */
export type LineChart = {
  readonly kind: 'lines';
  readonly title: string;
  readonly xTitle: string;
  readonly yTitle: string;
  readonly series: readonly { readonly name: string; readonly points: readonly (readonly [x: number, y: number])[] }[];
  readonly logarithmicX?: boolean;
  readonly logarithmicY?: boolean;
};

export type Chart = BarChart | LineChart;

/** A part of a report. */
export type Section = {
  readonly heading: string;
  readonly text?: readonly string[];
  readonly table?: Table;
  readonly charts?: readonly Chart[];
};

/** A whole report. */
export type Page = {
  readonly title: string;
  readonly environment: Environment;
  /** What to type to make it again. */
  readonly command: string;
  /** Paragraphs before the first section. */
  readonly summary: readonly string[];
  readonly sections: readonly Section[];
};

/** A number with three significant digits, without an exponent. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const digits = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 4));
}

/** `4.21 (4.02 to 4.40)`; nothing measured is a dash. */
export function interval(estimate: Estimate | undefined, suffix = ''): string {
  if (estimate === undefined) return '–';
  const { median, low, high, count } = estimate;
  if (count === 1) return `${number(median)}${suffix}`;
  return `${number(median)}${suffix} (${number(low)} to ${number(high)})`;
}
