/**
 * `ovs-espd top`: the live page in a terminal. Asks the control socket for the status model every second until it is
 * interrupted; without a terminal, or with --once, it prints one screen and ends.
 */
import { readFileSync } from 'node:fs';
import { directoriesOf } from './directories.ts';
import type { StatusModel } from './model/model.ts';
import { statusLine } from './model/model.ts';
import { callUnixctl } from './unixctl/client.ts';
import { PROGRAM } from './version.ts';

export const TOP_COMMAND = 'status/json';

/** One screen: `before` gives the rates. Lines are cut to `columns`, and there are at most `rows` of them. */
export function topText(model: StatusModel, before: StatusModel | undefined, columns: number, rows: number): string {
  const seconds = before === undefined ? 0 : (model.nowMs - before.nowMs) / 1000;
  const head = `${model.program} ${model.version}: ${statusLine(model)}`;
  const lines = [head, '', columnsOf(['TUNNEL', 'TYPE', 'REMOTE', 'POLICY', 'RX', 'TX', 'DROPS'])];
  for (const tunnel of model.tunnels) {
    const old = before?.tunnels.find(({ name }) => name === tunnel.name)?.traffic;
    const rate = (now: number, then: number | undefined): string =>
      then === undefined || seconds <= 0 ? '-' : bitRate(((now - then) * 8) / seconds);
    const drops = Object.values(tunnel.drops).reduce((sum, count) => sum + count, 0);
    const { name, type, remoteIp = '', policyRow, traffic } = tunnel;
    const rates = [rate(traffic.rxBytes, old?.rxBytes), rate(traffic.txBytes, old?.txBytes)];
    lines.push(columnsOf([name, type, remoteIp, policyRow, ...rates, String(drops)]));
  }
  const drops = Object.entries(model.drops).map(([reason, counts]) => `${reason} ${counts.reduce((a, b) => a + b, 0)}`);
  lines.push('', `drops: ${drops.join(', ') || 'none'}`, '', 'last negotiations:');
  const left = Math.max(0, rows - lines.length - 1);
  for (const { atMs, text } of left === 0 ? [] : model.news.slice(-left))
    lines.push(`  ${new Date(atMs).toISOString().slice(11, 19)} ${text}`);
  return `${lines
    .slice(0, rows - 1)
    .map((line) => printable(line).slice(0, columns))
    .join('\n')}\n`;
}

const WIDTHS = [16, 8, 24, 10, 13, 13, 8];

function columnsOf(cells: readonly string[]): string {
  return cells
    .map((cell, index) => cell.padEnd(WIDTHS[index]! - 1).concat(' '))
    .join('')
    .trimEnd();
}

/** Names come from a database: nothing in them may move the cursor. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '?');
}

function bitRate(rate: number): string {
  const units = ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s'];
  let index = 0;
  let value = Math.max(0, rate);
  while (value >= 1000 && index < units.length - 1) {
    value /= 1000;
    index++;
  }
  return `${value.toFixed(index === 0 ? 0 : 1)} ${units[index]}`;
}

/** Runs until interrupted. @throws Error with one line when the daemon can't be asked. */
export async function top(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  const wrong = args.find((arg) => arg !== '--once');
  if (wrong !== undefined) throw new Error(`top: unknown argument ${JSON.stringify(wrong)}, expected --once or none`);
  const socket = socketOf(directoriesOf(environment).run);
  const isLive = process.stdout.isTTY === true && !args.includes('--once');
  let before: StatusModel | undefined;
  for (;;) {
    const { ok, text } = await callUnixctl(socket, TOP_COMMAND);
    if (!ok) throw new Error(`top: ${text}`);
    const model = JSON.parse(text) as StatusModel;
    const { columns = 120, rows = 1000 } = process.stdout;
    process.stdout.write(`${isLive ? '\x1b[H\x1b[2J' : ''}${topText(model, before, columns, rows)}`);
    if (!isLive) return;
    before = model;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

/** The control socket of the daemon whose pidfile stands in the directory, as ovs-appctl finds it. */
function socketOf(run: string): string {
  try {
    const pid = readFileSync(`${run}/${PROGRAM}.pid`, 'utf8').trim();
    return `${run}/${PROGRAM}.${pid}.ctl`;
  } catch {
    throw new Error(
      `top: no ${run}/${PROGRAM}.pid: start the daemon with --pidfile, or set OVS_RUNDIR to its directory`,
    );
  }
}
