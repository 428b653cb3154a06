/** DATABASE of the command line as a Database: a server or a file. */
import { OvsdbClient } from './client.ts';
import type { Database } from './database.ts';
import { FileDatabase } from './file-database.ts';
import { parseRemote, type TlsFiles } from './remote.ts';
import { MONITORED_COLUMNS } from './switch-columns.ts';

/** @throws ConfigurationError when the text names neither. Connecting or reading waits for `start`. */
export function openDatabase(name: string, tls: TlsFiles): Database {
  const remote = parseRemote(name);
  if (remote.kind === 'file') return new FileDatabase(remote.path);
  return new OvsdbClient({ name, remote, columns: MONITORED_COLUMNS, tls });
}
