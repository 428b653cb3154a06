/**
 * Whom an opened tunnel packet may go to: a frame's Ethernet header is not authenticated by ESP, so anybody on the wire
 * can readdress it, and a bridge floods or forwards what is not for the host, out of another NIC even, in the clear.
 * Only a frame that is addressed to a port of the host, in the VLAN of that port, goes on.
 */

import type { HostAddress } from '../commands.ts';
import { macFromText, macHigh, macLow, NO_TAG, outerTag } from '../wire/ethernet.ts';

/** Of each host port three numbers: high and low part of its MAC address, and its VLAN. */
const ROW = 3;
const ANY_VLAN = -1;
const VLAN_ID = 0xfff;

/** The addresses as `isForHost` reads them. Throws RangeError for text that is no MAC address. */
export function hostRows(hosts: readonly HostAddress[]): Int32Array {
  return Int32Array.from(
    hosts.flatMap(({ mac, vlan }) => {
      const [high, low] = macFromText(mac);
      return [high, low, vlan ?? ANY_VLAN];
    }),
  );
}

/** Whether the frame is for one of the host's ports. A priority tag (VLAN 0) counts as none. `length` at least 14. */
export function isForHost(hosts: Int32Array, bytes: Uint8Array, offset: number, length: number): boolean {
  const high = macHigh(bytes, offset);
  const low = macLow(bytes, offset);
  const tag = outerTag(bytes, offset, length);
  const vlan = tag === NO_TAG ? 0 : tag & VLAN_ID;
  for (let row = 0; row < hosts.length; row += ROW) {
    if (hosts[row] !== high || hosts[row + 1] !== low) continue;
    if (hosts[row + 2] === ANY_VLAN || hosts[row + 2] === vlan) return true;
  }
  return false;
}
