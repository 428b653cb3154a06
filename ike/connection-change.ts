/**
 * What a new configuration of a connection means for its SAs: unchanged children stay, changed ones and those of
 * changed credentials get successors before they go, removed ones go.
 */

import { authenticationChange, authenticationProblem } from './authentication-change.ts';
import type { ConnectionState } from './connection.ts';
import { isSupported } from './crypto/transforms.ts';
import { identityProblem, localIdentity, remoteIdentity, sameIdentity } from './identity.ts';
import { groupsOf, proposalsText } from './negotiation.ts';
import { OUTDATED_MS, outdate, outdateChild } from './retirement.ts';
import { type Child, modeOf } from './sa/child-sa.ts';
import { samePpk } from './tasks/ppk.ts';
import { equal, sameAddress } from './traffic-selectors.ts';
import type { ChildConfig, Connection, ProposalConfig, TrafficSelector } from './types.ts';
import { transformName } from './wire/names.ts';

const sameProposals = (a: readonly ProposalConfig[], b: readonly ProposalConfig[]): boolean =>
  JSON.stringify(a) === JSON.stringify(b);

const sameSelectors = (a: readonly TrafficSelector[], b: readonly TrafficSelector[]): boolean =>
  a.length === b.length && a.every((selector, index) => equal(selector, b[index]));

/** Whether an IKE SA made under `a` could have been made under `b`. */
function sameIkeSa(a: Connection, b: Connection): boolean {
  return (
    sameAddress(a.local, b.local) &&
    sameAddress(a.remote, b.remote) &&
    sameIdentity(localIdentity(a), localIdentity(b)) &&
    sameIdentity(remoteIdentity(a), remoteIdentity(b)) &&
    samePpk(a.ppk, b.ppk) &&
    sameProposals(a.ikeProposals, b.ikeProposals) &&
    (a.encapsulation ?? 'auto') === (b.encapsulation ?? 'auto')
  );
}

const sameChild = (a: ChildConfig, b: ChildConfig): boolean =>
  a.name === b.name &&
  modeOf(a) === modeOf(b) &&
  a.resource?.id === b.resource?.id &&
  a.resource?.fallback === b.resource?.fallback &&
  sameSelectors(a.tsLocal, b.tsLocal) &&
  sameSelectors(a.tsRemote, b.tsRemote);

/** Puts `next` in force. Lifetimes and liveness checks count from the next SA on. */
export function applyConfiguration(state: ConnectionState, next: Connection): void {
  const before = state.config;
  const protection = sameProposals(before.espProposals, next.espProposals) && before.pfs === next.pfs;
  // Children that did not change keep their object, so that what is queued for them goes on.
  const children = next.children.map((child) => {
    const same = before.children.find((other) => sameChild(other, child));
    return same !== undefined && same.start === child.start ? same : child;
  });
  state.configure({ ...next, children });
  // Not whenever the same is said again, which happens with every change to any other tunnel.
  const same = children.length === before.children.length && children.every((child) => before.children.includes(child));
  if (!same || !protection) state.slots.reconsider();
  const change = authenticationChange(before.authentication, next.authentication);
  if (!sameIkeSa(before, next) || change !== 'none') {
    state.startAnew();
    // While only our own certificate is new, the peer may have to learn of it yet: what is up stays until it has.
    const patient = sameIkeSa(before, next) && change === 'ours';
    for (const sa of state.ikeSas) outdate(state, sa, patient ? next.lifetimes.ikeSeconds * 1000 : OUTDATED_MS);
  }
  for (const child of state.context.children.ofConnection(state.name)) {
    const config = state.slots.configured(child);
    if (config === undefined) state.deleteChild(child, 'its tunnel was removed');
    else if (!sameChild(child.config, config) || !protection) outdateChild(state, child);
  }
  state.reconcile();
}

/** A child has come up that was asked for some time ago: the configuration may be another one by now. */
export function replaceIfOutdated(state: ConnectionState, child: Child): void {
  const config = state.slots.configured(child);
  if (config === undefined) state.deleteChild(child, 'its tunnel was removed');
  else if (!sameChild(child.config, config)) {
    outdateChild(state, child);
    state.reconcile();
  }
}

/**
 * Throws RangeError if the engine cannot run this connection: what is at fault, what came, what was expected.
 * Control has checked what operators write; this catches what would otherwise show as a peer that refuses us.
 */
export function checkConnection(connection: Connection): void {
  const at = `connection ${connection.name}`;
  const fault = (what: string): never => {
    throw new RangeError(`${at}: ${what}`);
  };
  for (const identity of [localIdentity(connection), remoteIdentity(connection)]) {
    const problem = identityProblem(identity);
    if (problem !== undefined) fault(problem);
  }
  const authentication = authenticationProblem(connection.authentication);
  if (authentication !== undefined) fault(authentication);
  if (connection.ppk?.id === '' || connection.ppk?.secret.length === 0) fault('the PPK has no id or no secret');
  const names = connection.children.map(({ name }) => name);
  if (new Set(names).size !== names.length) fault(`two children have one name: ${names.join(', ')}`);
  for (const { name, resource } of connection.children) {
    if (resource === undefined) continue;
    const fallback = connection.children.find((child) => child.name === resource.fallback);
    if (fallback === undefined || fallback.resource !== undefined)
      fault(`child ${name} is one more beside ${resource.fallback}, expected a child without a resource`);
    if (!Number.isInteger(resource.id) || resource.id < 1 || resource.id > 0xffff_ffff)
      fault(`child ${name} is for resource ${resource.id}, expected 1 to 4294967295`);
  }
  for (const [protocol, proposals] of [
    ['IKE', connection.ikeProposals],
    ['ESP', connection.espProposals],
  ] as const) {
    if (proposals.length === 0) fault(`no ${protocol} proposal`);
    for (const { transforms } of proposals) {
      const unsupported = transforms.find((transform) => transform.id !== 0 && !isSupported(transform, protocol));
      if (unsupported !== undefined) fault(`${transformName(unsupported)} is not implemented for ${protocol}`);
      if (!transforms.some(({ type }) => type === 'ENCR')) fault(`an ${protocol} proposal has no cipher`);
    }
  }
  if (connection.ikeProposals.some((proposal) => groupsOf([proposal]).length === 0)) {
    fault(`every IKE proposal needs a key exchange group, got ${proposalsText(connection.ikeProposals)}`);
  }
}
