/** The capabilities that the daemon needs (capabilities(7)), of whoever runs this. */
import { readFileSync } from 'node:fs';
import { type Check, type Finding, fail, ok } from '../check.ts';

const NEEDED = [
  { name: 'CAP_NET_ADMIN', bit: 12, why: 'to make TAPs' },
  { name: 'CAP_NET_RAW', bit: 13, why: 'to send and receive ESP' },
] as const;
const BIND = { name: 'CAP_NET_BIND_SERVICE', bit: 10, why: 'to listen on UDP 500' } as const;
const IKE_PORT = 500;

export const privilegesCheck: Check = {
  name: 'privileges',
  about: 'CAP_NET_ADMIN, CAP_NET_RAW, and CAP_NET_BIND_SERVICE where port 500 needs it',
  run() {
    const effective = BigInt(
      `0x${/^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`,
    );
    const needed = firstFreePort() > IKE_PORT ? [...NEEDED, BIND] : NEEDED;
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
