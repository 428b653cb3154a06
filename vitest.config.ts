import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Process isolation: the raw-socket addon and POSIX locks are per process.
    pool: 'forks',
    maxWorkers: 2,
    // Above what a test waits for by itself (test/rig/process.ts), so that it is the test that says what did not come.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // `npm run coverage`: packets and IKE by their own tests, without the daemons of the others.
    coverage: {
      provider: 'v8',
      include: ['ike/**/*.ts', 'dataplane/**/*.ts'],
      reporter: ['text', 'html'],
      reportsDirectory: 'node_modules/.cache/ovs-espd/coverage',
    },
  },
});
