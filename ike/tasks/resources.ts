/**
 * Several child SAs with the same selectors, one for each resource of an end, here for each packet worker (RFC 9611). What such
 * a child is on the wire: the notify SA_RESOURCE_INFO in its CREATE_CHILD_SA, request and response, and TS_MAX_QUEUE from an end that
 * wants no more of them. Everything else of its life is that of any other child (child-create.ts, child-rekey.ts).
 *
 * The data of the notify is opaque to the other end. Ours is the number of the resource, and an end like ours pairs equal numbers,
 * so that what both ends set up at once is the same child at both (twins.ts); other data is paired with any that is free. The RFC
 * has the data for debugging (§5.1); here keys and selectors do not depend on it, it only tells which of children that are alike is
 * which.
 */

import { findNotify, notify } from '../sa/notify.ts';
import type { ChildConfig } from '../types.ts';
import { NOTIFY } from '../wire/names.ts';
import type { NotifyPayload, Payload } from '../wire/payloads.ts';

const ID_BYTES = 4;
/** What the peer's resource is called when its data is not a number as ours is. */
export const UNNAMED = 0;

/** What a message about a child of this configuration has to hold. */
export function resourceNotifies({ resource }: ChildConfig): readonly NotifyPayload[] {
  if (resource === undefined) return [];
  const data = new Uint8Array(ID_BYTES);
  new DataView(data.buffer).setUint32(0, resource.id);
  return [notify(NOTIFY.SA_RESOURCE_INFO, data)];
}

/** The peer's number of its resource, or UNNAMED; undefined: the message is not about one. */
export function peerResourceOf(payloads: readonly Payload[]): number | undefined {
  const data = findNotify(payloads, NOTIFY.SA_RESOURCE_INFO)?.data;
  if (data === undefined) return undefined;
  return data.length === ID_BYTES ? new DataView(data.buffer, data.byteOffset, ID_BYTES).getUint32(0) : UNNAMED;
}

/** What is there of a child that the peer may mean. */
export interface ResourceState {
  readonly config: ChildConfig;
  /** The peer's numbers of the child SAs that are up for it. */
  readonly peers: readonly (number | undefined)[];
  /** We are setting it up. */
  readonly pending: boolean;
}

/**
 * Which of our children the peer's request for one of its resources is: the one of the same number, unless that is paired
 * with another one; else one that nobody has or is about to have. Undefined: there is none (TS_MAX_QUEUE).
 */
export function chooseResource(states: readonly ResourceState[], peerResource: number): ChildConfig | undefined {
  const same = states.find(({ config }) => config.resource?.id === peerResource);
  if (same?.peers.every((peer) => peer === undefined || peer === peerResource) === true) return same.config;
  return states.find(({ peers, pending }) => peers.length === 0 && !pending)?.config;
}
