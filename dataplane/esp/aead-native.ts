/**
 * The AEAD backend over native-shims: OpenSSL with one call a batch, key schedules set up once.
 *
 * The addon is injected, so that this file loads where it is not built.
 */

import type { Native } from '../../native-shims/types.ts';
import type { Aead } from './aead.ts';
import { splitKeyAndSalt } from './algorithms.ts';

export type NativeAead = Pick<Native, 'aeadKey' | 'aeadDropKey' | 'sealBatch' | 'openBatch'>;

export function createNativeAead(native: NativeAead): Aead {
  return {
    name: 'native',
    prepareKey(algorithm, direction, keyAndSalt) {
      const { key, salt } = splitKeyAndSalt(algorithm, keyAndSalt);
      key.fill(0);
      salt.fill(0);
      return native.aeadKey(algorithm, direction, keyAndSalt);
    },
    dropKey: (key) => native.aeadDropKey(key),
    seal: (columns, first, count) => native.sealBatch(columns, first, count),
    open: (columns, first, count) => native.openBatch(columns, first, count),
  };
}
