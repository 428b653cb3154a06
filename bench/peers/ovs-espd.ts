/** ovs-espd as a contender: a daemon on each host, from config files, one tunnel between their bridges. */
import { type Espd, fileConfig, startEspd, type TunnelSpec } from '../../test/rig/espd.ts';
import { type Host, ip } from '../../test/rig/namespace.ts';
import type { Rig } from '../../test/rig/rig.ts';
import { waitForPing } from '../../test/rig/traffic.ts';
import type { Peer } from './peer.ts';

const BRIDGE = 'br-ipsec';
const INNER = { a: '192.0.2.1', b: '192.0.2.2' } as const;

/** How the tunnel's packets cross the underlay. */
export const PROTECTIONS = ['raw ESP', 'ESP in UDP', 'plaintext'] as const;
export type Protection = (typeof PROTECTIONS)[number];

export type TunnelType = TunnelSpec['type'];

/** What to start. */
export type OvsEspdOptions = {
  readonly type: TunnelType;
  readonly protection: Protection;
  /** Packet workers of each daemon (default 1). */
  readonly workers?: number;
  /** Appended to the name, for the second of an A/A pair. */
  readonly suffix?: string;
  /** More words for the command line of both daemons. */
  readonly args?: readonly string[];
};

const WHAT: Readonly<Record<Protection, string>> = {
  'raw ESP': 'raw ESP in transport mode, AES-256-GCM',
  'ESP in UDP': 'ESP in UDP (RFC 3948) in transport mode, AES-256-GCM',
  plaintext: 'no encryption',
};

function tunnelOptions(protection: Protection): Record<string, string> {
  if (protection === 'plaintext') return {};
  return { psk: 'swordfish', ...(protection === 'ESP in UDP' ? { ipsec_encapsulation: 'yes' } : {}) };
}

/** The reason of an INVALID tunnel in tunnels/show. */
const INVALID = /\(INVALID: (.*)\)/;
const SA_UP = /SA state:\s+up/i;

async function startHost(
  rig: Rig,
  { type, protection, workers = 1, args = [] }: OvsEspdOptions,
  [host, remote, inner]: readonly [Host, Host, string],
): Promise<Espd> {
  const options = { local_ip: host.address, remote_ip: remote.address, ...tunnelOptions(protection) };
  const config = fileConfig(BRIDGE, [{ name: 'tun', type, options }]);
  const espd = await startEspd(rig, host, { config, args: [`--workers=${workers}`, ...args] });
  await ip(host.namespace, 'address', 'add', `${inner}/24`, 'dev', BRIDGE);
  await ip(host.namespace, 'link', 'set', BRIDGE, 'up');
  return espd;
}

/** Resolves when the tunnel's SAs are up. @throws at once with the daemon's reason if it refuses the tunnel. */
async function waitForSas(espd: Espd): Promise<void> {
  const seen = await espd.running.waitUntil('an SA', async () => {
    const text = await espd.tunnelsShow('tun');
    if (SA_UP.test(text)) return { reason: undefined };
    const reason = INVALID.exec(text)?.[1];
    return reason === undefined ? undefined : { reason };
  });
  if (seen.reason !== undefined) throw new Error(`the daemon refuses the tunnel: ${seen.reason}`);
}

/** ovs-espd with one tunnel. */
export function ovsEspd(options: OvsEspdOptions): Peer {
  const { type, protection, workers = 1, suffix = '', args = [] } = options;
  const workersText = workers === 1 ? [] : [`${workers} workers`];
  return {
    name: [`ovs-espd ${type}, ${protection}`, ...workersText, ...args].join(', ') + suffix,
    what: `Ethernet in ${type}, ${WHAT[protection]}, in userspace, ${workers} packet worker${workers === 1 ? '' : 's'}`,
    wire: protection === 'raw ESP' ? 'esp' : protection === 'ESP in UDP' ? 'esp-in-udp' : type,
    programs: ['ovs-appctl'],
    async start(rig, lan) {
      const daemons = await Promise.all([
        startHost(rig, options, [lan.a, lan.b, INNER.a]),
        startHost(rig, options, [lan.b, lan.a, INNER.b]),
      ]);
      if (protection !== 'plaintext') await Promise.all(daemons.map(waitForSas));
      await waitForPing(lan.a.namespace, INNER.b, 20_000);
      return {
        client: { namespace: lan.a.namespace, address: INNER.a },
        server: { namespace: lan.b.namespace, address: INNER.b },
      };
    },
  };
}
