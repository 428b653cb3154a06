/**
 * Carries a million frames through two engines in memory and reports how often the garbage collector ran, as JSON. Run
 * by allocation.test.ts in a process of its own, from dist/. Argument: `esp`, `clear`, `offload`: ESP, and the frames go in
 * and come out as large ones of 20 segments; or `vlan`: ESP, from one access port to another, with a tag in the tunnel.
 */
import { randomBytes } from 'node:crypto';
import { constants, PerformanceObserver } from 'node:perf_hooks';
import { Engine } from '../../../dist/dataplane/index.js';
import { MemoryPort, MemoryWire } from '../../../dist/dataplane/io/memory.js';
import { loadNative } from '../../../dist/native-shims/index.js';

const offloadRun = process.argv[2] === 'offload';
const vlans = process.argv[2] === 'vlan' ? { mode: 'access', tag: 5, trunks: [], priorityTags: 'never' } : undefined;
const protectedRun = process.argv[2] !== 'clear';
const PACKETS = Number(process.argv[3] ?? 1_000_000);
const WARM_UP = 100_000;
const BATCH = 64;
const limits = { ports: 16, bridges: 4, protections: 4, saSlots: 16, fdbCells: 1024 };
const FD = 1000;
const native = loadNative();

const any = (address) => [{ protocol: 0, startAddress: address, endAddress: address, startPort: 0, endPort: 65535 }];
const keyAndSalt = new Uint8Array(randomBytes(36));

async function side(wire, local, remote) {
  const port = offloadRun ? new MemoryPort(8, 66_000, true) : new MemoryPort(256, 1600);
  const engine = await Engine.create({
    workers: 0,
    native,
    aead: 'native',
    uplinkIo: wire.attach(),
    random: (bytes) => new Uint8Array(randomBytes(bytes)),
    onEvent: () => {},
    limits,
    memoryPorts: new Map([[FD, port]]),
  });
  await engine.apply({ op: 'set-bridge', bridge: 0, name: 'br', ageingMs: 300_000, fdbSize: 100 });
  await engine.apply({ op: 'set-tap-port', port: 0, bridge: 0, name: 'tap', fds: [FD], vlans });
  if (protectedRun) await engine.apply({ op: 'set-protection', protection: 0, state: 'protected' });
  await engine.apply({
    op: 'set-tunnel-port',
    port: 1,
    bridge: 0,
    name: 'tun',
    tunnel: {
      type: 'geneve',
      local,
      remote,
      inKey: { kind: 'none' },
      outKey: { kind: 'none' },
      checksum: true,
      destinationPort: 6081,
      ttl: 64,
      tos: 0,
      dontFragment: true,
      egressMark: undefined,
      protection: protectedRun ? 0 : undefined,
    },
  });
  return { engine, port };
}

const wire = new MemoryWire({ slots: 256, mtu: 1600 });
const a = await side(wire, '192.0.2.1', '192.0.2.2');
const b = await side(wire, '192.0.2.2', '192.0.2.1');
if (protectedRun) {
  const common = {
    protection: 0,
    algorithm: 'aes256gcm16',
    keyAndSalt,
    esn: true,
    softPackets: 0,
    softBytes: 0,
    slot: 1,
    spi: 0x10001,
  };
  const [left, right] = ['192.0.2.1', '192.0.2.2'];
  await a.engine.apply({
    op: 'add-outbound-sa',
    sa: { ...common, local: left, remote: right, tsLocal: any(left), tsRemote: any(right), lastSequence: 0 },
  });
  await a.engine.apply({ op: 'use-outbound-sa', protection: 0, slot: 1 });
  await b.engine.apply({
    op: 'add-inbound-sa',
    sa: { ...common, local: right, remote: left, tsLocal: any(right), tsRemote: any(left), replayWindow: 1024 },
  });
}

const frame = new Uint8Array(200).fill(7);
frame.set([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 186]);
const into = new Uint8Array(1600);

const SEGMENTS = 20;
const SEGMENT = 1000;
/** TCP over IPv4 behind its vnet header, checksum open; the addresses are all zeros. */
const large = new Uint8Array(10 + 54 + SEGMENTS * SEGMENT).fill(7, 64);
large.set([1, 1, 54, 0, SEGMENT & 255, SEGMENT >> 8, 34, 0, 16, 0, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45]);
large.set([(large.length - 24) >> 8, (large.length - 24) & 255, 0, 1, 0x40, 0, 64, 6], 10 + 16);
large.set([0x50, 16], 10 + 34 + 12);
large.set([(6 + large.length - 44) >> 8, (6 + large.length - 44) & 255], 10 + 34 + 16);

/** Large frames arrive as such: those of one batch's segments at least. Counts segments. */
function carryLarge(packets) {
  let delivered = 0;
  const into = new Uint8Array(66_000);
  for (let sent = 0; sent < packets; ) {
    for (let i = 0; i < 6 && sent < packets; i++, sent += SEGMENTS) a.port.put(large);
    a.engine.runner.run();
    b.engine.runner.run();
    for (let length = b.port.takeInto(into); length > 0; length = b.port.takeInto(into))
      delivered += (length - 64) / SEGMENT;
  }
  return delivered;
}

/** The engines' own turns, called directly: what the event loop would allocate is not the packet path's. */
function carry(packets) {
  if (offloadRun) return carryLarge(packets);
  let delivered = 0;
  for (let sent = 0; sent < packets; ) {
    for (let i = 0; i < BATCH && sent < packets; i++, sent++) a.port.put(frame);
    a.engine.runner.run();
    b.engine.runner.run();
    while (b.port.takeInto(into) > 0) delivered++;
  }
  return delivered;
}

/** So that frames for the other side are not flooded: shared frames are not joined. */
if (offloadRun) {
  for (const side of [a, b]) {
    const own = new Uint8Array(10 + 60).fill(9, 10);
    own.set([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, side === a ? 1 : 2], 10);
    side.port.put(own);
    side.engine.runner.run();
    while (side.port.takeInto(into) > 0);
  }
}
let scavenges = 0;
let others = 0;
const observer = new PerformanceObserver((list) => {
  for (const entry of list.getEntries())
    if (entry.detail.kind === constants.NODE_PERFORMANCE_GC_MINOR) scavenges++;
    else others++;
});
carry(WARM_UP);
await new Promise((resolve) => setTimeout(resolve, 50));
observer.observe({ entryTypes: ['gc'] });
const heapBefore = process.memoryUsage().heapUsed;
const before = performance.now();
const delivered = carry(PACKETS);
const ms = performance.now() - before;
const heapGrowth = process.memoryUsage().heapUsed - heapBefore;
await new Promise((resolve) => setTimeout(resolve, 50));
observer.disconnect();
process.stdout.write(
  `${JSON.stringify({ packets: PACKETS, delivered, scavenges, others, heapGrowth, nsPerPacket: Math.round((ms * 1e6) / PACKETS) })}\n`,
);
await a.engine.stop();
await b.engine.stop();
