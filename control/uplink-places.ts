/**
 * The places of `external_ids:espd=uplink`: a TAP that is an uplink of a real ovs-vswitchd's physical bridge, and the NIC behind
 * it; the engine sits in between.
 *
 * The TAPs are persistent: without ovs-espd they stay, with nobody behind them, so nothing leaves.
 */
import type { Engine, HostAddress } from '../dataplane/index.ts';
import type { Native } from '../native-shims/index.ts';
import type { PortFailure } from './attach.ts';
import type { CompanionPort } from './config/desired-state.ts';
import type { Ids } from './ids.ts';
import type { LinkFacts, Links } from './links.ts';
import { messageOf } from './message-of.ts';
import type { OwnedTaps } from './owned-taps.ts';
import type { Underlay } from './underlay.ts';
import type { Logger } from './vlog.ts';

export interface UplinkPlacesOptions {
  readonly engine: Engine;
  readonly native: Native;
  readonly taps: OwnedTaps;
  readonly links: Links;
  readonly log: Logger;
  readonly portIds: Ids;
}

interface Place {
  readonly port: number;
  readonly nicPort: number;
  readonly name: string;
  readonly nic: string;
  readonly fds: readonly number[];
  /** What the engine was given; the uplink is replaced when it changes. */
  readonly settings: string;
  /** CompanionPort.hosts as the engine has them. */
  hosts: string;
}

export class UplinkPlaces {
  readonly #options: UplinkPlacesOptions;
  readonly #places = new Map<string, Place>();
  /** Lines of warning by the UUID of the Interface row, each said once. */
  readonly #warned = new Map<string, string>();

  constructor(options: UplinkPlacesOptions) {
    this.#options = options;
  }

  names(): string[] {
    return [...this.#places.values()].map(({ name }) => name);
  }

  async removeGone(wanted: readonly CompanionPort[]): Promise<void> {
    const uuids = new Set(wanted.filter(({ attach }) => attach === 'uplink').map(({ uuid }) => uuid));
    for (const uuid of this.#warned.keys()) if (!uuids.has(uuid)) this.#warned.delete(uuid);
    for (const uuid of this.#places.keys()) if (!uuids.has(uuid)) await this.#remove(uuid);
  }

  /** Makes the uplink what the row asks for. Gives what is wrong with it, if anything is; then there is none. */
  async set(port: CompanionPort, underlay: Underlay): Promise<PortFailure | undefined> {
    const { uuid, name, nic, mark } = port;
    const facts = nic === undefined ? undefined : underlay.link(nic);
    const settings = JSON.stringify([name, nic, facts?.index, mark]);
    const known = this.#places.get(uuid);
    if (known?.settings !== settings) await this.#remove(uuid);
    const reason = this.#obstacle(port, facts);
    if (reason !== undefined || nic === undefined || facts === undefined) {
      await this.#remove(uuid);
      return { uuid, reason: reason ?? 'the NIC is not known' };
    }
    this.#warnOfAddresses(port, nic, facts);
    try {
      const place = this.#places.get(uuid) ?? (await this.#add(port, nic, facts, settings));
      await this.#setHosts(place, port.hosts);
      if (underlay.link(name)?.mtu !== facts.mtu) await this.#options.links.setLink(name, { mtu: facts.mtu, up: true });
    } catch (error) {
      return { uuid, reason: messageOf(error) };
    }
    return undefined;
  }

  async removeAll(): Promise<void> {
    for (const uuid of [...this.#places.keys()]) await this.#remove(uuid);
  }

  #obstacle({ uuid, nic, reason, bridge }: CompanionPort, facts: LinkFacts | undefined): string | undefined {
    if (reason !== undefined) return reason;
    const wrong = (expected: string): string => `external_ids:espd-nic is "${nic}", expected ${expected}`;
    if (facts === undefined) return wrong('a device that exists; see: ip link show');
    if (bridge.others.includes(nic ?? ''))
      return wrong(`a device that is no port of OVS itself; ovs-vsctl del-port ${bridge.name} ${nic}`);
    const twin = [...this.#places].find(([other, place]) => other !== uuid && place.nic === nic);
    if (twin !== undefined) return wrong(`one that is not behind ${twin[1].name} already`);
    return undefined;
  }

  /** The host would answer beside OVS, and use the NIC for packets that nobody looks at. */
  #warnOfAddresses({ uuid, name, bridge }: CompanionPort, nic: string, { addresses }: LinkFacts): void {
    const line =
      addresses.length === 0
        ? ''
        : `interface ${name}: external_ids:espd-nic is "${nic}", which has the address ${addresses.join(', ')}, expected a device without: the host would answer and send beside OVS, and unprotected; ip address flush dev ${nic}, and give it to ${bridge.name}`;
    if (line !== '' && this.#warned.get(uuid) !== line) this.#options.log.warn(line);
    this.#warned.set(uuid, line);
  }

  /** They change with the address of the bridge; what was opened and is for nobody known is dropped. */
  async #setHosts(place: Place, hosts: readonly HostAddress[]): Promise<void> {
    const text = JSON.stringify(hosts);
    if (place.hosts === text) return;
    await this.#options.engine.apply({ op: 'set-bump-hosts', port: place.port, hosts });
    place.hosts = text;
  }

  async #add({ uuid, name, mark }: CompanionPort, nic: string, facts: LinkFacts, settings: string): Promise<Place> {
    const { engine, native, taps, links, portIds, log } = this.#options;
    taps.add(name);
    const fds = engine.openTap(name, { persistent: true, plain: true });
    let nicFds: readonly number[];
    try {
      nicFds = engine.openDevice(nic);
    } catch (error) {
      for (const fd of fds) native.close(fd);
      throw error;
    }
    const ports = { port: portIds.take('ports'), nicPort: portIds.take('ports') };
    const place: Place = { ...ports, name, nic, fds, settings, hosts: '[]' };
    await engine.apply({
      ...{ op: 'set-bump-port', port: place.port, nicPort: place.nicPort, name, fds, nicFds, mark },
    });
    this.#places.set(uuid, place);
    await links.setLink(name, { mtu: facts.mtu, up: true, silent: true });
    await links.setLink(nic, { up: true });
    log.info(`uplink ${name}: between ovs-vswitchd and ${nic}, mark ${mark}`);
    return place;
  }

  /** The TAP goes with the last descriptor, which the engine closes. */
  async #remove(uuid: string): Promise<void> {
    const place = this.#places.get(uuid);
    if (place === undefined) return;
    const { engine, native, taps, portIds, log } = this.#options;
    this.#places.delete(uuid);
    for (const fd of place.fds) native.setTapPersistent(fd, false);
    for (const port of [place.port, place.nicPort]) {
      await engine.apply({ op: 'remove-port', port });
      portIds.release(port);
    }
    taps.remove(place.name);
    log.info(`uplink ${place.name}: removed`);
  }
}
