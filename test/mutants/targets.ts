/**
 * The files whose code is changed on purpose, and the tests that must notice: those of a file that need neither namespaces nor
 * programs of others, the quickest first. More tests for a file mean that each of its mutants takes longer.
 */

export interface Target {
  readonly file: string;
  readonly tests: readonly string[];
}

const ESP = ['replay', 'sa-slots', 'seal', 'open', 'tunnel-mode', 'resume'].map(
  (name) => `test/dataplane/esp/${name}.test.ts`,
);
const AEAD = ['node', 'noble', 'native'].map((name) => `test/dataplane/esp/aead-${name}.test.ts`);
const UDP = ['test/dataplane/engine/udp-encap.test.ts'];
const crypto = (...names: readonly string[]) => names.map((name) => `test/ike/crypto/${name}.test.ts`);

const target = (file: string, ...tests: readonly string[]): Target => ({ file, tests });

export const TARGETS: readonly Target[] = [
  target('dataplane/esp/replay.ts', 'test/dataplane/esp/replay.test.ts', 'test/dataplane/esp/resume.test.ts'),
  target('dataplane/esp/open.ts', ...ESP, ...UDP),
  target('dataplane/esp/seal.ts', ...ESP, ...UDP),
  target('dataplane/esp/sa-table.ts', ...ESP, ...UDP),
  target('dataplane/esp/sa-memory.ts', ...ESP),
  target('dataplane/esp/selectors.ts', ...ESP),
  target('dataplane/esp/tunnel-mode.ts', ...ESP, ...UDP),
  target('dataplane/esp/udp-encap.ts', ...UDP),
  target('dataplane/esp/algorithms.ts', ...ESP, ...AEAD),
  target('dataplane/esp/aead.ts', ...AEAD),
  target('dataplane/esp/aead-node.ts', 'test/dataplane/esp/aead-node.test.ts'),
  target('dataplane/esp/aead-noble.ts', 'test/dataplane/esp/aead-noble.test.ts'),
  target('dataplane/esp/aead-native.ts', 'test/dataplane/esp/aead-native.test.ts'),
  target('dataplane/wire/esp.ts', 'test/dataplane/wire/esp.test.ts', ...ESP),
  target('dataplane/policy.ts', 'test/dataplane/engine/policy.test.ts'),
  target('dataplane/protections.ts', 'test/dataplane/protections.test.ts'),
  target('dataplane/postings.ts', 'test/dataplane/engine/postings.test.ts'),
  target('dataplane/command-queue.ts', 'test/dataplane/engine/command-queue.test.ts'),
  target('ike/crypto/prf.ts', ...crypto('prf', 'auth-psk')),
  target('ike/crypto/sk-cipher.ts', ...crypto('sk-cipher'), 'test/dataplane/esp/resume.test.ts'),
  target('ike/crypto/auth-psk.ts', ...crypto('auth-psk', 'int-auth')),
  target('ike/crypto/auth-signature.ts', 'test/ike/certificates/signatures.test.ts'),
  target('ike/crypto/cookie.ts', ...crypto('cookie')),
  target('ike/crypto/ppk.ts', ...crypto('ppk')),
  target('ike/crypto/int-auth.ts', ...crypto('int-auth')),
  target('ike/crypto/dh.ts', ...crypto('dh')),
  target('ike/crypto/key-exchange.ts', ...crypto('dh', 'ml-kem')),
  target('ike/sa/exchange-window.ts', 'test/ike/engine/exchange-window.test.ts'),
];
