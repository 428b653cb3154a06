/**
 * One end of an uplink with `--uplink-io=packet`, from dist/ in the namespace it was started in. Walks through the steps of its
 * first argument, JSON, and prints for each packet sent which socket took it:
 *
 *     { "ip": ["route", "add", …] }                 runs `ip`
 *     { "table": "add" | "delete" }                 an nftables table
 *     { "send": N, "as": { … }, "until": "direct" } one ESP packet with sequence number N; again, until it goes the way named
 */
import { execFileSync } from 'node:child_process';
import { FrameList } from '../../../dist/dataplane/batch.js';
import { MmsgBackend } from '../../../dist/dataplane/io/mmsg.js';
import { MmsgUplink } from '../../../dist/dataplane/io/mmsg-uplink.js';
import { ipv4FromText, writeIpv4 } from '../../../dist/dataplane/wire/ipv4.js';
import { ipv6FromText, writeIpv6 } from '../../../dist/dataplane/wire/ipv6.js';
import { loadNative } from '../../../dist/native-shims/index.js';

const { steps, from, to } = JSON.parse(process.argv[2]);
const ATTEMPTS = 1000;
const PAUSE_MS = 5;
const ESP = 50;

const native = loadNative();
let took = 0;
const watched = {
  ...native,
  sendBatch(fd, ...rest) {
    took = fd;
    return native.sendBatch(fd, ...rest);
  },
};
const backend = new MmsgBackend(native, 1, (line) => process.stderr.write(`${line}\n`), { direct: true });
const family = { esp: true, espInUdp: false, gre: false, udpPorts: [], tcpPorts: [] };
const [descriptors] = backend.open({ ipv4: family, ipv6: family, marks: [7] });
const uplink = new MmsgUplink(watched, 64);
uplink.use(descriptors);

function send(number, { protocol = ESP, fragment = 0x4000, mark = 0, length = 100 } = {}) {
  const list = new FrameList(new Uint8Array(new SharedArrayBuffer(65536)), 4);
  const payload = new Uint8Array(length);
  payload.set([0, 1, 0, 0, 0, 0, number >> 8, number & 255]);
  if (from.includes(':')) {
    const words = Int32Array.of(...ipv6FromText(from), ...ipv6FromText(to));
    list.arena.set(payload, 40);
    writeIpv6(list.arena, 0, length, 0, 64, protocol, words, 0, 4);
    list.add(0, 0, 40 + length);
  } else {
    list.arena.set(payload, 20);
    writeIpv4(list.arena, 0, 20 + length, 0, 0, fragment, 64, protocol, ipv4FromText(from), ipv4FromText(to));
    list.add(0, 0, 20 + length);
  }
  uplink.send(list, mark);
  return { number, way: took === descriptors.direct.packet ? 'direct' : 'stack', errno: list.errors[0] };
}

/** An nftables batch (nfnetlink): begin, one table named t, end. */
function changeTable(what) {
  const message = (type, flags, resource, attributes = []) => {
    const bytes = Buffer.alloc(20 + attributes.length);
    bytes.writeUInt32LE(bytes.length, 0);
    bytes.writeUInt16LE(type, 4);
    bytes.writeUInt16LE(flags, 6);
    bytes[16] = type >> 8 === 10 ? 2 : 0;
    bytes.writeUInt16BE(resource, 18);
    bytes.set(attributes, 20);
    return bytes;
  };
  const name = [6, 0, 1, 0, 0x74, 0, 0, 0];
  const change = what === 'add' ? message(0x0a00, 0x401, 0, name) : message(0x0a02, 1, 0, name);
  const netlink = native.openNetlink(12, 0);
  native.netlinkSend(netlink, Buffer.concat([message(0x10, 1, 10), change, message(0x11, 1, 10)]));
  native.close(netlink);
}

for (const step of steps) {
  if (step.ip !== undefined) execFileSync('ip', step.ip);
  else if (step.table !== undefined) changeTable(step.table);
  else {
    let sent = send(step.send, step.as);
    for (let attempt = 0; step.until !== undefined && sent.way !== step.until && attempt < ATTEMPTS; attempt++) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      sent = send(step.send, step.as);
    }
    process.stdout.write(`${JSON.stringify(sent)}\n`);
  }
}
backend.close();
