import { describe, it } from 'vitest';
import { createNativeAead } from '../../../dataplane/esp/aead-native.ts';
import { loadNative } from '../../../native-shims/index.ts';
import type { Native } from '../../../native-shims/types.ts';
import { describeAead } from './aead-compliance.ts';

let native: Native | undefined;
let reason = '';
try {
  native = loadNative();
} catch (error) {
  reason = (error as Error).message;
}

if (native !== undefined) {
  const addon = native;
  describeAead('native', () => createNativeAead(addon));
} else {
  describe('the AEAD backend native', () => {
    it.skip(`is not tested: ${reason}`, () => {});
  });
}
