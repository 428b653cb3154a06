/** OpenFlow port numbers of a bridge, as ovs-vswitchd gives them: the lowest free one unless a free one is asked for. */

/** OFPP_LOCAL: the port named after the bridge. */
export const LOCAL_OFPORT = 65534;
/** OFPP_MAX of OpenFlow 1.0, exclusive. */
const OFPORT_END = 65280;

interface Taken {
  readonly ofports: Set<number>;
  /** Below it all are taken. */
  lowest: number;
}

export class OfportTable {
  readonly #bridges = new Map<number, Taken>();

  /** @param asked ofport_request, or the number the port had before. */
  take(bridge: number, asked: number | undefined): number {
    const taken = this.#bridges.get(bridge) ?? { ofports: new Set(), lowest: 1 };
    this.#bridges.set(bridge, taken);
    const { ofports } = taken;
    const isFree = asked !== undefined && asked >= 1 && asked < OFPORT_END && !ofports.has(asked);
    while (ofports.has(taken.lowest)) taken.lowest++;
    const ofport = isFree ? asked : taken.lowest;
    if (ofport >= OFPORT_END) throw new Error(`bridge has all its ${OFPORT_END - 1} OpenFlow ports in use`);
    ofports.add(ofport);
    return ofport;
  }

  release(bridge: number, ofport: number): void {
    const taken = this.#bridges.get(bridge);
    if (taken === undefined) return;
    taken.ofports.delete(ofport);
    taken.lowest = Math.min(taken.lowest, ofport);
  }
}
