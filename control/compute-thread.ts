/**
 * A thread of the compute pool: one dear step of a key exchange, or one signature, at a time. What comes in and goes out is
 * transferred, so the thread keeps no copy; ike/crypto/jobs.ts overwrites the private key that a step holds. The key of a signature
 * is shared with the main thread as OpenSSL's object, whose bytes are not copied.
 */
import { randomBytes } from 'node:crypto';
import { move, transferableSymbol, valueSymbol } from 'piscina';
// Not the whole of ike/: a thread needs nothing of it but this, and each loads its own.
import { buffersOf, type Job, perform } from '../ike/crypto/jobs.ts';

/** The result, as piscina moves it. */
export default function compute(job: Job): unknown {
  const result = perform(job, (bytes) => randomBytes(bytes));
  return move({
    get [transferableSymbol]() {
      return buffersOf(result);
    },
    get [valueSymbol]() {
      return result;
    },
  });
}
