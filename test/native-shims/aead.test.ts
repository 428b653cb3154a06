import { createCipheriv, randomBytes } from 'node:crypto';
import { gcm } from '@noble/ciphers/aes.js';
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { describe, expect, it } from 'vitest';
import { type AeadName, loadNative } from '../../native-shims/index.ts';
import { aeadColumns } from './columns.ts';

const native = loadNative();
const TAG = 16;
const IV = 8;

interface Algorithm {
  readonly name: AeadName;
  readonly node: 'aes-128-gcm' | 'aes-192-gcm' | 'aes-256-gcm' | 'chacha20-poly1305';
  readonly keyBytes: number;
  readonly noble: typeof gcm | typeof chacha20poly1305;
}

const ALGORITHMS: readonly Algorithm[] = [
  { name: 'aes128gcm16', node: 'aes-128-gcm', keyBytes: 16, noble: gcm },
  { name: 'aes192gcm16', node: 'aes-192-gcm', keyBytes: 24, noble: gcm },
  { name: 'aes256gcm16', node: 'aes-256-gcm', keyBytes: 32, noble: gcm },
  { name: 'chacha20poly1305', node: 'chacha20-poly1305', keyBytes: 32, noble: chacha20poly1305 },
];

interface Packet {
  readonly aad: Uint8Array;
  readonly iv: Uint8Array;
  readonly text: Uint8Array;
}

function randomPacket(textLength: number): Packet {
  return { aad: randomBytes([0, 8, 12, 20][textLength % 4]), iv: randomBytes(IV), text: randomBytes(textLength) };
}

/** Ciphertext and tag of Node's own crypto. */
function sealByNode(algorithm: Algorithm, keyAndSalt: Uint8Array, packet: Packet): Uint8Array {
  const key = keyAndSalt.subarray(0, algorithm.keyBytes);
  const nonce = Buffer.concat([keyAndSalt.subarray(algorithm.keyBytes), packet.iv]);
  // The types of chacha20-poly1305 and GCM are alike in what is used here.
  const cipher = createCipheriv(algorithm.node as 'aes-128-gcm', key, nonce, { authTagLength: TAG });
  cipher.setAAD(packet.aad, { plaintextLength: packet.text.length });
  return Buffer.concat([cipher.update(packet.text), cipher.final(), cipher.getAuthTag()]);
}

function sealByNoble(algorithm: Algorithm, keyAndSalt: Uint8Array, packet: Packet): Uint8Array {
  const nonce = Buffer.concat([keyAndSalt.subarray(algorithm.keyBytes), packet.iv]);
  return algorithm.noble(keyAndSalt.subarray(0, algorithm.keyBytes), nonce, packet.aad).encrypt(packet.text);
}

/** aad, iv, text and room for the tag of all packets, odd distances between them, in shared memory. */
function layOut(packets: readonly Packet[], key: number, tags?: readonly Uint8Array[]) {
  const bytes = packets.reduce((sum, p) => sum + p.aad.length + IV + p.text.length + TAG + 3, 1);
  const arena = new Uint8Array(new SharedArrayBuffer(bytes));
  const columns = aeadColumns(arena, packets.length);
  let at = 1;
  packets.forEach((packet, i) => {
    columns.key[i] = key;
    columns.aadOffset[i] = at;
    columns.aadLength[i] = packet.aad.length;
    columns.ivOffset[i] = at + packet.aad.length;
    columns.textOffset[i] = columns.ivOffset[i] + IV;
    columns.textLength[i] = packet.text.length;
    arena.set(packet.aad, at);
    arena.set(packet.iv, columns.ivOffset[i]);
    arena.set(packet.text, columns.textOffset[i]);
    if (tags !== undefined) arena.set(tags[i], columns.textOffset[i] + packet.text.length);
    at = columns.textOffset[i] + packet.text.length + TAG + 3;
  });
  columns.result.fill(-7);
  return columns;
}

const LENGTHS = [...Array.from({ length: 301 }, (_, i) => i), 1400, 4095, 4096, 8999, 9000, 9001];

describe.each(ALGORITHMS)('$name', (algorithm) => {
  const keyAndSalt = randomBytes(algorithm.keyBytes + 4);
  const sealKey = native.aeadKey(algorithm.name, 'seal', keyAndSalt);
  const openKey = native.aeadKey(algorithm.name, 'open', keyAndSalt);

  it('seals every length as node:crypto and @noble/ciphers do', () => {
    const packets = LENGTHS.map(randomPacket);
    const columns = layOut(packets, sealKey);
    native.sealBatch(columns, 0, packets.length);
    packets.forEach((packet, i) => {
      const from = columns.textOffset[i];
      const sealed = Buffer.from(columns.arena.slice(from, from + packet.text.length + TAG));
      expect(sealed.equals(sealByNode(algorithm, keyAndSalt, packet)), `node, ${packet.text.length} bytes`).toBe(true);
      if (i % 7 === 0)
        expect(sealed.equals(sealByNoble(algorithm, keyAndSalt, packet)), `noble, ${packet.text.length}`).toBe(true);
    });
    expect([...new Set(columns.result)]).toEqual([1]);
  });

  it('opens every length that node:crypto sealed', () => {
    const packets = LENGTHS.map(randomPacket);
    const sealed = packets.map((packet) => sealByNode(algorithm, keyAndSalt, packet));
    const columns = layOut(
      packets.map((packet, i) => ({ ...packet, text: sealed[i].subarray(0, packet.text.length) })),
      openKey,
      sealed.map((bytes) => bytes.subarray(-TAG)),
    );
    native.openBatch(columns, 0, packets.length);
    expect([...new Set(columns.result)]).toEqual([1]);
    packets.forEach((packet, i) => {
      const text = columns.arena.slice(columns.textOffset[i], columns.textOffset[i] + packet.text.length);
      expect(Buffer.from(text).equals(packet.text), `${packet.text.length} bytes`).toBe(true);
    });
  });

  it('rejects every single-bit change of aad, iv, text and tag, and leaves zeros', () => {
    const packet = { aad: randomBytes(12), iv: randomBytes(IV), text: randomBytes(21) };
    const sealed = sealByNode(algorithm, keyAndSalt, packet);
    const whole = { ...packet, text: sealed.subarray(0, 21) };
    const bits = (packet.aad.length + IV + sealed.length) * 8;
    const columns = layOut(
      Array.from({ length: bits }, () => whole),
      openKey,
      Array.from({ length: bits }, () => sealed.subarray(-TAG)),
    );
    for (let bit = 0; bit < bits; bit++) columns.arena[columns.aadOffset[bit] + (bit >> 3)] ^= 1 << (bit & 7);
    native.openBatch(columns, 0, bits);
    expect([...new Set(columns.result)]).toEqual([0]);
    for (let i = 0; i < bits; i++)
      expect(columns.arena.slice(columns.textOffset[i], columns.textOffset[i] + 21).every((b) => b === 0)).toBe(true);
  });

  it('opens a good packet behind a bad one', () => {
    const packets = [randomPacket(60), randomPacket(61), randomPacket(62)];
    const sealed = packets.map((packet) => sealByNode(algorithm, keyAndSalt, packet));
    sealed[1][3] ^= 1;
    const columns = layOut(
      packets.map((packet, i) => ({ ...packet, text: sealed[i].subarray(0, packet.text.length) })),
      openKey,
      sealed.map((bytes) => bytes.subarray(-TAG)),
    );
    native.openBatch(columns, 0, 3);
    expect([...columns.result]).toEqual([1, 0, 1]);
  });

  it('touches only the rows asked for', () => {
    const packets = [randomPacket(40), randomPacket(40), randomPacket(40)];
    const columns = layOut(packets, sealKey);
    const before = columns.arena.slice();
    native.sealBatch(columns, 1, 1);
    expect([...columns.result]).toEqual([-7, 1, -7]);
    expect(columns.arena.slice(0, columns.textOffset[1])).toEqual(before.slice(0, columns.textOffset[1]));
    expect(columns.arena.slice(columns.aadOffset[2])).toEqual(before.slice(columns.aadOffset[2]));
  });

  it('wants a key of its own length with the salt', () => {
    expect(() => native.aeadKey(algorithm.name, 'seal', randomBytes(algorithm.keyBytes))).toThrow(RangeError);
    expect(() => native.aeadKey(algorithm.name, 'seal', randomBytes(algorithm.keyBytes))).toThrow(
      `aeadKey: keyAndSalt of ${algorithm.name} has ${algorithm.keyBytes} bytes, ${algorithm.keyBytes + 4} are needed`,
    );
  });
});

describe('AEAD keys', () => {
  const keyAndSalt = randomBytes(20);

  it('made to seal do not open, nor the other way round', () => {
    const columns = layOut([randomPacket(10)], native.aeadKey('aes128gcm16', 'seal', keyAndSalt));
    expect(() => native.openBatch(columns, 0, 1)).toThrow(/key of row 0: key \d+ was made to seal/);
    columns.key[0] = native.aeadKey('aes128gcm16', 'open', keyAndSalt);
    expect(() => native.sealBatch(columns, 0, 1)).toThrow(/key of row 0: key \d+ was made to open/);
  });

  it('are gone when dropped', () => {
    const key = native.aeadKey('aes128gcm16', 'seal', keyAndSalt);
    const columns = layOut([randomPacket(10)], key);
    native.aeadDropKey(key);
    expect(() => native.sealBatch(columns, 0, 1)).toThrow(`there is no key ${key}`);
    expect(() => native.aeadDropKey(key)).toThrow(RangeError);
  });

  it('do not take the number of one just dropped', () => {
    const key = native.aeadKey('aes128gcm16', 'seal', keyAndSalt);
    native.aeadDropKey(key);
    expect(native.aeadKey('aes128gcm16', 'seal', keyAndSalt)).not.toBe(key);
  });

  it('work by the hundreds, each with its own key', () => {
    const secrets = Array.from({ length: 300 }, () => randomBytes(20));
    const keys = secrets.map((secret) => native.aeadKey('aes128gcm16', 'seal', secret));
    expect(new Set(keys).size).toBe(300);
    const packet = randomPacket(50);
    const columns = layOut(
      secrets.map(() => packet),
      0,
    );
    columns.key.set(keys);
    native.sealBatch(columns, 0, 300);
    for (const i of [0, 63, 64, 150, 299]) {
      const sealed = columns.arena.slice(columns.textOffset[i], columns.textOffset[i] + 50 + TAG);
      expect(Buffer.from(sealed).equals(sealByNode(ALGORITHMS[0], secrets[i], packet))).toBe(true);
    }
    keys.forEach(native.aeadDropKey);
  });

  it('of an unknown algorithm are refused', () => {
    expect(() => native.aeadKey('des' as 'aes128gcm16', 'seal', keyAndSalt)).toThrow("aeadKey: no algorithm 'des'");
  });
});
