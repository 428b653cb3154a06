/**
 * Sends random bytes to UDP 500 and as ESP packets to one address for some seconds, then prints how many.
 * Run in a namespace: node flood.mjs ADDRESS SECONDS SEED. Some datagrams begin like a true IKE header, so that
 * the parsers behind the first check are reached too.
 */
import { createCipheriv } from 'node:crypto';
import { loadNative } from '../../dist/native-shims/index.js';

const [address, seconds, seed] = process.argv.slice(2);
const native = loadNative();
const ROWS = 64;
const SIZE = 2048;
const stream = createCipheriv('aes-128-ctr', Buffer.alloc(16, Number(seed)), Buffer.alloc(16));
const arena = new Uint8Array(new SharedArrayBuffer(ROWS * SIZE));
const columns = {
  arena,
  offset: Int32Array.from({ length: ROWS }, (_, row) => row * SIZE),
  length: new Int32Array(ROWS),
};
const errors = new Int32Array(ROWS);
const toIndex = new Int32Array(ROWS);

/** A sockaddr_in in one slot of 28 bytes. */
function destination(port) {
  const slot = new Uint8Array(28);
  slot.set([2, 0, port >> 8, port & 255, ...address.split('.').map(Number)]);
  return slot;
}

const targets = [
  { fd: native.openUdpSocket({ family: 4, address: '0.0.0.0', port: 0 }), to: destination(500), ike: true },
  { fd: native.openRawSocket({ family: 4, protocol: 50 }), to: destination(0), ike: false },
];
let sent = 0;
const end = performance.now() + Number(seconds) * 1000;
while (performance.now() < end) {
  for (const { fd, to, ike } of targets) {
    const noise = stream.update(Buffer.alloc(ROWS * 1400));
    for (let row = 0; row < ROWS; row++) {
      const length = 1 + (noise.readUInt16BE(row * 1400) % 1300);
      arena.set(noise.subarray(row * 1400, row * 1400 + length), row * SIZE);
      columns.length[row] = length;
      if (!ike || row % 2 === 0 || length < 28) continue;
      // Version 2.0, exchange 34 to 37, a flag byte as drawn, and the true length.
      const at = row * SIZE;
      arena[at + 16] = [33, 34, 40, 46][row % 4];
      arena[at + 17] = 0x20;
      arena[at + 18] = 34 + (row % 4);
      arena.set([0, 0, length >> 8, length & 255], at + 24);
      if (row % 4 === 1) arena.fill(0, at + 8, at + 16);
    }
    sent += Math.max(0, native.sendBatch(fd, columns, 0, ROWS, to, toIndex, errors));
  }
  // The receiver shares this machine: leave it a turn.
  await new Promise((resolve) => setImmediate(resolve));
}
process.stdout.write(String(sent));
