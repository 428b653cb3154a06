import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonStream, JsonStreamError } from '../../../control/ovsdb/json-stream.ts';

const LIMITS = { maxBytes: 1 << 20, maxDepth: 64 };
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Any JSON object or array, with texts full of what could mislead a bracket counter. */
const container = fc
  .oneof(
    fc.array(fc.jsonValue({ stringUnit: fc.constantFrom('"', '\\', '{', '}', '[', ']', 'é', '\u{1f600}', 'a', '\n') })),
    fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue()),
  )
  // JSON has one zero only, and this reader gives what JSON.parse gives.
  .map((value) => JSON.parse(JSON.stringify(value)) as unknown);

function readInPieces(stream: JsonStream, data: Uint8Array, cuts: readonly number[]): unknown[] {
  const places = [...new Set(cuts.map((cut) => cut % (data.length + 1)))].sort((a, b) => a - b);
  const values: unknown[] = [];
  let from = 0;
  for (const place of [...places, data.length]) {
    values.push(...stream.push(data.subarray(from, place)));
    from = place;
  }
  return values;
}

describe('JsonStream', () => {
  it('gives the same values however the bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(container, { maxLength: 6 }),
        fc.array(fc.nat(5000), { maxLength: 20 }),
        fc.constantFrom('', ' ', '\n\t\r '),
        (values, cuts, gap) => {
          const stream = new JsonStream(LIMITS);
          const data = bytes(values.map((value) => JSON.stringify(value)).join(gap));
          expect(readInPieces(stream, data, cuts)).toEqual(values);
          expect(stream.pendingBytes).toBe(0);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('gives the same values byte by byte, when the caller reuses its buffer', () => {
    const stream = new JsonStream(LIMITS);
    const buffer = new Uint8Array(1);
    const values: unknown[] = [];
    for (const byte of bytes('{"a":"é\\"}{"}[1,[2]]')) {
      buffer[0] = byte;
      values.push(...stream.push(buffer));
    }
    expect(values).toEqual([{ a: 'é"}{' }, [1, [2]]]);
  });

  it('holds an incomplete value back at every place it can be cut', () => {
    const data = bytes('{"a":["\\\\",{"b":"\\""}]}');
    for (let length = 0; length < data.length; length++) {
      expect(new JsonStream(LIMITS).push(data.subarray(0, length))).toEqual([]);
    }
  });

  it.each([
    ['a number at the top level', '1'],
    ['a literal at the top level', 'true'],
    ['a text at the top level', '"x"'],
    ['a closing bracket at the top level', '}'],
    ['mismatched brackets', '{"a":1]'],
    ['bad syntax inside', '{"a":}'],
    ['a NUL between values', '{}\0{}'],
  ])('refuses %s', (_, text) => {
    expect(() => new JsonStream(LIMITS).push(bytes(text))).toThrow(JsonStreamError);
  });

  it('refuses bytes that are no UTF-8', () => {
    expect(() => new JsonStream(LIMITS).push(Uint8Array.of(0x5b, 0x22, 0xff, 0x22, 0x5d))).toThrow('bad UTF-8');
  });

  it('takes a value of exactly the largest size and refuses one byte more, complete or not', () => {
    const limits = { maxBytes: 10, maxDepth: 4 };
    expect(new JsonStream(limits).push(bytes('["123456"]'))).toEqual([['123456']]);
    expect(() => new JsonStream(limits).push(bytes('["1234567"]'))).toThrow('larger than 10 bytes');
    const stream = new JsonStream(limits);
    stream.push(bytes('["12345'));
    expect(() => stream.push(bytes('67890'))).toThrow('larger than 10 bytes');
  });

  it('refuses what is nested too deep before it is complete', () => {
    expect(new JsonStream({ maxBytes: 100, maxDepth: 3 }).push(bytes('[[[]]]'))).toEqual([[[[]]]]);
    expect(() => new JsonStream({ maxBytes: 100, maxDepth: 3 }).push(bytes('[[[['))).toThrow('nested deeper than 3');
  });

  it('throws nothing but JsonStreamError for random bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (data) => {
        try {
          new JsonStream(LIMITS).push(data);
        } catch (error) {
          expect(error).toBeInstanceOf(JsonStreamError);
        }
      }),
    );
  });
});
