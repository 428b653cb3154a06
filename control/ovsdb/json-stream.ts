/**
 * An incremental reader of JSON objects and arrays that follow each other without any framing: what OVSDB
 * (RFC 7047 §4) and unixctl put on a stream.
 *
 * It finds where a value ends by counting brackets outside strings, then leaves the value itself to
 * JSON.parse. Each byte is looked at once. Size and depth are bounded before anything is parsed, since
 * the other end may be hostile. Numbers, literals and strings at the top level are refused: JSON-RPC
 * sends none, and a number has no end of its own.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/** The stream holds something that is no JSON, or too much of it. The connection is beyond use. */
export class JsonStreamError extends Error {
  override readonly name = 'JsonStreamError';
}

export interface JsonStreamLimits {
  /** Largest value in bytes. */
  readonly maxBytes: number;
  /** Deepest nesting of objects and arrays. */
  readonly maxDepth: number;
}

export class JsonStream {
  readonly #limits: JsonStreamLimits;
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  #chunks: Uint8Array[] = [];
  #held = 0;
  #depth = 0;
  #inString = false;
  #escaped = false;

  constructor(limits: JsonStreamLimits) {
    this.#limits = limits;
  }

  /** Bytes of the value that is not complete yet. */
  get pendingBytes(): number {
    return this.#held;
  }

  /**
   * Takes the next bytes and gives the values they complete, in order.
   * @throws JsonStreamError for anything but concatenated JSON objects and arrays within the limits.
   */
  push(chunk: Uint8Array): unknown[] {
    const values: unknown[] = [];
    let start = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at]!;
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === BACKSLASH) this.#escaped = true;
        else if (byte === QUOTE) this.#inString = false;
        continue;
      }
      if (this.#depth === 0) {
        if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
          start = at;
          this.#depth = 1;
          this.#checkDepth();
        } else if (!isSpace(byte)) {
          throw new JsonStreamError(
            `expected a JSON object or array, got byte 0x${byte.toString(16).padStart(2, '0')}`,
          );
        }
        continue;
      }
      if (byte === QUOTE) this.#inString = true;
      else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        this.#depth++;
        this.#checkDepth();
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        this.#depth--;
        if (this.#depth === 0) values.push(this.#complete(chunk.subarray(start, at + 1)));
      }
    }
    if (this.#depth > 0) this.#hold(chunk.subarray(start));
    return values;
  }

  #checkDepth(): void {
    if (this.#depth > this.#limits.maxDepth) {
      throw new JsonStreamError(`JSON nested deeper than ${this.#limits.maxDepth}`);
    }
  }

  #checkSize(bytes: number): void {
    if (bytes > this.#limits.maxBytes)
      throw new JsonStreamError(`JSON value larger than ${this.#limits.maxBytes} bytes`);
  }

  #hold(part: Uint8Array): void {
    this.#checkSize(this.#held + part.length);
    // A copy, because the caller may reuse its buffer.
    this.#chunks.push(Uint8Array.from(part));
    this.#held += part.length;
  }

  #complete(last: Uint8Array): unknown {
    this.#checkSize(this.#held + last.length);
    const bytes = this.#chunks.length === 0 ? last : Buffer.concat([...this.#chunks, last]);
    this.#chunks = [];
    this.#held = 0;
    try {
      return JSON.parse(this.#decoder.decode(bytes));
    } catch (error) {
      throw new JsonStreamError(`malformed JSON: ${error instanceof SyntaxError ? 'bad syntax' : 'bad UTF-8'}`);
    }
  }
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
