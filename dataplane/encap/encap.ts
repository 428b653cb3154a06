/**
 * The tunnel types that can be encapsulated, and the numbers a type works with for one tunnel.
 *
 * Adding a type is adding its file and a row here. The interface is in encapsulation.ts.
 */

import type { TunnelSettings, TunnelType } from '../commands.ts';
import type { ChildSelectors, EncapState, Encapsulation, OverheadSettings } from './encapsulation.ts';
import { geneve } from './geneve.ts';
import { gre } from './gre.ts';
import { stt } from './stt.ts';
import { vxlan } from './vxlan.ts';

/** The types there are. */
export const ENCAPSULATIONS: Readonly<Record<TunnelType, Encapsulation>> = { gre, geneve, vxlan, stt };

export function encapsulationOf(type: TunnelType): Encapsulation {
  return ENCAPSULATIONS[type];
}

/** The numbers that `push` works with. A key of `flow` sends 0, as OVS does without flow metadata. */
export function encapState(encapsulation: Encapsulation, settings: TunnelSettings): EncapState {
  return {
    key: settings.outKey.kind === 'fixed' ? settings.outKey.key | 0 : 0,
    keyPresent: settings.outKey.kind !== 'none',
    checksum: settings.checksum || encapsulation.alwaysChecksum,
    port: encapsulation.defaultPort === 0 ? 0 : settings.destinationPort,
    overhead: encapsulation.overhead(settings),
  };
}

/** The children of an IKE connection for tunnels of this type and port. */
export function childSelectors(type: TunnelType, port: number): readonly ChildSelectors[] {
  return encapsulationOf(type).selectors(port);
}

/** Bytes between the outer IP header and the inner frame. */
export function tunnelOverhead(settings: OverheadSettings): number {
  return encapsulationOf(settings.type).overhead(settings);
}
