/**
 * The VLANs of ports, as ovs-vswitchd.conf.db(5) describes them (table Port, "VLAN Configuration"; IEEE 802.1Q §8.6.2, §8.8.2):
 * which VLAN a frame is in that comes in through a port, which ports carry that VLAN, and the tag that the frame has there.
 *
 * A tag is a number: the tag control information (PCP, DEI, VLAN id), or NO_TAG. A port that nothing is said of is a trunk
 * of all VLANs. Changed by commands between batches, read on the packet path; retag.ts changes frames.
 */

import type { PortVlans } from '../commands.ts';
import { NO_TAG } from '../wire/ethernet.ts';

/** The frame is in no VLAN that its port carries. */
export const NO_VLAN = -1;

const VLAN_ID = 0xfff;
const PRIORITY = 0xe000;
const PRIORITY_AND_DROP_ELIGIBLE = 0xf000;
const VLAN_IDS = 4096;

// Modes, as they stand in `modes`.
const TRUNK = 0;
const ACCESS = 1;
const NATIVE_TAGGED = 2;
const NATIVE_UNTAGGED = 3;
const MODES = { trunk: TRUNK, access: ACCESS, 'native-tagged': NATIVE_TAGGED, 'native-untagged': NATIVE_UNTAGGED };

// When a frame keeps a tag without a VLAN id on its way out, for the priority in it (other_config:priority-tags); one
// without a priority either only where it had no VLAN id before.
const NEVER = 0;
const IF_NONZERO = 1;
const ALWAYS = 2;
const PRIORITY_TAGS = { never: NEVER, 'if-nonzero': IF_NONZERO, always: ALWAYS };

export class Vlans {
  private readonly modes: Uint8Array;
  /** VLAN of frames without a VLAN id: the access or native VLAN, 0 on trunks. */
  private readonly untagged: Uint16Array;
  private readonly priorityTags: Uint8Array;
  /** One bit for each VLAN that a port carries, unless it is an access port; undefined: all. */
  private readonly trunks: (Uint32Array | undefined)[];

  constructor(ports: number) {
    this.modes = new Uint8Array(ports);
    this.untagged = new Uint16Array(ports);
    this.priorityTags = new Uint8Array(ports);
    this.trunks = new Array<Uint32Array | undefined>(ports).fill(undefined);
  }

  /** Undefined: a trunk of all VLANs. */
  set(port: number, vlans: PortVlans | undefined): void {
    const { mode = 'trunk', tag = 0, trunks = [], priorityTags = 'never' } = vlans ?? {};
    this.modes[port] = MODES[mode];
    this.untagged[port] = mode === 'trunk' ? 0 : tag;
    this.priorityTags[port] = PRIORITY_TAGS[priorityTags];
    this.trunks[port] = mode === 'trunk' ? trunkVlans(trunks) : nativeVlans(trunks, tag);
  }

  /** The VLAN of a frame with this tag that came in through a port, or NO_VLAN: it is to be dropped. */
  ingress(port: number, tag: number): number {
    const id = tag === NO_TAG ? 0 : tag & VLAN_ID;
    if (this.modes[port] === ACCESS) return id === 0 ? this.untagged[port] : NO_VLAN;
    const vlan = id === 0 ? this.untagged[port] : id;
    return this.carries(port, vlan) ? vlan : NO_VLAN;
  }

  /** Whether frames of a VLAN leave through a port. */
  carries(port: number, vlan: number): boolean {
    if (this.modes[port] === ACCESS) return vlan === this.untagged[port];
    const trunks = this.trunks[port];
    return trunks === undefined || (trunks[vlan >>> 5] & (1 << (vlan & 31))) !== 0;
  }

  /** The tag that a frame of a VLAN has on a port that carries it; `tag` is its tag of the moment, whose priority it keeps. */
  egress(port: number, vlan: number, tag: number): number {
    const mode = this.modes[port];
    const isBare = mode === ACCESS || (mode === NATIVE_UNTAGGED && vlan === this.untagged[port]);
    const id = isBare ? 0 : vlan;
    if (tag === NO_TAG) return id === 0 ? NO_TAG : id;
    const priority = tag & PRIORITY_AND_DROP_ELIGIBLE;
    if (id !== 0) return priority | id;
    const asked = this.priorityTags[port];
    const isKept = (priority & PRIORITY) === 0 ? asked === ALWAYS && !isBare : asked !== NEVER;
    return isKept ? priority : NO_TAG;
  }
}

/** Undefined: all. */
function trunkVlans(trunks: readonly number[]): Uint32Array | undefined {
  if (trunks.length === 0) return undefined;
  const bits = new Uint32Array(VLAN_IDS / 32);
  for (const vlan of trunks) bits[vlan >>> 5] |= 1 << (vlan & 31);
  return bits;
}

/** The native VLAN in any case, and no other VLAN 0: what has no VLAN id is in the native one. */
function nativeVlans(trunks: readonly number[], native: number): Uint32Array {
  const bits = trunkVlans(trunks) ?? new Uint32Array(VLAN_IDS / 32).fill(0xffffffff);
  bits[0] &= ~1;
  bits[native >>> 5] |= 1 << (native & 31);
  return bits;
}
