/**
 * How many of each thing the engine has room for. Ids that commands carry must stay below these numbers.
 *
 * The slots of SAs are what an SPI can name (steering.ts). A UDP tunnel has two children, and each of them a successor
 * beside it while it is rekeyed: four inbound SAs at most, so there is room for a quarter as many protections. Tunnels that
 * only their keys tell apart share one; but a port is what a bridge floods to, so there are no more of those.
 */

export interface EngineLimits {
  readonly ports: number;
  readonly bridges: number;
  readonly protections: number;
  /** Slots of inbound SAs, and as many of outbound ones; the SPI has 16 bits for them (steering.ts). */
  readonly saSlots: number;
  /** Learned addresses of all bridges together; a power of two. */
  readonly fdbCells: number;
}

export const DEFAULT_LIMITS: EngineLimits = {
  ports: 16_384,
  bridges: 1024,
  protections: 16_384,
  saSlots: 65_536,
  fdbCells: 65_536,
};

/** Packets after which an SA should be replaced: half of what its sequence numbers allow, ESN or not (sa-memory.ts). */
export const ESP_SOFT_PACKETS = 2 ** 31;
