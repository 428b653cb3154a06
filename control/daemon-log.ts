/**
 * The daemon's log as its command line asks for it: where it goes, its modules, their levels at the start.
 */
import type { CommandLine } from './command-line.ts';
import { PROGRAM } from './version.ts';
import { Vlog } from './vlog.ts';
import { SystemDestinations } from './vlog-destinations.ts';

/** Modules that vlog/list has from the start. */
const MODULES = ['main', 'bridge', 'dataplane', 'http', 'ike', 'ovsdb', 'pcap', 'reconcile', 'sa', 'unixctl'];

/** @throws Error that names what of --verbose is wrong */
export function openLog(options: CommandLine): Vlog {
  const destinations = new SystemDestinations({ program: PROGRAM, logFile: options.logFile, console: !options.detach });
  const vlog = new Vlog({ program: PROGRAM, destinations, now: () => Date.now() });
  for (const module of MODULES) vlog.logger(module);
  for (const spec of options.verbose) {
    const error = vlog.set(spec);
    if (error !== undefined) throw new Error(`--verbose=${spec}: ${error}`);
  }
  return vlog;
}
