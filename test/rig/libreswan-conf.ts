/**
 * Configuration of a pluto of the rig: ipsec.conf and ipsec.secrets as ovs-monitor-ipsec writes them for Libreswan (transport
 * mode, one connection of protocol GRE, or an `-in` and an `-out` one for the UDP tunnels), and its NSS database with the
 * nicknames and trust that ovs-monitor-ipsec gives.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { childNames } from './charon-conf.ts';
import type { CharonCertificates } from './charon-credentials.ts';
import { run } from './process.ts';

/** How OVS's tunnels look to IKE: what stands in protoport for the narrow and the wide side. */
const PROTOPORTS = {
  gre: { narrow: 'gre', wide: 'gre' },
  vxlan: { narrow: 'udp/4789', wide: 'udp' },
  geneve: { narrow: 'udp/6081', wide: 'udp' },
} as const;

/** One tunnel of Libreswan's. */
export type LibreswanConnection = {
  readonly name: string;
  readonly type: keyof typeof PROTOPORTS;
  readonly remote: string;
  /** One of the two; identities and files as charon gets them. */
  readonly psk?: string;
  readonly certificates?: CharonCertificates;
  /** More lines of each conn, ipsec.conf(5): `{ fragmentation: 'no' }`. */
  readonly connection?: Readonly<Record<string, string>>;
};

const NICKNAMES = { own: 'ovs_certkey', peer: 'ovs_cert', authority: 'ovs_cert_cacert' } as const;

function authentication({ certificates }: LibreswanConnection): Record<string, string> {
  if (certificates === undefined) return { authby: 'secret' };
  const { id, peerId, peerCertificate } = certificates;
  return {
    leftid: `@${id}`,
    rightid: `@${peerId}`,
    leftcert: NICKNAMES.own,
    leftrsasigkey: '%cert',
    ...(peerCertificate === undefined ? { rightca: '%same' } : { rightcert: NICKNAMES.peer }),
  };
}

/** The ipsec.conf for a host with the given address. Connections wait (`auto=add`) until they are initiated by name. */
export function ipsecConf(local: string, connections: readonly LibreswanConnection[]): string {
  const conns = connections.flatMap((connection) =>
    childNames(connection).map((name) => {
      const { narrow, wide } = PROTOPORTS[connection.type];
      const inbound = name.endsWith('-in-1');
      const settings = {
        type: 'transport',
        left: local,
        right: connection.remote,
        leftprotoport: inbound ? narrow : wide,
        rightprotoport: inbound ? wide : narrow,
        ...(local.includes(':') ? { hostaddrfamily: 'ipv6', clientaddrfamily: 'ipv6' } : {}),
        ike: 'aes_gcm256-sha2_256',
        esp: 'aes_gcm256',
        ikev2: 'insist',
        keyingtries: '%forever',
        auto: 'add',
        // Its script calls the `ipsec` command, which is not on this host.
        leftupdown: '/bin/true',
        ...authentication(connection),
        ...connection.connection,
      };
      return `conn ${name}\n${Object.entries(settings)
        .map(([key, value]) => `    ${key}=${value}\n`)
        .join('')}`;
    }),
  );
  return `config setup\n    uniqueids=yes\n${conns.join('')}`;
}

/** The ipsec.secrets that go with it. */
export function ipsecSecrets(local: string, connections: readonly LibreswanConnection[]): string {
  return connections
    .map(({ remote, psk }) => (psk === undefined ? '' : `${local} ${remote} : PSK "${psk}"\n`))
    .join('');
}

/** An NSS database in `directory` with the certificates and the key of one connection. */
export async function makeNssDatabase(directory: string, certificates: CharonCertificates | undefined): Promise<void> {
  const database = ['-d', `sql:${directory}`];
  const certutil = (...args: string[]) => run({ command: 'certutil', args: [...args, ...database] });
  await certutil('-N', '--empty-password');
  if (certificates === undefined) return;
  const { certificate, privateKey, peerCertificate, authority } = certificates;
  const archive = join(directory, 'own.p12');
  const words = ['-export', '-passout', 'pass:', '-name', NICKNAMES.own, '-in', certificate, '-inkey', privateKey];
  await run({ command: 'openssl', args: ['pkcs12', ...words, '-out', archive] });
  await run({ command: 'pk12util', args: ['-i', archive, '-W', '', ...database] });
  const add = async (nickname: string, trust: string, path: string) => {
    if (!readFileSync(path, 'utf8').includes('BEGIN CERTIFICATE')) throw new Error(`${path} holds no certificate`);
    await certutil('-A', '-a', '-i', path, '-n', nickname, '-t', trust);
  };
  if (peerCertificate !== undefined) await add(NICKNAMES.peer, 'P,P,P', peerCertificate);
  if (authority !== undefined) await add(NICKNAMES.authority, 'CT,,', authority);
}
