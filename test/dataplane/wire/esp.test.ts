import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ESP_IV,
  espPadLength,
  espRoom,
  espSequence,
  espSpi,
  isEspPadding,
  writeEspHeader,
  writeEspTrailer,
} from '../../../dataplane/wire/esp.ts';
import { readInt32 } from '../../../dataplane/wire/octets.ts';

describe('the ESP packet', () => {
  it('begins with SPI, sequence number and IV', () => {
    const bytes = new Uint8Array(16);
    writeEspHeader(bytes, 0, 0x01020304, 0x05060708, 0x090a0b0c, 0x0d0e0f10);
    expect(Buffer.from(bytes).toString('hex')).toBe('0102030405060708090a0b0c0d0e0f10');
  });

  it('is read as it was written', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer(), fc.integer(), fc.integer(), (spi, sequence, high, low) => {
        const bytes = new Uint8Array(19);
        writeEspHeader(bytes, 3, spi, sequence, high, low);
        expect(espSpi(bytes, 3)).toBe(spi | 0);
        expect(espSequence(bytes, 3)).toBe(sequence | 0);
        expect(readInt32(bytes, 3 + ESP_IV)).toBe(high | 0);
        expect(readInt32(bytes, 3 + ESP_IV + 4)).toBe(low | 0);
      }),
    );
  });

  it.each([
    [0, '01020204'],
    [1, '010104'],
    [2, '0004'],
    [3, '0102030304'],
  ])('is padded 1, 2, 3 to a multiple of 4 behind a payload of %i bytes', (length, trailer) => {
    const bytes = new Uint8Array(12).fill(0xaa);
    const written = writeEspTrailer(bytes, length, espPadLength(length), 4);
    expect((length + written) % 4).toBe(0);
    expect(Buffer.from(bytes.subarray(length, length + written)).toString('hex')).toBe(trailer);
    expect(bytes[length + written]).toBe(0xaa);
  });

  it('has room for the longest payload that comes to no more than its length', () => {
    const lengthOf = (payload: number): number => 16 + payload + espPadLength(payload) + 2 + 16;
    for (let length = 36; length < 120; length++) {
      const room = espRoom(length);
      expect(lengthOf(room), `${length} bytes`).toBeLessThanOrEqual(length);
      expect(lengthOf(room + 1), `${length} bytes`).toBeGreaterThan(length);
    }
  });

  it('has a wrong padding if any byte of it is wrong', () => {
    const bytes = Uint8Array.from({ length: 255 }, (_, i) => i + 1);
    expect(isEspPadding(bytes, 0, 255)).toBe(true);
    for (let at = 0; at < 255; at++) {
      bytes[at] ^= 0x80;
      expect(isEspPadding(bytes, 0, 255)).toBe(false);
      bytes[at] ^= 0x80;
    }
  });
});
