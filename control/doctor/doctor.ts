/**
 * `ovs-espd doctor [--json] [DATABASE]`: looks at this host and says, line by line, what is well, what is not, and what to do.
 * It changes nothing, and may run beside a running daemon. Exit status 0: nothing fails; 1: something does.
 */
import { parseCommandLine } from '../command-line.ts';
import { PROGRAM } from '../version.ts';
import type { Check, Finding, HostFacts } from './check.ts';
import { certificatesCheck } from './checks/certificates.ts';
import { clockCheck } from './checks/clock.ts';
import { databaseCheck } from './checks/database.ts';
import { ikePortsCheck } from './checks/ike-ports.ts';
import { kernelPoliciesCheck } from './checks/kernel-policies.ts';
import { leaksCheck } from './checks/leaks.ts';
import { mtuCheck } from './checks/mtu.ts';
import { otherDaemonsCheck } from './checks/other-daemons.ts';
import { peersCheck } from './checks/peers.ts';
import { privilegesCheck } from './checks/privileges.ts';
import { programCheck } from './checks/program.ts';
import { reversePathCheck } from './checks/reverse-path.ts';
import { tapCheck } from './checks/tap.ts';
import { tunnelsCheck } from './checks/tunnels.ts';
import { gatherFacts } from './facts.ts';

/** From the machine to the packets. */
export const CHECKS: readonly Check[] = [
  programCheck,
  privilegesCheck,
  tapCheck,
  ikePortsCheck,
  otherDaemonsCheck,
  databaseCheck,
  tunnelsCheck,
  certificatesCheck,
  clockCheck,
  peersCheck,
  mtuCheck,
  reversePathCheck,
  kernelPoliciesCheck,
  leaksCheck,
];

export interface Result extends Finding {
  readonly check: string;
}

export async function examine(host: HostFacts): Promise<Result[]> {
  const results: Result[] = [];
  for (const check of CHECKS)
    for (const finding of await check.run(host)) results.push({ check: check.name, ...finding });
  return results;
}

/** Names come from a database: a control character in one must not move the cursor. */
const printable = (text: string): string => text.replace(/\p{Cc}/gu, '?');

export function resultsText(results: readonly Result[]): string {
  const lines = results.map(({ check, level, message, remedy }) => {
    const line = `${level.padEnd(5)} ${check.padEnd(16)} ${printable(message)}`;
    return remedy === undefined ? line : `${line}\n${' '.repeat(23)}→ ${printable(remedy)}`;
  });
  const count = (level: string): number => results.filter((result) => result.level === level).length;
  return `${[...lines, '', `${count('ok')} ok, ${count('warn')} to look at, ${count('fail')} to mend`].join('\n')}\n`;
}

/** Gives the exit status. @throws Error with one line for wrong arguments */
export async function doctor(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Promise<number> {
  const options = parseCommandLine(
    args.filter((arg) => arg !== '--json'),
    environment,
  );
  if (options.kind === 'text') throw new Error(`doctor: expected [--json] [DATABASE]; see ${PROGRAM} --help`);
  const results = await examine(await gatherFacts(options));
  process.stdout.write(args.includes('--json') ? `${JSON.stringify(results, null, 2)}\n` : resultsText(results));
  return results.some(({ level }) => level === 'fail') ? 1 : 0;
}
