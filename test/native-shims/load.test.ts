import { describe, expect, it } from 'vitest';
import { loadNative } from '../../native-shims/index.ts';

describe('the loaded addon', () => {
  it('runs on the OpenSSL of Node itself', () => {
    expect(loadNative().opensslVersion).toBe(process.versions.openssl);
  });

  it('is loaded once', () => {
    expect(loadNative()).toBe(loadNative());
  });
});
