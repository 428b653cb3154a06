/** Settings of tunnels that cannot be honoured: what makes a tunnel INVALID, and what is ignored. */
import { formatIssue } from '../../config/issue.ts';
import { type Check, type Finding, fail, ok, warn } from '../check.ts';

export const tunnelsCheck: Check = {
  name: 'tunnels',
  about: 'settings in the database that cannot be honoured',
  run({ configuration }) {
    if (configuration === undefined) return [];
    const { tunnels, issues, companions } = configuration.desired;
    const findings: Finding[] = [
      ...tunnels
        .filter(({ state }) => state === 'INVALID')
        .map(({ name, reason }) =>
          fail(`tunnel ${name} is INVALID: ${reason}`, 'it sends and accepts nothing; as it says'),
        ),
      ...companions
        .filter(({ reason }) => reason !== undefined)
        .map(({ name, reason }) => fail(`uplink ${name}: ${reason}`, 'nothing passes through it; as it says')),
      ...issues.map((issue) => warn(formatIssue(issue), 'as it says')),
    ];
    const wanting = tunnels.filter(({ wantsIpsec }) => wantsIpsec).length;
    return findings.length > 0
      ? findings
      : [ok(`${tunnels.length} tunnels, ${wanting} of them with IPsec, all well configured`)];
  },
};
