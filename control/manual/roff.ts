/** Manual pages as man(7) macros: escaping, sections, lists of tagged paragraphs. */

export interface Entry {
  readonly tag: string;
  readonly text: string;
}

export interface Section {
  readonly title: string;
  /** Paragraphs first, then entries, then verbatim lines. */
  readonly paragraphs?: readonly string[];
  readonly entries?: readonly Entry[];
  readonly example?: readonly string[];
  readonly subsections?: readonly Section[];
}

export interface Page {
  readonly name: string;
  readonly section: number;
  readonly version: string;
  readonly sections: readonly Section[];
}

export function pageText({ name, section, version, sections }: Page): string {
  const head = `.\\" Made from the tables in the code by control/manual/write.ts; edit those.\n.TH ${name.toUpperCase()} ${section} "" "${name.split('.')[0]} ${version}" "Open vSwitch Manual"\n`;
  return head + sections.map((part) => sectionText(part, '.SH')).join('');
}

function sectionText(
  { title, paragraphs = [], entries = [], example = [], subsections = [] }: Section,
  macro: string,
): string {
  const parts = [`${macro} "${escapeText(title)}"\n`];
  for (const paragraph of paragraphs) parts.push(`.PP\n${line(paragraph)}\n`);
  for (const { tag, text } of entries)
    parts.push(`.TP\n.B "${escapeText(tag).replaceAll('"', '\\(dq')}"\n${line(text)}\n`);
  if (example.length > 0) parts.push(`.PP\n.nf\n${example.map(line).join('\n')}\n.fi\n`);
  for (const subsection of subsections) parts.push(sectionText(subsection, '.SS'));
  return parts.join('');
}

/** A line of text: `code` becomes bold, and nothing in it is taken for a request. */
function line(text: string): string {
  const escaped = escapeText(text.replaceAll('\n', ' ')).replace(/`([^`]+)`/g, '\\fB$1\\fR');
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}

function escapeText(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('’', "'")
    .replaceAll('…', '...')
    .replaceAll('§', 'section ');
}
