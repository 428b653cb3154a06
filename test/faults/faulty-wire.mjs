/**
 * A wire that loses, doubles, reorders, corrupts and delays frames, for kernels without netem. It stands between two devices of
 * its namespace (AF_PACKET) and passes frames from one to the other. Its profile is a JSON file (profiles.ts), read again on
 * SIGHUP; the same seed draws the same numbers. SIGUSR1 prints what it has done so far.
 *
 *     faulty-wire.mjs DEVICE-A DEVICE-B PROFILE-FILE SEED
 */
import { readFileSync } from 'node:fs';
import { ADDRESS_SLOT, loadNative } from '../../dist/native-shims/index.js';
import { Random } from '../../dist/test/fuzz/random.js';

const [a, b, profileFile, seed] = process.argv.slice(2);
const native = loadNative();
const ROWS = 64;
const SLOT = 2048;
const ETHERNET_BYTES = 14;
/** Frames that may wait; what comes beside them is lost, as in a full queue. */
const MOST_WAITING = 4096;
/** In an IPv4 packet behind Ethernet. */
const PROTOCOL = 23;
const SOURCE = 26;
const UDP = 17;
const IKE_PORT = 500;
/** Behind the UDP header: the exchange, then its flags (RFC 7296 §3.1). */
const [EXCHANGE, FLAGS] = [26, 27];
const [IKE_SA_INIT, RESPONSE] = [34, 0x20];
const random = new Random(Number(seed));
const chance = (share) => random.below(1_000_000) < share * 1_000_000;
const done = { passed: 0, lost: 0, duplicated: 0, reordered: 0, corrupted: 0, overflowed: 0 };
let profile = JSON.parse(readFileSync(profileFile, 'utf8'));
let waiting = 0;

const buffers = { receiveBuffer: 4 << 20, sendBuffer: 4 << 20 };
const sockets = [a, b].map((device) => native.openPacketSocket(device, buffers));
const nowhere = new Uint8Array(ADDRESS_SLOT);

function send(socket, frame) {
  const one = { arena: frame, offset: Int32Array.of(0), length: Int32Array.of(frame.length) };
  const errors = new Int32Array(1);
  if (native.sendBatch(socket, one, 0, 1, nowhere, Int32Array.of(-1), errors) === 1 && errors[0] === 0) done.passed++;
  else done.overflowed++;
}

function sendLater(socket, frame, ms) {
  if (ms === 0) return send(socket, frame);
  if (waiting >= MOST_WAITING) {
    done.overflowed++;
    return;
  }
  waiting++;
  setTimeout(() => {
    waiting--;
    send(socket, frame);
  }, ms);
}

/** An IKE_SA_INIT request from that address. */
function begins(frame, address) {
  if (frame[12] !== 0x08 || frame[13] !== 0 || frame[PROTOCOL] !== UDP) return false;
  if (frame.subarray(SOURCE, SOURCE + 4).join('.') !== address) return false;
  const udp = ETHERNET_BYTES + (frame[ETHERNET_BYTES] & 15) * 4;
  const port = (frame[udp + 2] << 8) | frame[udp + 3];
  return port === IKE_PORT && frame[udp + EXCHANGE] === IKE_SA_INIT && (frame[udp + FLAGS] & RESPONSE) === 0;
}

function pass(frame, socket) {
  const isArp = frame[12] === 0x08 && frame[13] === 0x06;
  if (isArp) return send(socket, frame);
  if (profile.mute !== undefined && begins(frame, profile.mute)) {
    done.lost++;
    return;
  }
  if (chance(profile.loss)) {
    done.lost++;
    return;
  }
  if (frame.length > ETHERNET_BYTES && chance(profile.corrupt)) {
    frame[ETHERNET_BYTES + random.below(frame.length - ETHERNET_BYTES)] ^= 1 << random.below(8);
    done.corrupted++;
  }
  if (chance(profile.duplicate)) {
    done.duplicated++;
    sendLater(socket, Uint8Array.from(frame), profile.delayMs + 1 + random.below(profile.holdMs));
  }
  const held = chance(profile.reorder);
  if (held) done.reordered++;
  sendLater(socket, frame, profile.delayMs + (held ? 1 + random.below(profile.holdMs) : 0));
}

for (const [index, socket] of sockets.entries()) {
  const other = sockets[1 - index];
  native.watchReadable(socket, () => {
    const columns = {
      arena: new Uint8Array(ROWS * SLOT),
      offset: Int32Array.from({ length: ROWS }, (_, row) => row * SLOT),
      length: new Int32Array(ROWS),
    };
    const count = native.receiveBatch(socket, columns, 0, ROWS, SLOT);
    for (let row = 0; row < count; row++) {
      if (columns.length[row] > 0) pass(columns.arena.subarray(row * SLOT, row * SLOT + columns.length[row]), other);
      else done.overflowed++;
    }
  });
}
process.on('SIGHUP', () => {
  profile = JSON.parse(readFileSync(profileFile, 'utf8'));
  process.stdout.write(`profile ${profile.name}\n`);
});
process.on('SIGUSR1', () => process.stdout.write(`done ${JSON.stringify(done)}\n`));
process.stdout.write('ready\n');
