/**
 * The configuration of a host as the leak tests see it: structured, so that the model of the policy knows what is meant
 * without reading rows, and rendered to rows, so that the product reads them.
 */
import type { TunnelType } from '../../dataplane/index.ts';

/** What a tunnel asks for. `broken`: IPsec, with one setting that makes it INVALID. */
export type Ask =
  | { readonly kind: 'none' }
  | { readonly kind: 'psk'; readonly secret: string }
  | { readonly kind: 'broken'; readonly secret: string; readonly how: Breakage };

/** Options that make a tunnel INVALID; those of `encapsulation` leave no tunnel port at all. */
export const BREAKAGES = {
  'psk-and-certificate': { options: { remote_cert: '/nowhere/peer.pem' }, encapsulation: false },
  'nonsense-proposal': { options: { ipsec_esp: 'rot13' }, encapsulation: false },
  'nonsense-window': { options: { ipsec_replay_window: '3' }, encapsulation: false },
  'nonsense-address': { options: { remote_ip: '10.0.0.300' }, encapsulation: true },
  'nonsense-ttl': { options: { ttl: '900' }, encapsulation: true },
} as const;
export type Breakage = keyof typeof BREAKAGES;

export interface TunnelSpec {
  readonly name: string;
  readonly type: Exclude<TunnelType, 'stt'>;
  /** Index of the pair of underlay addresses. */
  readonly pair: number;
  /** Both keys; unique on a host, so that no two tunnels are one port. */
  readonly key: number;
  /** UDP destination port; 0 for GRE. */
  readonly port: number;
  readonly ask: Ask;
  /** `egress_pkt_mark`; undefined: none, so 0. */
  readonly mark: number | undefined;
  /** Options that change nothing for the policy. */
  readonly extra: Readonly<Record<string, string>>;
}

/** `ipsec_skb_mark`. `malformed`: the former rule stays, or 0/0 where there was none. */
export type MarkSpec = { readonly value: number; readonly mask: number } | 'unset' | 'malformed';

export interface HostSpec {
  readonly mark: MarkSpec;
  readonly tunnels: readonly TunnelSpec[];
}

/** Underlay addresses by pair: those of host 0 and of host 1. */
export const PAIRS = [
  ['10.0.0.1', '10.0.0.2'],
  ['10.0.1.1', '10.0.1.2'],
] as const;

/** UDP ports by type: one type never has a port of the other's. */
export const PORTS: Readonly<Record<TunnelSpec['type'], readonly number[]>> = {
  gre: [0],
  geneve: [6081, 7001],
  vxlan: [4789, 7002],
};

/** What tunnels must have in common to share an SA: the SPD cannot tell them apart. */
export function spdKey({ type, pair, port }: Pick<TunnelSpec, 'type' | 'pair' | 'port'>): string {
  return `${type} ${pair} ${port}`;
}

/** The bridge of a tunnel, one each, so that a frame leaves through one tunnel only. */
export const bridgeOf = (tunnel: string): string => `br-${tunnel}`;

/** The text of a file database. */
export function rowsOf(spec: HostSpec, host: 0 | 1): string {
  const { mark } = spec;
  const text = mark === 'malformed' ? 'one/two' : mark === 'unset' ? undefined : `${mark.value}/${mark.mask}`;
  return JSON.stringify({
    Open_vSwitch: { other_config: text === undefined ? {} : { ipsec_skb_mark: text } },
    Bridge: spec.tunnels.map(({ name }) => ({ name: bridgeOf(name), ports: [name] })),
    Interface: spec.tunnels.map((tunnel) => ({
      name: tunnel.name,
      type: tunnel.type,
      options: optionsOf(tunnel, host),
    })),
  });
}

function optionsOf(tunnel: TunnelSpec, host: 0 | 1): Record<string, string> {
  const addresses = PAIRS[tunnel.pair]!;
  const { ask } = tunnel;
  return {
    local_ip: addresses[host],
    remote_ip: addresses[1 - host]!,
    key: String(tunnel.key),
    ...(tunnel.port === 0 ? {} : { dst_port: String(tunnel.port) }),
    ...(tunnel.mark === undefined ? {} : { egress_pkt_mark: String(tunnel.mark) }),
    ...tunnel.extra,
    ...(ask.kind === 'none' ? {} : { psk: ask.secret, ipsec_ike: 'aes256gcm16-prfsha256-x25519' }),
    ...(ask.kind === 'broken' ? BREAKAGES[ask.how].options : {}),
  };
}
