import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type BpfInstruction, loadNative } from '../../native-shims/index.ts';
import { column, frames, put, row, writeIpv4Slot } from './columns.ts';
import { itAsRoot } from './privilege.ts';

const native = loadNative();
const LOOPBACK = '127.0.0.1';
/** IP protocol for experiments (RFC 3692). */
const EXPERIMENT = 253;
const EMSGSIZE = 90;
let opened: number[] = [];
let sockets: Socket[] = [];

function keep(fd: number): number {
  opened.push(fd);
  return fd;
}

afterEach(() => {
  opened.forEach(native.close);
  opened = [];
  for (const socket of sockets) socket.close();
  sockets = [];
});

/** A UDP port that is free just now, held by a socket of Node's own. */
async function nodeSocket(type: 'udp4' | 'udp6', address: string): Promise<Socket> {
  const socket = createSocket(type);
  sockets.push(socket);
  socket.bind(0, address);
  await once(socket, 'listening');
  return socket;
}

/** Sends, and waits until the kernel has it. */
function send(socket: Socket, text: string, port: number, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.send(text, port, address, (error) => (error ? reject(error) : resolve()));
  });
}

/** A free port for the addon: one that Node held and has let go. */
async function freePort(): Promise<number> {
  const socket = createSocket('udp4').bind(0, LOOPBACK);
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}

function waitFor(fd: number): void {
  expect(native.poll(Int32Array.of(fd), column(1), 1, 2000)).toBe(1);
}

const bytes = (text: string) => new Uint8Array(Buffer.from(text));

describe('UDP batches', () => {
  it('carry rows of any length, with the sender of each', async () => {
    const [portA, portB] = [await freePort(), await freePort()];
    const a = keep(native.openUdpSocket({ family: 4, address: LOOPBACK, port: portA }));
    const b = keep(native.openUdpSocket({ family: 4, address: LOOPBACK, port: portB, receiveBuffer: 4 << 20 }));
    const rows = 300;
    const out = frames(rows, 400);
    for (let i = 0; i < rows; i++) put(out, i, new Uint8Array(i).fill(i));
    const to = new Uint8Array(2 * 28);
    writeIpv4Slot(to, 1, LOOPBACK, portB);
    const errors = column(rows).fill(-1);
    expect(native.sendBatch(a, out, 0, rows, to, column(rows).fill(1), errors)).toBe(rows);
    expect(errors.every((error) => error === 0)).toBe(true);

    const got = frames(rows + 5, 400);
    const from = new Uint8Array(28 * (rows + 5)).fill(255);
    waitFor(b);
    expect(native.receiveBatch(b, got, 5, rows, 400, from)).toBe(rows);
    const sender = new Uint8Array(28);
    writeIpv4Slot(sender, 0, LOOPBACK, portA);
    for (let i = 0; i < rows; i++) {
      expect(row(got, 5 + i)).toEqual(row(out, i));
      expect(from.slice((5 + i) * 28, (6 + i) * 28)).toEqual(sender);
    }
    expect(native.receiveBatch(b, got, 0, rows, 400)).toBe(0);
  });

  it('skip a row that is refused, record its errno and go on', async () => {
    const port = await freePort();
    const fd = keep(native.openUdpSocket({ family: 4, address: LOOPBACK, port }));
    const out = frames(3, 66000);
    out.length.set([10, 66000, 11]);
    const to = new Uint8Array(28);
    writeIpv4Slot(to, 0, LOOPBACK, port);
    const errors = column(3).fill(-1);
    expect(native.sendBatch(fd, out, 0, 3, to, column(3), errors)).toBe(3);
    expect([...errors]).toEqual([0, EMSGSIZE, 0]);
    const got = frames(3, 100);
    waitFor(fd);
    expect(native.receiveBatch(fd, got, 0, 3, 100)).toBe(2);
    expect([...got.length.slice(0, 2)]).toEqual([10, 11]);
  });

  it('of a descriptor that is not open, or no socket, throw NativeError', () => {
    const fd = native.createEventFd();
    const columns = frames(1, 8);
    expect(() => native.receiveBatch(fd, columns, 0, 1, 8)).toThrow(
      expect.objectContaining({ name: 'NativeError', code: 'ENOTSOCK', attempted: `receive from fd ${fd}` }),
    );
    native.close(fd);
    expect(() => native.sendBatch(fd, columns, 0, 1, new Uint8Array(28), column(1), column(1))).toThrow(
      expect.objectContaining({ code: 'EBADF', errno: 9 }),
    );
    expect(() => native.close(fd)).toThrow(`close fd ${fd}: Bad file descriptor (EBADF)`);
  });
});

describe('datagrams', () => {
  it('come with their remote and local address', async () => {
    const port = await freePort();
    const fd = keep(native.openUdpSocket({ family: 4, address: '0.0.0.0', port, packetInfo: true }));
    const peer = await nodeSocket('udp4', LOOPBACK);
    expect(native.receiveDatagrams(fd, 10)).toEqual([]);
    await send(peer, 'one', port, '127.0.0.5');
    await send(peer, '', port, LOOPBACK);
    waitFor(fd);
    const remote = { address: LOOPBACK, port: peer.address().port };
    expect(native.receiveDatagrams(fd, 10)).toEqual([
      { data: bytes('one'), remote, local: '127.0.0.5' },
      { data: bytes(''), remote, local: LOOPBACK },
    ]);
  });

  it('are received no more than asked for', async () => {
    const port = await freePort();
    const fd = keep(native.openUdpSocket({ family: 4, address: LOOPBACK, port }));
    for (const text of ['a', 'b', 'c']) native.sendDatagram(fd, bytes(text), { address: LOOPBACK, port }, undefined);
    waitFor(fd);
    expect(native.receiveDatagrams(fd, 2).map((d) => Buffer.from(d.data).toString())).toEqual(['a', 'b']);
    expect(native.receiveDatagrams(fd, 2)).toMatchObject([{ data: bytes('c'), local: '' }]);
    expect(() => native.receiveDatagrams(fd, 0)).toThrow(TypeError);
    expect(() => native.receiveDatagrams(fd, 1e6)).toThrow(RangeError);
  });

  it('leave from the local address asked for', async () => {
    const fd = keep(native.openUdpSocket({ family: 4, address: '0.0.0.0', port: 0 }));
    const peer = await nodeSocket('udp4', LOOPBACK);
    const message = once(peer, 'message');
    native.sendDatagram(fd, bytes('hello'), { address: LOOPBACK, port: peer.address().port }, '127.0.0.9');
    const [data, remote] = await message;
    expect(data.toString()).toBe('hello');
    expect(remote.address).toBe('127.0.0.9');
  });

  it('go over IPv6 as over IPv4', async () => {
    const fd = keep(native.openUdpSocket({ family: 6, address: '::', port: 0, packetInfo: true }));
    const peer = await nodeSocket('udp6', '::1');
    const message = once(peer, 'message');
    native.sendDatagram(fd, bytes('six'), { address: '::1', port: peer.address().port }, '::1');
    const [data, remote] = await message;
    expect([data.toString(), remote.address]).toEqual(['six', '::1']);
    await send(peer, 'back', remote.port, '::1');
    waitFor(fd);
    expect(native.receiveDatagrams(fd, 1)).toEqual([
      { data: bytes('back'), remote: { address: '::1', port: peer.address().port }, local: '::1' },
    ]);
  });

  it('that cannot be sent throw NativeError with both addresses', () => {
    const fd = keep(native.openUdpSocket({ family: 4, address: '0.0.0.0', port: 0 }));
    const remote = { address: LOOPBACK, port: 9 };
    expect(() => native.sendDatagram(fd, bytes('x'), remote, '192.0.2.77')).toThrow(
      expect.objectContaining({ attempted: 'send 1 bytes to UDP 127.0.0.1:9 from 192.0.2.77' }),
    );
    expect(() => native.sendDatagram(fd, new Uint8Array(70000), remote, undefined)).toThrow(
      expect.objectContaining({ code: 'EMSGSIZE' }),
    );
    expect(() => native.sendDatagram(fd, bytes('x'), { address: 'localhost', port: 9 }, undefined)).toThrow(
      "sendDatagram: remote.address 'localhost' is no IP address",
    );
    expect(() => native.sendDatagram(fd, bytes('x'), remote, '::1')).toThrow("local '::1' is no IPv4 address");
  });
});

describe('opening sockets', () => {
  it('says which UDP port is in use', async () => {
    const peer = await nodeSocket('udp4', LOOPBACK);
    const { port } = peer.address();
    const open = () => native.openUdpSocket({ family: 4, address: LOOPBACK, port });
    expect(open).toThrow(
      expect.objectContaining({
        name: 'NativeError',
        code: 'EADDRINUSE',
        errno: 98,
        attempted: `bind UDP 127.0.0.1:${port}`,
      }),
    );
    expect(open).toThrow(
      `bind UDP 127.0.0.1:${port}: Address already in use (EADDRINUSE); another process has this port`,
    );
  });

  it('says which address is not here', () => {
    expect(() => native.openUdpSocket({ family: 4, address: '192.0.2.1', port: 5 })).toThrow(
      /^bind UDP 192\.0\.2\.1:5: .*\(EADDRNOTAVAIL\)/,
    );
    expect(() => native.openUdpSocket({ family: 6, address: '2001:db8::1', port: 5 })).toThrow(
      /^bind UDP \[2001:db8::1\]:5: .*\(EADDRNOTAVAIL\)/,
    );
  });

  it('refuses addresses and families that are none', () => {
    expect(() => native.openUdpSocket({ family: 4, address: '::1', port: 0 })).toThrow(TypeError);
    expect(() => native.openUdpSocket({ family: 6, address: LOOPBACK, port: 0 })).toThrow(TypeError);
    expect(() => native.openUdpSocket({ family: 4, address: '1.2.3.4.5', port: 0 })).toThrow(TypeError);
    expect(() => native.openUdpSocket({ family: 4, address: LOOPBACK, port: 65536 })).toThrow(RangeError);
    expect(() => native.openUdpSocket({ family: 5 as 4, address: LOOPBACK, port: 0 })).toThrow(TypeError);
  });

  it('lets two sockets have one port with reusePort', async () => {
    const port = await freePort();
    keep(native.openUdpSocket({ family: 4, address: LOOPBACK, port, reusePort: true }));
    keep(native.openUdpSocket({ family: 4, address: LOOPBACK, port, reusePort: true }));
  });

  it('lets IPv4 and IPv6 have the same port', async () => {
    const port = await freePort();
    keep(native.openUdpSocket({ family: 4, address: '0.0.0.0', port }));
    keep(native.openUdpSocket({ family: 6, address: '::', port }));
  });

  itAsRoot('sets mark, device and buffers', () => {
    const fd = keep(
      native.openUdpSocket({
        family: 4,
        address: LOOPBACK,
        port: 0,
        device: 'lo',
        mark: 0xffffffff,
        receiveBuffer: 8 << 20,
        sendBuffer: 8 << 20,
      }),
    );
    native.setMark(fd, 7);
    expect(() => native.setMark(fd, 2 ** 32)).toThrow(RangeError);
    expect(() => native.openUdpSocket({ family: 4, address: LOOPBACK, port: 0, device: 'nosuch0' })).toThrow(
      /^bind UDP 127\.0\.0\.1:0 to device nosuch0: .*\(ENODEV\)/,
    );
  });
});

describe('raw sockets', () => {
  itAsRoot('send payloads and receive packets with their IP header', () => {
    const fd = keep(native.openRawSocket({ family: 4, protocol: EXPERIMENT, mark: 3, receiveBuffer: 1 << 20 }));
    const out = frames(4, 100);
    for (let i = 0; i < 4; i++) put(out, i, new Uint8Array(50 + i).fill(i + 1));
    const to = new Uint8Array(28);
    writeIpv4Slot(to, 0, '127.0.0.3', 0);
    expect(native.sendBatch(fd, out, 0, 4, to, column(4), column(4))).toBe(4);
    const got = frames(4, 200);
    waitFor(fd);
    expect(native.receiveBatch(fd, got, 0, 4, 200)).toBe(4);
    for (let i = 0; i < 4; i++) {
      const packet = row(got, i);
      expect(packet[0]).toBe(0x45);
      expect(packet[9]).toBe(EXPERIMENT);
      expect([...packet.subarray(16, 20)]).toEqual([127, 0, 0, 3]);
      expect(packet.subarray(20)).toEqual(row(out, i));
    }
  });

  itAsRoot('with headerIncluded send the header they are given', () => {
    const fd = keep(native.openRawSocket({ family: 4, protocol: EXPERIMENT }));
    const sender = keep(native.openRawSocket({ family: 4, protocol: 255, headerIncluded: true }));
    const out = frames(1, 64);
    const header = [0x45, 0x48, 0, 24, 0x12, 0x34, 0, 0, 33, EXPERIMENT, 0, 0, 127, 0, 0, 8, 127, 0, 0, 1];
    put(out, 0, Uint8Array.of(...header, 1, 2, 3, 4));
    const to = new Uint8Array(28);
    writeIpv4Slot(to, 0, LOOPBACK, 0);
    expect(native.sendBatch(sender, out, 0, 1, to, column(1), column(1))).toBe(1);
    const got = frames(1, 64);
    waitFor(fd);
    expect(native.receiveBatch(fd, got, 0, 1, 64)).toBe(1);
    const packet = row(got, 0);
    expect([packet[1], packet[8], ...packet.subarray(12, 16)]).toEqual([0x48, 33, 127, 0, 0, 8]);
    expect([...packet.subarray(20)]).toEqual([1, 2, 3, 4]);
  });

  itAsRoot('go over IPv6 without header', () => {
    const fd = keep(native.openRawSocket({ family: 6, protocol: EXPERIMENT }));
    const out = frames(1, 8);
    const to = new Uint8Array(28);
    new Uint16Array(to.buffer)[0] = 10;
    to[23] = 1;
    const errors = column(1);
    expect(native.sendBatch(fd, out, 0, 1, to, column(1), errors)).toBe(1);
    expect(errors[0]).toBe(0);
    const got = frames(1, 64);
    const from = new Uint8Array(28);
    waitFor(fd);
    expect(native.receiveBatch(fd, got, 0, 1, 64, from)).toBe(1);
    expect(got.length[0]).toBe(8);
    expect([from[0], from[23]]).toEqual([10, 1]);
  });
});

describe('classic BPF filters', () => {
  const keepAll: BpfInstruction[] = [{ code: 0x06, jt: 0, jf: 0, k: 0xffffffff }];
  /** Keeps UDP datagrams whose first byte of payload is 'k'; a UDP socket's filter sees the UDP header. */
  const keepK: BpfInstruction[] = [
    { code: 0x30, jt: 0, jf: 0, k: 8 },
    { code: 0x15, jt: 0, jf: 1, k: 'k'.charCodeAt(0) },
    { code: 0x06, jt: 0, jf: 0, k: 0xffff },
    { code: 0x06, jt: 0, jf: 0, k: 0 },
  ];

  it('keep and drop what they say', async () => {
    const port = await freePort();
    const fd = keep(native.openUdpSocket({ family: 4, address: LOOPBACK, port }));
    native.attachFilter(fd, keepK);
    for (const text of ['drop', 'keep', 'no', 'k'])
      native.sendDatagram(fd, bytes(text), { address: LOOPBACK, port }, undefined);
    waitFor(fd);
    expect(native.receiveDatagrams(fd, 10).map((d) => Buffer.from(d.data).toString())).toEqual(['keep', 'k']);
    native.attachFilter(fd, keepAll);
    native.sendDatagram(fd, bytes('drop'), { address: LOOPBACK, port }, undefined);
    waitFor(fd);
    expect(native.receiveDatagrams(fd, 10)).toHaveLength(1);
  });

  it('choose the socket of a reusePort group', async () => {
    const port = await freePort();
    const group = [0, 1].map(() => keep(native.openUdpSocket({ family: 4, address: LOOPBACK, port, reusePort: true })));
    // The first byte of the payload is the index of the socket.
    native.attachReusePortFilter(group[0], [
      { code: 0x30, jt: 0, jf: 0, k: 0 },
      { code: 0x16, jt: 0, jf: 0, k: 0 },
    ]);
    const sender = keep(native.openUdpSocket({ family: 4, address: LOOPBACK, port: 0 }));
    for (const index of [1, 0, 1])
      native.sendDatagram(sender, Uint8Array.of(index), { address: LOOPBACK, port }, undefined);
    waitFor(group[1]);
    waitFor(group[0]);
    expect(native.receiveDatagrams(group[0], 10).map((d) => d.data[0])).toEqual([0]);
    expect(native.receiveDatagrams(group[1], 10).map((d) => d.data[0])).toEqual([1, 1]);
  });

  it('may have 1 to 4096 instructions whose fields fit', () => {
    const fd = keep(native.openUdpSocket({ family: 4, address: LOOPBACK, port: 0 }));
    native.attachFilter(
      fd,
      Array.from({ length: 4096 }, () => keepAll[0]),
    );
    expect(() =>
      native.attachFilter(
        fd,
        Array.from({ length: 4097 }, () => keepAll[0]),
      ),
    ).toThrow(RangeError);
    expect(() => native.attachFilter(fd, [])).toThrow(RangeError);
    expect(() => native.attachFilter(fd, [{ code: 6, jt: 256, jf: 0, k: 0 }])).toThrow(RangeError);
    expect(() => native.attachFilter(fd, [{ code: 0xffff, jt: 0, jf: 0, k: 0 }])).toThrow(
      expect.objectContaining({ code: 'EINVAL', attempted: `SO_ATTACH_FILTER of 1 instructions on fd ${fd}` }),
    );
  });
});

describe('a silent listener', () => {
  it('neither accepts nor refuses a connection', async () => {
    const port = await freePort();
    keep(native.openSilentListener({ family: 4, address: LOOPBACK, port }));
    const client = connect(port, LOOPBACK);
    const answers: string[] = [];
    for (const event of ['connect', 'error']) client.on(event, () => answers.push(event));
    // A second connection, to a listener that does answer, takes longer than a RST of the first would have.
    const server = createServer().listen(0, LOOPBACK);
    await once(server, 'listening');
    const other = connect((server.address() as { port: number }).port, LOOPBACK);
    await once(other, 'connect');
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(answers).toEqual([]);
    client.destroy();
    other.destroy();
    server.close();
  });

  it('says which port is in use', async () => {
    const port = await freePort();
    keep(native.openSilentListener({ family: 4, address: LOOPBACK, port }));
    expect(() => native.openSilentListener({ family: 4, address: LOOPBACK, port })).toThrow(
      expect.objectContaining({ code: 'EADDRINUSE', attempted: `listen TCP 127.0.0.1:${port}` }),
    );
  });
});
