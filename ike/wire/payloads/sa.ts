/**
 * Security Association payload (RFC 7296 §3.3): proposals, transforms, attributes.
 *
 * A proposal with a transform that can't be judged stays in the list with that transform under `unknown`, because such a
 * proposal is refused, not the message (§3.3.6). Choosing one is the engine's.
 */

import type { Transform } from '../../types.ts';
import { readU16, writeU16 } from '../bytes.ts';
import type { Parsed, ParseFailure } from '../failures.ts';
import { TRANSFORM_TYPE, TRANSFORM_TYPE_NAMES } from '../names.ts';
import type { Proposal, SaPayload, UnknownTransform } from '../payloads.ts';
import { protocolFromNumber, protocolToNumber } from './protocol.ts';

/** Proposal substructure (§3.3.1, figure 7). */
const PROPOSAL_HEADER = 8;
const PROPOSAL_MORE = 2;
/** Transform substructure (§3.3.2, figure 8). */
const TRANSFORM_HEADER = 8;
const TRANSFORM_MORE = 3;
const LAST = 0;

/** Attribute (§3.3.5): type 14 in the short form, whose value is the 16 bits that follow. */
const ATTRIBUTE_SHORT = 0x8000;
const KEY_LENGTH = 14;
const SHORT_ATTRIBUTE_SIZE = 4;

/** Peers send a handful of proposals with some 20 transforms; these bound what a hostile message costs. */
export const MAX_PROPOSALS = 32;
export const MAX_TRANSFORMS = 128;

const NO_BYTES = new Uint8Array(0);

export function sizeOfSa(payload: SaPayload): number {
  return payload.proposals.reduce((sum, proposal) => sum + sizeOfProposal(proposal), 0);
}

function sizeOfProposal(proposal: Proposal): number {
  const known = proposal.transforms.reduce((sum, transform) => sum + sizeOfTransform(transform), 0);
  const unknown = proposal.unknown.reduce((sum, { attributes }) => sum + TRANSFORM_HEADER + attributes.length, 0);
  return PROPOSAL_HEADER + proposal.spi.length + known + unknown;
}

function sizeOfTransform(transform: Transform): number {
  return TRANSFORM_HEADER + (transform.keyBits === undefined ? 0 : SHORT_ATTRIBUTE_SIZE);
}

export function parseSa(bytes: Uint8Array, start: number, end: number): Parsed<SaPayload> {
  const proposals: Proposal[] = [];
  for (let offset = start, last = false; !last; ) {
    if (proposals.length === MAX_PROPOSALS) return 'too-many-proposals';
    if (end - offset < PROPOSAL_HEADER) return 'bad-sa';
    const length = readU16(bytes, offset + 2);
    const spiSize = bytes[offset + 6];
    const transformsAt = offset + PROPOSAL_HEADER + spiSize;
    const proposalEnd = offset + length;
    if (proposalEnd > end || transformsAt > proposalEnd) return 'bad-sa';
    last = bytes[offset] === LAST;
    if (last ? proposalEnd !== end : bytes[offset] !== PROPOSAL_MORE) return 'bad-sa';

    const transforms: Transform[] = [];
    const unknown: UnknownTransform[] = [];
    const failure = parseTransforms(bytes, transformsAt, proposalEnd, bytes[offset + 7], transforms, unknown);
    if (failure !== undefined) return failure;
    proposals.push({
      number: bytes[offset + 4],
      protocol: protocolFromNumber(bytes[offset + 5]),
      spi: bytes.subarray(offset + PROPOSAL_HEADER, transformsAt),
      transforms,
      unknown,
    });
    offset = proposalEnd;
  }
  return { type: 'SA', proposals };
}

function parseTransforms(
  bytes: Uint8Array,
  start: number,
  end: number,
  count: number,
  transforms: Transform[],
  unknown: UnknownTransform[],
): ParseFailure | undefined {
  if (count > MAX_TRANSFORMS) return 'too-many-transforms';
  let offset = start;
  for (let left = count; left > 0; left--) {
    if (end - offset < TRANSFORM_HEADER) return 'bad-sa';
    const length = readU16(bytes, offset + 2);
    const transformEnd = offset + length;
    if (length < TRANSFORM_HEADER || transformEnd > end) return 'bad-sa';
    if (bytes[offset] !== (left === 1 ? LAST : TRANSFORM_MORE)) return 'bad-sa';
    const transformType = bytes[offset + 4];
    const type = TRANSFORM_TYPE_NAMES.get(transformType);
    const id = readU16(bytes, offset + 6);
    const attributes = bytes.subarray(offset + TRANSFORM_HEADER, transformEnd);
    const keyBits = keyLengthOf(attributes);
    if (type === undefined || keyBits === 'other') unknown.push({ transformType, id, attributes });
    else transforms.push(keyBits === 'none' ? { type, id } : { type, id, keyBits });
    offset = transformEnd;
  }
  return offset === end ? undefined : 'bad-sa';
}

/** The value of a sole Key Length attribute; `other` for any other attributes, malformed ones too. */
function keyLengthOf(attributes: Uint8Array): number | 'none' | 'other' {
  if (attributes.length === 0) return 'none';
  if (attributes.length !== SHORT_ATTRIBUTE_SIZE) return 'other';
  if (readU16(attributes, 0) !== (ATTRIBUTE_SHORT | KEY_LENGTH)) return 'other';
  return readU16(attributes, 2);
}

export function emitSa(payload: SaPayload, out: Uint8Array, start: number): void {
  let offset = start;
  payload.proposals.forEach((proposal, index) => {
    const length = sizeOfProposal(proposal);
    out[offset] = index === payload.proposals.length - 1 ? LAST : PROPOSAL_MORE;
    out[offset + 1] = 0;
    writeU16(length, out, offset + 2);
    out[offset + 4] = proposal.number;
    out[offset + 5] = protocolToNumber(proposal.protocol);
    out[offset + 6] = proposal.spi.length;
    out[offset + 7] = proposal.transforms.length + proposal.unknown.length;
    out.set(proposal.spi, offset + PROPOSAL_HEADER);
    emitTransforms(proposal, out, offset + PROPOSAL_HEADER + proposal.spi.length);
    offset += length;
  });
}

function emitTransforms(proposal: Proposal, out: Uint8Array, start: number): void {
  const known = proposal.transforms.map((transform) => ({
    transformType: TRANSFORM_TYPE[transform.type],
    id: transform.id,
    attributes: transform.keyBits === undefined ? NO_BYTES : keyLengthAttribute(transform.keyBits),
  }));
  const all: readonly UnknownTransform[] = [...known, ...proposal.unknown];
  let offset = start;
  all.forEach(({ transformType, id, attributes }, index) => {
    out[offset] = index === all.length - 1 ? LAST : TRANSFORM_MORE;
    out[offset + 1] = 0;
    writeU16(TRANSFORM_HEADER + attributes.length, out, offset + 2);
    out[offset + 4] = transformType;
    out[offset + 5] = 0;
    writeU16(id, out, offset + 6);
    out.set(attributes, offset + TRANSFORM_HEADER);
    offset += TRANSFORM_HEADER + attributes.length;
  });
}

function keyLengthAttribute(keyBits: number): Uint8Array {
  const attribute = new Uint8Array(SHORT_ATTRIBUTE_SIZE);
  writeU16(ATTRIBUTE_SHORT | KEY_LENGTH, attribute, 0);
  writeU16(keyBits, attribute, 2);
  return attribute;
}

/** Whether the proposal has a transform type that RFC 7296 doesn't know: then all of it is unacceptable (§3.3.6). */
export function hasUnknownTransformType(proposal: Proposal): boolean {
  return proposal.unknown.some(({ transformType }) => !TRANSFORM_TYPE_NAMES.has(transformType));
}
