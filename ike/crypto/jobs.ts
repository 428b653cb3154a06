/**
 * A dear step of a key exchange, or a signature, as plain data, so that another thread can do it: what has to be computed
 * (`Job`), what came out (`JobResult`), and doing it. Buffers are of their own, never views of shared ones, so that a runner can
 * transfer them: then no copy stays behind. Whoever has a private key or secret last overwrites it; `perform` does so with those
 * of the job. The key of a signature is OpenSSL's object, which threads share: its bytes are nowhere in a job.
 */

import type { KeyObject } from 'node:crypto';
import { schemeNamed, signAuth } from './auth-signature.ts';
import type { InvalidPublicValueCode, RandomSource } from './dh.ts';
import { answerKeyExchange, beginKeyExchange, finishKeyExchange, InvalidPublicValueError } from './key-exchange.ts';
import { wipe } from './prf.ts';

export type Job =
  /** A key pair. */
  | { readonly step: 'begin'; readonly method: number }
  /** The responder's side, whole. */
  | { readonly step: 'answer'; readonly method: number; readonly peerPublic: Uint8Array<ArrayBuffer> }
  /** The initiator's secret. */
  | {
      readonly step: 'finish';
      readonly method: number;
      readonly peerPublic: Uint8Array<ArrayBuffer>;
      readonly privateKey: Uint8Array<ArrayBuffer>;
    }
  /** Data of an AUTH payload. */
  | {
      readonly step: 'sign';
      /** Name of a SignatureScheme. */
      readonly scheme: string;
      readonly key: KeyObject;
      readonly octets: Uint8Array<ArrayBuffer>;
    };

export type JobResult =
  | {
      readonly step: 'begin';
      readonly publicValue: Uint8Array<ArrayBuffer>;
      readonly privateKey: Uint8Array<ArrayBuffer>;
    }
  | {
      readonly step: 'answer';
      readonly publicValue: Uint8Array<ArrayBuffer>;
      readonly sharedSecret: Uint8Array<ArrayBuffer>;
    }
  | { readonly step: 'finish'; readonly sharedSecret: Uint8Array<ArrayBuffer> }
  | { readonly step: 'sign'; readonly data: Uint8Array<ArrayBuffer> }
  /** The peer's value can't be used. */
  | {
      readonly step: 'invalid';
      readonly code: InvalidPublicValueCode;
      readonly method: number;
      readonly detail: string;
    };

/** Does the job, and overwrites what was secret in it. */
export function perform(job: Job, random: RandomSource): JobResult {
  try {
    return resultOf(job, random);
  } catch (failure) {
    if (!(failure instanceof InvalidPublicValueError)) throw failure;
    return { step: 'invalid', code: failure.code, method: failure.group, detail: failure.detail };
  } finally {
    wipeJob(job);
  }
}

function resultOf(job: Job, random: RandomSource): JobResult {
  switch (job.step) {
    case 'begin': {
      const exchange = beginKeyExchange(job.method, random);
      if (exchange.privateKey === undefined) throw new Error(`method ${job.method} is not dear, so it is no job`);
      const privateKey = exchange.privateKey();
      exchange.wipe();
      return { step: 'begin', publicValue: own(exchange.publicValue), privateKey: own(privateKey) };
    }
    case 'answer': {
      const { publicValue, sharedSecret } = answerKeyExchange(job.method, job.peerPublic, random);
      return { step: 'answer', publicValue: own(publicValue), sharedSecret: own(sharedSecret) };
    }
    case 'finish':
      return {
        step: 'finish',
        sharedSecret: own(finishKeyExchange(job.method, job.privateKey, job.peerPublic)),
      };
    case 'sign': {
      const { key, octets } = job;
      return { step: 'sign', data: own(signAuth({ scheme: schemeNamed(job.scheme), key, octets })) };
    }
  }
}

/** The same bytes in a buffer that nothing else lies in; what they lay in before is overwritten. */
export function own(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  if (bytes.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength) {
    return new Uint8Array(bytes.buffer);
  }
  const copy = new Uint8Array(bytes);
  bytes.fill(0);
  return copy;
}

/** What was transferred is not here any more. */
export function wipeJob(job: Job): void {
  if (job.step === 'finish' && job.privateKey.length > 0) wipe(job.privateKey);
}

export function wipeResult(result: JobResult): void {
  if (result.step === 'begin') wipe(result.privateKey);
  else if ('sharedSecret' in result) wipe(result.sharedSecret);
}

/** What a runner transfers with a job or a result. */
export function buffersOf(data: Job | JobResult): ArrayBuffer[] {
  return Object.values(data).flatMap((value) => (value instanceof Uint8Array ? [value.buffer as ArrayBuffer] : []));
}
