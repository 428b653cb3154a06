/**
 * Proposals as operators write them in `ipsec_ike` and `ipsec_esp`: strongSwan's spelling (`aes256gcm16-sha256-modp2048`)
 * and Libreswan's (`aes_gcm256-sha2_256;dh14`), comma separated, best first.
 *
 * What a line leaves out is filled in as those daemons do: in an IKE proposal the hash of an AEAD names the PRF, and the
 * default groups join where none is named; an ESP proposal takes both sequence number lengths. Additional key exchanges
 * are `ke1_mlkem768` to strongSwan and `addke1=ml_kem_768` to Libreswan, where a KEM behind a group means the same;
 * `ke1_none` lets a peer do without. Rows and spellings are transforms.ts.
 */

import { ADDITIONAL_KEY_EXCHANGES, type ProposalConfig, type Transform, type TransformType } from '../types.ts';
import { TRANSFORM_ID } from '../wire/names.ts';
import { ENCRYPTION_ROWS, ESN_ROWS, findEncryption, GROUP_ROWS, INTEGRITY_ROWS, PRF_ROWS } from './transforms.ts';

/** A proposal line that can't be used; the message names the word at fault and what was expected. */
export class ProposalTextError extends Error {
  /** The word, or the proposal that lacks one. */
  readonly word: string;

  constructor(word: string, detail: string) {
    super(detail);
    this.name = 'ProposalTextError';
    this.word = word;
  }
}

const GROUP = TRANSFORM_ID.DH;

/** MODP_2048 first: what strongSwan and Libreswan up to 4 choose, which saves a round trip with either. */
export const DEFAULT_IKE_GROUPS: readonly number[] = [
  GROUP.MODP_2048,
  GROUP.ECP_256,
  GROUP.CURVE_25519,
  GROUP.MODP_3072,
  GROUP.MODP_4096,
  GROUP.ECP_384,
  GROUP.ECP_521,
];

/** One proposal can't ask for more than this; beyond it the line is a mistake. */
const MAX_PROPOSALS = 16;

const VOCABULARY: ReadonlyMap<string, Transform> = new Map([
  ...ENCRYPTION_ROWS.flatMap((row) =>
    row.spellings.map((word): [string, Transform] => [
      word,
      row.keyBits === undefined ? { type: 'ENCR', id: row.id } : { type: 'ENCR', id: row.id, keyBits: row.keyBits },
    ]),
  ),
  ...words('INTEG', INTEGRITY_ROWS),
  ...words('PRF', PRF_ROWS),
  ...words('DH', GROUP_ROWS),
  ...words('ESN', ESN_ROWS),
  ...ADDITIONAL_KEY_EXCHANGES.flatMap((type, index) => {
    const rows = [...GROUP_ROWS, { id: GROUP.NONE, spellings: ['none'] }];
    return words(type, rows).flatMap(([word, transform]): [string, Transform][] => [
      [`ke${index + 1}_${word}`, transform],
      [`addke${index + 1}=${word}`, transform],
    ]);
  }),
]);

/** Libreswan's spelling of a KEM, which it takes for an additional key exchange where a group stands before it. */
const LIBRESWAN_KEM = /^ml_kem_\d+$/;

function words(type: TransformType, rows: readonly { readonly id: number; readonly spellings: readonly string[] }[]) {
  return rows.flatMap(({ id, spellings }) => spellings.map((word): [string, Transform] => [word, { type, id }]));
}

/** Libreswan names a cipher without key length for all of them, and `null` for the integrity that an AEAD doesn't need. */
const LIBRESWAN_GCM: readonly Transform[] = [256, 128].map((keyBits) => ({
  type: 'ENCR',
  id: TRANSFORM_ID.ENCR.AES_GCM_16,
  keyBits,
}));
const WORD_GROUPS: ReadonlyMap<string, readonly Transform[]> = new Map([
  ['aes_gcm', LIBRESWAN_GCM],
  ['aes_gcm_c', LIBRESWAN_GCM],
  ['null', []],
  ['none', []],
]);

/** Reads an `ike=` line. Throws ProposalTextError. */
export function parseIkeProposal(text: string): ProposalConfig[] {
  return splitProposals(text).map((proposal) => ({ transforms: completeIke(proposal, transformsOf(proposal)) }));
}

/** Reads an `esp=` line. Throws ProposalTextError. */
export function parseEspProposal(text: string): ProposalConfig[] {
  return splitProposals(text).map((proposal) => ({ transforms: completeEsp(proposal, transformsOf(proposal)) }));
}

/** strongSwan's `!`, "these only", is what this implementation does anyway. */
function splitProposals(text: string): string[] {
  const proposals = text
    .trim()
    .replace(/!$/, '')
    .split(',')
    .map((proposal) => proposal.trim());
  if (proposals.length > MAX_PROPOSALS) {
    throw new ProposalTextError(text, `${proposals.length} proposals, expected at most ${MAX_PROPOSALS}`);
  }
  const empty = proposals.includes('');
  if (empty)
    throw new ProposalTextError('', `"${text}" has an empty proposal; write for instance aes256gcm16-sha256-modp2048`);
  return proposals;
}

/** `-`, `;`, `/` and `+` all just separate words: their place says nothing that the word itself doesn't. */
function transformsOf(proposal: string): Transform[] {
  const transforms: Transform[] = [];
  for (const spelling of proposal.toLowerCase().split(/[-;/+]/)) {
    const behindGroup = LIBRESWAN_KEM.test(spelling) && transforms.some(({ type }) => type === 'DH');
    const word = behindGroup ? `ke1_${spelling}` : spelling;
    const known = VOCABULARY.get(word);
    const group = known === undefined ? WORD_GROUPS.get(word) : [known];
    if (group === undefined) {
      const first = [...ENCRYPTION_ROWS, ...INTEGRITY_ROWS, ...GROUP_ROWS].map(({ spellings }) => spellings[0]);
      const all = [...first, 'ke1_mlkem768 and the like'];
      throw new ProposalTextError(word, `"${word}" in "${proposal}" is not known; known are ${all.join(', ')}`);
    }
    for (const transform of group)
      if (!transforms.some((other) => isSame(other, transform))) transforms.push(transform);
  }
  return transforms;
}

function isSame(a: Transform, b: Transform): boolean {
  return a.type === b.type && a.id === b.id && a.keyBits === b.keyBits;
}

const DEFAULT_PRFS: readonly Transform[] = PRF_ROWS.map(({ id }) => ({ type: 'PRF', id }));

function completeIke(proposal: string, named: readonly Transform[]): Transform[] {
  const encryption = only(named, 'ENCR');
  const aead = isAeadProposal(proposal, encryption);
  const integrity = only(named, 'INTEG');
  if (only(named, 'ESN').length > 0) {
    throw new ProposalTextError(proposal, `"${proposal}" names sequence numbers, which belong in an ESP proposal`);
  }
  if (!aead && integrity.length === 0) {
    throw new ProposalTextError(proposal, `"${proposal}" has a cipher without integrity; add one, for instance sha256`);
  }
  const namedPrfs = only(named, 'PRF');
  const prfOfHash = integrity.map(({ id }): Transform => ({ type: 'PRF', id: prfIdOf(id) }));
  const prfs = namedPrfs.length > 0 ? namedPrfs : prfOfHash.length > 0 ? prfOfHash : DEFAULT_PRFS;
  const namedGroups = only(named, 'DH');
  const groups = namedGroups.length > 0 ? namedGroups : DEFAULT_IKE_GROUPS.map((id): Transform => ({ type: 'DH', id }));
  return [...encryption, ...prfs, ...(aead ? [] : integrity), ...groups, ...additional(named)];
}

/** The PRF with the hash of this integrity algorithm. */
function prfIdOf(integrityId: number): number {
  const hash = INTEGRITY_ROWS.find((row) => row.id === integrityId)!.hash;
  return PRF_ROWS.find((row) => row.hash === hash)!.id;
}

const BOTH_ESN: readonly Transform[] = ESN_ROWS.map(({ id }) => ({ type: 'ESN', id }));

function completeEsp(proposal: string, named: readonly Transform[]): Transform[] {
  const encryption = only(named, 'ENCR');
  for (const transform of encryption) {
    const row = findEncryption(transform);
    if (row?.esp !== undefined) continue;
    const usable = ENCRYPTION_ROWS.filter(({ esp }) => esp !== undefined).map(({ spellings }) => spellings[0]);
    const word = row?.spellings[0] ?? proposal;
    throw new ProposalTextError(word, `"${word}" in "${proposal}" is not for ESP; use one of ${usable.join(', ')}`);
  }
  isAeadProposal(proposal, encryption);
  const esn = only(named, 'ESN');
  // An AEAD needs neither hash nor PRF; daemons take `aes_gcm256-sha2_256` for esp as well, and drop the hash.
  const groups = only(named, 'DH');
  if (groups.length === 0 && additional(named).length > 0) {
    throw new ProposalTextError(proposal, `"${proposal}" has an additional key exchange but no first one; add x25519`);
  }
  return [...encryption, ...groups, ...additional(named), ...(esn.length > 0 ? esn : BOTH_ESN)];
}

/** Whether the ciphers are AEADs; one proposal can't mix them with others (RFC 7296 §3.3). */
function isAeadProposal(proposal: string, encryption: readonly Transform[]): boolean {
  if (encryption.length === 0) {
    throw new ProposalTextError(proposal, `"${proposal}" names no cipher; add one, for instance aes256gcm16`);
  }
  const aeads = encryption.filter((transform) => findEncryption(transform)?.aead === true).length;
  if (aeads !== 0 && aeads !== encryption.length) {
    throw new ProposalTextError(
      proposal,
      `"${proposal}" mixes AEADs with ciphers that need integrity; write two proposals, comma separated`,
    );
  }
  return aeads > 0;
}

function additional(transforms: readonly Transform[]): Transform[] {
  return ADDITIONAL_KEY_EXCHANGES.flatMap((type) => only(transforms, type));
}

function only(transforms: readonly Transform[], type: TransformType): Transform[] {
  return transforms.filter((transform) => transform.type === type);
}
