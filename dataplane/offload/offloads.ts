/**
 * The offloads that can be switched off one by one: `--offload=NAME,…`. Each changes how packets cross between kernel and
 * engine, none changes a byte of what peers or guests get.
 */

export interface OffloadRow {
  readonly name: string;
  readonly sentence: string;
}

export const OFFLOADS = [
  {
    name: 'tso',
    sentence:
      'TAPs and devices hand over TCP and UDP in up to 64 KB with open checksums; the engine cuts and completes.',
  },
  { name: 'gro', sentence: 'TCP segments out of tunnels are joined, and written to a TAP in up to 64 KB.' },
  { name: 'udp-gso', sentence: 'ESP in UDP leaves in messages of up to 64 packets, which the kernel or the NIC cuts.' },
  { name: 'udp-gro', sentence: 'ESP in UDP that the kernel has joined is received as one message, and cut here.' },
] as const satisfies readonly OffloadRow[];

export type OffloadName = (typeof OFFLOADS)[number]['name'];
export type Offloads = Readonly<Record<OffloadName, boolean>>;

/** All on, or all off. */
export function allOffloads(on: boolean): Offloads {
  return Object.fromEntries(OFFLOADS.map((row) => [row.name, on])) as Record<OffloadName, boolean>;
}

/** Whether frames of TAPs and devices have a vnet header in front. */
export function usesVnetHeaders(offloads: Offloads): boolean {
  return offloads.tso || offloads.gro;
}
