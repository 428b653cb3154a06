/**
 * One end of a tunnel with keys put in by hand: an engine from dist/ in the namespace it was started in, with one
 * bridge whose port is the TAP `tap0` or an existing device. Settings as JSON in the first argument. Prints `ready` and its events; SIGUSR2 prints its
 * counters, SIGHUP makes the workers fail, SIGQUIT kills their threads, SIGTERM ends it.
 *
 * Keys are derived from the SPIs and known to everybody: for tests and measurements only.
 */
import { createHash, randomBytes } from 'node:crypto';
import { Engine, ESP_ALGORITHMS, encapsulationOf } from '../../../dist/dataplane/index.js';
import { loadNative } from '../../../dist/native-shims/index.js';

const settings = {
  type: 'geneve',
  workers: 1,
  aead: 'native',
  uplinkIo: 'mmsg',
  algorithm: 'aes256gcm16',
  esp: true,
  ...JSON.parse(process.argv[2]),
};
const { local, remote, type, workers, algorithm } = settings;
const BRIDGE = 0;
const TAP = 0;
const TUNNEL = 1;
const PROTECTION = 0;

/** The same on both sides, without a word between them: the SPI of the SA to an address, and its key. */
const digest = (text) => createHash('sha256').update(text).digest();
const slotTo = (address) => Number(address.split('.')[3]);
const spiTo = (address, worker) => ((worker << 26) | (1 << 16) | slotTo(address)) >>> 0;
const keyTo = (address) => {
  const row = ESP_ALGORITHMS[algorithm];
  const material = Buffer.concat([digest(`${address} key`), digest(`${address} salt`)]);
  return new Uint8Array(material.subarray(0, row.keyLength + row.saltLength));
};
const any = (address) => [{ protocol: 0, startAddress: address, endAddress: address, startPort: 0, endPort: 65535 }];

const native = loadNative();
const engine = await Engine.create({
  workers,
  native,
  aead: settings.aead,
  uplinkIo: settings.uplinkIo,
  random: (bytes) => new Uint8Array(randomBytes(bytes)),
  onEvent: (event) => process.stdout.write(`event ${JSON.stringify(event)}\n`),
  log: (message) => process.stderr.write(`${message}\n`),
});

const sa = (to, from) => ({
  protection: PROTECTION,
  algorithm,
  keyAndSalt: keyTo(to),
  esn: true,
  softPackets: 0,
  softBytes: 0,
  slot: slotTo(to),
  // The receiver's last worker gets the SA, so that steering matters when there are several.
  spi: spiTo(to, (settings.peerWorkers ?? workers) - 1),
  replayWindow: 1024,
  lastSequence: 0,
  local: from,
  remote: to,
  tsLocal: any(from),
  tsRemote: any(to),
});
const mirror = (outbound) => ({
  ...outbound,
  local: outbound.remote,
  remote: outbound.local,
  tsLocal: outbound.tsRemote,
  tsRemote: outbound.tsLocal,
});

await engine.apply({ op: 'set-bridge', bridge: BRIDGE, name: 'br0', ageingMs: 300_000, fdbSize: 2048 });
if (settings.device === undefined) {
  const fds = engine.openTap('tap0', { persistent: false });
  await engine.apply({ op: 'set-tap-port', port: TAP, bridge: BRIDGE, name: 'tap0', fds });
} else {
  const fds = engine.openDevice(settings.device);
  await engine.apply({ op: 'set-device-port', port: TAP, bridge: BRIDGE, name: settings.device, fds });
}
if (settings.esp) {
  await engine.apply({ op: 'set-protection', protection: PROTECTION, state: 'protected' });
  const inbound = { ...mirror(sa(local, remote)), spi: spiTo(local, workers - 1) };
  await engine.apply({ op: 'add-inbound-sa', sa: inbound });
  const outbound = sa(remote, local);
  await engine.apply({ op: 'add-outbound-sa', sa: outbound });
  await engine.apply({ op: 'use-outbound-sa', protection: PROTECTION, slot: outbound.slot });
}
await engine.apply({
  op: 'set-tunnel-port',
  port: TUNNEL,
  bridge: BRIDGE,
  name: 'tun',
  tunnel: {
    type,
    local,
    remote,
    inKey: { kind: 'fixed', key: 5 },
    outKey: { kind: 'fixed', key: 5 },
    checksum: false,
    destinationPort: encapsulationOf(type).defaultPort,
    ttl: 64,
    tos: 0,
    dontFragment: true,
    egressMark: undefined,
    protection: settings.esp ? PROTECTION : undefined,
  },
});

process.on('SIGUSR2', () => {
  const counters = engine.counters();
  const report = {
    tap: counters.port(TAP),
    tunnel: counters.port(TUNNEL),
    drops: Object.fromEntries(counters.drops()),
    workers: counters.workers(),
    sent: settings.esp ? counters.sa('out', slotTo(remote)).sequence : 0,
    fdb: engine.fdb(),
  };
  process.stdout.write(`counters ${JSON.stringify(report)}\n`);
});
// A descriptor that is none: the next receive ends the worker, and the engine still knows the right one.
process.on('SIGHUP', () =>
  engine.runner.post(() => ({
    op: 'set-uplink',
    uplink: { receive: [{ family: 4, protocol: 50, fd: 9999 }], send: [], espInUdp: [] },
  })),
);
// The threads end wherever they are, between any two instructions of JavaScript.
process.on('SIGQUIT', () => {
  for (const thread of engine.runner.piscina.threads) thread.terminate();
});
process.on('SIGTERM', () => engine.stop());
// Workers keep no event loop alive; this does until SIGTERM has stopped the engine.
process.stdout.write('ready\n');
