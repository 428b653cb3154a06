/**
 * The tunnels of one type and port between two addresses, of which there may be thousands that only their keys tell
 * apart: the order in which they came, which of two with one key counts, and who says under which protection all of
 * them travel. A linked list, so that one more costs the same whatever the number of those that are there.
 */

import type { Tunnel } from './tunnel-table.ts';

export const NO_PROTECTION = -1;

/** A tunnel's place among its neighbours. */
interface Place {
  readonly tunnel: Tunnel;
  previous: Place | undefined;
  next: Place | undefined;
}

export class TunnelGroup {
  /** Says which protection packets between these addresses need: the first tunnel that has one, else the first. */
  decides: Tunnel | undefined;
  private first: Place | undefined;
  private last: Place | undefined;
  private unprotected = 0;
  /** How many came when another had their key. */
  private doubles = 0;
  private readonly places = new Map<number, Place>();

  /** `isDouble`: another tunnel of the group has its key. */
  add(tunnel: Tunnel, isDouble: boolean): void {
    const place: Place = { tunnel, previous: this.last, next: undefined };
    if (this.last === undefined) this.first = place;
    else this.last.next = place;
    this.last = place;
    this.places.set(tunnel.port, place);
    if (isDouble) this.doubles++;
    if (tunnel.ownProtection < 0) {
      this.unprotected++;
      tunnel.protection = this.decides?.ownProtection ?? NO_PROTECTION;
    } else tunnel.protection = tunnel.ownProtection;
    if (this.decides === undefined || (this.decides.ownProtection < 0 && tunnel.ownProtection >= 0))
      this.decide(tunnel);
  }

  /** Gives the tunnel that counts for the key from now on: the next with the same, if there is any. */
  remove(tunnel: Tunnel, isSameKey: (other: Tunnel) => boolean): Tunnel | undefined {
    const place = this.places.get(tunnel.port);
    if (place === undefined) return undefined;
    this.places.delete(tunnel.port);
    if (place.previous === undefined) this.first = place.next;
    else place.previous.next = place.next;
    if (place.next === undefined) this.last = place.previous;
    else place.next.previous = place.previous;
    if (tunnel.ownProtection < 0) this.unprotected--;
    if (this.decides === tunnel) this.decide(this.firstProtected() ?? this.first?.tunnel);
    if (this.doubles === 0) return undefined;
    const heir = this.find(isSameKey);
    if (heir !== undefined) this.doubles--;
    return heir;
  }

  private decide(tunnel: Tunnel | undefined): void {
    const before = this.decides?.ownProtection ?? NO_PROTECTION;
    this.decides = tunnel;
    const protection = tunnel?.ownProtection ?? NO_PROTECTION;
    if (this.unprotected === 0 || protection === before) return;
    for (let at = this.first; at !== undefined; at = at.next)
      if (at.tunnel.ownProtection < 0) at.tunnel.protection = protection;
  }

  private firstProtected(): Tunnel | undefined {
    return this.unprotected === this.places.size ? undefined : this.find(({ ownProtection }) => ownProtection >= 0);
  }

  private find(isWanted: (tunnel: Tunnel) => boolean): Tunnel | undefined {
    for (let at = this.first; at !== undefined; at = at.next) if (isWanted(at.tunnel)) return at.tunnel;
    return undefined;
  }
}
