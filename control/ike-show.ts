/** The texts of ike/show and ike/log: what IKE holds and what was last said, in lines for people. Pure. */
import type { ChildSaSummary, ConnectionStatus, Endpoint, IkeLoad, IkeSaSummary, JournalLine } from '../ike/index.ts';

/** Every connection with its IKE SAs and children, then what IKE holds in all. `nowMs` is of the clock of the times. */
export function ikeShow(statuses: readonly ConnectionStatus[], load: IkeLoad, nowMs: number): string {
  const blocks = statuses.map((status) => connectionBlock(status, nowMs));
  const total =
    `${statuses.length} connections, ${load.ikeSas} IKE SAs (${load.halfOpen} half open), ` +
    `${load.children} child SAs, ${load.timers} timers`;
  return `${[...blocks.flat(), total].join('\n')}\n`;
}

function connectionBlock(status: ConnectionStatus, nowMs: number): string[] {
  const lines = [`${status.connection}:`];
  if (status.ikeSas.length === 0) lines.push('  no IKE SA');
  for (const sa of status.ikeSas) lines.push(...ikeSaLines(sa, nowMs));
  for (const child of status.children) lines.push(childLine(child, nowMs));
  if (status.lastFailure !== undefined) lines.push(`  last failure: ${status.lastFailure}`);
  return lines;
}

function ikeSaLines(sa: IkeSaSummary, nowMs: number): string[] {
  const [ours, theirs] = sa.initiator ? ['*', ''] : ['', '*'];
  const since = sa.establishedAtMs === undefined ? '' : `, ${seconds(nowMs - sa.establishedAtMs)} old`;
  const nat = {
    none: 'no NAT',
    local: 'we are behind a NAT',
    remote: 'the peer is behind a NAT',
    both: 'NAT at both ends',
  };
  return [
    `  IKE SA ${sa.initiatorSpi}_i${ours} ${sa.responderSpi}_r${theirs}: ${sa.state}${since}${ahead('rekey', sa.rekeyAtMs, nowMs)}${ahead('end', sa.expiresAtMs, nowMs)}`,
    `    local ${sa.localId} at ${endpoint(sa.local)}, remote ${sa.remoteId} at ${endpoint(sa.remote)}`,
    `    ${sa.suite === '' ? 'nothing negotiated yet' : sa.suite}; ${sa.nat === 'forced' ? 'UDP encapsulation forced' : nat[sa.nat]}${sa.ppk ? '; PPK used' : ''}`,
  ];
}

function childLine(child: ChildSaSummary, nowMs: number): string {
  const [inbound, outbound] = [child.inboundSpi, child.outboundSpi].map((spi) => spi.toString(16).padStart(8, '0'));
  const times = `${ahead('rekey', child.rekeyAtMs, nowMs)}${ahead('end', child.expiresAtMs, nowMs)}`;
  const age = seconds(nowMs - child.installedAtMs);
  return `  child ${child.child}{${child.id}}: ${child.state}, SPIs ${inbound}_i ${outbound}_o, ${age} old${times}`;
}

const seconds = (ms: number): string => `${Math.max(0, Math.round(ms / 1000))} s`;
const ahead = (what: string, atMs: number | undefined, nowMs: number): string =>
  atMs === undefined ? '' : `, ${what} in ${seconds(atMs - nowMs)}`;
const endpoint = ({ address, port }: Endpoint): string => `${address}[${port}]`;

/** The last lines of one connection. `epochMs` is the date of the journal's time 0. */
export function ikeLog(lines: readonly JournalLine[], epochMs: number): string {
  if (lines.length === 0) return 'nothing was said yet\n';
  return lines.map(({ atMs, text }) => `${new Date(epochMs + atMs).toISOString()} ${text}\n`).join('');
}

/** The connections that an operator means: by name, by address of the peer, or all those of a tunnel. */
export function connectionsOf(
  statuses: readonly ConnectionStatus[],
  peer: string,
  ofTunnel: (tunnel: string) => string | undefined,
): string[] {
  const wanted = ofTunnel(peer);
  return statuses
    .filter(({ connection, remote }) => connection === peer || remote === peer || connection === wanted)
    .map(({ connection }) => connection);
}
