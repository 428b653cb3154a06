/**
 * Makes the running daemon what the configuration asks for, touching only what changed, in an order that is
 * never open in between: the mark policy and the protections are in force before the first port forwards, and
 * a protection goes away only after the ports that travel under it.
 */
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Engine, EngineCommand, MarkMatch } from '../dataplane/index.ts';
import type { Attach } from './attach.ts';
import type { ChildRole } from './child-sas.ts';
import { connectionKey } from './config/connections.ts';
import type { DesiredState, IpsecAuth, TunnelState } from './config/desired-state.ts';
import { formatIssue } from './config/issue.ts';
import type { Secret } from './config/secret.ts';
import { type ConnectionPlan, planSteps } from './connections.ts';
import type { Inheritance } from './hand-over/inheritance.ts';
import type { IkeRunner } from './ike-runner.ts';
import { DROP_ALL, markInForce } from './mark-policy.ts';
import type { Protections, WantedProtection } from './protections.ts';
import { inOneGo, inSlices } from './slices.ts';
import type { Underlay } from './underlay.ts';
import type { Logger } from './vlog.ts';

export interface ReconcilerOptions {
  readonly engine: Engine;
  readonly protections: Protections;
  readonly ike: IkeRunner;
  /** What a process before ours has left. */
  readonly inheritance?: Inheritance | undefined;
  readonly log: Logger;
}

export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #versions = new Map<string, number>();
  readonly #fingerprints = new Map<string, string>();
  /** How often the connections were taken away by `standBy`. */
  #standBys = 0;
  #desired: DesiredState | undefined;
  #plans: readonly ConnectionPlan[] = [];
  /** Plans by the name of their IKE connection, and by the keys of the SPD rows that their children serve. */
  #byConnection = new Map<string, ConnectionPlan>();
  #byRow = new Map<string, ConnectionPlan>();
  #toldIssues = new Set<string>();
  #mark: string | undefined;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  get desired(): DesiredState | undefined {
    return this.#desired;
  }

  get plans(): readonly ConnectionPlan[] {
    return this.#plans;
  }

  /** Configuration changes of each tunnel that wants IPsec, as `vN` in tunnels/show. */
  get versions(): ReadonlyMap<string, number> {
    return this.#versions;
  }

  /**
   * @param underlay routes to all remotes of `desired`
   * @param ofportOf the ofport that the database has for an Interface
   */
  async apply(
    desired: DesiredState,
    underlay: Underlay,
    attach: Attach,
    ofportOf: (uuid: string) => number | undefined,
  ): Promise<void> {
    const { protections } = this.#options;
    const tunnelsChange = this.#desired !== undefined && tunnelsText(this.#desired) !== tunnelsText(desired);
    this.#desired = desired;
    const standBys = this.#standBys;
    this.#tellIssues(desired);
    await inSlices(this.#versionSteps(desired));
    // A new rule with old marks, or the other way round, may let pass what neither configuration does.
    const drop = markInForce(desired, attach.closesAll());
    await this.#setMark(tunnelsChange && this.#marksDiffer(drop) ? DROP_ALL : drop);
    const asking = new Set(desired.tunnels.filter((tunnel) => tunnel.wantsIpsec).map((tunnel) => tunnel.name));
    const commands = protections.set(targets(desired), asking, rememberedKeys(desired));
    await this.#run(commands.filter((command) => command.op === 'set-protection'));
    const close = () => this.#setMark(DROP_ALL);
    await attach.apply(desired, underlay, (key) => protections.get(key)?.id, ofportOf, close);
    await this.#setMark(markInForce(desired, attach.closesAll()));
    // Another daemon may have taken the keying over meanwhile: what is protected stays closed, and IKE has nothing.
    if (this.#standBys === standBys) await inSlices(this.#planSteps(desired, standBys));
    if (this.#standBys === standBys) this.#options.ike.command({ command: 'configuration-known', known: true });
    await this.#run(commands.filter((command) => command.op === 'remove-protection'));
  }

  /** Takes every connection from IKE, as if there were none; ports and protections stay as they are. */
  standBy(): void {
    this.#standBys += 1;
    this.#options.ike.command({ command: 'configuration-known', known: false });
    inOneGo(this.#connectionSteps([]));
  }

  /** The role of a child of an IKE connection, for the installation of its SAs. */
  roleOf(connection: string, child: string): ChildRole | undefined {
    const plan = this.#byConnection.get(connection);
    const found = plan?.children.find((candidate) => candidate.child === child);
    const protection = found === undefined ? undefined : this.#options.protections.get(found.key);
    if (plan === undefined || found === undefined || protection === undefined) return undefined;
    const { childPackets, childBytes } = plan.connection.lifetimes;
    return {
      protection: protection.id,
      sends: found.sends,
      replayWindow: found.replayWindow,
      softPackets: childPackets,
      softBytes: childBytes,
      isFallback: (found.share ?? 0) === 0,
      // The children that all workers fall back to are spread over the workers as well.
      worker: found.share === undefined ? undefined : (protection.id + found.share) % this.#options.engine.workers,
    };
  }

  /** The IKE connection whose children serve a protection. */
  connectionOf(protection: number): string | undefined {
    const key = this.#options.protections.byId(protection)?.key;
    return key === undefined ? undefined : this.#byRow.get(key)?.connection.name;
  }

  async #run(commands: readonly EngineCommand[]): Promise<void> {
    for (const command of commands) await this.#options.engine.apply(command);
  }

  async #setMark(drop: MarkMatch | undefined): Promise<void> {
    if (!this.#marksDiffer(drop)) return;
    this.#mark = markText(drop);
    await this.#options.engine.apply({ op: 'set-mark-policy', drop, uplinkMark: 0 });
  }

  #marksDiffer(drop: MarkMatch | undefined): boolean {
    return markText(drop) !== this.#mark;
  }

  *#planSteps(desired: DesiredState, standBys: number): Generator<undefined, void> {
    const plans: ConnectionPlan[] = [];
    for (const plan of yield* planSteps(desired.connections, this.#options.engine.workers)) {
      plans.push(this.#kept(plan));
      yield;
    }
    if (this.#standBys === standBys) yield* this.#connectionSteps(plans);
  }

  /** A plan that says the same as before stays the same object: IKE holds on to it, and there may be thousands. */
  #kept(plan: ConnectionPlan): ConnectionPlan {
    const former = this.#byConnection.get(plan.connection.name);
    // Keys and certificates are not compared here.
    if (former?.connection.authentication.method !== 'psk') return plan;
    return isDeepStrictEqual(former, plan) ? former : plan;
  }

  /** The IKE engine compares: a connection that did not change keeps its SAs. */
  *#connectionSteps(plans: readonly ConnectionPlan[]): Generator<undefined, void> {
    const former = this.#plans;
    this.#plans = plans;
    this.#byConnection = new Map(plans.map((plan) => [plan.connection.name, plan]));
    this.#byRow = new Map(plans.flatMap((plan) => plan.children.map(({ key }) => [key, plan])));
    for (const plan of former) {
      if (!this.#byConnection.has(plan.connection.name))
        this.#options.ike.command({ command: 'remove-connection', name: plan.connection.name });
      yield;
      // Another daemon keys them now: `standBy` took all connections away meanwhile.
      if (this.#plans !== plans) return;
    }
    const { inheritance } = this.#options;
    for (const plan of plans) {
      const inherited = inheritance?.claim(plan) ?? [];
      this.#options.ike.command({ command: 'set-connection', connection: plan.connection, inherited });
      yield;
      if (this.#plans !== plans) return;
    }
    inheritance?.settle();
  }

  #tellIssues(desired: DesiredState): void {
    const lines = new Set(desired.issues.map(formatIssue));
    if (desired.markPolicy.error !== undefined) lines.add(formatIssue(desired.markPolicy.error));
    for (const line of lines) if (!this.#toldIssues.has(line)) this.#options.log.warn(line);
    this.#toldIssues = lines;
  }

  /** Also tells the log what ovs-monitor-ipsec tells, in its words, because scripts wait for them. */
  *#versionSteps(desired: DesiredState): Generator<undefined, void> {
    const { log } = this.#options;
    const wanting = new Map(
      desired.tunnels.filter((tunnel) => tunnel.wantsIpsec).map((tunnel) => [tunnel.name, tunnel]),
    );
    for (const name of [...this.#versions.keys()].filter((known) => !wanting.has(known))) {
      log.info(`Tunnel ${name} disappeared from OVSDB`);
      this.#versions.delete(name);
      this.#fingerprints.delete(name);
    }
    for (const [name, tunnel] of wanting) {
      yield;
      const fingerprint = fingerprintOf(tunnel);
      if (this.#fingerprints.get(name) === fingerprint) continue;
      const version = (this.#versions.get(name) ?? 0) + 1;
      this.#versions.set(name, version);
      this.#fingerprints.set(name, fingerprint);
      log.info(
        version === 1
          ? `Tunnel ${name} appeared in OVSDB`
          : `Tunnel ${name} configuration changed in OVSDB to ${version}`,
      );
      if (tunnel.state === 'INVALID') log.warn(`Tunnel ${name} contains invalid configuration: ${tunnel.reason}`);
    }
  }
}

const markText = (drop: MarkMatch | undefined): string => JSON.stringify(drop ?? null);

/** What decides over a tunnel's packets beside the rule: its type, addresses, mark and protection. */
function tunnelsText(desired: DesiredState): string {
  return JSON.stringify(
    desired.tunnels.map(({ uuid, state, settings, connection }) => [uuid, state, settings, connection]),
  );
}

function targets(desired: DesiredState): Map<string, WantedProtection> {
  return new Map(
    desired.connections.map(({ key, type, local, remote, port, tunnels }) => [
      key,
      { type, local, remote, port, tunnels },
    ]),
  );
}

/** Keys of tunnels that are INVALID now. One whose very addresses are wrong might have had any key. */
function rememberedKeys(desired: DesiredState): (key: string) => boolean {
  const invalid = desired.tunnels.filter((tunnel) => tunnel.wantsIpsec && tunnel.state === 'INVALID');
  if (invalid.some((tunnel) => tunnel.settings === undefined)) return () => true;
  const keys = new Set(invalid.map(({ settings }) => connectionKey(settings!)));
  return (key) => keys.has(key);
}

/** Of all that a tunnel's configuration consists of: a digest, as thousands of them are kept. In memory only; never shown. */
function fingerprintOf(tunnel: TunnelState): string {
  const proof = tunnel.ipsec === undefined ? '' : proofOf(tunnel.ipsec.auth);
  const ppk = tunnel.ipsec?.options.ppk === undefined ? '' : digestOf(tunnel.ipsec.options.ppk.secret);
  const text = JSON.stringify([tunnel.state, tunnel.reason, tunnel.settings, tunnel.ipsec?.options, proof, ppk]);
  return createHash('sha256').update(text).digest('base64');
}

const digestOf = (secret: Secret): string => createHash('sha256').update(secret.reveal()).digest('hex');

function proofOf(auth: IpsecAuth): string {
  if (auth.method === 'psk') return digestOf(auth.secret);
  const { certificates, peerName, trust } = auth.authentication;
  const trusted = trust.kind === 'pinned' ? [trust.certificate] : trust.authorities;
  return [peerName, ...[...certificates, ...trusted].map(({ fingerprint }) => fingerprint)].join(' ');
}
