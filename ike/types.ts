/**
 * The face of the IKEv2 engine: what it is configured with, what it is told, what it answers.
 *
 * The engine is sans-IO. It owns no socket, no clock and no source of randomness: datagrams, times in
 * milliseconds of a monotonic clock, and random bytes come in; actions (plain data) come out. Whoever
 * runs it (control, or the simulator) carries the actions out in order.
 */

import type { KeyObject } from 'node:crypto';
import type { Certificate } from './certificates/certificate.ts';
import type { Trust } from './certificates/peer.ts';
import type { Job, JobResult } from './crypto/jobs.ts';
import type { IkeSaSnapshot, InheritedIkeSa } from './hand-over.ts';

export interface Endpoint {
  /** IPv4 dotted or IPv6 text. */
  readonly address: string;
  readonly port: number;
}

/** One traffic selector (RFC 7296 §3.13.1). Ranges inclusive; protocol 0 is any, ports 0-65535 any. */
export interface TrafficSelector {
  readonly protocol: number;
  readonly startPort: number;
  readonly endPort: number;
  readonly startAddress: string;
  readonly endAddress: string;
}

/** Additional key exchanges, carried out in this order (RFC 9370 §2.2.1). */
export const ADDITIONAL_KEY_EXCHANGES = ['ADDKE1', 'ADDKE2', 'ADDKE3', 'ADDKE4', 'ADDKE5', 'ADDKE6', 'ADDKE7'] as const;
export type AdditionalKeyExchange = (typeof ADDITIONAL_KEY_EXCHANGES)[number];
export type TransformType = 'ENCR' | 'PRF' | 'INTEG' | 'DH' | 'ESN' | AdditionalKeyExchange;

/** One transform of a proposal (RFC 7296 §3.3.2): the IANA number and, for ENCR, the key length in bits. */
export interface Transform {
  readonly type: TransformType;
  readonly id: number;
  readonly keyBits?: number;
}

/** A configured proposal: every transform offered, in order of preference within its type. */
export interface ProposalConfig {
  readonly transforms: readonly Transform[];
}

export interface Identity {
  readonly type: 'ipv4' | 'ipv6' | 'fqdn' | 'rfc822' | 'dn' | 'key-id';
  /** Address or name as text; for dn and key-id the raw bytes in hex. */
  readonly value: string;
}

export interface PskAuthentication {
  readonly method: 'psk';
  readonly secret: Uint8Array;
}

/** Both ends sign with the private keys of their certificates (RFC 7296 §2.15, RFC 7427). */
export interface CertificateAuthentication {
  readonly method: 'certificate';
  /** Ours, then those of authorities that are sent with it. */
  readonly certificates: readonly [Certificate, ...Certificate[]];
  readonly privateKey: KeyObject;
  /** Common name or subjectAltName that the peer's certificate has to have. */
  readonly peerName: string;
  readonly trust: Trust;
}

export type Authentication = PskAuthentication | CertificateAuthentication;

export interface Lifetimes {
  /** Seconds until the SA is replaced at the latest; rekeying starts a jittered margin before. */
  readonly ikeSeconds: number;
  readonly childSeconds: number;
  /** Seconds before the end of life at which rekeying starts; the jitter adds up to fuzzPercent of it. */
  readonly marginSeconds: number;
  readonly fuzzPercent: number;
  /** Soft limits of a child SA; 0 is none. The runner reports them with `child-soft-limit`. */
  readonly childPackets: number;
  readonly childBytes: number;
}

export interface ChildConfig {
  /** Unique in its connection, for instance `tun-in`, `tun-out`. */
  readonly name: string;
  readonly tsLocal: readonly TrafficSelector[];
  readonly tsRemote: readonly TrafficSelector[];
  /** Whether this side sets the child up itself, or leaves that to the peer. It answers in either case. */
  readonly start: 'initiate' | 'wait';
  /** ESP mode (RFC 7296 §1.3.1). Default: transport. A peer that insists on the other one is refused. */
  readonly mode?: EspMode;
  /** A further SA with the selectors of another child, for one of the ends' resources (RFC 9611). */
  readonly resource?: ChildResource;
}

/**
 * For which resource a child SA is, of those that share the selectors of the child `fallback`, which all can use. Each end has its own
 * resources; `id` (1 to 2^32-1) names one of this end's, and at best the one of that number at the other.
 */
export interface ChildResource {
  readonly id: number;
  readonly fallback: string;
}

export type EspMode = 'transport' | 'tunnel';

/**
 * ESP in UDP (RFC 3948). `auto`: when NAT detection finds a NAT between the ends (RFC 7296 §2.23). `yes`: always, by making
 * the peer believe that there is one. `no`: never; NAT detection is neither offered nor answered.
 */
export type Encapsulation = 'yes' | 'no' | 'auto';

/** A post-quantum preshared key (RFC 8784), beside whatever the two ends authenticate with. */
export interface Ppk {
  /** The name that both ends know it by. */
  readonly id: string;
  readonly secret: Uint8Array;
  /** No IKE SA without it; otherwise it is used if the peer has it. */
  readonly required: boolean;
}

export interface Connection {
  /** Unique. Appears in logs and actions. */
  readonly name: string;
  readonly local: string;
  readonly remote: string;
  /** Default: the ID_IPV4_ADDR or ID_IPV6_ADDR of the endpoint. */
  readonly localId?: Identity;
  readonly remoteId?: Identity;
  readonly authentication: Authentication;
  readonly ppk?: Ppk;
  readonly ikeProposals: readonly ProposalConfig[];
  /** Without DH transforms: those of the IKE SA's group are added at rekey when `pfs` is set. */
  readonly espProposals: readonly ProposalConfig[];
  readonly pfs: boolean;
  readonly children: readonly ChildConfig[];
  readonly lifetimes: Lifetimes;
  /** Idle seconds before a liveness check; 0 is never. */
  readonly dpdSeconds: number;
  /** Default: auto. */
  readonly encapsulation?: Encapsulation;
  /**
   * Whether an IKE SA near its end of life is replaced by one that authenticates anew, with new children, before it goes
   * (RFC 7296 §2.8.3), instead of by a rekeying. Default: no. A peer may ask for it either way (RFC 4478).
   */
  readonly reauthenticate?: boolean;
  /** Whether IKE messages may go in fragments (RFC 7383). Default: yes, if the peer can. */
  readonly fragmentation?: boolean;
}

export interface EngineSettings {
  /** Retransmission (RFC 7296 §2.1): first timeout in ms, factor, and tries before the peer is given up. */
  readonly retransmitMs: number;
  readonly retransmitFactor: number;
  readonly retransmitTries: number;
  /** Back-off between attempts to establish a connection, in ms: first and largest. */
  readonly retryMs: number;
  readonly retryMaxMs: number;
  /** Half-open IKE SAs as responder beyond which COOKIE is asked (RFC 7296 §2.6), and beyond which none is accepted. */
  readonly cookieThreshold: number;
  readonly halfOpenLimit: number;
  /**
   * Half-open IKE SAs that one address may have. More than cookieThreshold: so many anyone can begin in the name of a peer,
   * and the peer itself, who can answer a COOKIE, has to come through beside them. Default: 64.
   */
  readonly halfOpenPerSource?: number;
  /** Between keepalives of an end that is behind a NAT, in ms (RFC 3948 §4). Default: 20 s. */
  readonly keepaliveMs?: number;
  /** The largest IP packet that an IKE message is sent in before it is fragmented (RFC 7383 §2.5.1). Default: 1280. */
  readonly fragmentBytes?: number;
  /**
   * `compute` actions that may be outstanding; for what is beyond, strangers wait for their next try, and the rest is done in
   * place. Default: 0, everything is done in place.
   */
  readonly computations?: number;
  /** Whether `ike-keys` actions are given, for decrypting captures. Default: no. */
  readonly keyLog?: boolean;
}

/** What the engine needs from whoever runs it. */
export interface EngineHost {
  random(bytes: number): Uint8Array;
  /** The date in ms since 1970, for the validity of certificates only. */
  dateMs(): number;
  /** A fresh inbound SPI (256 to 2^32-1) for a child of this connection. The runner may steer by it. */
  allocateSpi(connection: string, child: string): number;
  /** An SPI that was allocated and will not be used after all. */
  releaseSpi(spi: number): void;
}

export type EspAlgorithmName = 'aes128gcm16' | 'aes192gcm16' | 'aes256gcm16' | 'chacha20poly1305';

/** A child SA as negotiated: both directions. */
export interface ChildSa {
  /** Unique over the life of the engine; names the child in every later action and command. */
  readonly id: number;
  readonly connection: string;
  /** Name of the ChildConfig. */
  readonly child: string;
  readonly inboundSpi: number;
  readonly outboundSpi: number;
  readonly algorithm: EspAlgorithmName;
  /** Key, then the 4 bytes of salt. */
  readonly inboundKey: Uint8Array;
  readonly outboundKey: Uint8Array;
  readonly esn: boolean;
  readonly mode: EspMode;
  /**
   * ESP travels in UDP between these endpoints (RFC 3948), ours and the peer's as seen from here, beyond its NAT; undefined:
   * plain ESP between the connection's addresses. `child-path` tells when it changes. In transport mode the selectors are
   * those of the addresses as seen from here (RFC 7296 §2.23.1), so a checksum of the peer's that covers addresses may be
   * of other ones (RFC 3948 §3.1.2).
   */
  readonly udpEncapsulation: UdpPath | undefined;
  readonly tsLocal: readonly TrafficSelector[];
  readonly tsRemote: readonly TrafficSelector[];
  /** The child that this one replaces, if it came of a rekey. */
  readonly replaces: number | undefined;
  /** We initiated the exchange that made it. */
  readonly initiator: boolean;
}

/** The two ends of ESP in UDP; both ports are those of IKE (RFC 3948 §2.1). */
export interface UdpPath {
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

export type LogLevel = 'err' | 'warn' | 'info' | 'dbg';

export type IkeAction =
  | { readonly action: 'send'; readonly local: Endpoint; readonly remote: Endpoint; readonly data: Uint8Array }
  /**
   * Install both directions. With `sendNow` outbound traffic moves to it at once; otherwise it waits for
   * `child-send` (a responder of a rekey switches when the old child is deleted or the peer is seen on the new).
   */
  | { readonly action: 'child-install'; readonly sa: ChildSa; readonly sendNow: boolean }
  | { readonly action: 'child-send'; readonly id: number }
  /** A peer behind a NAT has moved to another address or port, proved by an authentic message: outbound packets follow. */
  | { readonly action: 'child-path'; readonly id: number; readonly udpEncapsulation: UdpPath }
  /** Remove both directions; the inbound one only after `drainMs`. */
  | { readonly action: 'child-remove'; readonly id: number; readonly drainMs: number; readonly reason: string }
  /** Send one byte 0xff without non-ESP marker, so that the NAT in front of us keeps its mapping (RFC 3948 §2.3). */
  | { readonly action: 'keepalive'; readonly local: Endpoint; readonly remote: Endpoint }
  | { readonly action: 'ike-up'; readonly connection: string; readonly sa: IkeSaSummary }
  | { readonly action: 'ike-down'; readonly connection: string; readonly reason: string }
  /** An attempt failed; the engine tries again by itself. `reason` is a sentence for operators. */
  | { readonly action: 'failed'; readonly connection: string; readonly reason: string }
  | {
      readonly action: 'log';
      readonly level: LogLevel;
      readonly connection: string | undefined;
      readonly message: string;
    }
  /** A dear step of a key exchange or signature, to be done elsewhere and brought to `IkeEngine.computed`, in whatever order. */
  | { readonly action: 'compute'; readonly id: number; readonly job: Job }
  /** Keys of an IKE SA for a decryption table; only with EngineSettings of a key log. Never logged. */
  | { readonly action: 'ike-keys'; readonly keys: IkeKeyLog };

export interface IkeKeyLog {
  /** IKE_INTERMEDIATE exchanges still to come, of which the next one is under these keys and replaces them (RFC 9370). */
  readonly exchangesToCome: number;
  readonly initiatorSpi: string;
  readonly responderSpi: string;
  readonly encryption: Transform;
  readonly integrity: Transform | undefined;
  readonly skEi: Uint8Array;
  readonly skEr: Uint8Array;
  readonly skAi: Uint8Array;
  readonly skAr: Uint8Array;
}

export interface IkeSaSummary {
  readonly connection: string;
  /** 16 hex digits each. */
  readonly initiatorSpi: string;
  readonly responderSpi: string;
  readonly initiator: boolean;
  readonly state: 'connecting' | 'established' | 'rekeying' | 'deleting';
  /** In the field's notation, for instance AES_GCM_16_256/PRF_HMAC_SHA2_256/MODP_2048. */
  readonly suite: string;
  /** A PPK is in its keys (RFC 8784). */
  readonly ppk: boolean;
  readonly localId: string;
  readonly remoteId: string;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** What NAT detection found (RFC 7296 §2.23); `forced` by `encapsulation: 'yes'` of either end's. */
  readonly nat: 'none' | 'local' | 'remote' | 'both' | 'forced';
  readonly establishedAtMs: number | undefined;
  readonly rekeyAtMs: number | undefined;
  /** Set as long as its lifetime runs: not before it is established, nor when it is on its way out. */
  readonly expiresAtMs: number | undefined;
}

export interface ChildSaSummary {
  readonly id: number;
  readonly connection: string;
  readonly child: string;
  readonly inboundSpi: number;
  readonly outboundSpi: number;
  readonly state: 'installed' | 'rekeying' | 'rekeyed' | 'deleting';
  readonly installedAtMs: number;
  readonly rekeyAtMs: number | undefined;
  readonly expiresAtMs: number;
}

export interface ConnectionStatus {
  readonly connection: string;
  /** Addresses as configured. */
  readonly local: string;
  readonly remote: string;
  readonly lastFailure: string | undefined;
  readonly ikeSas: readonly IkeSaSummary[];
  readonly children: readonly ChildSaSummary[];
}

/** Something that was said or came out, told in words. */
export interface JournalLine {
  readonly atMs: number;
  readonly text: string;
}

/** How much the engine holds at the moment. */
export interface IkeLoad {
  /** All that can receive: half open, established, and those that wait for their Delete to be answered. */
  readonly ikeSas: number;
  /** Peers that began and have not authenticated. */
  readonly halfOpen: number;
  readonly children: number;
  /** Due times that are waited for. */
  readonly timers: number;
  /** `compute` actions that are not done. */
  readonly computations: number;
}

export type IkeCommand =
  /** Adds a connection, or replaces the one of that name: unchanged children stay, others are replaced. */
  | {
      readonly command: 'set-connection';
      readonly connection: Connection;
      /** Of a new one: IKE SAs that a process before ours had with exactly this configuration. */
      readonly inherited?: readonly InheritedIkeSa[];
    }
  /** Deletes its SAs at the peer too, then forgets it. */
  | { readonly command: 'remove-connection'; readonly name: string }
  /**
   * Whether the connections that were set are all that there are; at first they are not. Until then a request between
   * addresses without a connection is not answered: a refusal would be a guess, and makes the peer back off.
   */
  | { readonly command: 'configuration-known'; readonly known: boolean }
  /** Traffic waits for an SA: starts an attempt now unless one is under way. */
  | { readonly command: 'acquire'; readonly connection: string }
  /** Authenticates anew, for instance with another certificate: a new IKE SA and children, then the old ones go. */
  | { readonly command: 'reauthenticate'; readonly connection: string }
  | { readonly command: 'child-soft-limit'; readonly id: number }
  /** The hard end of a child came (sequence space used up): remove and replace it at once. */
  | { readonly command: 'child-exhausted'; readonly id: number }
  /**
   * A child could not be installed here; `reason` is a sentence for operators. It is deleted at the peer and set up again after a
   * growing pause, in which the peer is refused it too.
   */
  | { readonly command: 'child-not-installed'; readonly id: number; readonly reason: string }
  /** A packet was authenticated on this child's inbound SA. */
  | { readonly command: 'child-traffic-seen'; readonly id: number }
  /** A packet in UDP was authenticated on this child, from this endpoint: a peer behind a NAT may have moved there. */
  | { readonly command: 'child-seen-from'; readonly id: number; readonly remote: Endpoint }
  /** Deletes all SAs at their peers; the engine gives the sends and removals, then is empty. */
  | { readonly command: 'shutdown' };

export interface Datagram {
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** The IKE message, without the non-ESP marker of port 4500. */
  readonly data: Uint8Array;
}

/** Counters by reason, for instance `dropped: bad-length`, read by coverage/show. */
export type IkeCounters = Readonly<Record<string, number>>;

export interface IkeEngine {
  input(nowMs: number, datagram: Datagram): IkeAction[];
  command(nowMs: number, command: IkeCommand): IkeAction[];
  /** Runs everything due at nowMs; `atMost` so many timers, and what is left is still due. */
  tick(nowMs: number, atMost?: number): IkeAction[];
  /** What came of a `compute` action, once for each; undefined: it could not be done, and is done in place. */
  computed(nowMs: number, id: number, result: JobResult | undefined): IkeAction[];
  /** When tick wants to be called next, or undefined: nothing is pending. */
  nextTimerMs(): number | undefined;
  /** Ends the engine for a successor, who inherits the IKE SAs; the actions remove children here and delete what cannot go. */
  handOver(nowMs: number): { readonly sas: readonly IkeSaSnapshot[]; readonly actions: IkeAction[] };
  status(): readonly ConnectionStatus[];
  counters(): IkeCounters;
  load(): IkeLoad;
  /** The last lines about a connection, oldest first: messages with what they offer and choose, and reasons. */
  journalOf(connection: string): readonly JournalLine[];
}
