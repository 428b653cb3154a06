/** Where an OVS daemon keeps its files (OVS lib/dirs): the environment variables OVS honours, and Debian's defaults. */
import { mkdirSync } from 'node:fs';

export interface Directories {
  /** Pidfiles, control sockets, the database socket. */
  readonly run: string;
  readonly log: string;
  readonly database: string;
  readonly configuration: string;
}

/** An empty variable counts as unset, as in OVS. */
export function directoriesOf(environment: Readonly<Record<string, string | undefined>>): Directories {
  const configuration = environment.OVS_SYSCONFDIR || '/etc';
  return {
    run: environment.OVS_RUNDIR || '/var/run/openvswitch',
    log: environment.OVS_LOGDIR || '/var/log/openvswitch',
    database: environment.OVS_DBDIR || `${configuration}/openvswitch`,
    configuration,
  };
}

/** DATABASE when none is given. */
export function defaultDatabase(directories: Directories): string {
  return `unix:${directories.run}/db.sock`;
}

/** A file name of the command line that is not absolute lies in `directory`. */
export function inDirectory(directory: string, file: string): string {
  return file.startsWith('/') ? file : `${directory}/${file}`;
}

/** Makes the last component if it is missing, as after a boot with an empty /run. Throws what mkdir throws. */
export function makeDirectory(path: string): void {
  try {
    // Not `recursive`: a wrong path should fail, and in /proc Node never comes back from it.
    mkdirSync(path, 0o755);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
