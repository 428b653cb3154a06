/**
 * `npm run interop -- [--only=WORDS] [--untried] [--pairs] [--keep] [--list]`: the matrix of docs/interop-matrix.md against the
 * reference system. WORDS are those of a cell, `--only=bookworm,strongSwan,gre,psk`, or names of cells. `--untried` leaves out
 * what docs/ has a result of; `--pairs` takes a part in which every two values of two axes meet (with `--untried`: that had not
 * met). With `--keep` results go into docs/. A guest is booted once for all its cells, and built at the first run. A failed
 * cell's diagnosis is in the file that its line names. Ends with 1 if a cell failed.
 */
import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { cacheDirectory } from '../rig/cache.ts';
import { canMakeNamespaces, createRig, missingPrograms } from '../rig/rig.ts';
import { type CellResult, runCell } from './matrix-cell.ts';
import { allCells, type Cell, cellName, pairwise, selectCells } from './matrix-cells.ts';
import { keepResults, matrixTable, readResults } from './matrix-report.ts';
import { setStage } from './matrix-stage.ts';

const say = (text: string) => process.stdout.write(`${text}\n`);

function fail(text: string): never {
  process.stderr.write(`interop: ${text}\n`);
  process.exit(2);
}

/** Cells by the guest and daemon that they share. */
function groups(cells: readonly Cell[]): Cell[][] {
  const grouped = new Map<string, Cell[]>();
  for (const cell of cells) {
    const key = `${cell.suite}/${cell.daemon}`;
    grouped.set(key, [...(grouped.get(key) ?? []), cell]);
  }
  return [...grouped.values()];
}

/** Runs cells in one guest, and gives `results` theirs; ends early if the guest goes, with the cell that lost it. */
async function runInGuest(cells: readonly Cell[], keep: boolean, results: CellResult[]): Promise<Cell | undefined> {
  const rig = createRig();
  try {
    const [{ suite, daemon }] = cells as [Cell];
    say(`${suite}/${daemon}: booting the reference system`);
    const stage = await setStage(rig, suite, daemon);
    say(`${suite}/${daemon}: ${stage.system.versions}`);
    const explanations = join(cacheDirectory(), `interop-${suite}-${daemon}.log`);
    mkdirSync(cacheDirectory(), { recursive: true });
    for (const [index, cell] of cells.entries()) {
      const fate = runCell(stage, cell, {
        name: `tun${index}x`,
        report: (text) => say(`  ${cellName(cell)}: ${text}`),
        explain: (text) => appendFileSync(explanations, text),
      });
      const result = await fate.catch((error: Error) => {
        if (stage.guest.running.isRunning()) throw error;
        say(`  ${cellName(cell)}: ${error.message}`);
      });
      if (result === undefined) return cell;
      const { failure } = result;
      if (failure) say(`  ${cellName(cell)}: FAILED at ${failure.step}: ${failure.reason} (more in ${explanations})`);
      results.push(result);
      if (keep) keepResults([result]);
    }
  } finally {
    await rig.close();
  }
  return undefined;
}

/** Runs cells that share a guest; boots it anew for a cell that it did not outlive, once. @throws if that cell loses it again */
async function runGroup(cells: readonly Cell[], keep: boolean): Promise<CellResult[]> {
  const results: CellResult[] = [];
  let lost: Cell | undefined;
  while (results.length < cells.length) {
    const loser = await runInGuest(cells.slice(results.length), keep, results);
    if (loser !== undefined && loser === lost) throw new Error(`${cellName(loser)}: lost its guest twice`);
    lost = loser;
  }
  return results;
}

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    untried: { type: 'boolean' },
    pairs: { type: 'boolean' },
    keep: { type: 'boolean' },
    list: { type: 'boolean' },
  },
});
let cells: Cell[] = [];
try {
  cells = selectCells(values.only.split(',').filter(Boolean));
  const done = new Set(values.untried ? readResults().map(({ cell }) => cell) : []);
  const tried = allCells().filter((cell) => done.has(cellName(cell)));
  cells = cells.filter((cell) => !tried.some((other) => cellName(other) === cellName(cell)));
  if (values.pairs) cells = pairwise(cells, tried);
} catch (error) {
  fail((error as Error).message);
}
if (values.list) {
  say(cells.map(cellName).join('\n'));
} else {
  if (!canMakeNamespaces())
    fail('needs root and iproute2: it makes network namespaces and boots a virtual machine in one');
  const missing = missingPrograms(
    'qemu-system-x86_64',
    'debootstrap',
    'mkfs.ext4',
    'busybox',
    'tcpdump',
    'ovs-vsctl',
    'ovs-pki',
  );
  if (missing.length > 0)
    fail(`${missing.join(', ')} not found: install what they belong to, or run without NO_INSTALL=1`);
  const results: CellResult[] = [];
  for (const group of groups(cells)) results.push(...(await runGroup(group, values.keep === true)));
  say(`\n${matrixTable(results)}`);
  process.exitCode = results.some(({ failure }) => failure !== undefined) ? 1 : 0;
}
