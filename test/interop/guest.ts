/**
 * A guest with a kernel that has ESP, and in it the programs of the reference system (reference-system.ts). Boots one (built
 * once by build-guest.sh) on a wire of the rig and runs commands in it through the agent of guest-init.sh.
 *
 *     guest ── virtio-net ── TAP ── br-wire (namespace `wire`) ── veth ── a host of the rig, or another guest's TAP
 */
import { existsSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Wire } from '../rig/namespace.ts';
import { type Running, run, start } from '../rig/process.ts';
import { canMakeNamespaces, missingPrograms, type Rig } from '../rig/rig.ts';
import { ROOT } from '../rig/root.ts';

const BOOT_MS = 120_000;
const RUN = '/run/openvswitch';

const DIAGNOSIS = `date; ipsec status; ip xfrm policy; ip -s xfrm state; grep -v ' 0$' /proc/net/xfrm_stat
ovs-vsctl show; ovs-appctl dpctl/show; ovs-appctl dpctl/dump-flows; ip -s link; cat /etc/ipsec.conf; dmesg | tail -5
tail -n 20 /var/log/openvswitch/ovs-monitor-ipsec.log; tail -n 20 /var/log/openvswitch/ovs-vswitchd.log; tail -n 60 /var/log/charon.log /var/log/pluto.log`;

/** A guest that answers. */
export type Guest = {
  /** Its address on the wire. */
  readonly address: string;
  readonly kernel: string;
  readonly running: Running;
  /** Runs a script with bash in the guest; gives its output. @throws if its status is not 0 (or not `any`). */
  sh(script: string, options?: { ms?: number; expect?: number | 'any' }): Promise<string>;
  /** Runs a script until its status is 0. */
  until(what: string, script: string, ms?: number): Promise<string>;
  /** What its IKE daemon, kernel and OVS say: for the report of a failed test. Shows keys. */
  diagnosis(): Promise<string>;
  stop(): Promise<void>;
};

/** Why no suite with guests runs here; '' if one may. Slow, as guests are emulated: only when asked for. */
export function guestObstacle(): string {
  if (!process.env.OVS_ESPD_INTEROP) return 'set OVS_ESPD_INTEROP=1';
  if (!canMakeNamespaces()) return 'needs root';
  const missing = missingPrograms('qemu-system-x86_64', 'debootstrap', 'mkfs.ext4', 'busybox', 'tcpdump', 'ovs-vsctl');
  return missing.length > 0 ? `no ${missing.join(', ')}` : '';
}

/** Gives the directory with the image of a suite's guest, after building it if it is not in the cache. */
async function guestImage(suite: string | undefined): Promise<string> {
  const command = join(ROOT, 'test/interop/build-guest.sh');
  const args = suite === undefined ? [] : [suite];
  const { stdout } = await run({ command, args, name: 'build-guest.sh' }, { ms: 1_800_000 });
  return stdout.trim();
}

/** The serial line of the agent: one request, one answer, in turn. */
function agentLine(socket: Socket) {
  let buffer = '';
  let waiting: ((line: string) => void) | undefined;
  socket.setEncoding('utf8').on('data', (text: string) => {
    buffer += text;
    for (let end = buffer.indexOf('\n'); end >= 0; end = buffer.indexOf('\n')) {
      const line = buffer.slice(0, end).trim();
      buffer = buffer.slice(end + 1);
      waiting?.(line);
    }
  });
  const nextLine = (pattern: RegExp) =>
    new Promise<RegExpExecArray>((resolve) => {
      waiting = (line) => {
        const match = pattern.exec(line);
        if (match === null) return;
        waiting = undefined;
        resolve(match);
      };
    });
  return { nextLine, send: (line: string) => socket.write(`${line}\n`) };
}

/** Rejects if `promise` has not settled within `ms`; it goes on all the same. */
function within<T>(promise: Promise<T>, ms: number, what: string): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what} from the guest within ${ms} ms`)), ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** Boots a guest on `wire` and gives its eth0 the address; resolves when commands can be run in it. */
export async function bootGuest(
  rig: Rig,
  wire: Wire,
  { addressWithPrefix, serial, suite }: { addressWithPrefix: string; serial: number; suite?: string },
): Promise<Guest> {
  const image = await guestImage(suite);
  const socketPath = join(rig.directory, `guest-${serial}.sock`);
  const mac = `52:54:00:00:00:${serial.toString(16).padStart(2, '0')}`;
  const running = start(rig, {
    name: `guest ${serial}`,
    command: join(ROOT, 'test/interop/run-guest.sh'),
    args: [image, await wire.addTap(), mac, socketPath],
    namespace: wire.namespace,
  });
  await running.waitUntil('the socket of its agent', () => existsSync(socketPath));
  const socket = createConnection(socketPath);
  rig.defer(`agent line of guest ${serial}`, () => void socket.destroy());
  socket.on('error', () => socket.destroy());
  const agent = agentLine(socket);
  const ended = running.ended.then(() => {
    throw new Error(`guest ${serial} has gone\n${running.output().slice(-2000)}`);
  });
  const orEnded = <T>(promise: Promise<T>) => Promise.race([promise, ended]);
  // Nobody may be waiting when it is stopped on purpose.
  ended.catch(() => undefined);
  const [, kernel = ''] = await orEnded(within(agent.nextLine(/^READY (\S+)/), BOOT_MS, 'no READY'));
  let turn: Promise<unknown> = Promise.resolve();
  const ask = (script: string, ms: number) => {
    const answer = turn.then(async () => {
      const reply = agent.nextLine(/^RC (\d+) (\S*)$/);
      agent.send(Buffer.from(script).toString('base64'));
      const [, status, output] = await orEnded(reply);
      return { status: Number(status), output: Buffer.from(output ?? '', 'base64').toString() };
    });
    // The next one waits for this one's answer even if nobody else does any more: it would take it for its own.
    turn = answer.catch(() => undefined);
    return within(answer, ms, `no answer to '${script}'`);
  };
  const guest: Guest = {
    address: addressWithPrefix.split('/')[0] as string,
    kernel,
    running,
    async sh(script, { ms = 60_000, expect = 0 } = {}) {
      const { status, output } = await ask(script, ms);
      if (expect !== 'any' && status !== expect) {
        throw new Error(`guest ${serial}: '${script}' ended with ${status}, expected ${expect}\n${output}`);
      }
      return output;
    },
    until: (what, script, ms = 60_000) =>
      running.waitUntil(
        what,
        async () => {
          const { status, output } = await ask(script, ms);
          if (status !== 0) throw new Error(output);
          return output || ' ';
        },
        ms,
      ),
    diagnosis: () => guest.sh(DIAGNOSIS, { expect: 'any', ms: 240_000 }),
    stop: () => running.stop(2_000),
  };
  await guest.sh(`ip address add ${addressWithPrefix} dev eth0 && ip link set eth0 up`);
  return guest;
}

/**
 * OVS 3.1.0 in an emulated guest now and then comes up with a datapath whose upcalls nobody reads (`lost` equals `missed` in
 * dpctl/show): its bridge then forwards nothing, with or without IPsec. A new start of ovs-vswitchd mends it.
 */
export async function mendUpcalls(guest: Guest): Promise<void> {
  await guest.sh(`lost() { ovs-appctl dpctl/show | sed -n 's/.*lost:\\([0-9]*\\).*/\\1/p' | head -n 1; }
    for try in 1 2 3 4; do
      before=$(lost); ping -n -c 1 -W 1 192.0.0.254 >/dev/null
      [ "$(lost)" = "$before" ] && exit 0
      ovs-appctl exit
      while pidof ovs-vswitchd >/dev/null; do sleep 0.1; done
      ovs-vswitchd unix:${RUN}/db.sock --pidfile --detach --log-file -vconsole:off 3>&-
    done
    exit 1`);
}
