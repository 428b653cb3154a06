/** Vitest for one mutant after the other: only the tests that main.ts names. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { include: process.env.MUTANTS_TESTS?.split(',') ?? [], testTimeout: 20_000 },
});
