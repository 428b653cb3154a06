/** The capabilities that the daemon needs (capabilities(7)), of whoever runs this. */
import { readFileSync } from 'node:fs';
import { capabilityMask, NEEDED_CAPABILITIES } from '../../privileges.ts';
import { type Check, type Finding, fail, ok } from '../check.ts';

const BIND = 'CAP_NET_BIND_SERVICE';
const IKE_PORT = 500;

export const privilegesCheck: Check = {
  name: 'privileges',
  about: 'CAP_NET_ADMIN, CAP_NET_RAW, and CAP_NET_BIND_SERVICE where port 500 needs it',
  run() {
    const effective = capabilityMask('CapEff');
    const needed = NEEDED_CAPABILITIES.filter(({ name }) => name !== BIND || firstFreePort() > IKE_PORT);
    const findings = needed.map(({ name, bit, why }): Finding => {
      const has = ((effective >> BigInt(bit)) & 1n) === 1n;
      return has ? ok(name) : fail(`no ${name}, needed ${why}`, `run it as root, or in a unit with ${name}`);
    });
    return findings.every(({ level }) => level === 'ok')
      ? [ok(findings.map(({ message }) => message).join(', '))]
      : findings;
  },
};

/** Ports from here on need no privilege. */
function firstFreePort(): number {
  return Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'));
}
