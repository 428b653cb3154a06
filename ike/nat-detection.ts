/**
 * Whether there is a NAT between the two ends (RFC 7296 §2.23): both tell the other a hash of the addresses and ports that
 * they sent from and to, in IKE_SA_INIT; what arrives with others went through a NAT. Pure functions.
 *
 * Who wants ESP in UDP without a NAT sends a hash that fits nothing, as strongSwan and Libreswan do for `encapsulation=yes`.
 */

import { createHash } from 'node:crypto';
import { notify } from './sa/notify.ts';
import type { Encapsulation, Endpoint } from './types.ts';
import { addressBytes } from './wire/address.ts';
import { NOTIFY } from './wire/names.ts';
import type { NotifyPayload, Payload } from './wire/payloads.ts';

/** What is known of NATs between the ends, and whether ESP goes in UDP for another reason. */
export interface NatView {
  readonly us: boolean;
  readonly peer: boolean;
  /** Encapsulation is demanded by our configuration. */
  readonly forced: boolean;
}

export const NO_NAT: NatView = { us: false, peer: false, forced: false };

/** Whether ESP between the ends goes in UDP. */
export const encapsulates = (nat: NatView): boolean => nat.us || nat.peer || nat.forced;

export function natText(nat: NatView): 'none' | 'local' | 'remote' | 'both' | 'forced' {
  if (nat.forced) return 'forced';
  if (nat.us) return nat.peer ? 'both' : 'local';
  return nat.peer ? 'remote' : 'none';
}

/** 16 hex digits each; the responder's is zero in a request of IKE_SA_INIT. */
export interface Spis {
  readonly initiatorSpi: string;
  readonly responderSpi: string;
}

const HASH_BYTES = 20;

/** SHA1(SPIs | address | port), as RFC 7296 §2.23 has it. */
function natHash(spis: Spis, { address, port }: Endpoint): Buffer {
  return createHash('sha1')
    .update(Buffer.from(spis.initiatorSpi + spis.responderSpi, 'hex'))
    .update(addressBytes(address))
    .update(Uint8Array.of(port >> 8, port & 0xff))
    .digest();
}

/** The notifies of a message that goes from `local` to `remote`. With `yes` the source is one that nobody has. */
export function natPayloads(
  spis: Spis,
  local: Endpoint,
  remote: Endpoint,
  encapsulation: Encapsulation,
  random: (bytes: number) => Uint8Array,
): NotifyPayload[] {
  if (encapsulation === 'no') return [];
  const source = encapsulation === 'yes' ? random(HASH_BYTES) : natHash(spis, local);
  return [
    notify(NOTIFY.NAT_DETECTION_SOURCE_IP, source),
    notify(NOTIFY.NAT_DETECTION_DESTINATION_IP, natHash(spis, remote)),
  ];
}

/**
 * What the notifies of a received message say; undefined: the sender does no NAT detection. A sender with several addresses
 * may send several hashes of its source: one that fits is enough.
 */
export function detectNat(
  payloads: readonly Payload[],
  spis: Spis,
  local: Endpoint,
  remote: Endpoint,
): Pick<NatView, 'us' | 'peer'> | undefined {
  const hashes = (type: number): Uint8Array[] =>
    payloads.flatMap((payload) => (payload.type === 'N' && payload.notify === type ? [payload.data] : []));
  const sources = hashes(NOTIFY.NAT_DETECTION_SOURCE_IP);
  const destinations = hashes(NOTIFY.NAT_DETECTION_DESTINATION_IP);
  if (sources.length === 0 || destinations.length === 0) return undefined;
  const [theirs, ours] = [natHash(spis, remote), natHash(spis, local)];
  return {
    peer: !sources.some((hash) => theirs.equals(hash)),
    us: !destinations.some((hash) => ours.equals(hash)),
  };
}
