// The threads that do the dear steps of key exchanges and make dear signatures, for real.
import { generateKeyPairSync } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { type Computer, startComputePool } from '../../control/compute-pool.ts';
import type { Logger } from '../../control/vlog.ts';
import { chooseScheme, isDearToSign, SIGNATURE_HASH, signatureProblem } from '../../ike/crypto/auth-signature.ts';
import { isDear } from '../../ike/crypto/key-exchange.ts';
import type { Job, JobResult } from '../../ike/index.ts';
import { TRANSFORM_ID } from '../../ike/wire/names.ts';

const { MODP_2048, ECP_384, CURVE_25519, ML_KEM_768 } = TRANSFORM_ID.DH;

let pool: Computer | undefined;
const logged: string[] = [];
const log = { limited: (_topic: string, _level: string, message: string) => logged.push(message) } as unknown as Logger;

function start(): Computer {
  logged.length = 0;
  pool = startComputePool(log);
  return pool;
}

function of<S extends JobResult['step']>(step: S, result: JobResult | undefined): Extract<JobResult, { step: S }> {
  if (result?.step !== step) throw new Error(`expected the result of ${step}, got ${result?.step}`);
  return result as Extract<JobResult, { step: S }>;
}

describe('the compute pool', () => {
  afterEach(async () => {
    await pool?.stop();
    pool = undefined;
  });

  // ML-KEM is dear where Node has it only in JavaScript.
  const methods = [MODP_2048, ECP_384, ML_KEM_768].filter(isDear);

  it.each(methods)('does a key exchange by method %i whole, and keeps no copy of what a thread got', async (method) => {
    const { compute } = start();
    const begun = of('begin', await compute({ step: 'begin', method }));
    const answered = of('answer', await compute({ step: 'answer', method, peerPublic: begun.publicValue.slice() }));
    const job: Extract<Job, { step: 'finish' }> = {
      step: 'finish',
      method,
      peerPublic: answered.publicValue,
      privateKey: begun.privateKey,
    };
    const finished = of('finish', await compute(job));
    expect(finished.sharedSecret).toEqual(answered.sharedSecret);
    expect(finished.sharedSecret.length).toBeGreaterThanOrEqual(32);
    // Detached: the only copy went to the thread, which overwrites it.
    expect(job.privateKey).toHaveLength(0);
    expect(job.privateKey.buffer.byteLength).toBe(0);
    expect(logged).toEqual([]);
  });

  it("says that the peer's value is not valid", async () => {
    const result = await start().compute({ step: 'answer', method: MODP_2048, peerPublic: new Uint8Array(256) });
    expect(result).toMatchObject({ step: 'invalid', code: 'out-of-range' });
  });

  const pairs = {
    'RSA-2048': generateKeyPairSync('rsa', { modulusLength: 2048 }),
    'P-384': generateKeyPairSync('ec', { namedCurve: 'P-384' }),
    'P-521': generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  };

  it.each(Object.entries(pairs))(
    'signs with a key of %s that both threads share',
    async (_, { privateKey, publicKey }) => {
      const peerHashes = [SIGNATURE_HASH.SHA2_256, SIGNATURE_HASH.SHA2_384, SIGNATURE_HASH.SHA2_512];
      expect(isDearToSign(privateKey)).toBe(true);
      const scheme = chooseScheme(privateKey, peerHashes)!;
      const octets = new Uint8Array(500).fill(5);
      const job: Job = { step: 'sign', scheme: scheme.name, key: privateKey, octets: octets.slice() };
      const { data } = of('sign', await start().compute(job));
      expect(signatureProblem(publicKey, octets, { method: scheme.method, data, peerHashes })).toBeUndefined();
      expect(job.octets).toHaveLength(0);
      expect(logged).toEqual([]);
    },
  );

  it('says nothing of a key with which it cannot sign', async () => {
    // Too short for a hash of 64 bytes with as much salt.
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
    const { d, p, q } = privateKey.export({ format: 'jwk' });
    const job: Job = { step: 'sign', scheme: 'RSA_PSS_SHA2_512', key: privateKey, octets: new Uint8Array(9) };
    expect(await start().compute(job)).toBeUndefined();
    expect(logged).toEqual([expect.stringContaining('a thread for key exchanges and signatures failed: ')]);
    for (const secret of [d, p, q]) expect(logged.join()).not.toContain(secret);
    expect(logged.join()).not.toContain('PRIVATE KEY');
  });

  it('gives a step back undone that a thread cannot do, says so, and goes on', async () => {
    const { compute } = start();
    expect(await compute({ step: 'begin', method: CURVE_25519 })).toBeUndefined();
    expect(logged).toEqual([expect.stringContaining('is not dear')]);
    of('begin', await compute({ step: 'begin', method: ECP_384 }));
  });

  it('gives back undone what it has not done when it is stopped, and overwrites the private keys in it', async () => {
    const own = start();
    const begun = of('begin', await own.compute({ step: 'begin', method: MODP_2048 }));
    const jobs = Array.from(
      { length: 40 },
      (): Extract<Job, { step: 'finish' }> => ({
        step: 'finish',
        method: MODP_2048,
        peerPublic: begun.publicValue.slice(),
        privateKey: begun.privateKey.slice(),
      }),
    );
    const results = jobs.map((job) => own.compute(job));
    await own.stop();
    const undone = jobs.filter(({ privateKey }) => privateKey.length > 0);
    expect((await Promise.all(results)).filter((result) => result === undefined).length).toBeGreaterThan(0);
    expect(undone.length).toBeGreaterThan(0);
    expect(undone.every(({ privateKey }) => privateKey.every((byte) => byte === 0))).toBe(true);
    expect(logged).toEqual([]);
  });
});
