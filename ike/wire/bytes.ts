/** Big-endian integers and hex at an offset of a byte array: the alphabet of the IKE codecs. Bounds are the caller's. */

const HEX_DIGITS = '0123456789abcdef';

export function readU16(bytes: Uint8Array, offset: number): number {
  return (bytes[offset] << 8) | bytes[offset + 1];
}

export function readU32(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] << 24) | (bytes[offset + 1] << 16) | (bytes[offset + 2] << 8) | bytes[offset + 3]) >>> 0;
}

export function writeU16(value: number, out: Uint8Array, offset: number): void {
  out[offset] = value >>> 8;
  out[offset + 1] = value;
}

export function writeU32(value: number, out: Uint8Array, offset: number): void {
  out[offset] = value >>> 24;
  out[offset + 1] = value >>> 16;
  out[offset + 2] = value >>> 8;
  out[offset + 3] = value;
}

/** `length` bytes as lower-case hex. */
export function readHex(bytes: Uint8Array, offset: number, length: number): string {
  let text = '';
  for (let i = offset; i < offset + length; i++) text += HEX_DIGITS[bytes[i] >> 4] + HEX_DIGITS[bytes[i] & 0x0f];
  return text;
}

/** Writes exactly `length` bytes of hex. Throws RangeError if `text` is anything else. */
export function writeHex(text: string, out: Uint8Array, offset: number, length: number): void {
  if (text.length !== 2 * length || !/^[0-9a-fA-F]*$/.test(text)) {
    throw new RangeError(`expected ${2 * length} hex digits, got "${text}"`);
  }
  for (let i = 0; i < length; i++) out[offset + i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
}

/** Whether two byte arrays hold the same bytes. Not for secrets: its time depends on them. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** One array of all parts, in order. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}
