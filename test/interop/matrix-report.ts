/**
 * The matrix as a table, and as a page of docs/: results of several runs are kept together in docs/interop-matrix.json, a newer
 * run of a cell takes the place of the older one.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../rig/root.ts';
import { type CellResult, STEP_NAMES } from './matrix-cell.ts';
import { allCells, cellName } from './matrix-cells.ts';

const JSON_FILE = join(ROOT, 'docs/interop-matrix.json');
const PAGE = join(ROOT, 'docs/interop-matrix.md');

export function readResults(): CellResult[] {
  return existsSync(JSON_FILE) ? (JSON.parse(readFileSync(JSON_FILE, 'utf8')) as CellResult[]) : [];
}

/** Puts results beside those there are and writes the page anew. */
export function keepResults(fresh: readonly CellResult[]): void {
  const names = new Set(fresh.map(({ cell }) => cell));
  const order = allCells().map(cellName);
  const all = [...readResults().filter(({ cell }) => !names.has(cell) && order.includes(cell)), ...fresh];
  all.sort((a, b) => order.indexOf(a.cell) - order.indexOf(b.cell));
  writeFileSync(JSON_FILE, `${JSON.stringify(all, null, 2)}\n`);
  writeFileSync(PAGE, matrixPage(all));
}

/** Seconds of a step, a dash if it was not reached, FAILED. */
function stepText({ passed, failure }: CellResult, step: (typeof STEP_NAMES)[number]): string {
  if (failure?.step === step) return '**failed**';
  return passed[step] === undefined ? '–' : `✓ ${passed[step]}`;
}

const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;

/** The table of all results, in Markdown, which a terminal shows well enough. */
export function matrixTable(results: readonly CellResult[]): string {
  const head = ['cell', ...STEP_NAMES, 'date'];
  const lines = results.map((result) =>
    row([result.cell, ...STEP_NAMES.map((step) => stepText(result, step)), result.date]),
  );
  return [row(head), row(head.map(() => '---')), ...lines].join('\n');
}

/** docs/interop-matrix.md. */
export function matrixPage(results: readonly CellResult[]): string {
  const green = results.filter(({ failure }) => failure === undefined).length;
  const failures = results.flatMap(({ cell, failure }) =>
    failure === undefined ? [] : [`- \`${cell}\`, ${failure.step}: ${failure.reason}`],
  );
  const versions = new Map(results.map((result) => [result.cell.split('/').slice(0, 2).join('/'), result.versions]));
  return `# The interoperability matrix

Written by \`npm run interop\`, not by hand. Each cell is ovs-espd on one host, and on the other, a virtual machine, Open vSwitch with its kernel
datapath, \`ovs-monitor-ipsec\` and the IKE daemon named. What a cell does, in the order of the columns, with the seconds that it took under emulation:

- *up*: the tutorial's commands (with \`ovs-pki\`'s certificates where they are used); the side named starts, the other one cannot.
  With strongSwan and CA-signed certificates the guest's operator also does what [interop.md](interop.md#worth-knowing) says.
- *ping*: three pings each way, all answered.
- *20 MB, our rekeys*: 20 MB to the peer by TCP, checked by hash, again until ovs-espd has rekeyed child and IKE SA while bytes moved.
- *20 MB, their rekeys*: 20 MB from the peer; it rekeys the child, the IKE SA and the child again meanwhile.
- *peer reboot*: its IKE daemon is killed, its kernel forgets all SAs and policies, it starts again; pings both ways.
- *our restart*: ovs-espd is killed and starts again; pings both ways.
- *delete*: our port is removed; the peer has no child SA left.

Rows that end with \`mlkem768\` demand X25519 with ML-KEM-768 at both ends, of the IKE SA and of every rekeying ([how](interop.md#npm-run-interop)).
In every cell, from its first packet to its last, no tunnel packet was on the wire in the clear (\`ipsec_skb_mark=0/1\` here, traps there).

${green} of ${results.length} cells tried are green; there are ${allCells().length}. There is no cell for GRE over IPv6: the kernel datapath cannot send it.

${matrixTable(results)}

${[...versions].map(([where, what]) => `- ${where}: ${what}`).join('\n')}
${failures.length === 0 ? '' : `\n## What failed\n\n${failures.join('\n')}\n`}`;
}
