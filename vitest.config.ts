import { defineConfig } from 'vitest/config';

/** Tests of modules: those that follow each other in a process share what was imported, which is a third of their time. */
const OF_MODULES = ['test/ike/**/*.test.ts', 'test/control/**/*.test.ts', 'test/dataplane/**/*.test.ts'];
/** Tests of modules that replace some, or measure what V8 does: what ran before them in the same process would show. */
const ALONE = [
  'test/ike/engine/secrets.test.ts',
  'test/control/program-pool.test.ts',
  'test/control/service-manager.test.ts',
  'test/dataplane/**/allocation.test.ts',
  'test/dataplane/engine/many-tunnels.test.ts',
];
/** All but those of modules, as a pattern has no other way to say it. */
const OTHERS = 'test/!(ike|control|dataplane)/**/*.test.ts';

export default defineConfig({
  test: {
    projects: [
      { extends: true, test: { name: 'alone', include: ['test/*.test.ts', OTHERS, ...ALONE] } },
      { extends: true, test: { name: 'modules', include: OF_MODULES, exclude: ALONE, isolate: false } },
    ],
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
