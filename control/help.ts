/**
 * The text of --help: the options on one screen of 24 lines and 80 columns, with as many words as fit. Everything else
 * is in the manual pages, which are made of the same table (manual/).
 */

import { type Directories, defaultDatabase } from './directories.ts';
import { IGNORED, OPTIONS, type OptionRow } from './options.ts';
import { PROGRAM } from './version.ts';

const LEFT = 27;

export function helpText(directories: Directories): string {
  const rows = OPTIONS.filter((row) => row.group !== IGNORED && row.brief !== '');
  const lines = [
    `usage: ${PROGRAM} [OPTIONS] [DATABASE]  or: ${PROGRAM} top, ${PROGRAM} doctor`,
    `DATABASE: unix:PATH, tcp:HOST:PORT, ssl:HOST:PORT, file:PATH`,
    `          (default: ${defaultDatabase(directories)})`,
    ...rows.map(helpLine),
    `Manual: ${PROGRAM}(8), ${PROGRAM}.conf(5). Takes options of ovs-monitor-ipsec too.`,
  ];
  return `${lines.join('\n')}\n`;
}

/** As `--name=VALUE`, with the short form in front. */
export function optionText(row: OptionRow): string {
  const name = row.argumentName ?? '';
  const argument = { none: '', optional: `[=${name}]`, required: `=${name}` }[row.argument];
  return `${row.short === undefined ? '' : `-${row.short}, `}--${row.name}${argument}`;
}

function helpLine(row: OptionRow): string {
  const values = row.values === undefined ? '' : `: ${row.values.join(', ')}`;
  return `  ${optionText(row).padEnd(LEFT)} ${row.brief ?? row.help}${values}`;
}
