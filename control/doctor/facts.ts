/** Gathers what the checks look at: database, its configuration, processes. Nothing is written anywhere. */
import { parseEspProposal, parseIkeProposal } from '../../ike/index.ts';
import { loadNative } from '../../native-shims/index.ts';
import type { CommandLine } from '../command-line.ts';
import { COLUMNS, desiredState } from '../config/config.ts';
import { credentialPaths } from '../config/trust.ts';
import { CredentialStore } from '../credentials/credentials.ts';
import { KEYING_LOCK } from '../interface-status.ts';
import { messageOf } from '../message-of.ts';
import type { Database, Replica } from '../ovsdb/database.ts';
import { openDatabase } from '../ovsdb/open.ts';
import { ProtectionFile } from '../protection-file.ts';
import { LOOPBACK, readUnderlay, remotesOf } from '../underlay.ts';
import { PROGRAM } from '../version.ts';
import { DATAPATH_LOCK } from '../write-back.ts';
import type { Configuration, DatabaseFacts, HostFacts } from './check.ts';
import { processesOfThisNamespace } from './processes.ts';

/** A database on this host answers within milliseconds. */
const ANSWER_MS = 5000;

export async function gatherFacts({ database: name, tls, directories }: CommandLine): Promise<HostFacts> {
  const database = await readDatabase(name, tls);
  return {
    native: addon(),
    processes: processesOfThisNamespace(),
    database,
    configuration:
      'problem' in database
        ? undefined
        : await readConfiguration(database.replica, `${directories.run}/${PROGRAM}.protected`),
    nowMs: Date.now(),
  };
}

function addon(): HostFacts['native'] {
  try {
    return loadNative();
  } catch (error) {
    return { problem: messageOf(error) };
  }
}

async function readDatabase(name: string, tls: CommandLine['tls']): Promise<HostFacts['database']> {
  const database = openDatabase(name, COLUMNS, tls);
  const problem = await new Promise<string | undefined>((resolve) => {
    const timer = setTimeout(() => resolve(`${name} did not answer within ${ANSWER_MS / 1000} s`), ANSWER_MS);
    const end = (text: string | undefined) => {
      clearTimeout(timer);
      resolve(text);
    };
    database.once('synced', () => end(undefined));
    database.once('disconnected', (reason) => end(reason.replace(/; (trying again|waiting until it is mended)$/, '')));
    database.start();
  });
  try {
    return problem === undefined ? await factsOf(name, database) : { name, problem };
  } finally {
    await database.close();
  }
}

async function factsOf(name: string, database: Database): Promise<DatabaseFacts> {
  const columns = Object.entries(COLUMNS).flatMap(([table, names]) => names.map((column) => [table, column] as const));
  const heldLocks = new Set<string>();
  for (const lock of database.isShared ? [DATAPATH_LOCK, KEYING_LOCK] : [])
    if (!(await isFree(database, lock))) heldLocks.add(lock);
  return {
    name,
    isShared: database.isShared,
    // The maps are live, and what closes may let go of them.
    replica: new Map([...database.replica()].map(([table, rows]) => [table, new Map(rows)])),
    missingColumns: columns
      .filter(([table, column]) => !database.hasColumn(table, column))
      .map(([table, column]) => `${table}.${column}`),
    heldLocks,
  };
}

/** Who asks for a lock is told at once whether somebody has it (RFC 7047 §4.1.8); it is given back in the same moment. */
function isFree(database: Database, lock: string): Promise<boolean> {
  return new Promise((resolve) => {
    const answered = (name: string, held: boolean): void => {
      if (name !== lock) return;
      database.off('lock', answered);
      database.unlock(lock);
      resolve(held);
    };
    database.on('lock', answered);
    database.lock(lock);
  });
}

async function readConfiguration(replica: Replica, protectedPath: string): Promise<Configuration> {
  const underlay = await readUnderlay(remotesOf(replica.get('Interface')?.values() ?? []));
  const paths = credentialPaths(replica);
  const credentials = new CredentialStore();
  await credentials.read(paths);
  const desired = desiredState(replica, {
    credentials,
    defaultLocalAddress: (remote) => underlay.routeTo(remote)?.source,
    isOwnAddress: (address) => underlay.routeTo(address)?.device === LOOPBACK,
    parseProposals: (protocol, text) => (protocol === 'ike' ? parseIkeProposal(text) : parseEspProposal(text)),
  });
  return { desired, underlay, credentials, paths, remembered: new ProtectionFile(protectedPath).read() };
}
