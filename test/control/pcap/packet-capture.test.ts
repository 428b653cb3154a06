import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PacketCapture } from '../../../control/pcap/packet-capture.ts';
import { readCaptureRequest } from '../../../control/pcap/pcap-command.ts';
import { packetBlock } from '../../../dataplane/capture/pcapng.ts';
import type { CaptureSettings } from '../../../dataplane/index.ts';
import type { ChildSa } from '../../../ike/index.ts';
import { blocksOf, packetsOf } from '../../dataplane/capture/blocks.ts';

let directory: string;
let settings: (CaptureSettings | undefined)[];
let logged: string[];
let children: ChildSa[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'espd-pcap-'));
  settings = [];
  logged = [];
  children = [];
});
afterEach(() => rmSync(directory, { recursive: true }));

const makeCapture = (): PacketCapture =>
  new PacketCapture({
    application: 'test',
    set: async (capture) => {
      settings.push(capture);
    },
    children: () => children,
    micros: () => 5,
    log: (message) => logged.push(message),
  });
const path = (name = 'a.pcapng'): string => join(directory, name);
const event = (length = 60) => ({
  ...{ event: 'captured' as const, packets: 1, seen: { inside: 2, outside: 0 }, skipped: { inside: 1, outside: 0 } },
  blocks: packetBlock({
    point: 'inside',
    micros: 1,
    bytes: new Uint8Array(length),
    outbound: true,
    comment: undefined,
  }),
});
const sa = (id: number): ChildSa =>
  ({
    ...{ id, algorithm: 'aes256gcm16', inboundSpi: 0x11223344, outboundSpi: 0x55667788 },
    ...{ inboundKey: new Uint8Array(36).fill(0xaa), outboundKey: new Uint8Array(36).fill(0xbb) },
    tsLocal: [{ startAddress: '10.1.0.1' }],
    tsRemote: [{ startAddress: '10.1.0.2' }],
  }) as unknown as ChildSa;

describe('a capture file', () => {
  it('is a new file that only its owner can read, with the packets and what was left out', async () => {
    const capture = makeCapture();
    expect(await capture.start(readCaptureRequest([path(), 'inside', '--drops', '--rate=7']))).toMatch(
      /^capturing dropped packets inside to .*a\.pcapng, at most 100 MB\n$/,
    );
    expect(settings).toEqual([{ points: ['inside'], dropsOnly: true, packetsPerSecond: 7 }]);
    capture.captured(event());
    expect(await capture.stop()).toMatch(/^1 packets, \d+ bytes in .*; 1 left out, more than 7 a second and worker\n$/);
    expect(settings.at(-1)).toBeUndefined();
    expect(statSync(path()).mode & 0o777).toBe(0o600);
    const file = readFileSync(path());
    expect(packetsOf(file)).toHaveLength(1);
    expect(blocksOf(file).map(({ type }) => type)).toEqual([0x0a0d0d0a, 1, 1, 6, 5, 5]);
    expect(logged).toHaveLength(2);
  });

  it('ends by itself before it is longer than its limit', async () => {
    const capture = makeCapture();
    await capture.start(readCaptureRequest([path(), '--size=1']));
    for (let i = 0; i < 200; i++) capture.captured(event(9000));
    expect(capture.isRunning).toBe(false);
    expect(settings.at(-1)).toBeUndefined();
    expect(statSync(path()).size).toBeLessThanOrEqual(1e6);
    expect(statSync(path()).size).toBeGreaterThan(0.9e6);
    expect(logged.at(-1)).toMatch(/ended \(the file has reached 1 MB\)/);
    await expect(capture.stop()).rejects.toThrow('no capture runs');
  });

  it('is refused where there is a file or a link already', async () => {
    writeFileSync(path('there'), 'x');
    symlinkSync('/nonexistent', path('link'));
    for (const name of ['there', 'link'])
      await expect(makeCapture().start(readCaptureRequest([path(name)]))).rejects.toThrow(/EEXIST.*remove it/);
    expect(readFileSync(path('there'), 'utf8')).toBe('x');
    expect(settings).toEqual([]);
  });

  it('is one at a time', async () => {
    const capture = makeCapture();
    await capture.start(readCaptureRequest([path()]));
    await expect(capture.start(readCaptureRequest([path('b')]))).rejects.toThrow(
      /runs already; end it with pcap\/stop/,
    );
    await capture.stop();
  });
});

describe('keys', () => {
  const secret = /aaaa|bbbb|\xaa\xaa|\xbb\xbb/;

  it('are in no file unless --keylog was given', async () => {
    children = [sa(1)];
    const capture = makeCapture();
    await capture.start(readCaptureRequest([path()]));
    capture.childrenChanged();
    await capture.stop();
    expect(readFileSync(path(), 'latin1')).not.toMatch(secret);
    expect(logged.join('\n')).not.toMatch(secret);
  });

  it('go to a file of their own, once each, also those of SAs that come later', async () => {
    children = [sa(1)];
    const capture = makeCapture();
    await capture.start(readCaptureRequest([path(), `--keylog=${path('esp_sa')}`]));
    children = [sa(1), sa(2)];
    capture.childrenChanged();
    capture.childrenChanged();
    await capture.stop();
    expect(statSync(path('esp_sa')).mode & 0o777).toBe(0o600);
    const lines = readFileSync(path('esp_sa'), 'utf8').trimEnd().split('\n');
    expect(lines).toHaveLength(4);
    expect(lines[0]).toBe(
      `"IPv4","10.1.0.1","10.1.0.2","0x55667788","AES-GCM with 16 octet ICV [RFC4106]","0x${'bb'.repeat(36)}","NULL",""`,
    );
    expect(readFileSync(path(), 'latin1')).not.toMatch(secret);
    expect(logged.join('\n')).not.toMatch(secret);
  });
});

describe('the arguments of pcap/start', () => {
  it.each([
    [['capture.pcapng'], /^file is "capture.pcapng", expected an absolute path/],
    [['/tmp/x', 'both'], /^"both" is not known, expected: file \[inside\|outside\]/],
    [['/tmp/x', '--size=0'], /^--size is "0", expected 1 to 10000/],
    [['/tmp/x', '--rate=-1'], /^--rate is "-1", expected 1 to 1000000/],
    [['/tmp/x', '--keylog=k'], /^--keylog is "k", expected an absolute path/],
  ])('%j is one line that says what is wrong', (args, expected) => {
    expect(() => readCaptureRequest(args)).toThrow(expected);
  });
});
