/** ovs-espd with all tunnels in its configuration at both ends, which both initiate. */
import { join } from 'node:path';
import { type Espd, fileConfig, startEspd } from '../../test/rig/espd.ts';
import { processSeconds } from '../traffic/cpu.ts';
import { type Contender, PSK, type Site, waitForAll, watchUp } from './site.ts';

/** What `status/json` says of the main thread. */
type Status = { readonly mainThread: { readonly p99: number; readonly longest: number } };

const UP = /\|([^|\s]+): CHILD_SA \S+ established/g;

function start({ rig, lan, pairs }: Site, end: 'a' | 'b', ike: string): Promise<Espd> {
  const tunnels = pairs.map((pair) => ({
    name: pair.name,
    type: 'gre' as const,
    options: { local_ip: pair[end], remote_ip: pair[end === 'a' ? 'b' : 'a'], psk: PSK, ipsec_ike: ike },
  }));
  return startEspd(rig, lan[end], { config: fileConfig('br0', tunnels) });
}

/** With this proposal of IKE. */
export function espd(name: string, ike: string): Contender {
  return {
    name,
    what: `ipsec_ike=${ike}; a GRE tunnel each, packet workers and all`,
    async establish(site, patienceSeconds) {
      const began = performance.now();
      const daemons = await Promise.all([start(site, 'a', ike), start(site, 'b', ike)]);
      try {
        const watches = daemons.map(({ directory }) => watchUp(join(directory, 'ovs-espd.log'), UP));
        await waitForAll(site, watches, patienceSeconds);
        const seconds = (performance.now() - began) / 1000;
        const cpuSeconds = processSeconds(daemons.map(({ running }) => running.pid));
        const states = await Promise.all(
          daemons.map(async (daemon) => (JSON.parse(await daemon.appctl('status/json')) as Status).mainThread),
        );
        const longestMs = Math.max(...states.map(({ longest }) => longest));
        return { seconds, cpuSeconds, longestMs, p99Ms: Math.max(...states.map(({ p99 }) => p99)) };
      } finally {
        for (const daemon of daemons) await daemon.stop();
      }
    },
  };
}
