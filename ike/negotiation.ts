/**
 * Proposals (RFC 7296 §2.7, §3.3): what we offer, what we choose of a peer's offer, and whether a peer's choice is
 * one that we offered. Pure functions over transforms; what a transform computes is crypto's.
 *
 * As responder our order of preference counts, with one exception: a key exchange group that the initiator has
 * already sent a value for is taken if we offer it too, which saves the INVALID_KE_PAYLOAD round.
 */

import type { ProposalConfig, Transform, TransformType } from './types.ts';
import { TRANSFORM_ID, TRANSFORM_TYPE_NAMES, transformName } from './wire/names.ts';
import type { Proposal } from './wire/payloads.ts';
import { describeTransforms } from './wire/pretty.ts';

/** Payload order of a proposal's transforms. */
const TYPES: readonly TransformType[] = ['ENCR', 'INTEG', 'PRF', 'DH', 'ESN'];

/** Id 0 of INTEG, DH and ESN means the same as no transform of the type: no algorithm, 32-bit sequence numbers. */
const isNone = (transform: Transform): boolean =>
  transform.id === 0 && (transform.type === 'INTEG' || transform.type === 'DH' || transform.type === 'ESN');

const ofType = <T extends Transform>(transforms: readonly T[], type: TransformType): T[] =>
  transforms.filter((transform) => transform.type === type);

const sameTransform = (a: Transform, b: Transform): boolean =>
  a.type === b.type && a.id === b.id && a.keyBits === b.keyBits;

/** The transforms that both sides agreed on: at most one of each type, none that means nothing. */
export type Suite = Readonly<Partial<Record<TransformType, Transform>>>;

export interface Choice {
  readonly suite: Suite;
  /** The proposal to answer with: number and SPI as offered, one transform of each type that was offered. */
  readonly proposal: Proposal;
}

/** Groups of all proposals, in order of preference, without repetition. */
export function groupsOf(configs: readonly ProposalConfig[]): number[] {
  const ids = configs.flatMap((config) => ofType(config.transforms, 'DH').map((transform) => transform.id));
  return [...new Set(ids)].filter((id) => id !== TRANSFORM_ID.DH.NONE);
}

/** How key exchange groups count in a negotiation of ESP. */
export type GroupRule =
  /** IKE_AUTH: no KE payload, so no group (RFC 7296 §1.2). */
  | { readonly kind: 'without' }
  /** CREATE_CHILD_SA: these groups; the proposals that name none get them. */
  | { readonly kind: 'these'; readonly groups: readonly number[] };

const groupTransforms = (groups: readonly number[]): Transform[] => groups.map((id) => ({ type: 'DH', id }));

/** The configured proposals of a child, with its groups put in or taken out. */
export function withGroups(configs: readonly ProposalConfig[], rule: GroupRule): ProposalConfig[] {
  return configs.map((config) => {
    const others = config.transforms.filter((transform) => transform.type !== 'DH');
    if (rule.kind === 'without') return { transforms: others };
    const own = ofType(config.transforms, 'DH');
    return { transforms: [...others, ...(own.length > 0 ? own : groupTransforms(rule.groups))] };
  });
}

/** The proposals of an offer, numbered from 1. `spi`: none in IKE_SA_INIT, 8 bytes to rekey an IKE SA, 4 for ESP. */
export function offer(configs: readonly ProposalConfig[], protocol: 'IKE' | 'ESP', spi: Uint8Array): Proposal[] {
  return configs.map((config, index) => ({
    number: index + 1,
    protocol,
    spi,
    transforms: TYPES.flatMap((type) => ofType(config.transforms, type)),
    unknown: [],
  }));
}

/** What a responder's choice depends on besides the two lists. */
export interface ChoiceTerms {
  readonly protocol: 'IKE' | 'ESP';
  readonly spiSize: number;
  /** The group of the initiator's KE payload. */
  readonly keGroup: number | undefined;
  /**
   * `required`: IKE SAs. `optional`: a child, with the groups that we accept if the peer wants one.
   * `ignored`: IKE_AUTH.
   */
  readonly groups: 'required' | 'ignored' | { readonly optional: readonly number[] };
}

/** The first of our proposals that the offer allows, or undefined (NO_PROPOSAL_CHOSEN). */
export function choose(
  offered: readonly Proposal[],
  configs: readonly ProposalConfig[],
  terms: ChoiceTerms,
): Choice | undefined {
  for (const config of configs) {
    for (const proposal of offered) {
      if (proposal.protocol !== terms.protocol || proposal.spi.length !== terms.spiSize) continue;
      // A proposal with a transform type that we don't know cannot be accepted (RFC 7296 §3.3.6).
      if (proposal.unknown.some((transform) => !TRANSFORM_TYPE_NAMES.has(transform.transformType))) continue;
      const transforms = match(proposal, config, terms);
      if (transforms === undefined) continue;
      return { suite: suiteOf(transforms), proposal: { ...proposal, transforms, unknown: [] } };
    }
  }
  return undefined;
}

function match(proposal: Proposal, config: ProposalConfig, terms: ChoiceTerms): Transform[] | undefined {
  const chosen: Transform[] = [];
  for (const type of TYPES) {
    const theirs = ofType(proposal.transforms, type);
    if (type === 'DH' && terms.groups === 'ignored') continue;
    let ours = ofType(config.transforms, type);
    if (type === 'DH' && typeof terms.groups === 'object') {
      if (theirs.length === 0) continue;
      ours = [...ours, ...groupTransforms(terms.groups.optional)];
    }
    const common = ours.filter((transform) => theirs.some((other) => sameTransform(other, transform)));
    const preferred = type === 'DH' ? common.find((transform) => transform.id === terms.keGroup) : undefined;
    const pick = preferred ?? common[0];
    if (pick !== undefined) {
      chosen.push(pick);
      continue;
    }
    const none = theirs.find(isNone);
    const oursMayBeNone = ours.length === 0 || ours.some(isNone) || (type === 'DH' && terms.groups !== 'required');
    const theirsMayBeNone = theirs.length === 0 || none !== undefined;
    if (!oursMayBeNone || !theirsMayBeNone || type === 'ENCR') return undefined;
    if (none !== undefined) chosen.push(none);
  }
  return chosen;
}

/** Whether a suite is one that these proposals allow. */
export function allows(configs: readonly ProposalConfig[], suite: Suite): boolean {
  const wanted = Object.values(suite);
  return configs.some((config) =>
    wanted.every((transform) => config.transforms.some((other) => sameTransform(other, transform))),
  );
}

/** The suite of transforms of which there is one a type. */
function suiteOf(transforms: readonly Transform[]): Suite {
  const suite: Partial<Record<TransformType, Transform>> = {};
  for (const transform of transforms) if (!isNone(transform)) suite[transform.type] = transform;
  return suite;
}

/**
 * The suite of a responder's answer, or undefined if it is none that was offered: then the exchange has failed
 * (RFC 7296 §2.7: the initiator must verify it).
 */
export function acceptChoice(offered: readonly Proposal[], answer: readonly Proposal[]): Choice | undefined {
  if (answer.length !== 1 || answer[0].unknown.length > 0) return undefined;
  const [proposal] = answer;
  // Some responders number their answer 1 whatever they chose, so the number only says where to look first.
  const byNumber = [...offered].sort(
    (a, b) => Number(b.number === proposal.number) - Number(a.number === proposal.number),
  );
  const origin = byNumber.find((candidate) => isChoiceOf(candidate, proposal));
  return origin === undefined ? undefined : { suite: suiteOf(proposal.transforms), proposal };
}

function isChoiceOf(offered: Proposal, answer: Proposal): boolean {
  if (offered.protocol !== answer.protocol || offered.spi.length !== answer.spi.length) return false;
  return TYPES.every((type) => {
    const ours = ofType(offered.transforms, type);
    const theirs = ofType(answer.transforms, type);
    if (theirs.length > 1) return false;
    if (theirs.length === 0) return ours.length === 0 || ours.some(isNone);
    return ours.some((transform) => sameTransform(transform, theirs[0])) || (ours.length === 0 && isNone(theirs[0]));
  });
}

/** In the field's notation: `AES_GCM_16_256/PRF_HMAC_SHA2_256/MODP_2048`. */
export function suiteText(suite: Suite): string {
  const present = TYPES.map((type) => suite[type]).filter((transform) => transform !== undefined);
  return present.map(transformName).join('/');
}

/** The same for a list of proposals, alternatives of one type joined by `+`: for logs of refusals. */
export function proposalsText(proposals: readonly { readonly transforms: readonly Transform[] }[]): string {
  return proposals.map((proposal) => describeTransforms(proposal.transforms)).join(', ');
}
