/** Node, the native addon, and whether its AEAD gives the right answer to a published question. */
import { type Check, fail, ok } from '../check.ts';

/** As `engines` in package.json. */
const LEAST = { major: 20, minor: 19 };
/** "The Galois/Counter Mode of Operation" (McGrew, Viega), appendix B, test case 14: key, nonce and 16 bytes of text all zero. */
const TEXT_BYTES = 16;
const SEALED = 'cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919';
const IV_BYTES = 8;
const KEY_AND_SALT_BYTES = 36;

export const programCheck: Check = {
  name: 'program',
  about: 'the version of Node, the native addon, and its AEAD against a published vector',
  run({ native }) {
    const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
    const isNewEnough = major > LEAST.major || (major === LEAST.major && minor >= LEAST.minor);
    const node = isNewEnough
      ? ok(`Node.js ${process.versions.node}`)
      : fail(
          `Node.js ${process.versions.node}, expected ${LEAST.major}.${LEAST.minor} or newer`,
          'install a newer Node.js',
        );
    if ('problem' in native) return [node, fail(native.problem, 'npm run build')];
    const arena = new Uint8Array(IV_BYTES + SEALED.length / 2);
    const key = native.aeadKey('aes256gcm16', 'seal', new Uint8Array(KEY_AND_SALT_BYTES));
    const [none, text] = [Int32Array.of(0), Int32Array.of(IV_BYTES)];
    const places = { aadOffset: none, aadLength: none, ivOffset: none, textOffset: text };
    const lengths = { textLength: Int32Array.of(TEXT_BYTES), result: Int32Array.of(0) };
    native.sealBatch({ arena, key: Int32Array.of(key), ...places, ...lengths }, 0, 1);
    native.aeadDropKey(key);
    const isRight = Buffer.from(arena.subarray(IV_BYTES)).toString('hex') === SEALED;
    return [
      node,
      isRight
        ? ok(`AEAD of OpenSSL ${native.opensslVersion} gives the right answer`)
        : fail(`AEAD of OpenSSL ${native.opensslVersion} gives a wrong answer`, 'npm run build, or --aead=node'),
    ];
  },
};
