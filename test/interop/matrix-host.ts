/** The other host of the matrix: ovs-espd on an ovsdb-server, made anew for each cell in one namespace that stays. */
import { join } from 'node:path';
import { type Espd, startEspd } from '../rig/espd.ts';
import { type Host, ip } from '../rig/namespace.ts';
import { type Ovsdb, startOvsdb } from '../rig/ovsdb.ts';
import { run, start, until } from '../rig/process.ts';
import type { Rig } from '../rig/rig.ts';
import { ROOT } from '../rig/root.ts';
import { ping } from '../rig/traffic.ts';
import type { Guest } from './guest.ts';
import { type Credentials, type TunnelType, tunnelWords } from './reference-system.ts';

const TRANSFER = join(ROOT, 'test/rig/transfer.mjs');
const PORT = '5201';
/** Addresses in the bridges. */
export const INNER = { ours: '192.0.0.1', theirs: '192.0.0.2' } as const;

/** ovs-espd for one cell. */
export class MatrixHost {
  readonly rig: Rig;
  readonly host: Host;
  readonly ovsdb: Ovsdb;
  espd: Espd;

  private constructor(rig: Rig, host: Host, ovsdb: Ovsdb, espd: Espd) {
    this.rig = rig;
    this.host = host;
    this.ovsdb = ovsdb;
    this.espd = espd;
  }

  /** Starts both daemons with a bridge that never lets plaintext out (`ipsec_skb_mark` 0/1). */
  static async start(rig: Rig, host: Host, { mtu, label }: { mtu: number; label: string }): Promise<MatrixHost> {
    const ovsdb = await startOvsdb(rig, host, { label });
    await ovsdb.vsctl('--no-wait set Open_vSwitch . other_config:ipsec_skb_mark=0/1');
    const espd = await startEspd(rig, host, { database: ovsdb.remote, directory: ovsdb.directory });
    await ovsdb.vsctl('--timeout=20 add-br br-ipsec');
    await ip(host.namespace, 'address', 'add', `${INNER.ours}/24`, 'dev', 'br-ipsec');
    await ip(host.namespace, 'link', 'set', 'br-ipsec', 'mtu', String(mtu), 'up');
    return new MatrixHost(rig, host, ovsdb, espd);
  }

  async addTunnel(
    name: string,
    type: TunnelType,
    options: Readonly<Record<string, string>>,
    { global, tunnel }: Credentials,
  ) {
    const settings = Object.entries(global).map(([key, value]) => `other_config:${key}=${value}`);
    if (settings.length > 0) await this.ovsdb.vsctl(['--timeout=20', 'set', 'Open_vSwitch', '.', ...settings]);
    await this.ovsdb.vsctl(['--timeout=20', ...tunnelWords(name, type, { ...options, ...tunnel })]);
  }

  /** SIGKILL, then a new start on the same database. */
  async restart(): Promise<void> {
    await this.espd.kill();
    this.espd = await startEspd(this.rig, this.host, { database: this.ovsdb.remote, directory: this.ovsdb.directory });
    await until('the bridge', () => ip(this.host.namespace, 'link', 'show', 'br-ipsec'));
  }

  /** How often ours (child SAs) or either end (IKE SAs) has rekeyed since the daemon's start. */
  async rekeyings(): Promise<{ child: number; ike: number }> {
    const text = await this.espd.appctl('coverage/show');
    const count = (what: string) => Number(new RegExp(`rekeyed: ${what} SAs\\D+(\\d+)`).exec(text)?.[1] ?? 0);
    return { child: count('child'), ike: count('IKE') };
  }

  /** How often the peer has since: ours logs what it chose of a peer's offer, and its star at the responder's SPI of a new IKE SA. */
  rekeyingsOfPeer(): { child: number; ike: number } {
    const count = (pattern: RegExp) => [...this.espd.log().matchAll(pattern)].length;
    return { child: count(/: child \S+: selected /g), ike: count(/ rekeyed: \S+\[[0-9a-f]+_i [0-9a-f]+_r\*\]/g) };
  }

  /** Three pings there and three back, all answered. */
  async pingBothWays(guest: Guest): Promise<void> {
    await until(
      'three answers to three pings of ours',
      async () => {
        const { received, output } = await ping(this.host.namespace, INNER.theirs, {
          count: 3,
          interval: 0.3,
          wait: 2,
        });
        if (received !== 3) throw new Error(output.trim());
        return true;
      },
      60_000,
    );
    await guest.until(
      'three answers to three pings of theirs',
      `ping -n -c 3 -i 0.3 -W 2 ${INNER.ours} | grep '3 received'`,
      60_000,
    );
  }

  /** Sends `bytes` to or from the guest by TCP, whole; @throws if a byte is missing or wrong. */
  async transfer(guest: Guest, script: string, direction: 'to guest' | 'from guest', bytes: number): Promise<void> {
    const out = '/tmp/transfer.out';
    const namespace = this.host.namespace;
    const background = (words: string) =>
      guest.sh(`rm -f ${out}; setsid python3 ${script} ${words} >${out} 2>&1 </dev/null &`);
    const guestSum = async () => {
      const text = await guest.until('the sum of the guest', `grep -E '^[0-9]+ [0-9a-f]{64}$' ${out}`, 240_000);
      return text.trim();
    };
    let sums: string[];
    if (direction === 'to guest') {
      await background(`receive ${INNER.theirs} ${PORT}`);
      await guest.until('a listener in the guest', `grep -q ready ${out}`, 30_000);
      const args = [TRANSFER, 'send', INNER.theirs, PORT, String(bytes), 'matrix'];
      const { stdout } = await run({ command: process.execPath, args, namespace }, { ms: 240_000 });
      sums = [stdout.trim(), await guestSum()];
    } else {
      const args = [TRANSFER, 'receive', INNER.ours, PORT];
      const receiver = start(this.rig, { command: process.execPath, args, namespace });
      await receiver.waitForOutput(/^ready$/m);
      await background(`send ${INNER.ours} ${PORT} ${bytes}`);
      await receiver.waitForOutput(/^\d+ [0-9a-f]{64}$/m, 240_000);
      sums = [await guestSum(), receiver.stdout().trim().split('\n').pop() ?? ''];
      await receiver.stop();
    }
    if (sums[0] !== sums[1] || !sums[0]!.startsWith(`${bytes} `)) {
      throw new Error(`sent '${sums[0]}', received '${sums[1]}', expected ${bytes} bytes alike`);
    }
  }

  async stop(): Promise<void> {
    if (this.espd.running.isRunning()) await this.espd.appctl('exit');
    await this.ovsdb.server.stop();
  }
}
