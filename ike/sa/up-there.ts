/**
 * Whether the peer surely has an SA too. What it asked for comes up there only with our response: until that is there, nothing that
 * has been in use may be given up for the new one (RFC 7296 §2.8).
 */

/** A response of ours is there after this time, or will be asked for again. */
const RESPONSE_MS = 1000;

/** From when on, in monotonic ms. `initiator`: we asked for it; `sinceMs`: when it came up here. */
export function surelyUpAtMs(initiator: boolean, sinceMs: number): number {
  return initiator ? sinceMs : sinceMs + RESPONSE_MS;
}
