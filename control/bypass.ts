/**
 * Beside an ovs-vswitchd: tunnels whose packets never come by ovs-espd, as their route leaves through a device that is in no bridge
 * with a place of ours. Flows drop them where the device is in a bridge (guarded-bridges.ts); either way an operator has to be told.
 */

import type { DesiredState, TunnelState } from './config/desired-state.ts';
import { isCompanion } from './mark-policy.ts';
import { LOOPBACK, type Underlay } from './underlay.ts';

/**
 * The device by which packets of a tunnel that asks for IPsec leave beside us; undefined: they come by us, or it can't be told yet.
 * With `external_ids:espd=route` the kernel's rules lead them to us whatever the device.
 */
export function bypassOf(
  { wantsIpsec, settings }: TunnelState,
  desired: DesiredState,
  underlay: Underlay,
): string | undefined {
  if (!wantsIpsec || settings === undefined || !isCompanion(desired) || desired.routed) return undefined;
  const device = underlay.routeTo(settings.remote)?.device;
  if (device === undefined || device === LOOPBACK) return undefined;
  const { companions } = desired;
  // ovs-vswitchd has not yet said which addresses its ports have.
  if (companions.some(({ hosts }) => hosts.length === 0)) return undefined;
  const mac = underlay.link(device)?.mac;
  // Flows lead what the ports of the host in the bridge itself send; what patches bring goes on to an uplink only.
  const isOurs = companions.some(
    ({ attach, bridge, hosts }) =>
      bridge.hostPorts.some(({ name }) => name === device) ||
      (attach === 'uplink' && hosts.some((host) => host.mac === mac)),
  );
  return isOurs ? undefined : device;
}

/** What an operator is told, and what to do. */
export function bypassLine(device: string): readonly [line: string, remedy: string] {
  return [
    `its packets leave by ${device}, which is in no bridge with external_ids:espd, so nobody encrypts them`,
    'put the address into the bridge that has the interface with external_ids:espd, or give its bridge one (docs/howto/ovs-userspace.md)',
  ];
}
