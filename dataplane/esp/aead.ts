/**
 * What an AEAD backend must do: seal and open rows of an AeadColumns batch in place.
 *
 * Three of them: aead-native.ts (OpenSSL, one call a batch; the fast one), aead-node.ts (node:crypto, needs no addon)
 * and aead-noble.ts (@noble/ciphers, plain JavaScript, the reference). All pass one compliance suite,
 * test/dataplane/esp/aead-compliance.ts. Keys belong to the thread that prepared them.
 */

import type { AeadColumns } from '../../native-shims/types.ts';
import type { EspAlgorithm } from '../commands.ts';

export interface Aead {
  readonly name: 'native' | 'node' | 'noble';
  /** Prepares a key; the number goes into the `key` column. Throws RangeError if keyAndSalt has the wrong length. */
  prepareKey(algorithm: EspAlgorithm, direction: 'seal' | 'open', keyAndSalt: Uint8Array): number;
  /** Forgets the key and wipes what can be wiped. The number may be given out again. */
  dropKey(key: number): void;
  /** Encrypts rows first … first+count-1 in place and writes the 16-byte tag behind each text. */
  seal(columns: AeadColumns, first: number, count: number): void;
  /** Decrypts in place. result[i] is 1 where the tag was right, else 0, and then the text is zeroed. */
  open(columns: AeadColumns, first: number, count: number): void;
}

/** Keys by small numbers, for the backends that keep them in JavaScript. */
export class KeySlots<K extends object> {
  private readonly keys: (K | undefined)[] = [];

  add(key: K): number {
    const free = this.keys.indexOf(undefined);
    if (free >= 0) {
      this.keys[free] = key;
      return free;
    }
    return this.keys.push(key) - 1;
  }

  /** Throws if nobody has prepared the key or it was dropped: a row must not pass unsealed. */
  get(index: number): K {
    const key = this.keys[index];
    if (key === undefined) throw new RangeError(`AEAD key ${index}: not prepared, or dropped already`);
    return key;
  }

  take(index: number): K {
    const key = this.get(index);
    this.keys[index] = undefined;
    return key;
  }
}
