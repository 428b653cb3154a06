/**
 * The performance peer: two strongSwan charons with kernel-libipsec, ESP in userspace, between two hosts of a rig.
 *
 *     lo 10.99.0.1 ── ipsec0 (TUN) ── charon ══ UDP 4500, tunnel mode, AES-256-GCM ══ charon ── ipsec0 ── lo 10.99.0.2
 *
 * kernel-libipsec knows only tunnel mode in UDP, so the protected addresses are not those of the wire: each host gets
 * one on its loopback, and charon's route leads to the peer's through its TUN.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Charon, startCharon } from './charon.ts';
import { ip, type Lan } from './namespace.ts';
import type { Rig } from './rig.ts';
import { waitForPing } from './traffic.ts';

/** The protected pair: bind to `address` on each side. */
export type LibipsecPair = {
  readonly a: { readonly namespace: string; readonly address: string; readonly charon: Charon };
  readonly b: { readonly namespace: string; readonly address: string; readonly charon: Charon };
};

const PSK = 'swordfish';

function configuration(side: { local: string; remote: string; localInner: string; remoteInner: string }): string {
  return `connections { peer {
  version = 2
  local_addrs = ${side.local}
  remote_addrs = ${side.remote}
  proposals = aes256gcm16-prfsha256-modp2048
  encap = yes
  local { auth = psk
    id = ${side.local} }
  remote { auth = psk
    id = ${side.remote} }
  children { inner {
    mode = tunnel
    local_ts = ${side.localInner}/32
    remote_ts = ${side.remoteInner}/32
    esp_proposals = aes256gcm16
  } }
} }
secrets { ike { id-1 = ${side.local}
  id-2 = ${side.remote}
  secret = ${PSK} } }
`;
}

/** Starts both charons on the hosts of `lan`, negotiates, and resolves when a ping through the tunnel comes back. */
export async function startLibipsecPair(rig: Rig, lan: Lan): Promise<LibipsecPair> {
  const inner = { a: '10.99.0.1', b: '10.99.0.2' } as const;
  const charons: Charon[] = [];
  for (const [mine, theirs] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const) {
    const host = lan[mine];
    await ip(host.namespace, 'address', 'add', `${inner[mine]}/32`, 'dev', 'lo');
    const charon = await startCharon(rig, host, [], { kernel: 'libipsec' });
    const file = join(charon.directory, 'libipsec.conf');
    const addresses = { local: host.address, remote: lan[theirs].address };
    writeFileSync(file, configuration({ ...addresses, localInner: inner[mine], remoteInner: inner[theirs] }));
    const { status, stdout, stderr } = await charon.swanctl('--load-all', '--clear', '--file', file);
    if (status !== 0) throw new Error(`swanctl --load-all failed with ${status}\n${stdout}${stderr}`);
    charons.push(charon);
  }
  const [first, second] = charons as [Charon, Charon];
  await first.initiate('inner');
  await waitForPing(lan.a.namespace, inner.b, 10_000, inner.a);
  return {
    a: { namespace: lan.a.namespace, address: inner.a, charon: first },
    b: { namespace: lan.b.namespace, address: inner.b, charon: second },
  };
}
