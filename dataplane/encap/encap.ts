/**
 * The tunnel types that can be encapsulated, and the numbers a type works with for one tunnel.
 *
 * Adding a type is adding its file and a row here. The interface is in encapsulation.ts.
 */

import type { TunnelSettings, TunnelType } from '../commands.ts';
import type { ChildSelectors, EncapState, Encapsulation, OverheadSettings } from './encapsulation.ts';
import { geneve } from './geneve.ts';
import { gre } from './gre.ts';
import { vxlan } from './vxlan.ts';

/** The types there are. STT is a name of the database that no file implements yet. */
export const ENCAPSULATIONS: Readonly<Partial<Record<TunnelType, Encapsulation>>> = { gre, geneve, vxlan };

/** The encapsulation of a type, or undefined where it is not supported. */
export function encapsulationOf(type: TunnelType): Encapsulation | undefined {
  return ENCAPSULATIONS[type];
}

/** The numbers that `push` works with. A key of `flow` sends 0, as OVS does without flow metadata. */
export function encapState(encapsulation: Encapsulation, settings: TunnelSettings): EncapState {
  return {
    key: settings.outKey.kind === 'fixed' ? settings.outKey.key | 0 : 0,
    keyPresent: settings.outKey.kind !== 'none',
    checksum: settings.checksum,
    port: encapsulation.defaultPort === 0 ? 0 : settings.destinationPort,
    overhead: encapsulation.overhead(settings),
  };
}

/** The children of an IKE connection for tunnels of this type and UDP port. Throws for a type that is not supported. */
export function childSelectors(type: TunnelType, port: number): readonly ChildSelectors[] {
  return supported(type).selectors(port);
}

/** Bytes between the outer IP header and the inner frame. Throws for a type that is not supported. */
export function tunnelOverhead(settings: OverheadSettings): number {
  return supported(settings.type).overhead(settings);
}

function supported(type: TunnelType): Encapsulation {
  const encapsulation = encapsulationOf(type);
  if (encapsulation === undefined) {
    throw new RangeError(`tunnel type ${type} is not supported, expected ${Object.keys(ENCAPSULATIONS).join(', ')}`);
  }
  return encapsulation;
}
