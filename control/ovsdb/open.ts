/** DATABASE of the command line as a Database: a server or a file. */
import { OvsdbClient } from './client.ts';
import type { ColumnChoice, Database } from './database.ts';
import { FileDatabase } from './file-database.ts';
import { parseRemote, type TlsFiles } from './remote.ts';
import { OWN_KEYS } from './switch-columns.ts';

/**
 * `columns` are those to monitor; a file is read whole. Connecting or reading waits for `start`.
 * @throws ConfigurationError when the text names neither
 */
export function openDatabase(name: string, columns: ColumnChoice, tls: TlsFiles = {}): Database {
  const remote = parseRemote(name);
  if (remote.kind === 'file') return new FileDatabase(remote.path);
  return new OvsdbClient({ name, remote, columns, ownKeys: OWN_KEYS, tls });
}
