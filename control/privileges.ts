/**
 * What the daemon may do: it is started as root and keeps three capabilities (capabilities(7)) in all its threads and in the
 * programs it runs (`ip`); files it can open are those of root and of whoever lets root's group read them.
 *
 * Capabilities belong to threads, and Node has some before this line runs. So the main thread gives them up and executes the
 * program anew, with the same process id: what begins then has never had more. This costs one start of Node; a service
 * manager that gives the right set (bin/debian/ovs-espd.service) saves it. Beginning anew, the program also gets a smaller heap.
 */
import { readFileSync, statSync } from 'node:fs';
import { loadNative, NativeError } from '../native-shims/index.ts';
import { directoriesOf } from './directories.ts';

export interface Capability {
  readonly name: string;
  readonly bit: number;
  readonly why: string;
}

export const NEEDED_CAPABILITIES: readonly Capability[] = [
  { name: 'CAP_NET_ADMIN', bit: 12, why: 'to make TAPs' },
  { name: 'CAP_NET_RAW', bit: 13, why: 'to send and receive ESP' },
  { name: 'CAP_NET_BIND_SERVICE', bit: 10, why: 'to listen on UDP 500' },
];
/** Where OVS runs as a user of its own, the directory and the database's socket are that user's. */
const FOREIGN_DIRECTORY: Capability = {
  name: 'CAP_DAC_OVERRIDE',
  bit: 1,
  why: 'as the directory of Open vSwitch is not root’s',
};

/**
 * Where V8 puts what is new, in MB: it would take 16 in each thread as soon as some hundred tunnels negotiate, twice over.
 * The unit sets the same.
 */
const YOUNG_SPACE = '--max-semi-space-size=4';
/** Set between giving up and beginning anew. */
const LIMITED = 'OVS_ESPD_LIMITED';
/** Subcommands that change nothing, and look at more than the daemon may. */
const UNLIMITED = ['top', 'doctor'];

type Environment = Record<string, string | undefined>;

/** Comes back in a process that has what it needs and no more, or, where that cannot be, as it is: `excessCapabilities` tells. */
export function limitPrivileges(args: readonly string[], environment: Environment): void {
  const isSecondTime = environment[LIMITED] !== undefined;
  delete environment[LIMITED];
  if (isSecondTime || UNLIMITED.includes(args[0] ?? '') || process.getuid?.() !== 0) return;
  const wanted = maskOf(neededCapabilities(environment));
  if (((permittedMask() | boundingMask()) & ~wanted) === 0n) return;
  try {
    const native = loadNative();
    native.limitCapabilities(Number(wanted));
    environment[LIMITED] = '1';
    native.execute(process.execPath, [process.execPath, YOUNG_SPACE, ...process.execArgv, process.argv[1]!, ...args]);
  } catch (error) {
    delete environment[LIMITED];
    // Without an addon the start fails anyway, and says why; where the kernel refuses, the daemon tells that it has too much.
    if (error instanceof TypeError) throw error;
    if (!(error instanceof NativeError)) return;
  }
}

export function neededCapabilities(environment: Readonly<Environment>): readonly Capability[] {
  const directory = statSync(directoriesOf(environment).run, { throwIfNoEntry: false });
  return directory === undefined || directory.uid === 0
    ? NEEDED_CAPABILITIES
    : [...NEEDED_CAPABILITIES, FOREIGN_DIRECTORY];
}

/** What root has here beyond what is needed, as one line for the log; undefined: nothing. */
export function excessCapabilities(environment: Readonly<Environment>): string | undefined {
  const excess = permittedMask() & ~maskOf(neededCapabilities(environment));
  if (excess === 0n) return undefined;
  return `runs with more capabilities than it needs (0x${excess.toString(16)}), as this system does not let them be dropped; give it only ${neededCapabilities(
    environment,
  )
    .map(({ name }) => name)
    .join(', ')}`;
}

/** A mask of `Cap…` in /proc/self/status: of the main thread. */
export function capabilityMask(which: 'CapEff' | 'CapPrm' | 'CapBnd'): bigint {
  const status = readFileSync('/proc/self/status', 'utf8');
  return BigInt(`0x${new RegExp(`^${which}:\\s*([0-9a-f]+)`, 'm').exec(status)?.[1] ?? '0'}`);
}

const permittedMask = (): bigint => capabilityMask('CapPrm');
const boundingMask = (): bigint => capabilityMask('CapBnd');

function maskOf(capabilities: readonly Capability[]): bigint {
  return capabilities.reduce((mask, { bit }) => mask | (1n << BigInt(bit)), 0n);
}
