/**
 * By which ports of each bridge of a real ovs-vswitchd tunnel packets may reach an uplink of ours, and by which they may come from the
 * host: a pure function. A bridge with uplinks has those; one that patch ports join with such a bridge has the patch port
 * that leads there. All other ways lead past us (guard-flows.ts closes them).
 */
import type { CompanionBridge, CompanionPort, PatchPort, WireVlan } from '../config/desired-state.ts';

/** A way to an uplink: an uplink, a bond of them, or a patch port. */
export interface WayOut extends WireVlan {
  /** OpenFlow ports; those that ovs-vswitchd has not yet given are left out. */
  readonly ofports: readonly number[];
}

/** Where packets that the host sends come into a bridge. */
export interface Inside {
  readonly ofport: number;
  readonly tag: number | undefined;
}

export interface BridgeWays {
  readonly bridge: CompanionBridge;
  readonly hasUplink: boolean;
  readonly ways: readonly WayOut[];
  /** Patch ports behind which the host has an address. Its ports in the bridge itself are `bridge.hostPorts`. */
  readonly patches: readonly Inside[];
  /** Names of the ports that are neither the host's nor an uplink. */
  readonly others: readonly string[];
}

/** @param hasAddress whether the host has an address on the device of this name */
export function waysOut(
  bridges: readonly CompanionBridge[],
  uplinks: readonly CompanionPort[],
  hasAddress: (device: string) => boolean,
): BridgeWays[] {
  const towards = new Map<CompanionBridge, PatchPort | undefined>();
  for (const bridge of bridges)
    if (uplinks.some((uplink) => uplink.bridge.name === bridge.name)) towards.set(bridge, undefined);
  // Grows while it is walked: from the bridges with uplinks outwards, so each has a shortest way.
  for (const [found] of towards)
    for (const bridge of bridges) {
      const patch = patchBetween(bridge, found);
      if (patch !== undefined && !towards.has(bridge)) towards.set(bridge, patch);
    }
  const holdsAddress = (bridge: CompanionBridge): boolean =>
    bridge.hostPorts.some(({ name }) => hasAddress(name)) || behind(bridge).some(holdsAddress);
  const behind = (bridge: CompanionBridge): CompanionBridge[] =>
    [...towards].filter(([, patch]) => patch !== undefined && isPeerIn(patch, bridge)).map(([each]) => each);
  return bridges.map((bridge) => {
    const own = uplinks.filter((uplink) => uplink.bridge.name === bridge.name);
    const patch = towards.get(bridge);
    const patches = behind(bridge)
      .filter(holdsAddress)
      .flatMap((each) => bridge.patches.find(({ name }) => name === towards.get(each)?.peer) ?? [])
      .flatMap(({ ofport, untagged }) => (ofport === undefined ? [] : [{ ofport, tag: untagged }]));
    const names = new Set(own.map(({ name }) => name));
    return {
      ...{ bridge, hasUplink: own.length > 0, patches },
      ways: own.length > 0 ? byPort(own) : patch === undefined ? [] : [wayBy(patch, [patch])],
      others: bridge.others.filter((name) => !names.has(name)),
    };
  });
}

/** The members of a bond are one way. */
function byPort(uplinks: readonly CompanionPort[]): WayOut[] {
  const ports = new Map<string, CompanionPort[]>();
  for (const uplink of uplinks) ports.set(uplink.portUuid, [...(ports.get(uplink.portUuid) ?? []), uplink]);
  return [...ports.values()].map((members) => wayBy(members[0]!, members));
}

function wayBy({ untagged, isAccess }: WireVlan, members: readonly { readonly ofport: number | undefined }[]): WayOut {
  const ofports = members.flatMap(({ ofport }) => ofport ?? []);
  return { untagged, isAccess, ofports };
}

/** The patch port of `from` that leads to `to`. */
function patchBetween(from: CompanionBridge, to: CompanionBridge): PatchPort | undefined {
  return from.patches.find((patch) => isPeerIn(patch, to));
}

function isPeerIn({ name, peer }: PatchPort, bridge: CompanionBridge): boolean {
  return bridge.patches.some((other) => other.name === peer && other.peer === name);
}
