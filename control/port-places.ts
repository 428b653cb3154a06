/**
 * The places of `external_ids:espd=port`: a TAP as a port of the physical bridge of a real ovs-vswitchd, and the flows in that
 * bridge that lead tunnel packets of peers with IPsec through it and back (openflow/flows.ts). The bridge keeps its NICs.
 *
 * The TAPs are persistent and the flows stay when ovs-espd ends without `exit`: what they lead to a TAP that nobody reads is lost.
 */
import type { Engine } from '../dataplane/index.ts';
import type { Native } from '../native-shims/index.ts';
import type { PortFailure } from './attach.ts';
import type { CompanionPort, HostPort } from './config/desired-state.ts';
import type { Ids } from './ids.ts';
import type { Links } from './links.ts';
import { messageOf } from './message-of.ts';
import { FlowKeeper } from './openflow/flow-keeper.ts';
import { type FlowPolicy, flowsOf } from './openflow/flows.ts';
import { bridgeFlows } from './openflow/ofctl.ts';
import type { Timers } from './ovsdb/timers.ts';
import type { OwnedTaps } from './owned-taps.ts';
import type { Underlay } from './underlay.ts';
import type { Logger } from './vlog.ts';

export interface PortPlacesOptions {
  readonly engine: Engine;
  readonly native: Native;
  readonly taps: OwnedTaps;
  readonly links: Links;
  readonly timers: Timers;
  readonly log: Logger;
  readonly portIds: Ids;
  /** Of ovs-vswitchd: where the management sockets of its bridges are. */
  readonly runDirectory: string;
}

interface Place {
  readonly name: string;
  readonly bridge: string;
  readonly port: number;
  readonly fds: readonly number[];
  readonly keeper: FlowKeeper;
}

/** MTU of a TAP where no device of the bridge says another. Bytes. */
const DEFAULT_MTU = 1500;

export class PortPlaces {
  readonly #options: PortPlacesOptions;
  readonly #places = new Map<string, Place>();

  constructor(options: PortPlacesOptions) {
    this.#options = options;
  }

  names(): string[] {
    return [...this.#places.values()].map(({ name }) => name);
  }

  /** Whether a row is a matter of these places. Without its flows the bridge would forward in the clear, so a wrong row leaves a place as it is. */
  concerns({ uuid, attach, reason }: CompanionPort): boolean {
    return attach === 'port' || (reason !== undefined && this.#places.has(uuid));
  }

  async removeGone(wanted: readonly CompanionPort[]): Promise<void> {
    for (const [uuid, place] of this.#places) {
      const port = wanted.find((candidate) => candidate.uuid === uuid);
      if (port === undefined || !this.concerns(port) || port.bridge.name !== place.bridge)
        await this.#remove(uuid, true);
    }
  }

  /**
   * Makes the place if need be, and the flows in its bridge. Gives what is wrong with it, if anything is: no place is made for a
   * wrong row, and one that is there has its flows kept true.
   */
  async set(port: CompanionPort, underlay: Underlay, policy: FlowPolicy): Promise<PortFailure | undefined> {
    const { uuid, bridge } = port;
    const failure = (reason: string): PortFailure => ({ uuid, reason });
    if (port.reason !== undefined && !this.#places.has(uuid)) return failure(port.reason);
    const twin = [...this.#places].find(([other, place]) => other !== uuid && place.bridge === bridge.name);
    if (twin !== undefined)
      return failure(
        `external_ids:espd is "port", expected at most one such interface in bridge ${bridge.name}; remove this one or ${twin[1].name}`,
      );
    try {
      const place = this.#places.get(uuid) ?? (await this.#add(port));
      const mtu = largestMtu(port, underlay);
      if (underlay.link(port.name)?.mtu !== mtu) await this.#options.links.setLink(port.name, { mtu, up: true });
      await place.keeper.set(
        flowsOf({
          tap: port.ofport,
          hostPorts: bridge.hostPorts,
          addresses: addressesOf(bridge.hostPorts, underlay),
          normal: bridge.isSecure && !bridge.hasController,
          ...policy,
        }),
      );
    } catch (error) {
      return failure(messageOf(error));
    }
    return port.reason === undefined ? undefined : failure(port.reason);
  }

  async removeAll(removeFlows: boolean): Promise<void> {
    for (const uuid of [...this.#places.keys()]) await this.#remove(uuid, removeFlows);
  }

  /** Ends the watch over the flows, and leaves flows and TAPs where they are. */
  async stop(): Promise<void> {
    for (const { keeper } of this.#places.values()) await keeper.close(false);
  }

  async #add({ uuid, name, bridge }: CompanionPort): Promise<Place> {
    const { engine, taps, links, log, timers, portIds, runDirectory } = this.#options;
    taps.add(name);
    const fds = engine.openTap(name, { persistent: true, plain: true, single: true });
    const port = portIds.take('ports');
    await engine.apply({ op: 'set-hairpin-port', port, name, fds });
    await links.setLink(name, { up: true, silent: true });
    const socket = `${runDirectory}/${bridge.name}.mgmt`;
    const keeper = new FlowKeeper({ bridge: bridge.name, socket, table: bridgeFlows(socket), timers, log });
    const place: Place = { name, bridge: bridge.name, port, fds, keeper };
    this.#places.set(uuid, place);
    log.info(`port ${name}: in bridge ${bridge.name} of ovs-vswitchd`);
    if (!bridge.isSecure)
      log.warn(
        `bridge ${bridge.name}: fail_mode is not secure, so after a restart of ovs-vswitchd packets are forwarded before the flows of ovs-espd are back; to close that: ovs-vsctl set-fail-mode ${bridge.name} secure`,
      );
    return place;
  }

  /** The flows first: without the TAP they would drop. */
  async #remove(uuid: string, removeFlows: boolean): Promise<void> {
    const place = this.#places.get(uuid);
    if (place === undefined) return;
    const { engine, native, taps, portIds, log } = this.#options;
    this.#places.delete(uuid);
    await place.keeper.close(removeFlows);
    for (const fd of place.fds) native.setTapPersistent(fd, false);
    await engine.apply({ op: 'remove-port', port: place.port });
    portIds.release(place.port);
    taps.remove(place.name);
    log.info(`port ${place.name}: removed`);
  }
}

/** Whatever fits a device of the bridge fits through the TAP. */
function largestMtu({ name, bridge }: CompanionPort, underlay: Underlay): number {
  const mtus = bridge.others.filter((other) => other !== name).map((other) => underlay.link(other)?.mtu ?? DEFAULT_MTU);
  return Math.max(DEFAULT_MTU, ...mtus);
}

function addressesOf(hostPorts: readonly HostPort[], underlay: Underlay): string[] {
  return hostPorts.flatMap(({ name }) =>
    (underlay.link(name)?.addresses ?? []).map((text) => text.replace(/\/.*/, '')),
  );
}
