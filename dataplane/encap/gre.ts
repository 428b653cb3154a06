/**
 * GRE tunnels carrying Ethernet (RFC 2784, 2890; OVS type=gre).
 *
 * Options: key (absent, or 32 bits), checksum. One child SA covers protocol 47 between the two addresses.
 */

import { checkGre, GRE_FLAG_CHECKSUM, GRE_FLAG_KEY, greFlags, greHeaderLength, greKey, writeGre } from '../wire/gre.ts';
import { PROTOCOL_GRE } from '../wire/ipv4.ts';
import {
  type ChildSelectors,
  type EncapState,
  type Encapsulation,
  type OverheadSettings,
  POP_CHECKSUM,
  POP_END,
  POP_EXTENSION,
  POP_KEY,
  POP_KEY_PRESENT,
  POP_PORT,
} from './encapsulation.ts';

const SELECTORS: readonly ChildSelectors[] = [
  { suffix: '', protocol: PROTOCOL_GRE, localPort: undefined, remotePort: undefined },
];

function overhead(settings: OverheadSettings): number {
  return greHeaderLength(
    (settings.checksum ? GRE_FLAG_CHECKSUM : 0) | (settings.outKey.kind === 'none' ? 0 : GRE_FLAG_KEY),
  );
}

function push(bytes: Uint8Array, offset: number, _length: number, state: EncapState, _flowHash: number): number {
  const at = offset - state.overhead;
  writeGre(bytes, at, (state.checksum ? GRE_FLAG_CHECKSUM : 0) | (state.keyPresent ? GRE_FLAG_KEY : 0), state.key);
  return at;
}

function pop(bytes: Uint8Array, offset: number, end: number, out: Int32Array): number {
  const header = checkGre(bytes, offset, end - offset);
  if (header < 0) return header;
  const flags = greFlags(bytes, offset);
  out[POP_KEY] = greKey(bytes, offset);
  out[POP_KEY_PRESENT] = (flags & GRE_FLAG_KEY) !== 0 ? 1 : 0;
  out[POP_PORT] = 0;
  out[POP_END] = end;
  out[POP_EXTENSION] = 0;
  out[POP_CHECKSUM] = (flags & GRE_FLAG_CHECKSUM) !== 0 ? 1 : 0;
  return header;
}

export const gre: Encapsulation = {
  type: 'gre',
  protocol: PROTOCOL_GRE,
  defaultPort: 0,
  maximumKey: 0xffffffff,
  alwaysChecksum: false,
  overhead,
  push,
  pop,
  selectors: () => SELECTORS,
};
