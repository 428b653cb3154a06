/**
 * A checked TCP transfer: `receive ADDRESS PORT` listens, counts and hashes what one connection brings and prints it as
 * `BYTES SHA256`; `send ADDRESS PORT BYTES SEED` sends a stream that depends on the seed only and prints the same.
 */
import { createCipheriv, createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

const [mode, address, port, bytes, seed] = process.argv.slice(2);
const hash = createHash('sha256');
let count = 0;
const report = () => process.stdout.write(`${count} ${hash.digest('hex')}\n`);

if (mode === 'receive') {
  const server = createServer((socket) => {
    server.close();
    socket.on('data', (data) => {
      count += data.length;
      hash.update(data);
    });
    socket.on('end', () => {
      report();
      socket.end();
    });
  });
  server.listen(Number(port), address, () => process.stdout.write('ready\n'));
} else {
  const stream = createCipheriv(
    'aes-128-ctr',
    createHash('sha256').update(seed).digest().subarray(0, 16),
    Buffer.alloc(16),
  );
  const zeros = Buffer.alloc(1 << 16);
  const socket = connect(Number(port), address);
  await once(socket, 'connect');
  while (count < Number(bytes)) {
    const data = stream.update(zeros.subarray(0, Math.min(zeros.length, Number(bytes) - count)));
    count += data.length;
    hash.update(data);
    if (!socket.write(data)) await once(socket, 'drain');
  }
  socket.end();
  socket.resume();
  await once(socket, 'end');
  report();
}
