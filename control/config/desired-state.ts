/**
 * What the rows of a database ask for, checked and in our terms. Plain data without row order: the
 * reconciler compares two of these. config.ts makes it; nothing here knows how it is carried out.
 */
import type { FlowTunnel, HostAddress, MarkMatch, TunnelSettings, TunnelType } from '../../dataplane/commands.ts';
import type { CertificateAuthentication, Encapsulation, EspMode, Identity, ProposalConfig } from '../../ike/types.ts';
import type { Issue } from './issue.ts';
import type { Secret } from './secret.ts';
import type { VlansRead } from './vlans.ts';

export interface BridgeState {
  readonly uuid: string;
  readonly name: string;
  /** `other_config:mac-aging-time`, 15 to 3600 s, in ms. */
  readonly ageingMs: number;
  /** `other_config:mac-table-size`, 10 to 1000000. */
  readonly fdbSize: number;
  /** `other_config:hwaddr`, lower case with colons. */
  readonly hwaddr: string | undefined;
  /** `other_config:datapath-id`, 16 hex digits. */
  readonly datapathId: string | undefined;
  readonly datapathType: string;
}

export interface PortState {
  /** UUIDs of the Interface, Port and Bridge rows. */
  readonly uuid: string;
  readonly portUuid: string;
  readonly bridgeUuid: string;
  readonly name: string;
  /**
   * `local`: the device named after its bridge. `internal` and `tap`: a TAP that the daemon makes.
   * `system`: a device that exists. `unsupported`: no port; `reason` is for Interface.error.
   */
  readonly kind: 'local' | 'internal' | 'tap' | 'system' | 'unsupported';
  readonly reason: string | undefined;
  /** Of its Port row. */
  readonly vlans: VlansRead;
  /** Interface.mac, lower case with colons. */
  readonly mac: string | undefined;
  /** Interface.mtu_request in bytes. */
  readonly mtu: number | undefined;
  readonly ofportRequest: number | undefined;
}

/** A port of a real ovs-vswitchd's bridge that the host's own stack is behind: the bridge's own, or an internal one. */
export interface HostPort {
  readonly name: string;
  /** As ovs-vswitchd reports them; undefined until it has. */
  readonly ofport: number | undefined;
  readonly mac: string | undefined;
  /** Of its Port row: its packets are of that VLAN elsewhere in the bridge. */
  readonly tag: number | undefined;
}

/** How the frames of a port are tagged outside of its bridge. */
export interface WireVlan {
  /** The VLAN whose frames have no tag there; undefined: those that have none inside either. */
  readonly untagged: number | undefined;
  /** Only that VLAN passes. */
  readonly isAccess: boolean;
}

/** A port that a patch joins with another bridge's. */
export interface PatchPort extends WireVlan {
  readonly name: string;
  readonly peer: string;
  /** As ovs-vswitchd reports it; undefined until it has. */
  readonly ofport: number | undefined;
}

/** A bridge of a real ovs-vswitchd. */
export interface CompanionBridge {
  readonly name: string;
  /** ovs-vswitchd itself forwards and encapsulates, not the kernel. */
  readonly isUserspace: boolean;
  /** `fail_mode` is secure: without flows nothing is forwarded. */
  readonly isSecure: boolean;
  readonly hasController: boolean;
  readonly hostPorts: readonly HostPort[];
  /** Names of its other ports: NICs and whatever else. */
  readonly others: readonly string[];
  readonly patches: readonly PatchPort[];
}

/** An Interface with `external_ids:espd`, where ovs-espd is the companion of a real ovs-vswitchd. */
export interface CompanionPort extends WireVlan {
  readonly uuid: string;
  /** Of the Port row: members of a bond share it. */
  readonly portUuid: string;
  /** Of the Interface, and of the TAP that ovs-espd makes for it. */
  readonly name: string;
  /** `uplink`: between the bridge and a NIC. `port`: flows lead tunnel packets to it and back. */
  readonly attach: 'uplink' | 'port';
  readonly bridge: CompanionBridge;
  /** The ports of the host that frames from an uplink may be for. */
  readonly hosts: readonly HostAddress[];
  /** As ovs-vswitchd reports it; undefined until it has. */
  readonly ofport: number | undefined;
  /** The device behind an uplink; undefined when a setting is wrong. */
  readonly nic: string | undefined;
  /** Mark of what leaves through it, unsigned 32 bits. */
  readonly mark: number;
  /** What is wrong with it, one line. */
  readonly reason: string | undefined;
}

/** `options:ipsec_ppk*`: a post-quantum preshared key (RFC 8784). */
export interface PpkOptions {
  readonly id: string;
  readonly secret: Secret;
  readonly required: boolean;
}

/** Everything of `options:ipsec_*`, with defaults filled in. */
export interface IpsecOptions {
  /** Undefined: the daemon's own default proposals. */
  readonly ikeProposals: readonly ProposalConfig[] | undefined;
  readonly espProposals: readonly ProposalConfig[] | undefined;
  readonly ikeSeconds: number;
  readonly childSeconds: number;
  readonly marginSeconds: number;
  readonly fuzzPercent: number;
  /** 0 is never. */
  readonly dpdSeconds: number;
  /** Packets. */
  readonly replayWindow: number;
  readonly pfs: boolean;
  /** Child SAs for each packet worker (RFC 9611). */
  readonly perWorker: boolean;
  /** `yes`: ESP always in UDP; `auto`: when a NAT is found; `no`: never. */
  readonly encapsulation: Encapsulation;
  readonly mode: EspMode;
  readonly fragmentation: boolean;
  /** Replace IKE SAs by new authentication instead of rekeying. */
  readonly reauthenticate: boolean;
  /** Undefined: the address, or the name in the certificate. */
  readonly localId: Identity | undefined;
  readonly remoteId: Identity | undefined;
  readonly ppk: PpkOptions | undefined;
}

/** How the two ends prove who they are. */
export type IpsecAuth = { readonly method: 'psk'; readonly secret: Secret } | CertificateAuth;

/** Certificates: what IKE needs, and the name that we go by, the common name of our certificate. */
export interface CertificateAuth {
  readonly method: 'certificate';
  readonly localName: string;
  readonly authentication: CertificateAuthentication;
}

export interface TunnelIpsec {
  /** Key into DesiredState.connections. */
  readonly connection: string;
  readonly auth: IpsecAuth;
  readonly options: IpsecOptions;
}

export interface TunnelState {
  /** Interface name, and the UUIDs of its rows. */
  readonly name: string;
  readonly uuid: string;
  readonly portUuid: string;
  readonly bridgeUuid: string;
  readonly bridge: string;
  readonly type: TunnelType;
  readonly state: 'CONFIGURED' | 'INVALID';
  /** Why it is INVALID, one line. */
  readonly reason: string | undefined;
  /** Of its Port row. */
  readonly vlans: VlansRead;
  /** The options hold `psk`, `remote_cert` or `remote_name`, be they right or wrong. */
  readonly wantsIpsec: boolean;
  /**
   * Present whenever the encapsulation itself is well configured, so also on a tunnel that is INVALID for
   * its IPsec settings: such a tunnel gets an `invalid` protection of its own, and drops.
   */
  readonly settings: Omit<TunnelSettings, 'protection'> | undefined;
  /** With `remote_ip=flow`, beside a real ovs-vswitchd: flows choose the peer of each packet, so there are no `settings`. */
  readonly flowBased: FlowTunnel | undefined;
  /** Of a CONFIGURED tunnel that wants IPsec, and has one peer. */
  readonly ipsec: TunnelIpsec | undefined;
  /**
   * The connection that this tunnel's packets travel under: its own, or, for a tunnel that did not ask for
   * IPsec, that of another with the same type, addresses and port, for the SPD cannot tell them apart.
   * Undefined for INVALID tunnels.
   */
  readonly connection: string | undefined;
  /** `options:ipsec_X=V` as X → V, for tunnels/show. */
  readonly customOptions: ReadonlyMap<string, string>;
  /** `local_ip` and `remote_ip` as configured, for tunnels/show. */
  readonly localIp: string | undefined;
  readonly remoteIp: string | undefined;
  readonly pskSet: boolean;
  readonly remoteCert: string | undefined;
  /** As configured, or the common name in `remote_cert`. */
  readonly remoteName: string | undefined;
  /** Interface.ofport as the database has it. */
  readonly ofport: number | undefined;
  readonly cfmFault: boolean | undefined;
  readonly ofportRequest: number | undefined;
}

/** One row of the SPD: all tunnel packets of one type and port between two addresses. */
export interface ConnectionState {
  /** For instance `gre:10.0.0.1-10.0.0.2` or `geneve:10.0.0.1-10.0.0.2:6081`. */
  readonly key: string;
  readonly type: TunnelType;
  readonly local: string;
  readonly remote: string;
  /** Destination port of geneve, vxlan and stt; 0 for gre. */
  readonly port: number;
  readonly auth: IpsecAuth;
  readonly options: IpsecOptions;
  /** Names of the CONFIGURED tunnels that ask for it. The first one gives auth and options. */
  readonly tunnels: readonly string[];
}

export interface MarkPolicy {
  /** Undefined: `ipsec_skb_mark` is unset, so no plaintext is dropped for its mark. */
  readonly drop: MarkMatch | undefined;
  /** The value was malformed: `drop` is then the former policy, or 0/0 (all plaintext) where there was none. */
  readonly error: Issue | undefined;
}

/** Open_vSwitch.other_config as configured, for tunnels/show. */
export interface GlobalSettings {
  readonly certificate: string | undefined;
  readonly privateKey: string | undefined;
  readonly caCert: string | undefined;
  readonly caCrl: string | undefined;
  /** Common name of `certificate`; undefined when it could not be read. */
  readonly localName: string | undefined;
  readonly skbMark: string | undefined;
}

export interface DesiredState {
  /** UUID of the only Open_vSwitch row, and its next_cfg; undefined when there is none. */
  readonly rootUuid: string | undefined;
  readonly nextCfg: number;
  readonly bridges: readonly BridgeState[];
  readonly ports: readonly PortState[];
  readonly companions: readonly CompanionPort[];
  /** All bridges, as they are for a companion. */
  readonly companionBridges: readonly CompanionBridge[];
  /** The kernel encapsulates, and its routing leads tunnel packets to us. */
  readonly routed: boolean;
  readonly tunnels: readonly TunnelState[];
  readonly connections: readonly ConnectionState[];
  readonly markPolicy: MarkPolicy;
  readonly global: GlobalSettings;
  /** Warnings: settings that were ignored, or replaced by a default, while what they belong to goes on. */
  readonly issues: readonly Issue[];
}
