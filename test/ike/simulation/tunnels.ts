/** Connections as control makes them of a tunnel: a GRE tunnel has one child, a UDP tunnel `in` and `out`. */

import {
  type ChildConfig,
  type Connection,
  DEFAULT_ESP_PROPOSALS,
  DEFAULT_IKE_PROPOSALS,
  parseIkeProposal,
  type TrafficSelector,
} from '../../../ike/index.ts';

/** As the defaults, but with X25519 first: in a simulation thousands of key exchanges are made. */
export const FAST_IKE = parseIkeProposal('aes256gcm16-sha256-x25519');

const selector = (address: string, protocol: number, port?: number): TrafficSelector => ({
  protocol,
  startPort: port ?? 0,
  endPort: port ?? 65535,
  startAddress: address,
  endAddress: address,
});

const UDP = 17;
const GRE = 47;
export const GENEVE_PORT = 6081;

export function greChild(local: string, remote: string, start: ChildConfig['start'] = 'initiate'): ChildConfig {
  return { name: 'gre', tsLocal: [selector(local, GRE)], tsRemote: [selector(remote, GRE)], start };
}

export function udpChildren(
  local: string,
  remote: string,
  start: ChildConfig['start'] = 'initiate',
  port = GENEVE_PORT,
): ChildConfig[] {
  return [
    { name: 'tun-in', tsLocal: [selector(local, UDP, port)], tsRemote: [selector(remote, UDP)], start },
    { name: 'tun-out', tsLocal: [selector(local, UDP)], tsRemote: [selector(remote, UDP, port)], start },
  ];
}

/** The same with so many further child SAs beside each, as for packet workers (RFC 9611). */
export function withFurther(children: readonly ChildConfig[], count: number): ChildConfig[] {
  const further = Array.from({ length: count }, (_, index) =>
    children.map((child) => ({
      ...child,
      name: furtherName(child.name, index + 1),
      resource: { id: index + 1, fallback: child.name },
    })),
  );
  return [...children, ...further.flat()];
}

export const furtherName = (child: string, id: number): string => `${child}#${id}`;

export const A = '10.0.0.1';
export const B = '10.0.0.2';

export interface ConnectionChoices extends Partial<Connection> {
  readonly psk?: string;
  readonly start?: ChildConfig['start'];
}

/** A GRE tunnel from `local` to `remote` unless `children` says otherwise. */
export function connectionOf(local: string, remote: string, choices: ConnectionChoices = {}): Connection {
  const { psk = 'swordfish', start = 'initiate', ...rest } = choices;
  return {
    name: `${local}-${remote}`,
    local,
    remote,
    authentication: { method: 'psk', secret: new TextEncoder().encode(psk) },
    ikeProposals: FAST_IKE,
    espProposals: DEFAULT_ESP_PROPOSALS,
    pfs: true,
    children: [greChild(local, remote, start)],
    lifetimes: {
      ikeSeconds: 3 * 3600,
      childSeconds: 3600,
      marginSeconds: 540,
      fuzzPercent: 100,
      childPackets: 0,
      childBytes: 0,
    },
    dpdSeconds: 30,
    ...rest,
  };
}

export { DEFAULT_IKE_PROPOSALS };
