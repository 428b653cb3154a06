/**
 * Whose peer has sent an IKE_AUTH request (RFC 7296 §2.15, RFC 8784 §3): the one connection, of those between the two addresses,
 * whose identities and proof are right. Nothing is changed and nothing is answered here: that is ike-auth.ts, so the same request
 * may be looked at before our own, dear signature is made and again when it is there.
 */

import type { ConnectionState } from '../connection.ts';
import { type PpkKeys, wipePpkKeys } from '../crypto/ppk.ts';
import { idPayloadText } from '../identity.ts';
import { allows, chosenSuite } from '../negotiation.ts';
import type { IkeSa } from '../sa/ike-sa.ts';
import { find, findNotify } from '../sa/notify.ts';
import type { Connection } from '../types.ts';
import { NOTIFY } from '../wire/names.ts';
import type { AuthPayload, Payload } from '../wire/payloads.ts';
import { mayBePeer, mayBeUs, peerProblem } from './authentication.ts';
import { keysWith, namesPpk } from './ppk.ts';

/** So many connections between the same two addresses are tried for the one whose peer this is. */
const CANDIDATE_LIMIT = 8;

export interface PeerSearch {
  /** Undefined: there is none. */
  readonly connection: ConnectionState | undefined;
  /** Those of the PPK that the peer's proof was made with; whoever takes them wipes them. */
  readonly ppkKeys: PpkKeys | undefined;
  /** Address and identity, for messages. */
  readonly peer: string;
  /** Why there is none, as a sentence. */
  readonly problem: string;
  /** Whose operator has to know of a problem. */
  readonly blamed: ConnectionState | undefined;
}

/** Addresses, then identities, then the proof. Undefined: the request lacks what it must hold. */
export function findPeer(sa: IkeSa, payloads: readonly Payload[]): PeerSearch | undefined {
  const idi = find(payloads, 'IDi');
  const idr = find(payloads, 'IDr');
  const auth = find(payloads, 'AUTH');
  if (idi === undefined || auth === undefined) return undefined;

  const between = sa.context.connectionsBetween(sa.local.address, sa.remote.address);
  const named = between.filter(({ config }) => mayBePeer(config, idi) && (idr === undefined || mayBeUs(config, idr)));
  const { suite } = sa.protection ?? {};
  let problem: string | undefined;
  let ppkKeys: PpkKeys | undefined;
  const connection = named.slice(0, CANDIDATE_LIMIT).find((candidate) => {
    if (suite === undefined || !allows(candidate.config.ikeProposals, chosenSuite(suite))) return false;
    const proof = ppkProof(sa, candidate.config, auth, payloads);
    const found = proof.problem ?? peerProblem(sa, candidate, idi, proof.auth, payloads, proof.keys);
    problem ??= found;
    if (found === undefined) ppkKeys = proof.keys;
    else if (proof.keys !== undefined) wipePpkKeys(proof.keys);
    return found === undefined;
  });

  const peer = `${sa.remote.address}[${idPayloadText(idi)}]`;
  const us = idr === undefined ? 'us' : idPayloadText(idr);
  return {
    connection,
    ppkKeys,
    peer,
    problem:
      named.length === 0
        ? `${peer} wants to talk to ${us}: no tunnel has these identities`
        : `${peer}: ${problem ?? 'the IKE proposal is not one of its tunnel'}`,
    blamed: named[0] ?? between[0],
  };
}

interface PpkProof {
  /** What the peer's proof has to be checked by: its AUTH, or the one without PPK. */
  readonly auth: AuthPayload;
  /** The keys to check it with, if it is one with our PPK. */
  readonly keys: PpkKeys | undefined;
  readonly problem?: string;
}

/** Which of the two proofs of an initiator counts, as the table of RFC 8784 §3 says. */
function ppkProof(sa: IkeSa, { ppk }: Connection, auth: AuthPayload, payloads: readonly Payload[]): PpkProof {
  if (sa.init?.ppk === true && ppk !== undefined && namesPpk(payloads, ppk)) return { auth, keys: keysWith(sa, ppk) };
  const refuse = (problem: string): PpkProof => ({ auth, keys: undefined, problem });
  const named = findNotify(payloads, NOTIFY.PPK_IDENTITY) !== undefined;
  if (ppk?.required === true) {
    const what = named ? `another PPK than ${JSON.stringify(ppk.id)}` : 'no PPK';
    return refuse(`peer uses ${what}, and options:ipsec_ppk_required=yes demands ours`);
  }
  if (!named) return { auth, keys: undefined };
  const without = findNotify(payloads, NOTIFY.NO_PPK_AUTH);
  if (without === undefined)
    return refuse('peer demands a PPK that we do not have: are options:ipsec_ppk_id the same?');
  return { auth: { ...auth, data: without.data }, keys: undefined };
}
