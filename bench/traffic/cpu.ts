/**
 * CPU time as the kernel counts it: of the whole machine (/proc/stat), and of processes (/proc/PID/stat). Time that a
 * hypervisor took away (steal) is told apart, because a run that met much of it counts for nothing.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** USER_HZ: the unit of these files on every Linux architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

/** CPU seconds since boot, all cores together. */
export type MachineTime = {
  /** Everything but idle, waiting for disks, and steal. */
  readonly busy: number;
  readonly softirq: number;
  readonly steal: number;
  /** All of it, idle time included. */
  readonly total: number;
};

/** CPU seconds between two readings. */
export type CpuUse = {
  /** Of the tunnel's own processes at both ends. */
  readonly endpoints: number;
  /** Of the machine: endpoints, traffic generator, kernel, and whatever else ran. */
  readonly machine: number;
  readonly softirq: number;
  /** Share of the machine's time that the hypervisor took away, 0 to 1. */
  readonly steal: number;
};

/** Parses the first line of /proc/stat (proc(5)): user nice system idle iowait irq softirq steal. */
export function parseStat(text: string): MachineTime {
  const line = /^cpu +(.*)$/m.exec(text)?.[1];
  if (line === undefined) throw new Error('/proc/stat has no line "cpu"');
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] = line
    .split(' ')
    .map((ticks) => Number(ticks) / TICKS_PER_SECOND);
  const busy = user + nice + system + irq + softirq;
  return { busy, softirq, steal, total: busy + idle + iowait + steal };
}

/** User and system time of a /proc/PID/stat, in seconds; the name in its second field may hold anything. */
export function parsePidStat(text: string): number {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** The processes that live in these network namespaces. */
export function processesIn(namespaces: readonly string[]): number[] {
  return namespaces.flatMap((namespace) =>
    execFileSync('ip', ['netns', 'pids', namespace], { encoding: 'utf8' }).split('\n').filter(Boolean).map(Number),
  );
}

/** CPU seconds that these processes have used so far. */
export function processSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    try {
      return sum + parsePidStat(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    } catch {
      // It ended; what it used until then was counted in no reading.
      return sum;
    }
  }, 0);
}

/** Reads the machine's clock. */
export function machineTime(): MachineTime {
  return parseStat(readFileSync('/proc/stat', 'utf8'));
}

/** Runs `work` and says what CPU time passed meanwhile; `pids` are the tunnel's processes. */
export async function withCpuUse<T>(
  pids: readonly number[],
  work: () => Promise<T>,
): Promise<{ value: T; cpu: CpuUse }> {
  const [before, endpointsBefore] = [machineTime(), processSeconds(pids)];
  const value = await work();
  const [after, endpointsAfter] = [machineTime(), processSeconds(pids)];
  const total = after.total - before.total;
  const cpu = {
    endpoints: Math.max(0, endpointsAfter - endpointsBefore),
    machine: after.busy - before.busy,
    softirq: after.softirq - before.softirq,
    steal: total > 0 ? (after.steal - before.steal) / total : 0,
  };
  return { value, cpu };
}

/** Share of the machine that is busy with other work while we do nothing for `ms`, 0 to 1. */
export async function backgroundLoad(ms: number): Promise<number> {
  const before = machineTime();
  await new Promise((resolve) => setTimeout(resolve, ms));
  const after = machineTime();
  return after.total > before.total ? (after.busy - before.busy) / (after.total - before.total) : 0;
}
