import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadNative, NativeError } from '../../native-shims/index.ts';
import { until } from '../rig/process.ts';
import { missingPrograms } from '../rig/rig.ts';

const native = loadNative();
const directory = mkdtempSync(join(tmpdir(), 'espd-notify-'));
afterAll(() => rmSync(directory, { recursive: true }));

/** Binds a Unix datagram socket and prints the first text that comes. */
const RECEIVER = `import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace('@', '\\0'))
print('bound', flush=True)
print(repr(s.recv(2000).decode()), flush=True)`;

const missing = missingPrograms('python3');
const skipped = missing.length === 0 ? '' : ' (skipped: python3 not installed)';

async function received(path: string, text: string): Promise<string> {
  const receiver = spawn('python3', ['-c', RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    let output = '';
    receiver.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
    await until('a bound socket', () => output.startsWith('bound\n'));
    native.sendNotification(path, text);
    return await until('the text', () => /^bound\n(.*)\n/.exec(output)?.[1]);
  } finally {
    receiver.kill();
  }
}

describe.skipIf(missing.length > 0)(`sendNotification${skipped}`, () => {
  it('sends one datagram to a socket in the file system', async () => {
    expect(await received(join(directory, 'n'), 'READY=1\nSTATUS=x\n')).toBe("'READY=1\\nSTATUS=x\\n'");
  });

  it('sends to an abstract socket', async () => {
    expect(await received(`@espd-notify-${process.pid}`, 'WATCHDOG=1')).toBe("'WATCHDOG=1'");
  });
});

describe('sendNotification to nobody', () => {
  it('throws a NativeError that names the socket', () => {
    const path = join(directory, 'absent');
    expect(existsSync(path)).toBe(false);
    expect(() => native.sendNotification(path, 'READY=1')).toThrow(NativeError);
    expect(() => native.sendNotification(path, 'READY=1')).toThrow(new RegExp(`^notify ${path}: `));
  });

  it('refuses texts and paths that are too long', () => {
    expect(() => native.sendNotification(`/${'x'.repeat(200)}`, 'READY=1')).toThrow(RangeError);
    expect(() => native.sendNotification('/x', 'x'.repeat(2000))).toThrow(RangeError);
  });
});
