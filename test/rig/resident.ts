/** Resident memory of a process, as /proc/PID/status says it (VmRSS). */
import { readFileSync } from 'node:fs';

/** Bytes. @throws if the text has no VmRSS, as that of a process that has ended. */
export function residentOf(status: string): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
  if (kilobytes === undefined) throw new Error('/proc/PID/status has no VmRSS');
  return Number(kilobytes) * 1024;
}

/** Bytes of a running process. */
export function residentBytes(pid: number): number {
  return residentOf(readFileSync(`/proc/${pid}/status`, 'utf8'));
}
