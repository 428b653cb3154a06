/**
 * The system that ovs-espd has to be indistinguishable from, in a guest: OVS with its kernel datapath, ovs-monitor-ipsec, and
 * one of the two IKE daemons that it drives. What differs between the daemons is one row of DAEMONS.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../rig/root.ts';
import { type Guest, mendUpcalls } from './guest.ts';

const RUN = '/run/openvswitch';
const DB = `unix:${RUN}/db.sock`;
const MONITOR = '/usr/share/openvswitch/scripts/ovs-monitor-ipsec';
const LIBRESWAN = '/opt/libreswan';
/** Where the guest keeps certificates and keys. */
const KEYS = '/etc/keys';

export type DaemonName = 'strongSwan' | 'Libreswan';

/** How to work one IKE daemon; all are scripts for the guest. */
type Daemon = {
  /** Before ovs-monitor-ipsec starts. */
  readonly prepare: string;
  readonly monitorArguments: string;
  readonly version: string;
  /** Status 0 once it answers. */
  readonly answers: string;
  /** SIGKILL, and a kernel that has forgotten all SAs and policies, as after a reboot; then a new start. */
  readonly restart: string;
  readonly rekey: (what: 'child' | 'ike', connections: readonly string[]) => string;
  /** Prints one line for each child SA that is up. */
  readonly children: string;
  /** Begins when a packet of the tunnel meets its trap; the other begins by itself, and what the kernel sends before is in the clear. */
  readonly begins: 'by a trap' | 'by itself';
  /** What its operator does beyond the tutorial so that it believes a `ca_cert`; '' if that is nothing. */
  readonly trust: (authority: string) => string;
};

/** Where strongSwan looks for authorities by itself. */
const CACERTS = '/etc/ipsec.d/cacerts';

/** As Debian's unit starts it: `uniqueids`, so INITIAL_CONTACT, is read from the file that ovs-monitor-ipsec writes. */
const PLUTO = 'ipsec pluto --config /etc/ipsec.conf --logfile /var/log/pluto.log';
const FORGET = 'ip xfrm state flush; ip xfrm policy flush';

const DAEMONS: Readonly<Record<DaemonName, Daemon>> = {
  strongSwan: {
    // There is no syslog in the guest.
    prepare: `printf 'charon {\\nfilelog {\\nlog {\\npath = /var/log/charon.log\\ndefault = 1\\nflush_line = yes\\n}\\n}\\n}\\n' >/etc/strongswan.d/log.conf`,
    monitorArguments: '--ike-daemon=strongswan',
    version: 'ipsec --version | head -n 1',
    answers: 'ipsec status >/dev/null',
    restart: `pkill -KILL starter; pkill -KILL charon; while pidof charon >/dev/null; do sleep 0.1; done
      rm -f /run/charon.* /run/starter.* /var/run/charon.* /var/run/starter.*; ${FORGET}; ipsec start`,
    rekey: (what, connections) =>
      what === 'ike'
        ? `/usr/lib/ipsec/stroke rekey '${connections[0]}[*]'`
        : connections.map((name) => `/usr/lib/ipsec/stroke rekey '${name}{*}'`).join(' && '),
    children: 'ipsec status | grep INSTALLED',
    begins: 'by a trap',
    // ovs-monitor-ipsec writes `ca ca_auth` without `auto=add`, and strongSwan's starter loads no section that says nothing.
    trust: (authority) => `cp ${authority} ${CACERTS}/ && ipsec rereadcacerts`,
  },
  Libreswan: {
    prepare: `mkdir -p /run/pluto /var/lib/ipsec/nss && touch /etc/ipsec.secrets && printf 'config setup\\n uniqueids=yes\\n' >/etc/ipsec.conf
      mount --bind ${LIBRESWAN}/usr/libexec/ipsec /usr/libexec/ipsec && mount --bind ${LIBRESWAN}/usr/sbin/ipsec /usr/sbin/ipsec
      { ipsec initnss || ipsec checknss; } && ${PLUTO}`,
    // Without it the monitor of OVS 3.1 puts certificates where Libreswan 3 had its database.
    monitorArguments: '--ike-daemon=libreswan --no-restart-ike-daemon --ipsec-d=/var/lib/ipsec/nss',
    version: 'ipsec --version',
    answers: 'ipsec status >/dev/null',
    restart: `pkill -KILL pluto; while pidof pluto >/dev/null; do sleep 0.1; done; rm -f /run/pluto/*; ${FORGET}; ${PLUTO}
      until ipsec status >/dev/null 2>&1; do sleep 0.2; done; ovs-appctl -t ovs-monitor-ipsec refresh`,
    // Libreswan 5 calls a child so, 4 calls it `ipsec`.
    rekey: (what, connections) =>
      `child=$(ipsec whack --help 2>&1 | grep -q -e --rekey-child && echo child || echo ipsec); ${(what === 'ike'
        ? connections.slice(0, 1)
        : connections
      )
        .map((name) => `ipsec whack --rekey-${what === 'ike' ? 'ike' : '$child'} --name ${name}`)
        .join(' && ')}`,
    children: "ipsec whack --trafficstatus | grep 'type=ESP'",
    begins: 'by itself',
    trust: () => '',
  },
};

/** How both ends of a tunnel authenticate: what goes into other_config and into the tunnel's options, with the guest's paths. */
export type Credentials = {
  readonly global: Readonly<Record<string, string>>;
  readonly tunnel: Readonly<Record<string, string>>;
};

export type TunnelType = 'gre' | 'geneve' | 'vxlan';

/** The words of ovs-vsctl that make a tunnel port as the tutorial does. */
export function tunnelWords(name: string, type: TunnelType, options: Readonly<Record<string, string>>): string[] {
  const words = Object.entries(options).map(([key, value]) => `options:${key}=${value}`);
  return ['add-port', 'br-ipsec', name, '--', 'set', 'interface', name, `type=${type}`, ...words];
}

/** The reference system in a guest that runs. */
export class ReferenceSystem {
  readonly guest: Guest;
  readonly daemon: DaemonName;
  readonly #row: Daemon;
  #versions = '';

  private constructor(guest: Guest, daemon: DaemonName) {
    this.guest = guest;
    this.daemon = daemon;
    this.#row = DAEMONS[daemon];
  }

  /** Starts it, with a bridge br-ipsec that has `bridgeAddress`; resolves when its IKE daemon answers and OVS forwards. */
  static async start(guest: Guest, daemon: DaemonName, bridgeAddress: string, mtu: number): Promise<ReferenceSystem> {
    const system = new ReferenceSystem(guest, daemon);
    const { version } = system.#row;
    await guest.sh(
      `set -e
      sysctl -qw net.ipv6.conf.default.disable_ipv6=1
      mkdir -p ${RUN} /var/log/openvswitch /etc/openvswitch /var/lib/openvswitch ${KEYS}
      ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
      ovsdb-server /etc/openvswitch/conf.db --remote=p${DB} --pidfile --detach --log-file -vconsole:off 3>&-
      ovs-vsctl --no-wait init
      ovs-vswitchd ${DB} --pidfile --detach --log-file -vconsole:off`,
      { ms: 180_000 },
    );
    await system.startKeying();
    await guest.sh(
      `ovs-vsctl add-br br-ipsec -- set interface br-ipsec mtu_request=${mtu} && ip addr add ${bridgeAddress} dev br-ipsec && ip link set br-ipsec up`,
    );
    await mendUpcalls(guest);
    const words = await guest.sh(
      `${version}; ovs-vswitchd --version | head -n 1; . /etc/os-release; echo "$PRETTY_NAME"`,
    );
    system.#versions = [...words.trim().split('\n'), `Linux ${guest.kernel}`].join(', ');
    return system;
  }

  /** Starts ovs-monitor-ipsec and its IKE daemon; resolves when that answers. */
  async startKeying(): Promise<void> {
    const { prepare, monitorArguments, answers } = this.#row;
    await this.guest.sh(
      `set -e
      ${prepare}
      python3 ${MONITOR} --pidfile=${RUN}/ovs-monitor-ipsec.pid ${monitorArguments} --log-file --detach ${DB}`,
      { ms: 180_000 },
    );
    // charon starts slowly under emulation: what counts is that it answers.
    await this.guest.until(`an answer of ${this.daemon}`, answers, 180_000);
  }

  /** If a packet has to knock before it begins. */
  get hasTraps(): boolean {
    return this.#row.begins === 'by a trap';
  }

  get versions(): string {
    return this.#versions;
  }

  /** Copies a file from here to the guest's directory of keys; gives its path there. */
  async putKey(path: string, name: string): Promise<string> {
    const target = `${KEYS}/${name}`;
    await this.guest.sh(`umask 077; base64 -d >${target} <<'END'\n${readFileSync(path).toString('base64')}\nEND`);
    return target;
  }

  /** Copies a script of test/interop to the guest; gives its path there. */
  async putScript(name: string): Promise<string> {
    const source = readFileSync(join(ROOT, 'test/interop', name)).toString('base64');
    await this.guest.sh(`base64 -d >/root/${name} <<'END'\n${source}\nEND`);
    return `/root/${name}`;
  }

  async addTunnel(
    name: string,
    type: TunnelType,
    options: Readonly<Record<string, string>>,
    { global, tunnel }: Credentials,
  ) {
    const settings = Object.entries(global).map(([key, value]) => `other_config:${key}=${value}`);
    const set = settings.length === 0 ? '' : `ovs-vsctl set Open_vSwitch . ${settings.join(' ')} && `;
    await this.guest.sh(`${set}ovs-vsctl ${tunnelWords(name, type, { ...options, ...tunnel }).join(' ')}`);
  }

  /** Makes the IKE daemon believe the authority of `credentials`, until the tunnel is removed and the daemon has been restarted. */
  async trustAuthority({ global: { ca_cert } }: Credentials): Promise<void> {
    if (ca_cert !== undefined) await this.guest.sh(this.#row.trust(ca_cert));
  }

  /** Takes the tunnel and all credentials away. What the IKE daemon and the kernel still know of it goes with `reboot`. */
  async removeTunnel(name: string): Promise<void> {
    const words = 'certificate private_key ca_cert'.split(' ').map((key) => `other_config ${key}`);
    await this.guest.sh(
      `rm -f ${CACERTS}/*; ovs-vsctl --if-exists del-port ${name} ${words.map((word) => `-- remove Open_vSwitch . ${word}`).join(' ')}`,
    );
    await this.guest.until('an end of its connections', `! grep -q '^conn ${name}-' /etc/ipsec.conf`, 60_000);
  }

  /** Names of the IKE connections of a tunnel that ovs-monitor-ipsec made (NAME-N, or NAME-in-N and NAME-out-N). */
  async connections(name: string): Promise<string[]> {
    const text = await this.guest.until(
      `connections of ${name}`,
      `grep -oE '^conn ${name}-[a-z0-9-]+' /etc/ipsec.conf && ipsec status | grep -q '${name}-'`,
      120_000,
    );
    return [...text.matchAll(/^conn (\S+)/gm)].map(([, connection]) => connection!);
  }

  rekey(what: 'child' | 'ike', connections: readonly string[]): Promise<string> {
    return this.guest.sh(this.#row.rekey(what, connections));
  }

  children(): Promise<string> {
    return this.guest.sh(this.#row.children, { expect: 'any' });
  }

  /** Waits for `count` child SAs if it begins by itself: what its kernel sends before it has all of them is in the clear. */
  async waitForPolicies(count: number): Promise<void> {
    if (this.hasTraps) return;
    const { children } = this.#row;
    await this.guest.until(`${count} child SAs`, `[ "$(${children} | wc -l)" -ge ${count} ]`, 120_000);
  }

  /** As a reboot, as far as its peer can tell. */
  async reboot(): Promise<void> {
    await this.guest.sh(this.#row.restart, { ms: 180_000 });
    await this.guest.until(`an answer of ${this.daemon}`, this.#row.answers, 180_000);
  }

  /** Drops IKE_SA_INIT requests (their responder SPI is zero) that come in or go out, so that the other end has to start. */
  async silenceRequests(direction: 'input' | 'output' | 'none'): Promise<void> {
    await this.guest.sh('nft delete table inet quiet', { expect: 'any' });
    if (direction === 'none') return;
    await this.guest.sh(`nft add table inet quiet
      nft add chain inet quiet ike '{ type filter hook ${direction} priority 0; }'
      nft add rule inet quiet ike udp dport 500 @th,128,64 0 drop`);
  }
}
