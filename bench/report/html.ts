/** A report as one web page with its charts inside: no script, no other file, nothing from the network. */
import { toSvg } from './charts.ts';
import { environmentLine } from './environment.ts';
import { escapeHtml } from './escape.ts';
import type { Page, Section, Table } from './page.ts';

const STYLE = `
body { font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2em auto; padding: 0 1em; color: #222; background: #fff; }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0; }
td, th { padding: 3px 10px; border-bottom: 1px solid #ddd; text-align: right; font-variant-numeric: tabular-nums; }
td:first-child, th:first-child { text-align: left; }
pre { background: #f4f4f4; padding: .6em 1em; overflow-x: auto; }
figure { margin: 1.5em 0; } svg { max-width: 100%; height: auto; } .machine { color: #555; }
`;

const paragraphs = (texts: readonly string[]) => texts.map((text) => `<p>${inline(text)}</p>`);

/** The little Markdown that paragraphs use: `code` and **strong**. */
function inline(text: string): string {
  return escapeHtml(text)
    .replaceAll(/`([^`]+)`/g, '<code>$1</code>')
    .replaceAll(/\*\*([^*]+)\*\*/g, '<strong>$1</strong>');
}

function htmlTable({ head, rows }: Table): string {
  const cells = (tag: 'td' | 'th', row: readonly string[]) =>
    `<tr>${row.map((cell) => `<${tag}>${inline(cell)}</${tag}>`).join('')}</tr>`;
  return `<table>\n${[cells('th', head), ...rows.map((row) => cells('td', row))].join('\n')}\n</table>`;
}

function section({ heading, text = [], table, charts = [] }: Section): string[] {
  return [
    `<h2>${escapeHtml(heading)}</h2>`,
    ...paragraphs(text),
    ...charts.map((chart) => `<figure>${toSvg(chart)}</figure>`),
    ...(table === undefined ? [] : [htmlTable(table)]),
  ];
}

/** The whole page. */
export function toHtml({ title, environment, command, summary, sections }: Page): string {
  const date = environment.date.slice(0, 16).replace('T', ' ');
  return `${[
    '<!doctype html>',
    '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    `<title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body>`,
    `<h1>${escapeHtml(title)}</h1>`,
    `<p class="machine">${escapeHtml(`${date} UTC. ${environmentLine(environment)}.`)}</p>`,
    `<pre>${escapeHtml(command)}</pre>`,
    ...paragraphs(summary),
    ...sections.flatMap(section),
    '</body></html>',
  ].join('\n')}\n`;
}
