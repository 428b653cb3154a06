/**
 * wireguard-go as a contender: the best-known encrypting tunnel in userspace. Debian's package is of 2022, before its
 * segmentation offloads; another build is measured by putting it first on PATH.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Host, ip } from '../../test/rig/namespace.ts';
import { run, start } from '../../test/rig/process.ts';
import type { Rig } from '../../test/rig/rig.ts';
import { waitForPing } from '../../test/rig/traffic.ts';
import type { Peer } from './peer.ts';

const PORT = 51820;
const INNER = { a: '10.98.0.1', b: '10.98.0.2' } as const;
let serial = 0;

type Side = {
  readonly host: Host;
  readonly inner: string;
  readonly device: string;
  readonly keyFile: string;
  readonly publicKey: string;
};

async function makeSide(rig: Rig, label: 'a' | 'b', host: Host): Promise<Side> {
  const privateKey = (await run({ command: 'wg', args: ['genkey'] })).stdout;
  const keyFile = join(rig.directory, `wireguard-${label}.key`);
  writeFileSync(keyFile, privateKey, { mode: 0o600 });
  const publicKey = (await run({ command: 'wg', args: ['pubkey'] }, { input: privateKey })).stdout.trim();
  // Its control socket is named after the device, in a directory that all namespaces share.
  const device = `wg${process.pid}n${++serial}`;
  return { host, inner: INNER[label], device, keyFile, publicKey };
}

async function startSide(rig: Rig, { host, inner, device, keyFile }: Side, peer: Side): Promise<void> {
  const { namespace } = host;
  const running = start(rig, {
    name: `wireguard-go (${namespace})`,
    command: 'wireguard-go',
    args: ['--foreground', device],
    namespace,
    // It asks for a reason to run beside a kernel module of the same purpose.
    env: { WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD: '1', LOG_LEVEL: 'error' },
  });
  await running.waitUntil('an answer of wireguard-go', () => run({ command: 'wg', args: ['show', device], namespace }));
  const interfaceWords = ['set', device, 'private-key', keyFile, 'listen-port', `${PORT}`];
  const endpoint = `${peer.host.address}:${PORT}`;
  const peerWords = ['peer', peer.publicKey, 'endpoint', endpoint, 'allowed-ips', `${peer.inner}/32`];
  await run({ command: 'wg', args: [...interfaceWords, ...peerWords], namespace });
  await ip(namespace, 'address', 'add', `${inner}/24`, 'dev', device);
  await ip(namespace, 'link', 'set', device, 'mtu', '1420', 'up');
}

/** Two wireguard-go processes. */
export const wireguardGo: Peer = {
  name: 'wireguard-go',
  what: 'IP (no Ethernet), WireGuard with ChaCha20-Poly1305, in userspace',
  wire: 'udp',
  programs: ['wireguard-go', 'wg'],
  async start(rig, lan) {
    const [a, b] = await Promise.all([makeSide(rig, 'a', lan.a), makeSide(rig, 'b', lan.b)]);
    await startSide(rig, a, b);
    await startSide(rig, b, a);
    await waitForPing(lan.a.namespace, INNER.b, 10_000, INNER.a);
    return {
      client: { namespace: lan.a.namespace, address: INNER.a },
      server: { namespace: lan.b.namespace, address: INNER.b },
    };
  },
};
