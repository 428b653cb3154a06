/**
 * Two daemons on both ends of a faulty wire, with one tunnel between them, watched: what leaves them is captured, and their
 * memory and descriptors can be asked for.
 */
import { readdirSync } from 'node:fs';
import { type Capture, startCapture } from '../rig/capture.ts';
import { type Espd, startEspd } from '../rig/espd.ts';
import { type Host, ip } from '../rig/namespace.ts';
import { type Ovsdb, startOvsdb } from '../rig/ovsdb.ts';
import type { Rig } from '../rig/rig.ts';
import { createFaultyWire, type FaultyWire } from './wire.ts';

const BRIDGE = 'br-ipsec';
const INNER = { a: '192.0.2.1', b: '192.0.2.2' } as const;

export interface FaultyHost {
  readonly host: Host;
  readonly espd: Espd;
  readonly ovsdb: Ovsdb;
  /** Its address inside the tunnel. */
  readonly inner: string;
  /** What it has sent on the underlay. */
  readonly sent: Capture;
}

export interface FaultyPair {
  readonly wire: FaultyWire;
  readonly a: FaultyHost;
  readonly b: FaultyHost;
}

/** The wire is sound while the daemons start. `options` are the tunnel's, beside addresses and PSK. */
export async function startFaultyPair(
  rig: Rig,
  { seed, type = 'geneve', options = {} }: { seed: number; type?: string; options?: Readonly<Record<string, string>> },
): Promise<FaultyPair> {
  const wire = await createFaultyWire(rig, seed);
  const begin = async (label: 'a' | 'b'): Promise<FaultyHost> => {
    const host = wire[label];
    const remote = wire[label === 'a' ? 'b' : 'a'].address;
    // A damaged port makes the kernel answer with ICMP, which is none of the tunnel.
    const sent = await startCapture(rig, host, `src host ${host.address} and not icmp`, { snapLength: 96 });
    const tunnel = { local_ip: host.address, remote_ip: remote, psk: 'swordfish', ...options };
    const ovsdb = await startOvsdb(rig, host);
    await ovsdb.vsctl('--no-wait set Open_vSwitch . other_config:ipsec_skb_mark=0/1');
    const espd = await startEspd(rig, host, { database: ovsdb.remote, directory: ovsdb.directory });
    await ovsdb.vsctl([
      ...['--timeout=10', 'add-br', BRIDGE, '--', 'add-port', BRIDGE, 'tun', '--'],
      ...['set', 'interface', 'tun', `type=${type}`],
      ...Object.entries(tunnel).map(([key, value]) => `options:${key}=${value}`),
    ]);
    await ip(host.namespace, 'addr', 'add', `${INNER[label]}/24`, 'dev', BRIDGE);
    await ip(host.namespace, 'link', 'set', BRIDGE, 'up');
    return { host, espd, ovsdb, inner: INNER[label], sent };
  };
  return { wire, a: await begin('a'), b: await begin('b') };
}

/** Packets that a daemon has dropped for one of these reasons. */
export async function droppedFor(espd: Espd, ...reasons: readonly string[]): Promise<number> {
  const coverage = await espd.appctl('coverage/show');
  return reasons.reduce((sum, name) => sum + Number(new RegExp(`^ +${name} +(\\d+)`, 'm').exec(coverage)?.[1] ?? 0), 0);
}

/** Open descriptors of a process. */
export function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}
