/**
 * Everything may change while packets flow: what is not concerned loses none. One tunnel is steady, under a flood whose sequence
 * numbers are counted, beside others that are changed at random (SEED=… repeats a run, CHANGES=… makes it longer); and the
 * database goes away in every way a database can.
 */
import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Capture, startCapture } from '../rig/capture.ts';
import { ip } from '../rig/namespace.ts';
import { startOvsdbAgain } from '../rig/ovsdb.ts';
import { start, until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { waitForPing } from '../rig/traffic.ts';
import { obstacle, PSK, startTutorial, type Tutorial, type TutorialHost } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'tcpdump', 'ping');
const CHANGES = Number(process.env.CHANGES ?? 200);
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);

/** What a change sets an option to, right and wrong; undefined removes it. */
const VALUES: Readonly<Record<string, readonly (string | undefined)[]>> = {
  psk: [PSK, 'another', 'swordfish with spaces'],
  ttl: ['64', '1', 'inherit', '900', undefined],
  tos: ['0', '32', 'inherit', '3', undefined],
  csum: ['true', 'false', 'perhaps', undefined],
  df_default: ['true', 'false', undefined],
  key: ['1', '77', 'flow', 'nonsense', undefined],
  egress_pkt_mark: ['1', '0', '-1', undefined],
  dst_port: ['6081', '6082', '70000', undefined],
  local_ip: ['10.1.0.1', '10.1.0.99', 'nowhere', undefined],
  remote_ip: ['10.1.0.12', '10.1.0.13', 'flow', '10.1.0.1'],
  ipsec_ike: ['aes128gcm16-sha256-modp2048', 'rot13', undefined],
  ipsec_esp: ['aes128gcm16', 'aes256gcm16-esn', 'rot13', undefined],
  ipsec_type: ['transport', 'tunnel', 'wormhole', undefined],
  ipsec_encapsulation: ['yes', 'no', 'auto', undefined],
  ipsec_salifetime: ['10s', '1h', '0', undefined],
  ipsec_replay_window: ['64', '4096', '7', undefined],
  ipsec_dpddelay: ['1s', '30s', undefined],
  ipsec_pfs: ['yes', 'no', undefined],
  colour: ['blue', undefined],
};

function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

interface Flood {
  /** Ends it; gives the sequence numbers that were sent and got no answer. */
  lost(): Promise<number[]>;
}

describe.skipIf(reason !== '')(`under live changes (seed ${SEED})${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  let tutorial: Tutorial;
  let capture: Capture;
  beforeEach(async () => {
    rig = createRig();
    tutorial = await startTutorial(rig, {
      configure: (ovsdb) => ovsdb.vsctl('--no-wait set Open_vSwitch . other_config:ipsec_skb_mark=0/1'),
    });
    capture = await startCapture(rig, { namespace: tutorial.b.host.namespace, device: tutorial.b.host.device });
  });
  afterEach(() => rig.close());

  /** A bridge with one tunnel between addresses of their own, so that an IKE connection is the tunnel's alone. */
  async function addTunnel(
    { host, ovsdb }: TutorialHost,
    number: number,
    local: string,
    remote: string,
    inner: string,
  ) {
    if (local !== host.address) await ip(host.namespace, 'address', 'add', `${local}/24`, 'dev', host.device);
    const [bridge, tunnel] = [`br${number}`, `tun${number}`];
    await ovsdb.vsctl([
      ...['--timeout=10', 'add-br', bridge, '--', 'add-port', bridge, tunnel],
      ...['--', 'set', 'interface', tunnel, 'type=geneve', `options:local_ip=${local}`],
      ...[`options:remote_ip=${remote}`, `options:psk=${PSK}`],
    ]);
    await ip(host.namespace, 'address', 'add', `${inner}/24`, 'dev', bridge);
    await ip(host.namespace, 'link', 'set', bridge, 'up');
  }

  async function addPair(number: number): Promise<void> {
    const [ofA, ofB] = [`10.1.0.${number === 0 ? 1 : 20 + number}`, `10.1.0.${number === 0 ? 2 : 10 + number}`];
    await addTunnel(tutorial.a, number, ofA, ofB, `192.0.${number}.1`);
    await addTunnel(tutorial.b, number, ofB, ofA, `192.0.${number}.2`);
    await waitForPing(tutorial.a.host.namespace, `192.0.${number}.2`);
  }

  const spisOf = async ({ espd }: TutorialHost): Promise<string[]> =>
    [...(await espd.tunnelsShow('tun0')).matchAll(/SPI (0x[0-9a-f]{8})/g)].map(([, spi]) => spi!).sort();

  async function startFlood(): Promise<Flood> {
    const ping = start(rig, {
      ...{ name: 'ping', command: 'ping', args: ['-n', '-i', '0.01', '-W', '5', '192.0.0.2'] },
      namespace: tutorial.a.host.namespace,
    });
    await ping.waitForOutput(/icmp_seq=10 ttl/);
    return {
      async lost() {
        const seen = () =>
          new Set([...ping.output().matchAll(/icmp_seq=(\d+) ttl/g)].map(([, number]) => Number(number)));
        const last = Math.max(...seen());
        await ping.waitForOutput(new RegExp(`icmp_seq=${last + 20} ttl`));
        await ping.stop();
        const arrived = seen();
        expect(arrived.size).toBeGreaterThan(100);
        return Array.from({ length: last }, (_, index) => index + 1).filter((number) => !arrived.has(number));
      },
    };
  }

  it(`${CHANGES} random changes of other tunnels cost a steady one no packet, and none leaves in the clear`, async () => {
    for (const number of [0, 1, 2]) await addPair(number);
    const { a, b } = tutorial;
    for (const { espd } of [a, b, a]) await espd.waitForSettled({ ikeSas: 3, children: 6 });
    const before = { a: await spisOf(a), b: await spisOf(b) };
    const original = await Promise.all([1, 2].map((number) => a.ovsdb.vsctl(`get interface tun${number} options`)));
    const flood = await startFlood();
    const random = randomOf(SEED);
    const keys = Object.keys(VALUES);
    for (let change = 0; change < CHANGES; change++) {
      const tunnel = `tun${1 + random(2)}`;
      const key = keys[random(keys.length)]!;
      const value = VALUES[key]![random(VALUES[key]!.length)];
      const words =
        value === undefined
          ? ['remove', 'interface', tunnel, 'options', key]
          : ['set', 'interface', tunnel, `options:${key}="${value}"`];
      // The daemon takes in one step what changed while it was busy; every fifth change waits until it has been taken.
      await a.ovsdb.vsctl([change % 5 === 4 ? '--timeout=20' : '--no-wait', ...words]);
    }
    expect(await flood.lost()).toEqual([]);
    expect({ a: await spisOf(a), b: await spisOf(b) }).toEqual(before);
    expect(await a.espd.tunnelsShow('tun0')).toMatch(/^Interface name: tun0 v1 \(CONFIGURED\)/);
    const versions = [...(await a.espd.tunnelsShow()).matchAll(/tun[12] v(\d+)/g)].map(([, version]) =>
      Number(version),
    );
    expect(Math.min(...versions)).toBeGreaterThan(CHANGES / 40);
    const { geneve = 0, esp = 0 } = capture.counts();
    expect(geneve).toBe(0);
    expect(esp).toBeGreaterThan(100);
    for (const [index, options] of original.entries())
      await a.ovsdb.vsctl(['set', 'interface', `tun${index + 1}`, `options=${options.trim()}`]);
    for (const number of [1, 2]) await waitForPing(a.host.namespace, `192.0.${number}.2`, 40_000);
  });

  it('a database that is silent, killed, replaced by one that talks nonsense, and back again, costs no packet', async () => {
    await addPair(0);
    const { a } = tutorial;
    const before = await spisOf(a);
    const socket = join(a.ovsdb.directory, 'db.sock');
    const flood = await startFlood();
    process.kill(a.ovsdb.server.pid, 'SIGSTOP');
    await flooded(50);
    process.kill(a.ovsdb.server.pid, 'SIGCONT');
    await a.ovsdb.server.kill();
    await until('the loss of the database', () => /db.sock: .*trying again/.test(a.espd.log()));

    for (const nonsense of ['{"id":0,"result":{"name":"Open_vSwitch","tables":7},"error":null}', ']]]\0{{{', '[1,2']) {
      rmSync(socket, { force: true });
      let heard = 0;
      const server = createServer((stream) => {
        heard++;
        stream.on('error', () => stream.destroy());
        stream.once('data', () => stream.end(nonsense));
      });
      await new Promise<void>((resolve) => server.listen(socket, resolve));
      await until('it to have been believed or not', () => heard > 0, 20_000);
      await new Promise((resolve) => server.close(resolve));
    }
    await startOvsdbAgain(rig, a.host, a.ovsdb);
    // It is heard again: a command that waits for the daemon returns.
    await a.ovsdb.vsctl('--timeout=30 set interface tun0 options:ttl=63', { ms: 40_000 });
    await a.espd.waitForTunnel('tun0', /tun0 v2 \(CONFIGURED\)/);
    expect(await flood.lost()).toEqual([]);
    expect(await spisOf(a)).toEqual(before);
    await capture.settle();
    expect(capture.counts().geneve ?? 0).toBe(0);
  });

  /** Waits until the flood has gone on for so many packets more. */
  async function flooded(packets: number): Promise<void> {
    const then = capture.counts().esp ?? 0;
    await until('more packets', () => (capture.counts().esp ?? 0) >= then + packets);
  }
});
