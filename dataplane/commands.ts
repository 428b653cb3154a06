/**
 * What the main thread may ask of the packet engine, and what the engine tells it back.
 *
 * Plain data only: every value here survives a structured clone, because a command is posted to each
 * packet worker unchanged. The engine knows nothing of OVSDB or IKE; control translates.
 * Ids (bridge, port, protection, SA slot) are small integers chosen by the sender and never reused
 * while the thing they name still exists.
 */

import type { CaptureSettings } from './capture/capture.ts';
import type { CapturePoint } from './capture/pcapng.ts';

export type TunnelType = 'gre' | 'geneve' | 'vxlan' | 'stt';

/** AEADs of RFC 4106 and RFC 7634, by the names used in logs and on the command line. */
export type EspAlgorithm = 'aes128gcm16' | 'aes192gcm16' | 'aes256gcm16' | 'chacha20poly1305';

/** `value/mask` of `ipsec_skb_mark`: a plaintext tunnel packet with `mark & mask == value & mask` is dropped. */
export interface MarkMatch {
  readonly value: number;
  readonly mask: number;
}

/** One side of a traffic selector (RFC 7296 §3.13.1). Addresses are text, ranges inclusive; protocol 0 is any. */
export interface Selector {
  readonly protocol: number;
  readonly startAddress: string;
  readonly endAddress: string;
  readonly startPort: number;
  readonly endPort: number;
}

/** VLANs of a port (ovs-vswitchd.conf.db(5), table Port): `vlan_mode`, `tag` and `trunks`, ids 0 to 4095. */
export interface PortVlans {
  readonly mode: 'trunk' | 'access' | 'native-tagged' | 'native-untagged';
  /** The access or native VLAN; of a trunk it says nothing. */
  readonly tag: number;
  /** VLANs that the port carries, the native one in any case; none: all. Says nothing of an access port. */
  readonly trunks: readonly number[];
  /** Whether frames that leave without a VLAN id keep their tag, for the priority in it: if there is one, or always. */
  readonly priorityTags: 'never' | 'if-nonzero' | 'always';
}

/** What a tunnel key option gives: a fixed key, none, or `flow` (any accepted; sent from flow metadata). */
export type TunnelKey =
  | { readonly kind: 'none' }
  | { readonly kind: 'fixed'; readonly key: number }
  | { readonly kind: 'flow' };

export interface TunnelSettings {
  readonly type: TunnelType;
  /** Outer addresses as text. */
  readonly local: string;
  readonly remote: string;
  readonly inKey: TunnelKey;
  readonly outKey: TunnelKey;
  /** GRE checksum bit, or the outer UDP checksum. */
  readonly checksum: boolean;
  /** UDP or TCP port of geneve, vxlan and stt; 0 for gre. */
  readonly destinationPort: number;
  /** TTL of the outer header, 1 to 255; `inherit`: that of the inner packet, 64 where it is not IP. */
  readonly ttl: number | 'inherit';
  /** DSCP byte of the outer header; `inherit`: that of the inner packet, 0 where it is not IP. The ECN field is always inherited. */
  readonly tos: number | 'inherit';
  readonly dontFragment: boolean;
  /** VXLAN: headers with a group policy are accepted (`exts=gbp`); none is sent, as the policy of every frame is 0. Absent: false. */
  readonly gbp?: boolean | undefined;
  /** `options:egress_pkt_mark`, or undefined: then the uplink's mark counts. */
  readonly egressMark: number | undefined;
  /** The protection this tunnel travels under, or undefined: no IPsec. */
  readonly protection: number | undefined;
}

/**
 * A protection is one row of the SPD: all tunnel packets of one kind between two addresses.
 * `never-up`: configured, no SA has ever been up. `protected`: an SA is or once was up, never plaintext again.
 * `invalid`: asked for IPsec and got it wrong, sends and accepts nothing.
 */
export type ProtectionState = 'never-up' | 'protected' | 'invalid';

/** One end of ESP in UDP. */
export interface UdpEndpoint {
  readonly address: string;
  readonly port: number;
}

/** Where ESP in UDP travels (RFC 3948): our end and the peer's as seen from here, beyond its NAT. */
export interface UdpPath {
  readonly local: UdpEndpoint;
  readonly remote: UdpEndpoint;
}

/** Of ESP, RFC 4303 §3.1. */
export type EspMode = 'transport' | 'tunnel';

export interface InboundSa {
  readonly slot: number;
  /** Our SPI, made by Engine.allocateSpi: it names worker and slot. */
  readonly spi: number;
  readonly protection: number;
  /** Addresses of the tunnel packets; of the ESP packets too, but for those in UDP. */
  readonly local: string;
  readonly remote: string;
  /** Default transport. */
  readonly mode?: EspMode;
  /** ESP travels in UDP. An inbound SA then takes packets from any address, once their ICV has proved whose they are. */
  readonly udp?: UdpPath | undefined;
  readonly algorithm: EspAlgorithm;
  /** Key and salt as RFC 4106 §8.1 and RFC 7634 §2 cut them from KEYMAT: key bytes, then 4 bytes of salt. */
  readonly keyAndSalt: Uint8Array;
  readonly esn: boolean;
  /** Packets, 64 to 4096. */
  readonly replayWindow: number;
  /** Of an SA that a process before ours had: its window goes on as it was. Default: nothing has been received. */
  readonly replay?: Uint8Array | undefined;
  /** Inner packets must match: `tsRemote` is their source, `tsLocal` their destination. */
  readonly tsLocal: readonly Selector[];
  readonly tsRemote: readonly Selector[];
  /** Event 'sa-soft-limit' when either is passed; 0 is none. */
  readonly softPackets: number;
  readonly softBytes: number;
}

export interface OutboundSa extends Omit<InboundSa, 'replayWindow' | 'replay'> {
  /** First sequence number minus one. 0 for a new SA; a successor process resumes above what was used. */
  readonly lastSequence: number;
}

/** Tunnels with `remote_ip=flow`, of one type and port: any address may be their peer. */
export interface FlowTunnel {
  readonly type: TunnelType;
  /** UDP or TCP port, 0 for gre. */
  readonly destinationPort: number;
  /** One of them asks for IPsec: packets between addresses that no tunnel of its own protects are dropped, both ways. */
  readonly closed: boolean;
  readonly egressMark: number | undefined;
}

/** A port of the host in the bridge of a real ovs-vswitchd, as the frames to it look at an uplink. */
export interface HostAddress {
  readonly mac: string;
  /** VLAN id, 0: untagged; undefined: any. */
  readonly vlan: number | undefined;
}

export type EngineCommand =
  | {
      readonly op: 'set-bridge';
      readonly bridge: number;
      readonly name: string;
      readonly ageingMs: number;
      readonly fdbSize: number;
    }
  | { readonly op: 'remove-bridge'; readonly bridge: number }
  /** The frames of a TAP (a bridge's own port or an internal port) that the engine has opened with Engine.openTap. */
  | {
      readonly op: 'set-tap-port';
      readonly port: number;
      readonly bridge: number;
      readonly name: string;
      readonly fds: readonly number[];
      /** Undefined: a trunk of all VLANs; so in the others. */
      readonly vlans?: PortVlans | undefined;
    }
  /** The frames of an existing network device, through AF_PACKET; opened with Engine.openDevice. */
  | {
      readonly op: 'set-device-port';
      readonly port: number;
      readonly bridge: number;
      readonly name: string;
      readonly fds: readonly number[];
      readonly vlans?: PortVlans | undefined;
    }
  | {
      readonly op: 'set-tunnel-port';
      readonly port: number;
      /** Undefined: somebody else encapsulates, and the tunnel is here for its policy (set-bump-port, set-route-port). */
      readonly bridge: number | undefined;
      readonly name: string;
      readonly tunnel: TunnelSettings;
      readonly vlans?: PortVlans | undefined;
    }
  /** Other VLANs for a port of a bridge, which forgets what was learned on it. */
  | { readonly op: 'set-port-vlans'; readonly port: number; readonly vlans: PortVlans | undefined }
  /**
   * An uplink of a real ovs-vswitchd: frames cross between a TAP (Engine.openTap) and a NIC (Engine.openDevice), tunnel
   * packets as the policy says. Both are ports, each removed by its id.
   */
  | {
      readonly op: 'set-bump-port';
      readonly port: number;
      readonly nicPort: number;
      readonly name: string;
      readonly fds: readonly number[];
      readonly nicFds: readonly number[];
      /** Mark of tunnel packets without egress_pkt_mark. */
      readonly mark: number;
    }
  /** Whom what the ESP of a bump port carried may go to (bump/hosts.ts); nobody, before this has been said. */
  | { readonly op: 'set-bump-hosts'; readonly port: number; readonly hosts: readonly HostAddress[] }
  /** The TUN through which the kernel's routing hands over the packets of its own tunnels; at most one. Opened with Engine.openTap. */
  | { readonly op: 'set-route-port'; readonly port: number; readonly name: string; readonly fds: readonly number[] }
  /**
   * A TAP (Engine.openTap, one descriptor) that is a port of the physical bridge of a real ovs-vswitchd, whose flows lead the
   * tunnel packets of peers with IPsec through it, both ways (bump/hairpin.ts).
   */
  | {
      readonly op: 'set-hairpin-port';
      readonly port: number;
      readonly name: string;
      readonly fds: readonly number[];
    }
  /** The tunnels of somebody else's datapath whose peers its flows choose; all of them, in place of those before. */
  | { readonly op: 'set-flow-tunnels'; readonly tunnels: readonly FlowTunnel[] }
  | { readonly op: 'remove-port'; readonly port: number }
  /** The MTU of a tunnel port's uplink; what routers on the path say is less counts instead (path-mtu.ts). Bytes, 576 or more. */
  | { readonly op: 'set-path-mtu'; readonly port: number; readonly mtu: number }
  /** `drop` undefined: `ipsec_skb_mark` is unset. `uplinkMark` is the mark of tunnels without egress_pkt_mark. */
  | { readonly op: 'set-mark-policy'; readonly drop: MarkMatch | undefined; readonly uplinkMark: number }
  | { readonly op: 'set-protection'; readonly protection: number; readonly state: ProtectionState }
  | { readonly op: 'remove-protection'; readonly protection: number }
  | { readonly op: 'add-inbound-sa'; readonly sa: InboundSa }
  | { readonly op: 'remove-inbound-sa'; readonly slot: number }
  /** Installs an outbound SA without sending on it. */
  | { readonly op: 'add-outbound-sa'; readonly sa: OutboundSa }
  /**
   * From now on packets of the protection leave on this SA; undefined: on none (they are dropped). With `worker` that is said of one
   * worker alone, which goes before what is said of all; undefined: it does as all.
   */
  | {
      readonly op: 'use-outbound-sa';
      readonly protection: number;
      readonly slot: number | undefined;
      readonly worker?: number | undefined;
    }
  | { readonly op: 'remove-outbound-sa'; readonly slot: number }
  /** The peer of an SA in UDP has moved. One that is not there (any more), or not in UDP, is left alone. */
  | { readonly op: 'move-sa'; readonly direction: 'in' | 'out'; readonly slot: number; readonly udp: UdpPath }
  | { readonly op: 'flush-fdb'; readonly bridge: number }
  /** Packets are handed over in 'captured' events; undefined: no longer. */
  | { readonly op: 'set-capture'; readonly capture: CaptureSettings | undefined }
  /** What stages cost is added to `totals`, in shared memory (stage-meter.ts); undefined: no longer. A worker that starts anew does not go on with it. */
  | { readonly op: 'measure-stages'; readonly totals: Float64Array | undefined };

export type EngineEvent =
  /** pcapng packet blocks of one batch, how many, and what each point has seen and left out since the last event. */
  | {
      readonly event: 'captured';
      readonly blocks: Uint8Array;
      readonly packets: number;
      readonly seen: Readonly<Record<CapturePoint, number>>;
      readonly skipped: Readonly<Record<CapturePoint, number>>;
    }
  /** A packet of this protection was dropped or sent in the clear for want of an SA. At most one a second each. */
  | { readonly event: 'sa-wanted'; readonly protection: number }
  | { readonly event: 'sa-soft-limit'; readonly slot: number; readonly direction: 'in' | 'out' }
  /** The sequence number space is used up: the SA sends nothing more (RFC 4303 §3.3.3). */
  | { readonly event: 'sa-exhausted'; readonly slot: number }
  /** The first packet that authenticated on this inbound SA: the peer sends on it. */
  | { readonly event: 'sa-first-packet'; readonly slot: number }
  /**
   * The newest packet of an inbound SA in UDP came from elsewhere than its path says, and is authentic; at most one a
   * second for each SA. Nothing moves by itself: `move-sa` does it.
   */
  | { readonly event: 'peer-moved'; readonly slot: number; readonly remote: UdpEndpoint }
  /** ESP for an SPI that nobody has; at most one a second for each source. */
  | { readonly event: 'unknown-spi'; readonly spi: number; readonly remote: string }
  /** A router on the path to the peer takes packets of `mtu` bytes at most, and is believed. */
  | { readonly event: 'path-mtu'; readonly remote: string; readonly mtu: number }
  | { readonly event: 'port-failed'; readonly port: number; readonly reason: string }
  | { readonly event: 'worker-died'; readonly worker: number; readonly reason: string };
