/**
 * The room in which a test, a demonstration or a benchmark builds its hosts: a directory of its own and a list of
 * what has to be undone.
 *
 * - `close()` undoes everything in reverse order and is what callers use (afterAll, finally).
 * - If the process ends without it (an exception, exit, SIGINT, SIGTERM), a synchronous emergency clean-up kills the
 *   started process groups, removes the namespaces and the directory.
 * - If the process is killed with SIGKILL, the next rig on the machine sweeps what it left: all names carry the
 *   owner's pid, and only what belongs to a dead pid is swept.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Prefix of every namespace name and directory that a rig makes; the owner's pid follows. */
const PREFIX = 'espd';
const OWNED = new RegExp(`^${PREFIX}-(\\d+)-`);

/** What has to be undone, newest last. */
type Undo = { readonly what: string; readonly undo: () => Promise<void> | void };

/** A test rig: what it holds is undone by `close`. */
export type Rig = {
  /** A directory of this rig's own, removed by `close` unless `keepFiles` was set. */
  readonly directory: string;
  /** Gives a name that no other rig on this machine uses, such as `espd-4711-1-a` for the label `a`. */
  uniqueName(label: string): string;
  /** Registers an action for `close`; the returned function takes it off the list again. */
  defer(what: string, undo: () => Promise<void> | void): () => void;
  /** Registers a process group leader for the emergency clean-up; the returned function takes it off. */
  ownProcessGroup(pid: number): () => void;
  /** Registers a namespace for the emergency clean-up; the returned function takes it off. */
  ownNamespace(name: string): () => void;
  /** Undoes everything, newest first. Goes on after a failure and then throws an AggregateError of all of them. */
  close(): Promise<void>;
};

type Estate = { readonly groups: Set<number>; readonly namespaces: Set<string>; readonly directory: string };
const estates = new Set<Estate>();
let serial = 0;
let hooked = false;

/** Removes at once, without waiting for anybody: for the exit of this process. */
function abandon(estate: Estate): void {
  for (const pid of estate.groups) killGroup(pid, 'SIGKILL');
  for (const name of estate.namespaces) removeNamespace(name);
  rmSync(estate.directory, { recursive: true, force: true });
  estates.delete(estate);
}

function hookExit(): void {
  if (hooked) return;
  hooked = true;
  process.on('exit', () => {
    for (const estate of [...estates]) abandon(estate);
  });
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    process.once(signal, () => process.exit(status));
  }
}

/** Sends `signal` to the process group that `pid` leads. Gives false if there is none any more. */
export function killGroup(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/** Ends what still runs in a namespace of ours, then deletes it. Does nothing if it is gone already. */
export function removeNamespace(name: string): void {
  const path = `/run/netns/${name}`;
  if (!existsSync(path)) return;
  try {
    const pids = execFileSync('ip', ['netns', 'pids', name], { encoding: 'utf8', stdio: 'pipe' });
    for (const pid of pids.split('\n').filter(Boolean)) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    }
    execFileSync('ip', ['netns', 'delete', name], { stdio: 'pipe' });
  } catch (error) {
    // Another rig may sweep the same leftovers at the same moment; what counts is that they are gone.
    if (existsSync(path)) throw error;
  }
}

function ownerIsDead(name: string): boolean {
  const pid = OWNED.exec(name)?.[1];
  if (pid === undefined) return false;
  return !existsSync(`/proc/${pid}`);
}

/** Removes namespaces and directories whose owner was killed before it could clean up. Gives their names. */
export function sweep(): string[] {
  const swept: string[] = [];
  const namespaces = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
  for (const name of namespaces.filter(ownerIsDead)) {
    removeNamespace(name);
    swept.push(name);
  }
  for (const name of readdirSync(tmpdir()).filter(ownerIsDead)) {
    rmSync(join(tmpdir(), name), { recursive: true, force: true, maxRetries: 3 });
    swept.push(name);
  }
  return swept;
}

/**
 * Opens a rig. `keepFiles` leaves its directory (logs, captures) after `close`; RIG_KEEP=1 in the environment does
 * the same for all rigs.
 */
export function createRig({ keepFiles = process.env.RIG_KEEP === '1' }: { keepFiles?: boolean } = {}): Rig {
  sweep();
  hookExit();
  const ordinal = ++serial;
  const directory = mkdtempSync(join(tmpdir(), `${PREFIX}-${process.pid}-${ordinal}-`));
  const estate: Estate = { groups: new Set(), namespaces: new Set(), directory };
  estates.add(estate);
  const undos: Undo[] = [];
  const own = <T>(set: Set<T>, value: T) => {
    set.add(value);
    return () => void set.delete(value);
  };
  return {
    directory,
    uniqueName: (label) => `${PREFIX}-${process.pid}-${ordinal}-${label}`,
    defer(what, undo) {
      const entry = { what, undo };
      undos.push(entry);
      return () => {
        const at = undos.indexOf(entry);
        if (at >= 0) undos.splice(at, 1);
      };
    },
    ownProcessGroup: (pid) => own(estate.groups, pid),
    ownNamespace: (name) => own(estate.namespaces, name),
    async close() {
      const failures: Error[] = [];
      for (let entry = undos.pop(); entry !== undefined; entry = undos.pop()) {
        try {
          await entry.undo();
        } catch (error) {
          failures.push(new Error(`cannot undo ${entry.what}: ${(error as Error).message}`, { cause: error }));
        }
      }
      if (keepFiles) process.stderr.write(`rig: files kept in ${directory}\n`);
      else rmSync(directory, { recursive: true, force: true });
      if (failures.length === 0) estates.delete(estate);
      else throw new AggregateError(failures, failures.map((failure) => failure.message).join('; '));
    },
  };
}

/** True if this process may make network namespaces: root, and `ip` is there. */
export function canMakeNamespaces(): boolean {
  return process.getuid?.() === 0 && ['/sbin/ip', '/usr/sbin/ip', '/bin/ip', '/usr/bin/ip'].some(existsSync);
}

/** Names those of `programs` that are not on PATH or in the sbin folders: the reason in a skipped test's name. */
export function missingPrograms(...programs: string[]): string[] {
  const folders = `${process.env.PATH ?? ''}:/usr/sbin:/sbin:/usr/lib/ipsec`.split(':');
  return programs.filter((program) => !folders.some((folder) => existsSync(join(folder, program))));
}
