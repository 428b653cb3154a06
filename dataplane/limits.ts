/** How many of each thing the engine has room for. Ids that commands carry must stay below these numbers. */

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
  ports: 4096,
  bridges: 1024,
  protections: 16_384,
  saSlots: 65_536,
  fdbCells: 65_536,
};

/** Packets after which an SA should be replaced: half of what its sequence numbers allow, ESN or not (sa-memory.ts). */
export const ESP_SOFT_PACKETS = 2 ** 31;
