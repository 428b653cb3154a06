/** A report as Markdown; charts are left to the web page. */
import { environmentLine } from './environment.ts';
import type { Page, Section, Table } from './page.ts';

const escaped = (cell: string) => cell.replaceAll('|', '\\|');
const row = (cells: readonly string[]) => `| ${cells.map(escaped).join(' | ')} |`;

/** A table in pipe syntax. */
export function markdownTable({ head, rows }: Table): string {
  return [row(head), row(head.map(() => '---')), ...rows.map(row)].join('\n');
}

function section({ heading, text = [], table }: Section): string[] {
  return [`## ${heading}`, ...text, ...(table === undefined ? [] : [markdownTable(table)])];
}

/** The whole report, ending with a line feed. */
export function toMarkdown({ title, environment, command, summary, sections }: Page): string {
  const head = [
    `# ${title}`,
    `${environment.date.slice(0, 16).replace('T', ' ')} UTC. ${environmentLine(environment)}.`,
  ];
  const parts = [...head, `    ${command}`, ...summary, ...sections.flatMap(section)];
  return `${parts.join('\n\n')}\n`;
}
