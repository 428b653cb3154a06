/** OpenFlow port numbers of a bridge, as ovs-vswitchd gives them: the lowest free one unless a free one is asked for. */

/** OFPP_LOCAL: the port named after the bridge. */
export const LOCAL_OFPORT = 65534;
/** OFPP_MAX of OpenFlow 1.0, exclusive. */
const OFPORT_END = 65280;

export class OfportTable {
  readonly #taken = new Map<number, Set<number>>();

  /** @param asked ofport_request, or the number the port had before. */
  take(bridge: number, asked: number | undefined): number {
    const taken = this.#taken.get(bridge) ?? new Set<number>();
    this.#taken.set(bridge, taken);
    let ofport = asked !== undefined && asked >= 1 && asked < OFPORT_END && !taken.has(asked) ? asked : 1;
    while (taken.has(ofport)) ofport++;
    if (ofport >= OFPORT_END) throw new Error(`bridge has all its ${OFPORT_END - 1} OpenFlow ports in use`);
    taken.add(ofport);
    return ofport;
  }

  release(bridge: number, ofport: number): void {
    this.#taken.get(bridge)?.delete(ofport);
  }
}
