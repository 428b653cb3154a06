/** The security protocol id that proposals, notifies and deletes share (RFC 7296 §3.3.1). */

import { PROTOCOL, PROTOCOL_NAMES } from '../names.ts';
import type { Protocol } from '../payloads.ts';

export function protocolFromNumber(number: number): Protocol {
  return PROTOCOL_NAMES.get(number) ?? number;
}

export function protocolToNumber(protocol: Protocol): number {
  return typeof protocol === 'number' ? protocol : PROTOCOL[protocol];
}
