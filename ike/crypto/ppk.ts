/**
 * A post-quantum preshared key mixed into the keys of an IKE SA (RFC 8784 §3): SK_d, SK_pi and SK_pr become
 * prf+(PPK, SK_x'). What protects messages, SK_e and SK_a, stays, so who holds a quantum computer may read IKE_AUTH, but
 * not the child SAs, nor any IKE SA that comes of a rekeying.
 */

import { type IkeKeys, prfPlus, wipe } from './prf.ts';

/** Those of the keys of an IKE SA that a PPK changes. */
export type PpkKeys = Pick<IkeKeys, 'skD' | 'skPi' | 'skPr'>;

/** The keys with the PPK in them. `keys` stay as they are, for a peer that turns out not to use it. */
export function mixPpk(prfId: number, keys: PpkKeys, ppk: Uint8Array): PpkKeys {
  const mixed = (key: Uint8Array): Uint8Array => prfPlus(prfId, ppk, key, key.length);
  return { skD: mixed(keys.skD), skPi: mixed(keys.skPi), skPr: mixed(keys.skPr) };
}

/** Puts mixed keys in the place of the former ones, and wipes what is left of them. */
export function adoptPpkKeys(keys: PpkKeys, mixed: PpkKeys): void {
  keys.skD.set(mixed.skD);
  keys.skPi.set(mixed.skPi);
  keys.skPr.set(mixed.skPr);
  wipePpkKeys(mixed);
}

export function wipePpkKeys({ skD, skPi, skPr }: PpkKeys): void {
  wipe(skD, skPi, skPr);
}
