/**
 * The typed face of the native addon: what each call does, checks and throws.
 *
 * The addon owns system calls, AEAD over a batch, checksums, and nothing else. Every file descriptor is a
 * plain number, so that a packet worker can use what the main thread opened. Every offset and length is
 * checked against the arena it points into before the first byte is touched; a bad one throws RangeError.
 * A system call that fails throws NativeError with the errno name and what was tried.
 */

/** Bytes of one socket address slot in `addresses` columns: a sockaddr_in6 or sockaddr_in, zero-filled. */
export const ADDRESS_SLOT = 28;

export interface NativeErrorShape extends Error {
  /** errno name, for instance EPERM. */
  readonly code: string;
  readonly errno: number;
  /** What was tried, for instance `open /dev/net/tun` or `bind UDP 0.0.0.0:500`. */
  readonly attempted: string;
  /** The process that holds what was asked for; only of lockPidfile. */
  readonly holder?: number;
}

/**
 * The columns of a batch, all views over shared memory. Row i of the batch is described by element i of each.
 * `first` and `count` of the calls below choose rows.
 */
export interface FrameColumns {
  /** All packet bytes. */
  readonly arena: Uint8Array;
  /** Start of the packet in the arena, and its length in bytes. */
  readonly offset: Int32Array;
  readonly length: Int32Array;
}

export interface TapOptions {
  readonly kind: 'tap' | 'tun';
  /** IFF_MULTI_QUEUE: the same name can be opened once per worker. */
  readonly multiQueue: boolean;
  /** IFF_VNET_HDR: each frame begins with a virtio_net_hdr of 10 bytes. */
  readonly vnetHeader: boolean;
  /** TUNSETPERSIST: the device outlives the descriptor. */
  readonly persistent: boolean;
}

/**
 * Rows that leave as UDP datagrams, with UDP_SEGMENT where several are one message. Row i and the group[i] - 1 rows behind
 * it (1 to 64 rows, 65,507 bytes at most) are one message, which the kernel cuts where we joined it: all rows must be as
 * long as the first, but the last may be shorter. group, toIndex, tos and ttl of a message are those of its first row.
 */
export interface SentSegments extends FrameColumns {
  readonly group: Int32Array;
  /** The slot of `to` and of `from`. */
  readonly toIndex: Int32Array;
  /** IP_TOS or IPV6_TCLASS, IP_TTL or IPV6_HOPLIMIT; -1: as the socket has it. */
  readonly tos: Int32Array;
  readonly ttl: Int32Array;
  /** Gets 0, or the errno of the message, in each of its rows. */
  readonly errors: Int32Array;
}

/** Rows that UDP datagrams are received into, with UDP_GRO: one row may hold several of them. */
export interface ReceivedSegments extends FrameColumns {
  /** Gets the bytes of each datagram in the row, of which the last may be shorter; 0: the row is one datagram. */
  readonly segment: Int32Array;
  /** Gets the TOS or traffic class, if the socket was opened with `receiveTos`; else 0. */
  readonly tos: Int32Array;
  /** Slots of ADDRESS_SLOT bytes: sender of row i, and the address it was sent to (port 0; zeros without `packetInfo`). */
  readonly from: Uint8Array;
  readonly local: Uint8Array;
}

export type SocketAddress = { readonly address: string; readonly port: number };

export interface ReceivedDatagram {
  readonly data: Uint8Array;
  readonly remote: SocketAddress;
  /** The destination address of the datagram, from IP_PKTINFO. */
  readonly local: string;
}

/** One instruction of a classic BPF program (linux/filter.h sock_filter). */
export interface BpfInstruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

export type AeadName = 'aes128gcm16' | 'aes192gcm16' | 'aes256gcm16' | 'chacha20poly1305';

/**
 * One row of an AEAD batch. The additional data are `aadLength` bytes at aadOffset; the nonce is 4 bytes of
 * salt (bound to the key) then the 8 bytes at ivOffset. Seal: `textLength` plaintext bytes at textOffset are
 * encrypted in place and the 16-byte tag written behind them. Open: the same backwards; `result` gets 1
 * where the tag was right and 0 where it was not (then the text is left zeroed).
 * Seal sets `result` too: 0, and a zeroed text, should OpenSSL fail.
 */
export interface AeadColumns {
  readonly arena: Uint8Array;
  readonly key: Int32Array;
  readonly aadOffset: Int32Array;
  readonly aadLength: Int32Array;
  readonly ivOffset: Int32Array;
  readonly textOffset: Int32Array;
  readonly textLength: Int32Array;
  readonly result: Int32Array;
}

export interface PollResult {
  /** Number of descriptors ready. */
  readonly ready: number;
}

export interface Native {
  /** OpenSSL this addon runs on, as in process.versions.openssl, and whether it came from Node itself. */
  readonly opensslVersion: string;

  // --- descriptors
  close(fd: number): void;

  // --- TUN/TAP (Linux Documentation/networking/tuntap)
  /** Opens or creates the device; `name` 1 to 15 bytes. Non-blocking. Returns the descriptor. */
  openTap(name: string, options: TapOptions): number;
  /** TUNSETPERSIST. Off: the device goes away with its last descriptor. */
  setTapPersistent(fd: number, persistent: boolean): void;
  /** TUNSETOFFLOAD with TUN_F_* flags. */
  setTapOffload(fd: number, flags: number): void;

  // --- sockets; all non-blocking and close-on-exec
  /** AF_INET(6)/SOCK_RAW. `headerIncluded`: IP_HDRINCL / IPV6_HDRINCL; such a socket heeds the MTU of the device, not the kernel's path MTU cache. `mark`: SO_MARK. Buffers in bytes, by *BUFFORCE. */
  openRawSocket(options: {
    family: 4 | 6;
    protocol: number;
    headerIncluded?: boolean;
    mark?: number;
    receiveBuffer?: number;
    sendBuffer?: number;
  }): number;
  /**
   * UDP. `device`: SO_BINDTODEVICE. `packetInfo`: IP_PKTINFO, for receiveDatagrams and receiveSegments. `reusePort`:
   * SO_REUSEPORT. `joined`: UDP_GRO; such a socket is for receiveSegments only, other calls can't tell joined datagrams
   * apart. `receiveTos`: IP_RECVTOS, for receiveSegments. `dontFragment`: IP_PMTUDISC_DO; what is too big is EMSGSIZE.
   */
  openUdpSocket(options: {
    family: 4 | 6;
    address: string;
    port: number;
    device?: string;
    mark?: number;
    packetInfo?: boolean;
    reusePort?: boolean;
    receiveBuffer?: number;
    sendBuffer?: number;
    joined?: boolean;
    receiveTos?: boolean;
    dontFragment?: boolean;
  }): number;
  /**
   * AF_PACKET/SOCK_RAW on one device, promiscuous, outgoing packets not seen; receiveDevice reads it. `vnetHeader`: PACKET_VNET_HDR, each frame
   * begins with a virtio_net_hdr of 10 bytes, as with a TAP.
   */
  openPacketSocket(
    device: string,
    options: { receiveBuffer?: number; sendBuffer?: number; vnetHeader?: boolean },
  ): number;
  /**
   * AF_PACKET/SOCK_DGRAM that only sends: sendBatch takes IP packets, and for each a sockaddr_ll in its slot of `to`, with
   * device, EtherType and link-layer address. Past the IP stack, but not past the queueing discipline.
   */
  openPacketSender(sendBuffer: number): number;
  /** A listening TCP socket that a drop-all filter keeps silent, so that the kernel does not answer STT with RST. */
  openSilentListener(options: { family: 4 | 6; address: string; port: number }): number;
  /** SO_ATTACH_FILTER (SO_LOCK_FILTER not set). At most 4096 instructions. */
  attachFilter(fd: number, program: readonly BpfInstruction[]): void;
  /** SO_ATTACH_REUSEPORT_CBPF. */
  attachReusePortFilter(fd: number, program: readonly BpfInstruction[]): void;
  setMark(fd: number, mark: number): void;

  // --- batches. None of these blocks or throws for EAGAIN, ENOBUFS or one bad packet.
  /**
   * read() on a TAP into rows first..first+count-1: row i into `capacity` bytes at offset[i], which the caller has set.
   * Sets length[i]. Returns the rows filled. A frame longer than capacity is cut: its length[i] is -1. Once `budget` bytes
   * or more are read, the call ends (default: no limit).
   */
  readFrames(
    fd: number,
    columns: FrameColumns,
    first: number,
    count: number,
    capacity: number,
    budget?: number,
  ): number;
  /**
   * write() of each row to a TAP. Returns rows taken, refused ones among them, so first+result is where to go on after
   * EAGAIN. A row the kernel refuses is skipped; `failed[0]`, if given, is incremented for each.
   */
  writeFrames(fd: number, columns: FrameColumns, first: number, count: number, failed?: Int32Array): number;
  /**
   * writev() to a TAP of frames that lie in pieces: row i and the group[i] - 1 rows behind it (256 at most) are one frame.
   * errors[i] of its first row gets 0 or the errno of a refused frame. Returns rows taken, so first+result is where to go on
   * after EAGAIN.
   */
  writeGroups(
    fd: number,
    columns: FrameColumns,
    group: Int32Array,
    first: number,
    count: number,
    errors: Int32Array,
  ): number;
  /** recvmmsg. As readFrames; a raw IPv4 packet begins with its IP header. `from`, if given, gets a sockaddr per row. */
  receiveBatch(
    fd: number,
    columns: FrameColumns,
    first: number,
    count: number,
    capacity: number,
    from?: Uint8Array,
  ): number;
  /**
   * receiveBatch for a socket of openPacketSocket, and with its `vnetHeader`: the VLAN tag that the kernel takes out of a
   * frame is put back. A frame has 4 bytes less than `capacity`, lest a tag make it too long.
   */
  receiveDevice(
    fd: number,
    columns: FrameColumns,
    first: number,
    count: number,
    capacity: number,
    vnetHeader: boolean,
  ): number;
  /** The raw IPv6 socket reports destination, hop limit and traffic class (RFC 3542 §6); receiveBatch6 wants it. */
  reportHeaders6(fd: number): void;
  /**
   * receiveBatch for a raw IPv6 socket of `protocol`: each row begins with a 40-byte IPv6 header made of what the kernel
   * reports, with flow label 0 and the protocol as next header, for extension headers are taken off.
   */
  receiveBatch6(
    fd: number,
    protocol: number,
    columns: FrameColumns,
    first: number,
    count: number,
    capacity: number,
  ): number;
  /**
   * sendmmsg of rows; `to` holds sockaddr slots of ADDRESS_SLOT bytes and toIndex[i] names the one of row i.
   * AF_PACKET sockets take toIndex < 0 for all rows. Returns rows the kernel accepted or refused for good
   * (so first+result is where to go on after EAGAIN/ENOBUFS); `errors[i]` gets the errno of a refused row, else 0.
   */
  sendBatch(
    fd: number,
    columns: FrameColumns,
    first: number,
    count: number,
    to: Uint8Array,
    toIndex: Int32Array,
    errors: Int32Array,
  ): number;

  /**
   * sendmmsg with UDP_SEGMENT (Linux 4.18). `to` and `from` hold slots of ADDRESS_SLOT bytes; a slot of `from` that is zeros
   * leaves the local address to the kernel. `mark`: SO_MARK of these packets, 0: as the socket has it. The socket must not
   * have SO_NO_CHECK. Results as sendBatch.
   */
  sendSegments(
    fd: number,
    columns: SentSegments,
    first: number,
    count: number,
    to: Uint8Array,
    from: Uint8Array,
    mark?: number,
  ): number;
  /** recvmmsg on a UDP socket. As readFrames; what the kernel joined needs 65,535 bytes of capacity. */
  receiveSegments(fd: number, columns: ReceivedSegments, first: number, count: number, capacity: number): number;

  // --- datagrams of the control plane (IKE); copies
  receiveDatagrams(fd: number, maximum: number): ReceivedDatagram[];
  /** Sends with the given local address (IP_PKTINFO). Throws NativeError. */
  sendDatagram(fd: number, data: Uint8Array, remote: SocketAddress, local: string | undefined): void;

  // --- waiting
  createEventFd(): number;
  signalEventFd(fd: number): void;
  drainEventFd(fd: number): void;
  /** poll(2) for POLLIN on `count` descriptors of fds; ready[i] gets revents. Returns how many are ready; 0 after timeoutMs. */
  poll(fds: Int32Array, ready: Int32Array, count: number, timeoutMs: number): number;
  /**
   * uv_poll on the calling thread's loop: calls back when fd is readable. Returns a function that stops it. A descriptor in
   * error (a TAP whose device was deleted) calls back once, so that a read can tell why, and is watched no more.
   */
  watchReadable(fd: number, callback: () => void): () => void;

  // --- AEAD. Keys belong to the thread that made them.
  /** Prepares a key; returns a small integer for the `key` column. keyAndSalt: key, then 4 bytes of salt. */
  aeadKey(name: AeadName, direction: 'seal' | 'open', keyAndSalt: Uint8Array): number;
  /** Forgets and wipes it. */
  aeadDropKey(key: number): void;
  sealBatch(columns: AeadColumns, first: number, count: number): void;
  openBatch(columns: AeadColumns, first: number, count: number): void;

  // --- checksums
  /** RFC 1071 sum of a range, folded to 16 bits and not complemented, in network order of the bytes. */
  checksum(arena: Uint8Array, offset: number, length: number, initial: number): number;

  /**
   * The same for rows first..first+count-1: `sum[i]` goes in as the initial sum (a pseudo-header, say) and comes
   * out as the folded sum of length[i] bytes at offset[i] on top of it.
   */
  checksumBatch(columns: FrameColumns, sum: Int32Array, first: number, count: number): void;

  /**
   * Copies length[i] bytes from offset[i] to to[i] for rows first..first+count-1, in this order; sum[i] gets their RFC 1071
   * sum, folded. The two ranges of a row must not overlap. `into`: another arena that is copied to.
   */
  copyBatch(
    columns: FrameColumns,
    to: Int32Array,
    sum: Int32Array,
    first: number,
    count: number,
    into?: Uint8Array,
  ): void;

  // --- netlink (RFC 3549): messages as bytes
  /** NETLINK_ROUTE and the like, bound to a mask of multicast groups. */
  openNetlink(protocol: number, groups: number): number;
  /** To the kernel, which has answered when this returns. Throws NativeError. */
  netlinkSend(fd: number, message: Uint8Array): void;
  /** One datagram of the kernel: its bytes, 0: there is none, -1: messages were lost, or it was longer than `into`. */
  netlinkReceive(fd: number, into: Uint8Array): number;

  // --- process
  /** Opens or creates the file, writes `text`, takes an fcntl write lock on it and keeps it until exit. Throws EAGAIN/EACCES if held; then `holder` pid is in the error. */
  lockPidfile(path: string, text: string): number;
  /** Sends a text of up to 1023 bytes to a Unix datagram socket, as sd_notify(3) does; a path that begins with @ is abstract. Does not wait. */
  sendNotification(path: string, text: string): void;
  /**
   * A buffer of 1 to 2^31 - 1 bytes, all 0, for packets: a process that this one starts does not get its pages (MADV_DONTFORK),
   * so starting one costs whoever writes them nothing. Gone with the last view of it, or with its thread.
   */
  packetMemory(length: number): Uint8Array;
  /**
   * PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP and capset: this thread keeps the capabilities 0 to 31 of the mask `keep` that it has. Those
   * of other threads stay as they are: `execute` afterwards begins anew with this one. PR_CAPBSET_DROP needs CAP_SETPCAP.
   */
  limitCapabilities(keep: number): void;
  /** execve with `words` as argv, 1 to 256 of up to 4095 bytes, the environment and the standard descriptors of the process. Comes back only by throwing. */
  execute(path: string, words: readonly string[]): never;
  /** Milliseconds of CLOCK_MONOTONIC. */
  monotonicMs(): number;
  /** The time stamp counter of the processor, modulo 2^48; 0 where it is no x86. */
  cycles(): number;
}
