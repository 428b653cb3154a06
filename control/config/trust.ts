/**
 * Certificates of a tunnel: from the paths in the database to what IKE authenticates with, or the one line that says which
 * file is at fault. Which of the paths have to be set is ipsec-options.ts, in the words of ovs-monitor-ipsec.
 */
import { authenticationChange, type Trust } from '../../ike/index.ts';
import type { CredentialPaths, Credentials, Found, LocalCredential } from '../credentials/credentials.ts';
import { mapOf, type Replica } from '../ovsdb/database.ts';
import type { GlobalSettings, IpsecAuth } from './desired-state.ts';
import type { Issue } from './issue.ts';
import type { OvsdbKey } from './key-row.ts';
import { SWITCH_KEYS, TUNNEL_KEYS } from './keys.ts';

/** Every file that the rows of a database name. */
export function credentialPaths(replica: Replica): CredentialPaths {
  const [root] = [...(replica.get('Open_vSwitch')?.values() ?? [])];
  const config = root === undefined ? new Map<string, string>() : mapOf(root, 'other_config');
  const named = (...rows: readonly OvsdbKey<unknown>[]): string[] => rows.flatMap(({ key }) => config.get(key) || []);
  const remote = [...(replica.get('Interface')?.values() ?? [])].flatMap(
    (row) => mapOf(row, 'options').get(TUNNEL_KEYS.remoteCert.key) || [],
  );
  return {
    certificates: new Set([...named(SWITCH_KEYS.certificate, SWITCH_KEYS.caCert), ...remote]),
    privateKeys: new Set(named(SWITCH_KEYS.privateKey)),
    revocationLists: new Set(named(SWITCH_KEYS.caCrl)),
  };
}

/** What `Open_vSwitch.other_config` names, read; undefined where a key is not set. */
export interface HostCredentials {
  readonly local: Found<LocalCredential> | undefined;
  /** Of the certificates in `ca_cert`, with the lists in `ca_crl`. */
  readonly trust: Found<Trust> | undefined;
}

/** Once for all tunnels. `issues` gets the warnings about files. */
export function readHostCredentials(
  { certificate, privateKey, caCert, caCrl }: Omit<GlobalSettings, 'localName'>,
  credentials: Credentials,
  issues: Issue[],
): HostCredentials {
  const note = <T>(row: OvsdbKey<unknown>, path: string, found: Found<T>): Found<T> => {
    for (const warning of found.warnings ?? []) issues.push(fileIssue('Open_vSwitch', row, path, warning));
    return found;
  };
  const local =
    certificate === undefined || privateKey === undefined
      ? undefined
      : note(SWITCH_KEYS.certificate, certificate, credentials.local(certificate, privateKey));
  if (caCert === undefined) return { local, trust: undefined };
  const authorities = note(SWITCH_KEYS.caCert, caCert, credentials.authorities(caCert));
  const lists = caCrl === undefined ? undefined : note(SWITCH_KEYS.caCrl, caCrl, credentials.revocationLists(caCrl));
  if (authorities.value === undefined) return { local, trust: authorities };
  // Without the lists that the operator wants there is no trust: a revoked certificate must not pass.
  if (lists !== undefined && lists.value === undefined) return { local, trust: lists };
  const trust: Trust = { kind: 'authorities', authorities: authorities.value, revocationLists: lists?.value };
  return { local, trust: { value: trust, warnings: [] } };
}

export type TrustVerdict =
  | { readonly auth: IpsecAuth; readonly warnings?: readonly string[] }
  | { readonly reason: string; readonly warnings?: undefined };

/** How a tunnel authenticates by certificates; `remoteCert` wins over `remoteName`, as in ovs-monitor-ipsec. */
export function judgeCertificates(
  { remoteCert, remoteName }: { readonly remoteCert: string; readonly remoteName: string },
  { host, credentials }: { readonly host: HostCredentials; readonly credentials: Credentials },
): TrustVerdict {
  const { local } = host;
  if (local?.value === undefined) return refused(SWITCH_KEYS.certificate, local);
  const { name, certificates, privateKey } = local.value;
  let trust = host.trust;
  let peerName = remoteName;
  let warnings: readonly string[] = [];
  if (remoteCert !== '') {
    const pinned = credentials.certificate(remoteCert);
    if (pinned.value === undefined) return refused(TUNNEL_KEYS.remoteCert, pinned);
    const commonName = pinned.value.commonNames.at(-1);
    if (commonName === undefined) {
      return refused(TUNNEL_KEYS.remoteCert, { problem: `${JSON.stringify(remoteCert)}: it has no common name (CN)` });
    }
    peerName = commonName;
    warnings = pinned.warnings;
    trust = { value: { kind: 'pinned', certificate: pinned.value }, warnings: [] };
  }
  if (trust?.value === undefined) return refused(SWITCH_KEYS.caCert, trust);
  const authentication = { method: 'certificate', certificates, privateKey, peerName, trust: trust.value } as const;
  return { auth: { method: 'certificate', localName: name, authentication }, warnings };
}

function refused(row: OvsdbKey<unknown>, found: Pick<Found<unknown>, 'problem'> | undefined): TrustVerdict {
  const why = found?.problem ?? 'it has not been read';
  return { reason: `${row.column}:${row.key}: ${why}; expected ${row.expected}` };
}

/** A warning about a file, from a key of the database. */
export function fileIssue(subject: string, row: OvsdbKey<unknown>, path: string, warning: string): Issue {
  return { subject, key: `${row.column}:${row.key}`, value: path, expected: row.expected, mend: warning };
}

/** Whether two tunnels prove the same to each other's peers. */
export function sameAuth(a: IpsecAuth, b: IpsecAuth): boolean {
  if (a.method === 'psk' || b.method === 'psk') {
    return a.method === 'psk' && b.method === 'psk' && a.secret.equals(b.secret);
  }
  return a.localName === b.localName && authenticationChange(a.authentication, b.authentication) === 'none';
}

/** Whether it is the same wish, though a file may have been replaced since. */
export function sameWish(a: IpsecAuth, b: IpsecAuth): boolean {
  if (a.method === 'certificate' && b.method === 'certificate') {
    return a.authentication.peerName === b.authentication.peerName;
  }
  return sameAuth(a, b);
}
