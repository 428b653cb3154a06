/** IPsec policies of the kernel that match our packets too: the kernel would seal them again, or drop them for want of an SA. */
import { execFile } from 'node:child_process';
import { BlockList, isIP } from 'node:net';
import { promisify } from 'node:util';
import { type Check, type Finding, ok, placedTunnels, warn } from '../check.ts';

interface KernelPolicy {
  readonly source: string;
  readonly destination: string;
  readonly direction: string;
}

export const kernelPoliciesCheck: Check = {
  name: 'kernel-policies',
  about: 'xfrm policies of the kernel between the addresses of tunnels',
  async run({ configuration }) {
    if (configuration === undefined) return [];
    const text = await xfrmPolicies();
    if (text === undefined) return [ok('the kernel has no IPsec policies (no xfrm)')];
    const policies = parsePolicies(text);
    const findings = placedTunnels(configuration).flatMap(({ name, local, remote }): Finding[] =>
      policies
        .filter(({ source, destination, direction }) =>
          direction === 'out'
            ? covers(source, local) && covers(destination, remote)
            : covers(source, remote) && covers(destination, local),
        )
        .map(({ source, destination, direction }) =>
          warn(
            `tunnel ${name}: the kernel has a policy src ${source} dst ${destination} dir ${direction}, which matches its packets too`,
            `ip xfrm policy delete src ${source} dst ${destination} dir ${direction}, or stop the daemon that set it`,
          ),
        ),
    );
    return findings.length > 0 ? findings : [ok(`none of ${policies.length} policies of the kernel matches a tunnel`)];
  },
};

/** Undefined: the kernel knows no xfrm, or hides it. */
async function xfrmPolicies(): Promise<string | undefined> {
  try {
    return (await promisify(execFile)('ip', ['xfrm', 'policy'])).stdout;
  } catch (error) {
    if (error instanceof Error && 'code' in error && typeof error.code === 'number') return undefined;
    throw error;
  }
}

/** `src A/N dst B/N …`, and `dir D` in the next line; those of sockets (`socket in`) concern IKE alone. */
export function parsePolicies(text: string): KernelPolicy[] {
  const found = text.matchAll(/^src (\S+) dst (\S+).*\n\s+dir (in|out|fwd) /gm);
  return [...found].map(([, source, destination, direction]) => ({
    source: source!,
    destination: destination!,
    direction: direction!,
  }));
}

function covers(prefix: string, address: string): boolean {
  const [network = '', bits] = prefix.split('/');
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
  if (isIP(network) !== isIP(address)) return false;
  const list = new BlockList();
  list.addSubnet(network, Number(bits ?? (family === 'ipv6' ? 128 : 32)), family);
  return list.check(address, family);
}
