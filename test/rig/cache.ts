/**
 * Where things live that are made once on a machine and used by every rig: Libreswan's unpacked package, guests' images.
 * bin/setup.mjs and test/interop/build-guest.sh follow the same rule.
 */
import { homedir } from 'node:os';
import { join } from 'node:path';

/** OVS_ESPD_CACHE, or `ovs-espd` in XDG_CACHE_HOME or ~/.cache. */
export function cacheDirectory(): string {
  const { OVS_ESPD_CACHE: own, XDG_CACHE_HOME: base = join(homedir(), '.cache') } = process.env;
  return own ?? join(base, 'ovs-espd');
}
