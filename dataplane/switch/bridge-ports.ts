/**
 * The ports of each bridge, as one worker knows them: what a flooded frame goes to.
 *
 * Changed by commands between batches, read on the packet path. Ids of bridges and ports are small integers. A change
 * costs the same however many ports the bridge has: lists grow by doubling, and the last port takes the place of one that leaves.
 */

const NO_PORTS = new Int32Array(0);
const NO_BRIDGE = -1;
const FIRST_CAPACITY = 8;

export class BridgePorts {
  /** Bridge of each port id, -1 where there is no such port. */
  readonly bridgeOf: Int32Array;
  /** Where each port stands in the list of its bridge. */
  private readonly placeOf: Int32Array;
  /** With room behind what is in use. */
  private readonly lists: Int32Array[];
  private readonly inUse: Int32Array[];

  constructor(bridges: number, ports: number) {
    this.bridgeOf = new Int32Array(ports).fill(NO_BRIDGE);
    this.placeOf = new Int32Array(ports);
    this.lists = new Array<Int32Array>(bridges).fill(NO_PORTS);
    this.inUse = new Array<Int32Array>(bridges).fill(NO_PORTS);
  }

  /** Puts a port on a bridge; one that is on another bridge leaves that one. */
  add(bridge: number, port: number): void {
    if (this.bridgeOf[port] === bridge) return;
    this.remove(port);
    const place = this.inUse[bridge].length;
    if (place === this.lists[bridge].length) this.grow(bridge);
    this.lists[bridge][place] = port;
    this.bridgeOf[port] = bridge;
    this.placeOf[port] = place;
    this.use(bridge, place + 1);
  }

  remove(port: number): void {
    const bridge = this.bridgeOf[port];
    if (bridge === undefined || bridge === NO_BRIDGE) return;
    const ports = this.inUse[bridge];
    const last = ports[ports.length - 1];
    ports[this.placeOf[port]] = last;
    this.placeOf[last] = this.placeOf[port];
    this.bridgeOf[port] = NO_BRIDGE;
    this.use(bridge, ports.length - 1);
  }

  /** In no order that means anything. Not to be written to. */
  ports(bridge: number): Int32Array {
    return this.inUse[bridge];
  }

  private use(bridge: number, count: number): void {
    this.inUse[bridge] = this.lists[bridge].subarray(0, count);
  }

  private grow(bridge: number): void {
    const before = this.lists[bridge];
    this.lists[bridge] = new Int32Array(Math.max(FIRST_CAPACITY, 2 * before.length));
    this.lists[bridge].set(before);
  }
}
