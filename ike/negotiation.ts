/**
 * Proposals (RFC 7296 §2.7, §3.3): what we offer, what we choose of a peer's offer, and whether a peer's choice is
 * one that we offered. Pure functions over transforms; what a transform computes is crypto's.
 *
 * As responder our order of preference counts, with one exception: a key exchange group that the initiator has
 * already sent a value for is taken if we offer it too, which saves the INVALID_KE_PAYLOAD round.
 *
 * Additional key exchanges (RFC 9370 §2.2.1) are transform types like the others, but that one method is not used twice.
 * Who does not know them must refuse the whole proposal (RFC 7296 §3.3.6), so an offer to anybody has one without too.
 */

import type { IkeSuite } from './crypto/prf.ts';
import { ADDITIONAL_KEY_EXCHANGES, type ProposalConfig, type Transform, type TransformType } from './types.ts';
import { isAdditional, TRANSFORM_ID, TRANSFORM_TYPE_NAMES, transformName } from './wire/names.ts';
import type { Proposal } from './wire/payloads.ts';
import { describeTransforms } from './wire/pretty.ts';

/** Payload order of a proposal's transforms. */
const TYPES: readonly TransformType[] = ['ENCR', 'INTEG', 'PRF', 'DH', ...ADDITIONAL_KEY_EXCHANGES, 'ESN'];

/** Id 0 of these means the same as no transform of the type: no algorithm, no key exchange, 32-bit sequence numbers. */
const NONE_ALLOWED: ReadonlySet<TransformType> = new Set(['INTEG', 'DH', ...ADDITIONAL_KEY_EXCHANGES, 'ESN']);
const isNone = (transform: Transform): boolean => transform.id === 0 && NONE_ALLOWED.has(transform.type);

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

/** The additional key exchanges that were agreed on, in the order in which they are done. */
export function additionalOf(suite: Suite): Transform[] {
  return ADDITIONAL_KEY_EXCHANGES.map((type) => suite[type]).filter((transform) => transform !== undefined);
}

/** Whether any of these proposals has additional key exchanges: then IKE_INTERMEDIATE is announced (RFC 9370 §2.2.1). */
export function offersAdditional(proposals: readonly { readonly transforms: readonly Transform[] }[]): boolean {
  return proposals.some(({ transforms }) => transforms.some(({ type, id }) => isAdditional(type) && id !== 0));
}

/** The key exchanges of all proposals, the additional ones too. */
export function keyExchangesOf(configs: readonly ProposalConfig[]): Transform[] {
  return configs.flatMap(({ transforms }) =>
    transforms.filter((transform) => isKe(transform.type) && !isNone(transform)),
  );
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
    if (rule.kind === 'without') return { transforms: others.filter(({ type }) => !isAdditional(type)) };
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
    transforms: offered(config),
    unknown: NONE,
  }));
}

const NONE: readonly never[] = [];
/** Thousands of connections offer what one list of proposals says. */
const sorted = new WeakMap<ProposalConfig, readonly Transform[]>();

function offered(config: ProposalConfig): readonly Transform[] {
  const known = sorted.get(config);
  if (known !== undefined) return known;
  const transforms = TYPES.flatMap((type) => ofType(config.transforms, type));
  sorted.set(config, transforms);
  return transforms;
}

/** What a responder's choice depends on besides the two lists. */
export interface ChoiceTerms {
  readonly protocol: 'IKE' | 'ESP';
  readonly spiSize: number;
  /** The group of the initiator's KE payload. */
  readonly keGroup: number | undefined;
  /**
   * `required`: IKE SAs. `optional`: a child, with the groups and additional key exchanges that we accept if the peer
   * wants them. `ignored`: IKE_AUTH.
   */
  readonly groups: 'required' | 'ignored' | { readonly optional: readonly Transform[] };
  /** Whether the peer can carry out additional key exchanges. Default: yes. */
  readonly additional?: boolean;
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
  return pickFrom(0, [], proposal, config, terms);
}

/**
 * One transform of each type from TYPES[index] on, or undefined. No method is taken twice; where that leaves a later
 * additional key exchange without any, an earlier one takes another. Bounded by what we configured, not by the offer.
 */
function pickFrom(
  index: number,
  chosen: readonly Transform[],
  proposal: Proposal,
  config: ProposalConfig,
  terms: ChoiceTerms,
): Transform[] | undefined {
  if (index === TYPES.length) return [...chosen];
  const type = TYPES[index];
  for (const pick of candidates(type, proposal, config, terms)) {
    const repeated =
      isAdditional(type) && pick?.id !== 0 && chosen.some(({ id, type }) => id === pick?.id && isKe(type));
    if (repeated) continue;
    const rest = pickFrom(index + 1, pick === undefined ? chosen : [...chosen, pick], proposal, config, terms);
    if (rest !== undefined) return rest;
    // Other types do not depend on each other: if the rest fails, it fails with any choice here.
    if (!isAdditional(type)) return undefined;
  }
  return undefined;
}

const isKe = (type: TransformType): boolean => type === 'DH' || isAdditional(type);

/** What may be chosen of one type, best first; `undefined` among them: no transform of it. */
function candidates(
  type: TransformType,
  proposal: Proposal,
  config: ProposalConfig,
  terms: ChoiceTerms,
): (Transform | undefined)[] {
  const theirs = ofType(proposal.transforms, type);
  if (isKe(type) && terms.groups === 'ignored') return [undefined];
  let ours = ofType(config.transforms, type);
  if (isKe(type) && typeof terms.groups === 'object') {
    if (theirs.length === 0 && type === 'DH') return [undefined];
    ours = [...ours, ...ofType(terms.groups.optional, type)];
  }
  const impossible = isAdditional(type) && terms.additional === false;
  const common = impossible ? [] : ours.filter((transform) => theirs.some((other) => sameTransform(other, transform)));
  const preferred = type === 'DH' ? common.find((transform) => transform.id === terms.keGroup) : undefined;
  if (preferred !== undefined) return [preferred];
  if (common.length > 0 && !isAdditional(type)) return [common[0]];
  const none = theirs.find(isNone);
  const oursMayBeNone =
    ofType(config.transforms, type).length === 0 || ours.some(isNone) || (type === 'DH' && terms.groups !== 'required');
  const theirsMayBeNone = theirs.length === 0 || none !== undefined;
  if (!oursMayBeNone || !theirsMayBeNone || type === 'ENCR') return common;
  return [...common.filter((transform) => !isNone(transform)), none];
}

/** Whether a suite is one that these proposals allow: nothing else, and no additional key exchange left out. */
export function allows(configs: readonly ProposalConfig[], suite: Suite): boolean {
  const wanted = Object.values(suite);
  return configs.some(
    ({ transforms }) =>
      wanted.every((transform) => transforms.some((other) => sameTransform(other, transform))) &&
      ADDITIONAL_KEY_EXCHANGES.every((type) => suite[type] !== undefined || mayBeLeftOut(transforms, type)),
  );
}

function mayBeLeftOut(transforms: readonly Transform[], type: TransformType): boolean {
  const named = ofType(transforms, type);
  return named.length === 0 || named.some(isNone);
}

/** The suite of transforms of which there is one a type. */
function suiteOf(transforms: readonly Transform[]): Suite {
  const suite: Partial<Record<TransformType, Transform>> = {};
  for (const transform of transforms) if (!isNone(transform)) suite[transform.type] = transform;
  return suite;
}

/** The transforms that an IKE SA came of. */
export function chosenSuite({ encryption, integrity, prf, dh, additional }: IkeSuite): Suite {
  return suiteOf([encryption, ...(integrity === undefined ? [] : [integrity]), prf, dh, ...additional]);
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
  const methods = proposal.transforms.filter((transform) => isKe(transform.type) && !isNone(transform));
  if (new Set(methods.map(({ id }) => id)).size !== methods.length) return undefined;
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
