/** A secret that shows itself to nobody who does not ask by name: not to JSON, util.inspect or a template. */
import { timingSafeEqual } from 'node:crypto';
import { inspect } from 'node:util';

const SHOWN = '(set)';

export class Secret {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** The UTF-8 bytes of a text, which is what OVS's IKE daemons make of `options:psk`. */
  static ofText(text: string): Secret {
    return new Secret(new TextEncoder().encode(text));
  }

  /** The secret itself. Whoever calls this answers for where it goes. */
  reveal(): Uint8Array {
    return this.#bytes;
  }

  /** Constant time for equal lengths. */
  equals(other: Secret): boolean {
    return this.#bytes.length === other.#bytes.length && timingSafeEqual(this.#bytes, other.#bytes);
  }

  toString(): string {
    return SHOWN;
  }

  toJSON(): string {
    return SHOWN;
  }

  [inspect.custom](): string {
    return SHOWN;
  }
}
