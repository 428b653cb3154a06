/**
 * Which ports of the host frames that come in by an uplink of a real ovs-vswitchd may be for: those of the uplink's bridge, and
 * of the bridges that patch ports join with it. The engine lets what it has opened go to them and to nobody else.
 */
import type { HostAddress } from '../../dataplane/commands.ts';
import type { HostPort } from './desired-state.ts';

/** What of a bridge counts here. */
export interface JoinedBridge {
  readonly hostPorts: readonly HostPort[];
  readonly patches: readonly { readonly name: string; readonly peer: string }[];
}

/** @param tag of the uplink's Port row: the VLAN that its untagged frames are of */
export function hostsBehind(
  bridge: JoinedBridge,
  all: readonly JoinedBridge[],
  tag: number | undefined,
): readonly HostAddress[] {
  const own = bridge.hostPorts.flatMap(({ mac, tag: hostTag }) => {
    const vlan = hostTag ?? 0;
    const vlans = [...(vlan === 0 ? [] : [vlan]), ...(vlan === (tag ?? 0) ? [0] : [])];
    return mac === undefined ? [] : vlans.map((each) => ({ mac, vlan: each }));
  });
  // The VLANs of patch ports are not followed.
  const behind = joinedWith(bridge, all).flatMap(({ hostPorts }) =>
    hostPorts.flatMap(({ mac }) => (mac === undefined ? [] : [{ mac, vlan: undefined }])),
  );
  return [...own, ...behind];
}

function joinedWith(bridge: JoinedBridge, all: readonly JoinedBridge[]): JoinedBridge[] {
  const found = new Set([bridge]);
  for (const each of found)
    for (const other of all)
      if (other.patches.some(({ name }) => each.patches.some(({ peer }) => peer === name))) found.add(other);
  found.delete(bridge);
  return [...found];
}
