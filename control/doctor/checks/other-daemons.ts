/** Other programs that key tunnels or set IPsec policies on this host. */
import { type Check, type Finding, ok, warn } from '../check.ts';
import { describeProcess, runningAs } from '../processes.ts';

const DAEMONS = [
  { program: 'charon', unit: 'strongswan-starter' },
  { program: 'charon-systemd', unit: 'strongswan' },
  { program: 'pluto', unit: 'ipsec' },
  { program: 'ovs-monitor-ipsec', unit: 'openvswitch-ipsec' },
] as const;

export const otherDaemonsCheck: Check = {
  name: 'other-daemons',
  about: 'charon, pluto and ovs-monitor-ipsec in this network namespace',
  run({ processes }) {
    const findings = DAEMONS.flatMap(({ program, unit }): Finding[] =>
      runningAs(processes, program).map((process) =>
        warn(
          `${describeProcess(process)} runs here and keys tunnels too`,
          `systemctl disable --now ${unit}, unless it serves other peers on other addresses`,
        ),
      ),
    );
    return findings.length > 0 ? findings : [ok('no other IKE daemon in this network namespace')];
  },
};
