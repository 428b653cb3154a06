/**
 * A NAT for UDP in userspace, for kernels without one. It runs in the router's namespace: packets of `inside` come in
 * on DEVICE (AF_PACKET), leave from sockets of its own, one for each port of the inside host, and answers go back by a raw
 * socket. All else, plain ESP for instance, does not pass. SIGHUP gives every mapping another port, as NATs do that restart.
 *
 *     nat.mjs DEVICE INSIDE-ADDRESS
 */
import { createSocket } from 'node:dgram';
import { ADDRESS_SLOT, loadNative } from '../../dist/native-shims/index.js';

const [device, inside] = process.argv.slice(2);
const native = loadNative();
const insideBytes = inside.split('.').map(Number);
const ROWS = 64;
const SLOT = 2048;
const columns = {
  arena: new Uint8Array(ROWS * SLOT),
  offset: Int32Array.from({ length: ROWS }, (_, row) => row * SLOT),
  length: new Int32Array(ROWS),
};
const from = native.openPacketSocket(device, {});
const back = native.openRawSocket({ family: 4, protocol: 255, headerIncluded: true });
const to = new Uint8Array(ADDRESS_SLOT);
to[0] = 2;
to.set(insideBytes, 4);
/** Sockets by the port of the inside host. */
let mappings = new Map();

function mapped(port) {
  const known = mappings.get(port);
  if (known !== undefined) return known;
  const socket = createSocket('udp4');
  socket.on('error', () => {});
  socket.on('message', (data, { address, port: remotePort }) => {
    const packet = new Uint8Array(28 + data.length);
    packet.set([0x45, 0, packet.length >> 8, packet.length & 255, 0, 0, 0, 0, 64, 17, 0, 0]);
    packet.set(address.split('.').map(Number), 12);
    packet.set(insideBytes, 16);
    packet.set(
      [remotePort >> 8, remotePort & 255, port >> 8, port & 255, (8 + data.length) >> 8, (8 + data.length) & 255],
      20,
    );
    packet.set(data, 28);
    const one = { arena: packet, offset: Int32Array.of(0), length: Int32Array.of(packet.length) };
    native.sendBatch(back, one, 0, 1, to, Int32Array.of(0), new Int32Array(1));
  });
  mappings.set(port, socket);
  return socket;
}

native.watchReadable(from, () => {
  const count = native.receiveBatch(from, columns, 0, ROWS, SLOT);
  for (let row = 0; row < count; row++) {
    const packet = Buffer.from(columns.arena.subarray(row * SLOT + 14, row * SLOT + columns.length[row]));
    const isOurs =
      packet.length >= 28 &&
      packet[0] === 0x45 &&
      packet[9] === 17 &&
      insideBytes.every((byte, i) => packet[12 + i] === byte);
    if (!isOurs) continue;
    const length = packet.readUInt16BE(24);
    const target = packet.subarray(16, 20).join('.');
    mapped(packet.readUInt16BE(20)).send(packet.subarray(28, 20 + length), packet.readUInt16BE(22), target);
  }
});
process.on('SIGHUP', () => {
  for (const socket of mappings.values()) socket.close();
  mappings = new Map();
  process.stdout.write('rebound\n');
});
process.stdout.write('ready\n');
