/**
 * From the rows of a database to what they ask for: a pure function, so that everything about checking
 * settings can be tested without a database, a network or a clock.
 *
 * A wrong value makes the one tunnel it belongs to INVALID; everything else goes on.
 */
import type { Credentials } from '../credentials/credentials.ts';
import { mapOf, numberOf, type Replica, type Row } from '../ovsdb/database.ts';
import { inOneGo } from '../slices.ts';
import { readBridges } from './bridges.ts';
import { joinTunnels } from './connections.ts';
import type { DesiredState, GlobalSettings, MarkPolicy } from './desired-state.ts';
import type { ProposalParser } from './ipsec-options.ts';
import type { Issue } from './issue.ts';
import { HOST_KEYS, SWITCH_KEYS } from './keys.ts';
import { OptionReader } from './option-reader.ts';
import { type HostCredentials, readHostCredentials } from './trust.ts';
import { draftTunnel } from './tunnel.ts';

/** What has to be in the replica. */
export { COLUMNS } from '../ovsdb/switch-columns.ts';

export interface ConfigSurroundings {
  /** Source address of the route to `remote`, or undefined: no route. */
  readonly defaultLocalAddress: (remote: string) => string | undefined;
  /** Whether an address is one of this host's. */
  readonly isOwnAddress: (address: string) => boolean;
  /** Reads `ipsec_ike` and `ipsec_esp`; throws Error with one line. */
  readonly parseProposals: ProposalParser;
  /** What is in the files that the database names. */
  readonly credentials: Credentials;
  /** What was in force until now: it wins where two settings exclude each other. */
  readonly previous?: DesiredState | undefined;
}

export function desiredState(replica: Replica, surroundings: ConfigSurroundings): DesiredState {
  return inOneGo(desiredStateSteps(replica, surroundings));
}

/** The same, tunnel by tunnel: thousands take a second. The rows are those of the first step, all along. */
export function* desiredStateSteps(
  replica: Replica,
  surroundings: ConfigSurroundings,
): Generator<undefined, DesiredState> {
  const [rootUuid, root] = [...(replica.get('Open_vSwitch') ?? [])][0] ?? [undefined, undefined];
  const issues: Issue[] = [];
  const reader = new OptionReader(
    'Open_vSwitch',
    'ovs-vsctl set Open_vSwitch .',
    root === undefined ? new Map() : mapOf(root, 'other_config'),
  );
  const { global, host } = readGlobal(reader, issues, surroundings.credentials);
  const markPolicy = readMarkPolicy(reader, surroundings.previous?.markPolicy);
  if (markPolicy.error !== undefined) issues.push(markPolicy.error);

  const read = readBridges(replica, root);
  const around = { ...surroundings, global, host, isBeside: read.companions.length > 0 };
  const drafts: ReturnType<typeof draftTunnel>[] = [];
  for (const { type, row, place } of read.tunnelRows) {
    drafts.push(draftTunnel(type, row, place, around));
    yield;
  }
  const joined = joinTunnels(drafts, surroundings.previous);
  return {
    rootUuid,
    nextCfg: nextCfgOf(root),
    bridges: read.bridges,
    ports: read.ports,
    companions: read.companions,
    companionBridges: read.companionBridges,
    routed: readRouted(root, issues),
    tunnels: joined.tunnels,
    connections: joined.connections,
    markPolicy,
    global,
    issues: [...issues, ...read.issues, ...joined.issues],
  };
}

function readRouted(root: Row | undefined, issues: Issue[]): boolean {
  if (root === undefined) return false;
  const reader = new OptionReader('Open_vSwitch', 'ovs-vsctl set Open_vSwitch .', mapOf(root, 'external_ids'));
  const isRouted = reader.readOrWarn(HOST_KEYS.attach) !== undefined;
  issues.push(...reader.warnings);
  return isRouted;
}

function nextCfgOf(root: Row | undefined): number {
  return root === undefined ? 0 : (numberOf(root, 'next_cfg') ?? 0);
}

function readGlobal(
  reader: OptionReader,
  issues: Issue[],
  credentials: Credentials,
): { readonly global: GlobalSettings; readonly host: HostCredentials } {
  const certificate = reader.take(SWITCH_KEYS.certificate) || undefined;
  const privateKey = reader.take(SWITCH_KEYS.privateKey) || undefined;
  const caCert = reader.take(SWITCH_KEYS.caCert) || undefined;
  const caCrl = reader.take(SWITCH_KEYS.caCrl) || undefined;
  const skbMark = reader.take(SWITCH_KEYS.skbMark) || undefined;
  const isComplete = certificate !== undefined && privateKey !== undefined;
  if (!isComplete && (certificate ?? privateKey ?? caCert) !== undefined) {
    const missing = certificate === undefined ? SWITCH_KEYS.certificate : SWITCH_KEYS.privateKey;
    issues.push(
      reader.issue(
        missing,
        undefined,
        'both certificate and private_key, or none of the two and no ca_cert',
        'set it or remove the others',
      ),
    );
  }
  const paths = { certificate, privateKey, caCert, caCrl, skbMark };
  const host = readHostCredentials(paths, credentials, issues);
  return { global: { ...paths, localName: host.local?.value?.name }, host };
}

/** Fails closed: what can't be read leaves the former policy, or drops all plaintext where there was none. */
function readMarkPolicy(reader: OptionReader, previous: MarkPolicy | undefined): MarkPolicy {
  const row = SWITCH_KEYS.skbMark;
  const text = reader.take(row) ?? '';
  if (text === '') return { drop: undefined, error: undefined };
  const drop = row.parse(text);
  if (drop !== undefined) return { drop, error: undefined };
  const meanwhile =
    previous === undefined ? 'all plaintext tunnel packets are dropped (0/0)' : 'the former value stays in force';
  const mend = `${meanwhile} until it is set right, for instance: ovs-vsctl set Open_vSwitch . other_config:${row.key}=${row.example}`;
  return {
    drop: previous === undefined ? { value: 0, mask: 0 } : previous.drop,
    error: reader.issue(row, text, row.expected, mend),
  };
}
