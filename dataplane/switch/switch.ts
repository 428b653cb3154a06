/**
 * The learning switch (IEEE 802.1Q §8.6 to §8.8), over a batch of frames: the NORMAL action of OVS without STP.
 *
 * A row has a frame at `offset`, the port it came in through in `port` and that port's bridge in `bridge`. `forward`:
 *
 *   1. drops what is no frame, comes from a group address, or is addressed to a bridge itself (01:80:c2:00:00:0x)
 *   2. sets `vlan`, and drops what the port does not carry (vlans.ts)
 *   3. learns where the source is, in that VLAN
 *   4. sets `output`: the port of a known destination, or FLOOD; never the port that the frame came from
 *
 * Flooding itself is the engine's, which knows what kinds of ports there are. As in OVS, frames from one tunnel are
 * flooded to the other tunnels as well: whoever builds a loop of tunnels needs STP, which is not here.
 */

import type { Batch } from '../batch.ts';
import { DROP } from '../drops.ts';
import {
  ETHERNET_DESTINATION,
  ETHERNET_HEADER_LENGTH,
  ETHERNET_SOURCE,
  isGroupAddress,
  isReservedAddress,
  macHigh,
  macLow,
  outerTag,
  TAG_TRUNCATED,
} from '../wire/ethernet.ts';
import { readInt32 } from '../wire/octets.ts';
import type { BridgePorts } from './bridge-ports.ts';
import { type Fdb, fdbHigh } from './fdb.ts';
import { NO_VLAN, type Vlans } from './vlans.ts';

/** In `output`: to all other ports of the bridge. */
export const FLOOD = -2;

const NO_ROW = -1;
/** Destination and source, with which a frame begins. */
const ADDRESSES_LENGTH = 12;

const TOO_SHORT = DROP['frame-too-short'];
const SOURCE_MULTICAST = DROP['source-multicast'];
const RESERVED = DROP['reserved-destination'];
const VLAN_IN = DROP['vlan-in'];
const SAME_PORT = DROP['same-port'];

/** Decides where each row without a verdict goes. `now` in ms, as the FDB counts it. */
export function forward(batch: Batch, fdb: Fdb, ports: BridgePorts, vlans: Vlans, now: number): void {
  const bytes = batch.arena;
  let before = NO_ROW;
  let tagBefore = 0;
  for (let row = 0; row < batch.count; row++) {
    if (batch.verdict[row] !== 0) continue;
    const offset = batch.offset[row];
    const length = batch.length[row];
    if (length < ETHERNET_HEADER_LENGTH) {
      batch.verdict[row] = TOO_SHORT;
      continue;
    }
    const source = offset + ETHERNET_SOURCE;
    const destination = offset + ETHERNET_DESTINATION;
    if (isGroupAddress(bytes, source)) {
      batch.verdict[row] = SOURCE_MULTICAST;
      continue;
    }
    if (isReservedAddress(bytes, destination)) {
      batch.verdict[row] = RESERVED;
      continue;
    }

    const bridge = batch.bridge[row];
    const ingress = batch.port[row];
    const tag = outerTag(bytes, offset, length);
    // Padded on a wire, half a tag would become a whole one.
    if (tag === TAG_TRUNCATED) {
      batch.verdict[row] = TOO_SHORT;
      continue;
    }
    if (before !== NO_ROW && tag === tagBefore && ingress === batch.port[before] && isSameWay(batch, before, row)) {
      batch.vlan[row] = batch.vlan[before];
      batch.output[row] = batch.output[before];
      continue;
    }
    const vlan = vlans.ingress(ingress, tag);
    batch.vlan[row] = vlan;
    if (vlan === NO_VLAN) {
      batch.verdict[row] = VLAN_IN;
      continue;
    }
    before = NO_ROW;
    fdb.learn(bridge, fdbHigh(vlan, macHigh(bytes, source)), macLow(bytes, source), ingress, now);

    if (isGroupAddress(bytes, destination)) {
      batch.output[row] = FLOOD;
      continue;
    }
    const output = fdb.lookup(bridge, fdbHigh(vlan, macHigh(bytes, destination)), macLow(bytes, destination), now);
    if (output === ingress) batch.verdict[row] = SAME_PORT;
    // A worker may have learned from a port just before it was removed, or left a VLAN: then the entry leads nowhere.
    else if (output >= 0 && ports.bridgeOf[output] === bridge && vlans.carries(output, vlan))
      batch.output[row] = output;
    else batch.output[row] = FLOOD;
    if (batch.verdict[row] !== 0) continue;
    before = row;
    tagBefore = tag;
  }
}

/** Whether two frames have the same addresses: what has just been learned and found for the first holds for the second. */
function isSameWay({ arena, offset }: Batch, first: number, second: number): boolean {
  const a = offset[first];
  const b = offset[second];
  for (let i = 0; i < ADDRESSES_LENGTH; i += 4) if (readInt32(arena, a + i) !== readInt32(arena, b + i)) return false;
  return true;
}
