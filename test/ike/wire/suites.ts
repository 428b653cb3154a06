/** Every suite of the SK payload, with keys of one direction, and what Wireshark calls it (for tests). */

import type { SkKeys } from '../../../ike/crypto/sk-keys.ts';
import { ENCRYPTION_ROWS, INTEGRITY_ROWS } from '../../../ike/crypto/transforms.ts';
import type { Transform } from '../../../ike/types.ts';
import { transformName } from '../../../ike/wire/names.ts';

export interface NamedKeys extends SkKeys {
  readonly name: string;
}

/** Keys that differ in every byte of a few hundred. */
export function patternKey(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (seed + 31 * i + 7 * (i >> 3)) & 0xff);
}

function encryptionTransform(row: (typeof ENCRYPTION_ROWS)[number]): Transform {
  return row.keyBits === undefined ? { type: 'ENCR', id: row.id } : { type: 'ENCR', id: row.id, keyBits: row.keyBits };
}

/** AEADs alone, the others with each integrity algorithm. `seed` tells directions apart. */
export function allSuites(seed = 1): NamedKeys[] {
  return ENCRYPTION_ROWS.flatMap((row): NamedKeys[] => {
    const encryption = encryptionTransform(row);
    const skE = patternKey(row.keyBytes + row.saltBytes, seed);
    const name = transformName(encryption);
    if (row.aead) return [{ name, encryption, integrity: undefined, skE, skA: new Uint8Array(0) }];
    return INTEGRITY_ROWS.map(({ id, keyBytes }) => {
      const integrity: Transform = { type: 'INTEG', id };
      return {
        name: `${name}/${transformName(integrity)}`,
        encryption,
        integrity,
        skE,
        skA: patternKey(keyBytes, seed + 100),
      };
    });
  });
}
