/** Who has UDP 500 and 4500: only one daemon of this network namespace can speak IKE. */
import { PROGRAM } from '../../version.ts';
import { type Check, type Finding, fail, ok } from '../check.ts';
import { describeProcess, ownersOfUdpPort, runningAs } from '../processes.ts';

const PORTS = [500, 4500];

export const ikePortsCheck: Check = {
  name: 'ike-ports',
  about: 'who has UDP 500 and 4500',
  run({ processes }) {
    const ours = new Set(runningAs(processes, PROGRAM).map(({ pid }) => pid));
    return PORTS.map((port): Finding => {
      const owners = ownersOfUdpPort(port, processes);
      const others = owners.filter(({ pid }) => !ours.has(pid));
      if (others.length > 0) {
        return fail(
          `UDP ${port} belongs to ${others.map(describeProcess).join(', ')}`,
          'stop it, and keep it from starting again: systemctl disable --now its unit',
        );
      }
      return ok(owners.length > 0 ? `UDP ${port}: ${owners.map(describeProcess).join(', ')}` : `UDP ${port} is free`);
    });
  },
};
