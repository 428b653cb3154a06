/**
 * The ports of each bridge, as one worker knows them: what a flooded frame goes to.
 *
 * Changed by commands between batches, read on the packet path. Ids of bridges and ports are small integers.
 */

const NO_PORTS = new Int32Array(0);
const NO_BRIDGE = -1;

export class BridgePorts {
  /** Bridge of each port id, -1 where there is no such port. */
  readonly bridgeOf: Int32Array;
  private readonly portsOf: Int32Array[];

  constructor(bridges: number, ports: number) {
    this.bridgeOf = new Int32Array(ports).fill(NO_BRIDGE);
    this.portsOf = new Array<Int32Array>(bridges).fill(NO_PORTS);
  }

  /** Puts a port on a bridge; one that is on another bridge leaves that one. */
  add(bridge: number, port: number): void {
    if (this.bridgeOf[port] === bridge) return;
    this.remove(port);
    this.bridgeOf[port] = bridge;
    this.portsOf[bridge] = Int32Array.of(...this.portsOf[bridge], port);
  }

  remove(port: number): void {
    const bridge = this.bridgeOf[port];
    if (bridge === undefined || bridge === NO_BRIDGE) return;
    this.bridgeOf[port] = NO_BRIDGE;
    this.portsOf[bridge] = this.portsOf[bridge].filter((other) => other !== port);
  }

  /** In the order they were added. Not to be written to. */
  ports(bridge: number): Int32Array {
    return this.portsOf[bridge];
  }
}
