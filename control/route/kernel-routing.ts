/**
 * Rules and routes of the kernel, made what a plan says by the fewest steps, through `ip -batch` (iproute2).
 *
 * Everything of ours carries ROUTE_PROTOCOL, so what an earlier life of the daemon has left is found again and taken over or
 * taken away, and what belongs to others is not touched but for the rule of the table `local`, which moves behind ours and back.
 * Routes come before the rules that lead to them, the blackhole before the routes, and additions before removals: there is
 * no moment at which a packet goes on that neither the old nor the new plan lets go.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { messageOf } from '../message-of.ts';
import { outputOf, runProgram } from '../program.ts';
import {
  type KernelRule,
  LOCAL_BEHIND,
  LOCAL_FIRST,
  LOCAL_TABLE,
  ROUTE_PROTOCOL,
  ROUTE_TABLE,
  type RoutingPlan,
  TUN_NAME,
  wordsOf,
} from './rules.ts';

/** The kernel's routing as the attach sees it: the real one (`systemRouting`), or that of a test. */
export interface Routing {
  /**
   * Gives the number of steps that it took: 0 if all was as planned.
   * @throws Error with what `ip` said. What was done until then stays, and the next call goes on from there.
   */
  apply(family: 4 | 6, plan: RoutingPlan): Promise<number>;
  /** Makes the TUN fit for packets from peers, before it is set up. */
  prepareTun(): Promise<void>;
}

interface KernelRoute {
  readonly type?: string;
  readonly dst: string;
  readonly dev?: string;
  readonly prefsrc?: string;
}

const BLACKHOLE = 'blackhole default';
const OURS = `protocol ${ROUTE_PROTOCOL}`;
const FIRST = `pref ${LOCAL_FIRST} lookup ${LOCAL_TABLE}`;
const BEHIND = `pref ${LOCAL_BEHIND} lookup ${LOCAL_TABLE}`;
const REVERSE_PATH_FILTER = '/proc/sys/net/ipv4/conf';
const STRICT = '1';
const LOOSE = '2';

/** The lines for `ip -batch` that lead from what the kernel has to the plan; none if it is that already. */
export function stepsTo(plan: RoutingPlan, rules: readonly KernelRule[], routes: readonly KernelRoute[]): string[] {
  const table = `table ${ROUTE_TABLE} proto ${ROUTE_PROTOCOL}`;
  const wantedRoutes = plan.rules.length === 0 ? [] : [BLACKHOLE, ...plan.routes];
  const presentRoutes = routes.map(routeWords);
  const present = rules.filter(({ protocol }) => protocol === String(ROUTE_PROTOCOL)).map(wordsOf);
  const localIsFirst = rules.some((rule) => wordsOf(rule) === FIRST);
  const wantsFirst = plan.rules.length === 0;
  const isIn = (list: readonly string[]) => (words: string) => list.includes(words);
  const isNotIn = (list: readonly string[]) => (words: string) => !list.includes(words);
  return [
    ...wantedRoutes.filter(isNotIn(presentRoutes)).map((words) => `route replace ${words} ${table}`),
    ...plan.rules.filter(isNotIn(present)).map((words) => `rule add ${words} ${OURS}`),
    ...(wantsFirst && !localIsFirst && isIn(present)(BEHIND) ? [`rule add ${FIRST} protocol kernel`] : []),
    ...(!wantsFirst && localIsFirst ? [`rule del ${FIRST}`] : []),
    ...present.filter(isNotIn(plan.rules)).map((words) => `rule del ${words} ${OURS}`),
    ...presentRoutes.filter(isNotIn(wantedRoutes)).map((words) => `route del ${words} ${table}`),
  ];
}

function routeWords({ type, dst, dev, prefsrc }: KernelRoute): string {
  // Over IPv6 a blackhole has a device too.
  if (type !== undefined) return `${type} ${dst}`;
  return [dst, ...(dev === undefined ? [] : [`dev ${dev}`]), ...(prefsrc === undefined ? [] : [`src ${prefsrc}`])].join(
    ' ',
  );
}

async function apply(family: 4 | 6, plan: RoutingPlan): Promise<number> {
  let rules: KernelRule[];
  try {
    // Numbers for names: what those of protocols are is for /etc/protocols to say, and it may be absent.
    rules = await show<KernelRule>(family, ['-N', 'rule', 'show']);
  } catch (error) {
    // A kernel without this family, or without rules, has none of ours.
    if (plan.rules.length === 0) return 0;
    throw error;
  }
  const hasOurs = rules.some(({ protocol }) => protocol === String(ROUTE_PROTOCOL));
  if (!hasOurs && plan.rules.length === 0) return 0;
  const steps = stepsTo(plan, rules, await routesOfTable(family));
  if (steps.length > 0) await batch(family, steps);
  return steps.length;
}

/** A table that has never had a route is an error to `ip`. */
async function routesOfTable(family: 4 | 6): Promise<readonly KernelRoute[]> {
  try {
    return await show<KernelRoute>(family, ['route', 'show', 'table', String(ROUTE_TABLE)]);
  } catch (error) {
    if (error instanceof Error && error.message.includes('FIB table does not exist')) return [];
    throw error;
  }
}

async function show<T>(family: 4 | 6, words: readonly string[]): Promise<T[]> {
  const stdout = await outputOf('ip', [`-${family}`, '-json', ...words]);
  return stdout.trim() === '' ? [] : (JSON.parse(stdout) as T[]);
}

async function batch(family: 4 | 6, lines: readonly string[]): Promise<void> {
  const input = lines.map((line) => `${line}\n`).join('');
  const { status, stderr } = await runProgram('ip', [`-${family}`, '-batch', '-'], { input });
  if (status === 0) return;
  const line = Number(/:(\d+)\s*$/.exec(stderr)?.[1] ?? 0);
  throw new Error(`ip ${lines[line - 1] ?? '-batch'}: ${stderr.split('\n')[0] ?? ''}`);
}

/** No address of its own and no router solicitations; and where reverse paths are checked strictly, any path will do for this device. */
async function prepareTun(): Promise<void> {
  await outputOf('ip', ['link', 'set', 'dev', TUN_NAME, 'addrgenmode', 'none']);
  const filter = (device: string): string => `${REVERSE_PATH_FILTER}/${device}/rp_filter`;
  const strict = ['all', TUN_NAME].some((device) => readFileSync(filter(device), 'utf8').trim() === STRICT);
  if (!strict) return;
  try {
    writeFileSync(filter(TUN_NAME), LOOSE);
  } catch (error) {
    throw new Error(
      `${filter(TUN_NAME)} cannot be set to ${LOOSE}, and the kernel would drop what is decrypted: ${messageOf(error)}; set net.ipv4.conf.all.rp_filter=0`,
    );
  }
}

export const systemRouting: Routing = { apply, prepareTun };
