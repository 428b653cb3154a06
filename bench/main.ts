/**
 * `npm run bench -- [micro|e2e|scale|tunnels|soak|first-packet|uplink-cost] [OPTIONS]`: the benchmarks. `micro` times stages, AEAD backends and the
 * engine in memory; `e2e` measures tunnels between two namespaces beside their peers; `scale` has 10,000 tunnels; `tunnels` sets up 1,000
 * at once; `soak` keeps up a steady load and looks at memory and counters; `first-packet` times a tunnel from add-port on;
 * `uplink-cost` tells what a packet costs beside an ovs-vswitchd, by who spends it. Without a word
 * `micro` and `e2e` run. OPTIONS go to the one that was named.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const SUITES = {
  micro: './micro/main.js',
  e2e: './e2e/main.js',
  scale: './scale/main.js',
  tunnels: './tunnels/main.js',
  soak: './soak/main.js',
  'first-packet': './first-packet/main.js',
  'uplink-cost': './uplink-cost/main.js',
} as const;
type Suite = keyof typeof SUITES;

const isSuite = (word: string | undefined): word is Suite => word !== undefined && word in SUITES;

function runSuite(suite: Suite, options: readonly string[]): number {
  process.stdout.write(`\n${suite}:\n`);
  const script = fileURLToPath(new URL(SUITES[suite], import.meta.url));
  return spawnSync(process.execPath, [script, ...options], { stdio: 'inherit' }).status ?? 1;
}

const [word, ...options] = process.argv.slice(2);
if (isSuite(word)) process.exitCode = runSuite(word, options);
else if (word === undefined) process.exitCode = runSuite('micro', []) || runSuite('e2e', []);
else {
  process.stderr.write(`bench: unknown suite "${word}", expected ${Object.keys(SUITES).join(' or ')}\n`);
  process.exitCode = 1;
}
