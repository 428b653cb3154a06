/**
 * The files whose code is changed on purpose, and the tests that must notice: those of a file that need neither namespaces nor
 * programs of others, the quickest first. More tests for a file mean that each of its mutants takes longer.
 */

export interface Target {
  readonly file: string;
  readonly tests: readonly string[];
}

const esp = (...names: readonly string[]) => names.map((name) => `test/dataplane/esp/${name}.test.ts`);
const engine = (...names: readonly string[]) => names.map((name) => `test/dataplane/engine/${name}.test.ts`);
const crypto = (...names: readonly string[]) => names.map((name) => `test/ike/crypto/${name}.test.ts`);

const target = (file: string, ...tests: readonly string[]): Target => ({ file, tests });

export const TARGETS: readonly Target[] = [
  target('dataplane/esp/replay.ts', ...esp('replay', 'resume')),
  target('dataplane/esp/open.ts', ...esp('in-udp', 'open', 'tunnel-mode')),
  target('dataplane/esp/seal.ts', ...esp('in-udp', 'seal', 'tunnel-mode')),
  target('dataplane/esp/sa-table.ts', ...esp('in-udp', 'sa-slots', 'seal', 'open')),
  target('dataplane/esp/sa-memory.ts', ...esp('sa-memory', 'sa-slots')),
  target('dataplane/esp/selectors.ts', ...esp('selectors', 'sa-slots')),
  target('dataplane/esp/tunnel-mode.ts', ...esp('tunnel-mode')),
  target('dataplane/esp/udp-encap.ts', ...engine('udp-encap')),
  target('dataplane/esp/algorithms.ts', ...esp('algorithms', 'aead-node')),
  target('dataplane/esp/aead.ts', ...esp('key-slots', 'aead-node')),
  target('dataplane/esp/aead-node.ts', ...esp('aead-node')),
  target('dataplane/esp/aead-noble.ts', ...esp('aead-noble')),
  target('dataplane/esp/aead-native.ts', ...esp('aead-native')),
  target('dataplane/wire/esp.ts', 'test/dataplane/wire/esp.test.ts', ...esp('seal', 'open')),
  target('dataplane/policy.ts', ...engine('policy')),
  target('dataplane/protections.ts', 'test/dataplane/protections.test.ts'),
  target('dataplane/postings.ts', ...engine('postings')),
  target('dataplane/command-queue.ts', ...engine('command-queue')),
  target('ike/crypto/prf.ts', ...crypto('prf', 'auth-psk')),
  target('ike/crypto/sk-cipher.ts', ...crypto('sk-cipher'), ...esp('resume')),
  target('ike/crypto/auth-psk.ts', ...crypto('auth-psk', 'int-auth')),
  target('ike/crypto/auth-signature.ts', 'test/ike/certificates/signatures.test.ts'),
  target('ike/crypto/cookie.ts', ...crypto('cookie')),
  target('ike/crypto/ppk.ts', ...crypto('ppk')),
  target('ike/crypto/int-auth.ts', ...crypto('int-auth')),
  target('ike/crypto/dh.ts', ...crypto('dh')),
  target('ike/crypto/key-exchange.ts', ...crypto('dh', 'ml-kem')),
  target('ike/sa/exchange-window.ts', 'test/ike/engine/exchange-window.test.ts'),
];
