/** Whether two ways to authenticate are the same, and if not, who is affected: we, or our trust in the peer. */

import { type KeyObject, timingSafeEqual } from 'node:crypto';
import type { Certificate } from './certificates/certificate.ts';
import type { Trust } from './certificates/peer.ts';
import { keyProblem } from './certificates/validity.ts';
import type { Authentication } from './types.ts';

const sameCertificates = (a: readonly Certificate[], b: readonly Certificate[]): boolean =>
  a.length === b.length && a.every(({ fingerprint }, index) => fingerprint === b[index].fingerprint);

function sameTrust(a: Trust, b: Trust): boolean {
  if (a.kind === 'pinned' || b.kind === 'pinned') {
    return a.kind === 'pinned' && b.kind === 'pinned' && a.certificate.fingerprint === b.certificate.fingerprint;
  }
  const [before, after] = [a.revocationLists, b.revocationLists];
  const sameLists =
    before === undefined || after === undefined
      ? before === after
      : before.length === after.length &&
        before.every(({ signature }, index) => Buffer.from(signature).equals(after[index].signature));
  return sameLists && sameCertificates(a.authorities, b.authorities);
}

/**
 * `ours`: only our own certificate or key was replaced, so the peer is as trusted as before. `trust`: what the peer has to
 * prove is another thing now, or the shared key is.
 */
export function authenticationChange(a: Authentication, b: Authentication): 'none' | 'ours' | 'trust' {
  if (a.method === 'psk' || b.method === 'psk') {
    const same =
      a.method === 'psk' &&
      b.method === 'psk' &&
      a.secret.length === b.secret.length &&
      timingSafeEqual(a.secret, b.secret);
    return same ? 'none' : 'trust';
  }
  if (a.peerName !== b.peerName || !sameTrust(a.trust, b.trust)) return 'trust';
  const sameKey = a.privateKey === b.privateKey || a.privateKey.equals(b.privateKey);
  return sameKey && sameCertificates(a.certificates, b.certificates) ? 'none' : 'ours';
}

/** Keys and certificates that were found to belong together: thousands of connections share one pair. */
const pairs = new WeakMap<KeyObject, Certificate>();

function belongTogether(privateKey: KeyObject, certificate: Certificate): boolean {
  if (pairs.get(privateKey) === certificate) return true;
  if (!certificate.x509.checkPrivateKey(privateKey)) return false;
  pairs.set(privateKey, certificate);
  return true;
}

/** What is wrong with how a connection authenticates; control says the same in its own words, with file names. */
export function authenticationProblem(authentication: Authentication): string | undefined {
  if (authentication.method === 'psk') {
    return authentication.secret.length === 0 ? 'the shared key is empty; set options:psk' : undefined;
  }
  const { certificates, privateKey, peerName, trust } = authentication;
  const key = keyProblem(privateKey);
  if (key !== undefined) return `the private key ${key}`;
  if (!belongTogether(privateKey, certificates[0])) {
    return `the private key is not that of certificate ${certificates[0].subject}`;
  }
  if (peerName === '') return "the name in the peer's certificate is empty; set options:remote_name";
  return trust.kind === 'authorities' && trust.authorities.length === 0 ? 'no certificate authority' : undefined;
}
