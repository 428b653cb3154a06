/** rp_filter (ip-sysctl): in strict mode the kernel drops what comes in on a device other than the route back. */
import { readFileSync } from 'node:fs';
import { type Check, type Finding, ok, placedTunnels, warn } from '../check.ts';

const STRICT = 1;

export const reversePathCheck: Check = {
  name: 'rp-filter',
  about: 'strict reverse path filtering on the devices that tunnels come in on',
  run({ configuration }) {
    if (configuration === undefined) return [];
    const devices = new Set(
      placedTunnels(configuration)
        .filter(({ remote }) => !remote.includes(':'))
        .flatMap(({ remote }) => configuration.underlay.routeTo(remote)?.device ?? []),
    );
    const findings = [...devices].map((device): Finding => {
      // The kernel takes the larger of the two.
      const value = Math.max(settingOf('all'), settingOf(device));
      if (value !== STRICT) return ok(`${device}: not strict`);
      return warn(
        `${device}: strict; ESP that comes in on another device than the route back leaves by is dropped before anybody sees it`,
        `where paths are not symmetric: sysctl net.ipv4.conf.${device}.rp_filter=2, and net.ipv4.conf.all.rp_filter likewise`,
      );
    });
    return findings;
  },
};

function settingOf(name: string): number {
  return Number(readFileSync(`/proc/sys/net/ipv4/conf/${name}/rp_filter`, 'utf8'));
}
