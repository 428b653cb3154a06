/**
 * Configuration of a charon of the rig: swanctl.conf as ovs-monitor-ipsec's ipsec.conf would have it (transport mode,
 * PSK, identities are the addresses, one child of protocol GRE, or an `-in` and an `-out` child for the UDP tunnels),
 * and strongswan.conf with all paths in the host's own directory.
 */
import { join } from 'node:path';
import { authenticationBlocks, type CharonCertificates } from './charon-credentials.ts';

const PLUGINS =
  'random nonce drbg aes sha1 sha2 hmac kdf gmp curve25519 openssl gcm ccm ctr chapoly pem pkcs1 pkcs8 pubkey x509 ' +
  'constraints socket-default';
/** What becomes of negotiated SAs (see charon.ts), and the plugins for it. */
const KERNEL_PLUGINS = {
  'null-sad': 'kernel-netlink',
  netlink: 'kernel-netlink',
  libipsec: 'kernel-libipsec kernel-netlink',
} as const;

/** What becomes of negotiated SAs. */
export type CharonKernel = keyof typeof KERNEL_PLUGINS;

/** The mark of charon's own packets with kernel-libipsec: the routes into its TUN, the peer's address among them, pass them over. */
const UNTUNNELED = '0x42';

/** How OVS's tunnels look to IKE: the protocol, and the UDP port if there is one. */
const SELECTORS = { gre: undefined, vxlan: 4789, geneve: 6081 } as const;

/** One connection of charon's. */
export type CharonConnection = {
  readonly name: string;
  readonly type: keyof typeof SELECTORS;
  readonly remote: string;
  /** One of the two. */
  readonly psk?: string;
  readonly certificates?: CharonCertificates;
  /** A post-quantum preshared key (RFC 8784), beside either. */
  readonly ppk?: { readonly id: string; readonly secret?: string; readonly required?: boolean };
  /** Default: the OVS suite, then charon's defaults, as the reference offers them. */
  readonly ike?: string;
  readonly esp?: string;
  /** More lines of the connection and of each child, swanctl.conf(5): `{ encap: 'yes' }`, `{ rekey_time: '20s' }`. */
  readonly connection?: Readonly<Record<string, string>>;
  readonly child?: Readonly<Record<string, string>>;
};

/** The names of the children of a connection. */
export function childNames({ name, type }: Pick<CharonConnection, 'name' | 'type'>): string[] {
  return type === 'gre' ? [`${name}-1`] : [`${name}-in-1`, `${name}-out-1`];
}

const lines = (settings: Readonly<Record<string, string>>) =>
  Object.entries(settings)
    .map(([key, value]) => `${key} = ${value}`)
    .join('\n');

function childConfig(connection: CharonConnection, name: string): string {
  const port = SELECTORS[connection.type];
  const wide = port === undefined ? 'dynamic[gre]' : 'dynamic[udp]';
  const narrow = port === undefined ? 'dynamic[gre]' : `dynamic[udp/${port}]`;
  const inbound = name.endsWith('-in-1');
  const settings = {
    mode: 'transport',
    local_ts: inbound ? narrow : wide,
    remote_ts: inbound ? wide : narrow,
    esp_proposals: connection.esp ?? 'aes256gcm16-modp2048,default',
    start_action: 'none',
    ...connection.child,
  };
  return `${name} {\n${lines(settings)}\n}`;
}

/**
 * The swanctl.conf for a host with the given address. Connections to one peer with equal IKE settings are one, named
 * after the first, with the children of all: so starter merges them for OVS, and as responder charon looks for a
 * child in one connection only.
 */
export function swanctlConf(local: string, connections: readonly CharonConnection[]): string {
  const merged = new Map<string, CharonConnection[]>();
  for (const connection of connections) {
    const { remote, psk, certificates, ppk, ike, connection: settings } = connection;
    const key = JSON.stringify([remote, psk, certificates, ppk, ike, settings]);
    merged.set(key, [...(merged.get(key) ?? []), connection]);
  }
  const groups = [...merged.values()];
  const blocks = groups.map((group) => {
    const first = group[0]!;
    const settings = {
      version: '2',
      local_addrs: local,
      remote_addrs: first.remote,
      proposals: first.ike ?? 'aes256gcm16-prfsha256-modp2048,default',
      ...(first.ppk && { ppk_id: first.ppk.id, ppk_required: first.ppk.required === true ? 'yes' : 'no' }),
      ...first.connection,
    };
    const children = group.flatMap((connection) => childNames(connection).map((name) => childConfig(connection, name)));
    return `${first.name} {
${lines(settings)}
${authenticationBlocks({ local, remote: first.remote }, first.certificates)}
children {
${children.join('\n')}
} }`;
  });
  const secrets = groups.flatMap(([first]) =>
    first?.psk === undefined
      ? []
      : [
          `ike-${first.name} { id-1 = ${local}
id-2 = ${first.remote}
secret = 0x${Buffer.from(first.psk).toString('hex')} }`,
        ],
  );
  const ppks = groups.flatMap(([first]) =>
    first?.ppk?.secret === undefined
      ? []
      : [`ppk-${first.name} { id = ${first.ppk.id}\nsecret = 0x${Buffer.from(first.ppk.secret).toString('hex')} }`],
  );
  return `connections {\n${blocks.join('\n')}\n}\nsecrets {\n${[...secrets, ...ppks].join('\n')}\n}\n`;
}

/** The strongswan.conf: log file, vici socket and plugins of a charon that lives in `directory`. */
export function strongswanConf(directory: string, kernel: CharonKernel, verbose: boolean): string {
  return `charon-systemd { journal { default = -1 } }
charon {
  load_modular = no
  load = ${PLUGINS} ${KERNEL_PLUGINS[kernel]} updown vici counters
  install_routes = ${kernel === 'libipsec' ? 'yes' : 'no'}
  retransmit_timeout = 1.0
  retransmit_tries = 3
  filelog { log {
    path = ${join(directory, 'charon.log')}
    default = 1
    ike = ${verbose ? 4 : 2}
    knl = 2
    flush_line = yes
    time_add_ms = yes
    time_format = %T
  } }
  plugins {
    vici { socket = unix://${join(directory, 'vici.sock')} }
    openssl { load_legacy = no }
    kernel-netlink { set_proto_port_transport_sa = yes
      ${kernel === 'libipsec' ? `fwmark = !${UNTUNNELED}` : ''} }
    kernel-libipsec { allow_peer_ts = yes }
    socket-default { ${kernel === 'libipsec' ? `fwmark = ${UNTUNNELED}` : ''} }
  }
}
swanctl { load = pem pkcs1 pkcs8 x509 openssl }
`;
}
