/**
 * Beside a real ovs-vswitchd: keeps the flows of openflow/guard-flows.ts in every bridge of its userspace datapath, so that no tunnel packet
 * of a peer with IPsec leaves or enters but by us. Bridges with an interface of `espd=port` have flows of their own (port-places.ts).
 *
 * The flows stay when ovs-espd ends without `exit`, as the TAPs do.
 */
import type { CompanionBridge, CompanionPort, DesiredState } from './config/desired-state.ts';
import { FlowKeeper } from './openflow/flow-keeper.ts';
import type { FlowPolicy } from './openflow/flows.ts';
import { type GuardPlan, guardFlows, type HostEnd } from './openflow/guard-flows.ts';
import { bridgeFlows } from './openflow/ofctl.ts';
import { type BridgeWays, waysOut } from './openflow/ways-out.ts';
import type { Timers } from './ovsdb/timers.ts';
import type { Underlay } from './underlay.ts';
import type { Logger } from './vlog.ts';

export interface GuardedBridgesOptions {
  readonly timers: Timers;
  readonly log: Logger;
  /** Of ovs-vswitchd: where the management sockets of its bridges are. */
  readonly runDirectory: string;
}

/** Whether an interface is one of espd=port, or still is while its row is wrong. */
export type IsPort = (port: CompanionPort) => boolean;

export class GuardedBridges {
  readonly #options: GuardedBridgesOptions;
  readonly #keepers = new Map<string, FlowKeeper>();
  /** Lines about bridges that are open for a moment, by bridge, each said once. */
  readonly #warned = new Map<string, string>();

  constructor(options: GuardedBridgesOptions) {
    this.#options = options;
  }

  /** Makes the flows of each bridge what the policy asks for; all bridges at a time. */
  async set(desired: DesiredState, underlay: Underlay, policy: FlowPolicy, isPort: IsPort): Promise<void> {
    const guarded = guardedBridges(desired, underlay, isPort);
    const names = new Set(guarded.map(({ bridge }) => bridge.name));
    const gone = [...this.#keepers].filter(([name]) => !names.has(name));
    for (const [name] of gone) this.#keepers.delete(name);
    await Promise.all(gone.map(([name, keeper]) => keeper.close(exists(desired, name))));
    const plan: GuardPlan = { ...policy, ends: endsOf(desired.companionBridges, underlay) };
    await Promise.all(
      guarded.map((around) => {
        this.#warnOfOpening(around);
        return this.#keeperOf(around.bridge.name).set(guardFlows(around, plan));
      }),
    );
  }

  async removeAll(): Promise<void> {
    await this.#closeAll(true);
  }

  /** Ends the watch over the flows, and leaves them where they are. */
  async stop(): Promise<void> {
    await this.#closeAll(false);
  }

  async #closeAll(remove: boolean): Promise<void> {
    const keepers = [...this.#keepers.values()];
    this.#keepers.clear();
    await Promise.all(keepers.map((keeper) => keeper.close(remove)));
  }

  #keeperOf(bridge: string): FlowKeeper {
    const { timers, log, runDirectory } = this.#options;
    const socket = `${runDirectory}/${bridge}.mgmt`;
    const keeper =
      this.#keepers.get(bridge) ?? new FlowKeeper({ bridge, socket, table: bridgeFlows(socket), timers, log });
    this.#keepers.set(bridge, keeper);
    return keeper;
  }

  #warnOfOpening(around: BridgeWays): void {
    const { name } = around.bridge;
    const line = openingLine(around)?.join('; ') ?? '';
    if (line !== '' && this.#warned.get(name) !== line) this.#options.log.warn(`bridge ${name}: ${line}`);
    this.#warned.set(name, line);
  }
}

/** Bridges of the userspace datapath that ovs-vswitchd has made, but for those with a port of ours. */
export function guardedBridges(
  { companions, companionBridges }: DesiredState,
  { link }: Pick<Underlay, 'link'>,
  isPort: IsPort,
): BridgeWays[] {
  if (companions.length === 0) return [];
  const withPort = new Set(companions.filter(isPort).map(({ bridge }) => bridge.name));
  const uplinks = companions.filter((port) => !isPort(port));
  const hasAddress = (device: string): boolean => (link(device)?.addresses.length ?? 0) > 0;
  return waysOut(companionBridges, uplinks, hasAddress).filter(
    ({ bridge: { name, isUserspace, hostPorts } }) =>
      isUserspace && !withPort.has(name) && hostPorts.some(({ ofport }) => ofport !== undefined),
  );
}

/** What an operator is told of a bridge with an uplink and with other ports beside it, and what to do; undefined: nothing. */
export function openingLine({
  bridge,
  hasUplink,
  others,
}: BridgeWays): readonly [line: string, remedy: string] | undefined {
  if (!hasUplink || others.length === 0 || bridge.isSecure) return undefined;
  return [
    `it has other ports beside its uplink (${others.join(', ')}), and fail_mode is not secure: after a restart of ovs-vswitchd tunnel packets may leave and enter by them until the flows of ovs-espd are back`,
    `ovs-vsctl set-fail-mode ${bridge.name} secure closes that (docs/howto/ovs-userspace.md)`,
  ];
}

function exists({ companionBridges }: DesiredState, bridge: string): boolean {
  return companionBridges.some(({ name }) => name === bridge);
}

function endsOf(bridges: readonly CompanionBridge[], { link }: Underlay): HostEnd[] {
  return bridges.flatMap(({ hostPorts }) =>
    hostPorts.flatMap(({ name, mac }) =>
      mac === undefined
        ? []
        : (link(name)?.addresses ?? []).map((text) => ({ address: text.replace(/\/.*/, ''), mac })),
    ),
  );
}
