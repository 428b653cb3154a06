/** A NAT with port translation (RFC 4787: endpoint-independent mapping, address- and port-dependent filtering). */

import type { Endpoint } from '../../../ike/index.ts';
import type { Ends } from './world.ts';

const text = ({ address, port }: Endpoint): string => `${address}:${port}`;
const FIRST_PORT = 20_000;

export class Nat {
  outside: string;
  readonly #inside: string;
  readonly #ports = new Map<number, Endpoint>();
  readonly #allowed = new Set<string>();
  #next = FIRST_PORT;

  /** One host, `inside`, is behind the address `outside`. */
  constructor(inside: string, outside: string) {
    this.#inside = inside;
    this.outside = outside;
  }

  /** Forgets its mappings, as after a restart; `outside` may be another address from now on. */
  rebind(outside = this.outside): void {
    this.outside = outside;
    this.#ports.clear();
    this.#allowed.clear();
  }

  readonly translate = ({ from, to }: Ends): Ends | undefined => {
    if (from.address === this.#inside) {
      let port = [...this.#ports].find(([, endpoint]) => endpoint.port === from.port)?.[0];
      if (port === undefined) {
        port = this.#next++;
        this.#ports.set(port, from);
      }
      this.#allowed.add(`${port} ${text(to)}`);
      return { from: { address: this.outside, port }, to };
    }
    if (to.address !== this.outside || !this.#allowed.has(`${to.port} ${text(from)}`)) return undefined;
    const inside = this.#ports.get(to.port);
    return inside === undefined ? undefined : { from, to: inside };
  };
}
