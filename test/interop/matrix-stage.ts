/** What all cells of one guest and one IKE daemon share: the wire, the guest with the reference system, the namespace of ours, keys. */
import { createWire, type Host, ip, type Wire } from '../rig/namespace.ts';
import { HostKeys } from '../rig/ovs-pki.ts';
import type { Rig } from '../rig/rig.ts';
import { bootGuest, type Guest } from './guest.ts';
import type { Method, Suite } from './matrix-cells.ts';
import { INNER } from './matrix-host.ts';
import { type Credentials, type DaemonName, ReferenceSystem } from './reference-system.ts';

const PSK = 'swordfish';
const UNDERLAY = {
  ipv4: { ours: '10.1.0.1', theirs: '10.1.0.2', prefix: 24 },
  ipv6: { ours: 'fd00:1::1', theirs: 'fd00:1::2', prefix: 64 },
} as const;

export type Stage = {
  readonly rig: Rig;
  readonly wire: Wire;
  readonly host: Host;
  readonly guest: Guest;
  readonly system: ReferenceSystem;
  /** Path in the guest of its end of a transfer. */
  readonly script: string;
  /** Leaves room for every header, IPv6 and ESP in UDP too. */
  readonly innerMtu: number;
  addresses(family: keyof typeof UNDERLAY): { readonly ours: string; readonly theirs: string };
  credentials(method: Method): { readonly ours: Credentials; readonly theirs: Credentials };
};

/** Certificates as the tutorial's sections b) and c) make them, with the tutorial's ovs-pki commands. */
export async function makeCredentials(
  rig: Rig,
  system: ReferenceSystem,
): Promise<Record<Method, ReturnType<Stage['credentials']>>> {
  const both = async (kind: string, sign: (a: HostKeys, b: HostKeys) => Promise<void>) => {
    const keys = { a: new HostKeys(rig.directory, `${kind}-a`), b: new HostKeys(rig.directory, `${kind}-b`) };
    await sign(keys.a, keys.b);
    const put = (file: string, from = keys.b) => system.putKey(from.path(file), `${kind}-${file}`);
    const ours = { certificate: keys.a.path('host_1-cert.pem'), private_key: keys.a.path('host_1-privkey.pem') };
    const theirs = { certificate: await put('host_2-cert.pem'), private_key: await put('host_2-privkey.pem') };
    return { keys, put, ours, theirs };
  };
  const pinned = await both('self-signed', async (a, b) => {
    for (const [keys, name] of [
      [a, 'host_1'],
      [b, 'host_2'],
    ] as const) {
      await keys.ovsPki('req', '-u', name);
      await keys.ovsPki('self-sign', name);
    }
    a.copyTo(b, 'host_1-cert.pem');
    b.copyTo(a, 'host_2-cert.pem');
  });
  const signed = await both('ca-signed', async (a, b) => {
    await a.ovsPki('init');
    await a.ovsPki('req', '-u', 'host_1');
    await a.ovsPki('sign', 'host_1', 'switch');
    await b.ovsPki('req', '-u', 'host_2');
    b.copyTo(a, 'host_2-req.pem');
    await a.ovsPki('sign', 'host_2', 'switch');
    a.copyTo(b, 'host_2-cert.pem');
    b.fetchAuthority();
    a.fetchAuthority();
  });
  const psk = { global: {}, tunnel: { psk: PSK } };
  return {
    psk: { ours: psk, theirs: psk },
    'self-signed': {
      ours: { global: pinned.ours, tunnel: { remote_cert: pinned.keys.a.path('host_2-cert.pem') } },
      theirs: { global: pinned.theirs, tunnel: { remote_cert: await pinned.put('host_1-cert.pem') } },
    },
    'ca-signed': {
      ours: {
        global: { ...signed.ours, ca_cert: signed.keys.a.path('cacert.pem') },
        tunnel: { remote_name: 'host_2' },
      },
      theirs: {
        global: { ...signed.theirs, ca_cert: await signed.put('cacert.pem') },
        tunnel: { remote_name: 'host_1' },
      },
    },
  };
}

/** Boots the guest of a suite and starts the reference system in it. */
export async function setStage(rig: Rig, suite: Suite, daemon: DaemonName): Promise<Stage> {
  const innerMtu = 1340;
  const wire = await createWire(rig);
  const { ipv4, ipv6 } = UNDERLAY;
  const host = await wire.addHost('host', `${ipv4.ours}/${ipv4.prefix}`);
  await ip(host.namespace, 'address', 'add', `${ipv6.ours}/${ipv6.prefix}`, 'dev', host.device, 'nodad');
  const guest = await bootGuest(rig, wire, { addressWithPrefix: `${ipv4.theirs}/${ipv4.prefix}`, serial: 2, suite });
  await guest.sh(`ip address add ${ipv6.theirs}/${ipv6.prefix} dev eth0 nodad`);
  const system = await ReferenceSystem.start(guest, daemon, `${INNER.theirs}/24`, innerMtu);
  const script = await system.putScript('guest-transfer.py');
  const credentials = await makeCredentials(rig, system);
  return {
    rig,
    wire,
    host,
    guest,
    system,
    script,
    innerMtu,
    addresses: (family) => UNDERLAY[family],
    credentials: (method) => credentials[method],
  };
}
