/** Captures what crosses a device, by tcpdump into a file of the rig; reading it is pcap.ts. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { assertOnlyEsp, countKinds, type Kind, type Packet, readPcap } from './pcap.ts';
import { start } from './process.ts';
import type { Rig } from './rig.ts';

/** A capture that runs, or has run. */
export type Capture = {
  /** The file, also for tshark. */
  readonly path: string;
  /** Of tcpdump. */
  readonly pid: number;
  /** All packets so far (each is flushed as it comes). */
  packets(): Packet[];
  counts(): Partial<Record<Kind, number>>;
  /** Resolves when all is in the file that had crossed the device: on a busy machine tcpdump comes late. Not for `lo`. */
  settle(): Promise<void>;
  /** Resolves when at least `count` packets satisfy `filter`. */
  waitFor(filter: Kind | ((packet: Packet) => boolean), count?: number, ms?: number): Promise<Packet[]>;
  /** See pcap.ts. */
  assertOnlyEsp(): void;
  /** Ends the capture and gives all of its packets. */
  stop(): Promise<Packet[]>;
};

let serial = 0;
/** What tcpdump says when it is sent USR1: what it has written, and what the kernel has for it. */
const STANDING = /(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped/g;

/**
 * Starts to capture on a device and resolves when tcpdump really listens.
 * @param filter an expression of pcap-filter(7); default all.
 * @param snapLength bytes to keep of each frame, default all: set it (128) where gigabits flow.
 */
export async function startCapture(
  rig: Rig,
  { namespace, device }: { namespace: string; device: string },
  filter = '',
  { snapLength = 0 }: { snapLength?: number } = {},
): Promise<Capture> {
  const path = join(rig.directory, `capture-${++serial}.pcap`);
  const options = [
    '-i',
    device,
    '-w',
    path,
    '-U',
    '--immediate-mode',
    '-s',
    String(snapLength),
    '-B',
    '16384',
    '-Z',
    'root',
    '-n',
  ];
  const running = start(rig, {
    name: `tcpdump (${namespace})`,
    command: 'tcpdump',
    args: [...options, ...(filter === '' ? [] : [filter])],
    namespace,
  });
  await running.waitForOutput(/listening on/);
  const standings = () => [...running.output().matchAll(STANDING)];
  const packets = () => (existsSync(path) ? readPcap(path) : []);
  return {
    path,
    pid: running.pid,
    packets,
    counts: () => countKinds(packets()),
    async settle() {
      await running.waitUntil('all packets in the file', async () => {
        const told = standings().length;
        process.kill(running.pid, 'SIGUSR1');
        await running.waitUntil('how many packets there are', () => standings().length > told);
        const [captured, received, dropped] = standings().at(-1)!.slice(1).map(Number) as [number, number, number];
        if (captured + dropped < received) throw new Error(`${captured} of ${received} are`);
        return true;
      });
    },
    async waitFor(wanted, count = 1, ms) {
      const matches = typeof wanted === 'string' ? (packet: Packet) => packet.kind === wanted : wanted;
      return running.waitUntil(
        `${count} packets of ${typeof wanted === 'string' ? wanted : 'the wanted kind'}`,
        () => {
          const found = packets().filter(matches);
          if (found.length < count) throw new Error(`captured so far ${JSON.stringify(countKinds(packets()))}`);
          return found;
        },
        ms,
      );
    },
    assertOnlyEsp: () => assertOnlyEsp(packets()),
    async stop() {
      await running.stop();
      return packets();
    },
  };
}
