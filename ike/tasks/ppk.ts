/**
 * The notifies of a post-quantum preshared key (RFC 8784 §3, §5): USE_PPK in IKE_SA_INIT says that an end has one,
 * PPK_IDENTITY in IKE_AUTH which one the initiator means and that the responder used it, NO_PPK_AUTH proves the
 * initiator to a responder that does not have it. When each is sent and what follows is ike-auth.ts.
 */

import { timingSafeEqual } from 'node:crypto';
import { mixPpk, type PpkKeys } from '../crypto/ppk.ts';
import type { IkeSa } from '../sa/ike-sa.ts';
import { findNotify, notify } from '../sa/notify.ts';
import type { Ppk } from '../types.ts';
import { sameBytes } from '../wire/bytes.ts';
import { NOTIFY } from '../wire/names.ts';
import type { NotifyPayload, Payload } from '../wire/payloads.ts';

/** PPK_ID_FIXED (RFC 8784 §5.1.1): both ends know the key by this name. */
const FIXED = 2;

/** IKE_SA_INIT: this end has a PPK. */
export function usePpkPayloads(has: boolean): Payload[] {
  return has ? [notify(NOTIFY.USE_PPK)] : [];
}

/** Whether the sender of an IKE_SA_INIT message has a PPK. */
export const announcesPpk = (payloads: readonly Payload[]): boolean =>
  findNotify(payloads, NOTIFY.USE_PPK) !== undefined;

/** IKE_AUTH request: which PPK its AUTH was made with. */
export function ppkIdentity(ppk: Ppk): NotifyPayload {
  return notify(NOTIFY.PPK_IDENTITY, Buffer.concat([Uint8Array.of(FIXED), Buffer.from(ppk.id, 'utf8')]));
}

/** IKE_AUTH response: it was used. */
export const ppkUsed = (): NotifyPayload => notify(NOTIFY.PPK_IDENTITY);

/** Whether an IKE_AUTH request names this PPK. */
export function namesPpk(payloads: readonly Payload[], ppk: Ppk): boolean {
  const named = findNotify(payloads, NOTIFY.PPK_IDENTITY);
  return named !== undefined && sameBytes(named.data, ppkIdentity(ppk).data);
}

/** The keys of the IKE SA as this PPK makes them; whoever takes them wipes them. */
export function keysWith(sa: IkeSa, ppk: Ppk): PpkKeys {
  if (sa.protection === undefined) throw new Error('IKE_AUTH without keys');
  return mixPpk(sa.protection.suite.prf.id, sa.protection.keys, ppk.secret);
}

/** Whether two connections use the same PPK in the same way. */
export function samePpk(a: Ppk | undefined, b: Ppk | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  const sameSecret = a.secret.length === b.secret.length && timingSafeEqual(a.secret, b.secret);
  return a.id === b.id && a.required === b.required && sameSecret;
}
