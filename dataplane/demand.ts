/**
 * What the uplink must receive and send with for the tunnels and SAs of the moment, counted as they come and go: ten
 * thousand tunnels ask for the same few sockets, and one more must not make anybody look at all of them again.
 *
 * `current` gives the same object until something else is asked for, so whoever met it compares objects.
 */

import { type Family, familyOf } from './address-pairs.ts';
import type { TunnelSettings } from './commands.ts';
import { encapsulationOf } from './encap/encap.ts';
import { type FamilyDemand, IP_PROTOCOL, type UplinkDemand } from './io/uplink.ts';

/** How often each thing is asked for. */
class Counted<Thing> {
  private readonly users = new Map<Thing, number>();

  /** True if nobody asked for it before. */
  add(thing: Thing): boolean {
    const users = this.users.get(thing) ?? 0;
    this.users.set(thing, users + 1);
    return users === 0;
  }

  /** True if nobody asks for it any more. */
  remove(thing: Thing): boolean {
    const users = (this.users.get(thing) ?? 0) - 1;
    if (users > 0) this.users.set(thing, users);
    else this.users.delete(thing);
    return users <= 0;
  }

  has(thing: Thing): boolean {
    return this.users.has(thing);
  }

  things(): Thing[] {
    return [...this.users.keys()];
  }
}

/** Of one address family: tunnels there are, and the ports of each protocol that those of our bridges receive on. */
class FamilyCount {
  readonly ours = new Counted<true>();
  readonly elsewhere = new Counted<true>();
  readonly gre = new Counted<true>();
  readonly udpPorts = new Counted<number>();
  readonly tcpPorts = new Counted<number>();

  demand(espInUdp: boolean, esp: boolean): FamilyDemand {
    const ascending = (ports: Counted<number>): number[] => ports.things().sort((a, b) => a - b);
    const [udpPorts, tcpPorts] = [ascending(this.udpPorts), ascending(this.tcpPorts)];
    return { esp, espInUdp, gre: this.gre.has(true), udpPorts, tcpPorts };
  }
}

/** True if the change makes a difference. */
type Change = <Thing>(counted: Counted<Thing>, thing: Thing) => boolean;
const add: Change = (counted, thing) => counted.add(thing);
const remove: Change = (counted, thing) => counted.remove(thing);

export class Demand {
  private readonly families = { 4: new FamilyCount(), 6: new FamilyCount() } as const;
  private readonly marks = new Counted<number>();
  /** Of tunnels that somebody else encapsulates: they count only where their packets come to us by routes. */
  private readonly marksElsewhere = new Counted<number>();
  private readonly inUdp = new Counted<Family>();
  private readonly routes = new Counted<true>();
  private readonly beside = new Counted<true>();
  private uplinkMark = 0;
  private made: UplinkDemand | undefined;

  constructor() {
    this.marks.add(this.uplinkMark);
  }

  /** `isOurs`: we encapsulate, and packets in the clear come in here. */
  addTunnel(tunnel: TunnelSettings, isOurs: boolean): void {
    this.count(tunnel, isOurs, add);
  }

  removeTunnel(tunnel: TunnelSettings, isOurs: boolean): void {
    this.count(tunnel, isOurs, remove);
  }

  /** Packets of tunnels that the kernel encapsulates come by routes. */
  addRoute(): void {
    this.note(this.routes.add(true));
  }

  removeRoute(): void {
    this.note(this.routes.remove(true));
  }

  /** A place where the frames of another datapath cross: an uplink of its, or a port of its bridge. */
  addBeside(): void {
    this.note(this.beside.add(true));
  }

  removeBeside(): void {
    this.note(this.beside.remove(true));
  }

  /** An inbound SA whose ESP comes in UDP to this address of ours. */
  addInUdp(local: string): void {
    this.note(this.inUdp.add(familyOf(local)));
  }

  removeInUdp(local: string): void {
    this.note(this.inUdp.remove(familyOf(local)));
  }

  /** The mark of tunnels without one of their own. */
  setUplinkMark(mark: number): void {
    const before = this.uplinkMark;
    this.uplinkMark = mark >>> 0;
    // The new one first: where they are the same nothing changes.
    this.note(this.marks.add(this.uplinkMark));
    this.note(this.marks.remove(before));
  }

  current(): UplinkDemand {
    this.made ??= this.make();
    return this.made;
  }

  private note(isChange: boolean): void {
    if (isChange) this.made = undefined;
  }

  private make(): UplinkDemand {
    const { families, inUdp } = this;
    const isBeside = this.beside.has(true);
    const isRouted = this.routes.has(true);
    const hasTunnels = ({ ours, elsewhere }: FamilyCount): boolean =>
      ours.has(true) || (isRouted && elsewhere.has(true));
    const [overIpv4, overIpv6] = [hasTunnels(families[4]), hasTunnels(families[6])];
    const marks = new Set([...this.marks.things(), ...(isRouted ? this.marksElsewhere.things() : [])]);
    return {
      // Beside another datapath its frames are all there is: a second copy of an ESP packet would be taken for a replay.
      ipv4: families[4].demand(inUdp.has(4), overIpv4 || overIpv6 || !isBeside),
      ipv6: overIpv6 || inUdp.has(6) ? families[6].demand(inUdp.has(6), true) : undefined,
      marks: [...marks].sort((a, b) => a - b),
    };
  }

  private count({ type, remote, destinationPort, egressMark }: TunnelSettings, isOurs: boolean, change: Change): void {
    const family = this.families[familyOf(remote)];
    this.note(change(isOurs ? family.ours : family.elsewhere, true));
    if (egressMark !== undefined) this.note(change(isOurs ? this.marks : this.marksElsewhere, egressMark >>> 0));
    if (!isOurs) return;
    const { protocol } = encapsulationOf(type);
    if (protocol === IP_PROTOCOL.gre) this.note(change(family.gre, true));
    else if (protocol === IP_PROTOCOL.udp) this.note(change(family.udpPorts, destinationPort));
    else if (protocol === IP_PROTOCOL.tcp) this.note(change(family.tcpPorts, destinationPort));
  }
}
