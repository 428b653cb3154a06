/**
 * Turns the addon's positional calls into the face of types.ts. The addon takes columns one by one, since V8 reads
 * properties faster than N-API does; and options as plain numbers and booleans. All checks are the addon's, but for
 * the packing of BPF programs.
 */

import type { BpfInstruction, Native, ReceivedDatagram } from './types.ts';

/** The calls as src/*.c define them. */
export interface Addon {
  readonly opensslVersion: string;
  close: Native['close'];
  openTap(name: string, tap: boolean, multiQueue: boolean, vnetHeader: boolean, persistent: boolean): number;
  setTapPersistent: Native['setTapPersistent'];
  setTapOffload: Native['setTapOffload'];
  openRawSocket(
    family: number,
    protocol: number,
    headerIncluded: boolean,
    mark: number,
    receiveBuffer: number,
    sendBuffer: number,
  ): number;
  openUdpSocket(
    family: number,
    address: string,
    port: number,
    device: string,
    packetInfo: boolean,
    reusePort: boolean,
    mark: number,
    receiveBuffer: number,
    sendBuffer: number,
    joined: boolean,
    receiveTos: boolean,
    dontFragment: boolean,
  ): number;
  openPacketSocket(device: string, receiveBuffer: number, sendBuffer: number, vnetHeader: boolean): number;
  openPacketSender: Native['openPacketSender'];
  openSilentListener(family: number, address: string, port: number): number;
  attachFilter(fd: number, program: Uint8Array): void;
  attachReusePortFilter(fd: number, program: Uint8Array): void;
  setMark: Native['setMark'];
  readFrames(
    fd: number,
    arena: Uint8Array,
    offset: Int32Array,
    length: Int32Array,
    first: number,
    count: number,
    capacity: number,
    budget: number,
  ): number;
  writeFrames(
    fd: number,
    arena: Uint8Array,
    offset: Int32Array,
    length: Int32Array,
    first: number,
    count: number,
    failed: Int32Array | undefined,
  ): number;
  writeGroups(
    fd: number,
    arena: Uint8Array,
    offset: Int32Array,
    length: Int32Array,
    first: number,
    count: number,
    group: Int32Array,
    errors: Int32Array,
  ): number;
  receiveBatch(
    fd: number,
    arena: Uint8Array,
    offset: Int32Array,
    length: Int32Array,
    first: number,
    count: number,
    capacity: number,
    from: Uint8Array | undefined,
  ): number;
  receiveDevice(
    fd: number,
    arena: Uint8Array,
    offset: Int32Array,
    length: Int32Array,
    first: number,
    count: number,
    capacity: number,
    vnetHeader: boolean,
  ): number;
  reportHeaders6(fd: number): void;
  receiveBatch6(
    fd: number,
    protocol: number,
    arena: Uint8Array,
    offset: Int32Array,
    length: Int32Array,
    first: number,
    count: number,
    capacity: number,
  ): number;
  sendBatch(
    fd: number,
    arena: Uint8Array,
    offset: Int32Array,
    length: Int32Array,
    first: number,
    count: number,
    to: Uint8Array,
    toIndex: Int32Array,
    errors: Int32Array,
  ): number;
  sendSegments(
    fd: number,
    arena: Uint8Array,
    offset: Int32Array,
    length: Int32Array,
    first: number,
    count: number,
    to: Uint8Array,
    from: Uint8Array,
    toIndex: Int32Array,
    group: Int32Array,
    tos: Int32Array,
    ttl: Int32Array,
    errors: Int32Array,
    mark: number,
  ): number;
  receiveSegments(
    fd: number,
    arena: Uint8Array,
    offset: Int32Array,
    length: Int32Array,
    first: number,
    count: number,
    capacity: number,
    from: Uint8Array,
    local: Uint8Array,
    segment: Int32Array,
    tos: Int32Array,
  ): number;
  receiveDatagrams(fd: number, maximum: number): ReceivedDatagram[];
  sendDatagram(fd: number, data: Uint8Array, address: string, port: number, local: string | undefined): void;
  createEventFd: Native['createEventFd'];
  signalEventFd: Native['signalEventFd'];
  drainEventFd: Native['drainEventFd'];
  poll: Native['poll'];
  watch(fd: number, callback: () => void): number;
  unwatch(watch: number): void;
  aeadKey(name: string, seals: boolean, keyAndSalt: Uint8Array): number;
  aeadDropKey: Native['aeadDropKey'];
  sealBatch: AeadCall;
  openBatch: AeadCall;
  checksum: Native['checksum'];
  checksumBatch(
    arena: Uint8Array,
    offset: Int32Array,
    length: Int32Array,
    first: number,
    count: number,
    sum: Int32Array,
  ): void;
  copyBatch(
    arena: Uint8Array,
    offset: Int32Array,
    length: Int32Array,
    first: number,
    count: number,
    to: Int32Array,
    sum: Int32Array,
    into: Uint8Array,
  ): void;
  lockPidfile: Native['lockPidfile'];
  openNetlink: Native['openNetlink'];
  netlinkSend: Native['netlinkSend'];
  netlinkReceive: Native['netlinkReceive'];
  sendNotification: Native['sendNotification'];
  packetMemory: Native['packetMemory'];
  limitCapabilities: Native['limitCapabilities'];
  execute: Native['execute'];
  monotonicMs: Native['monotonicMs'];
  cycles: Native['cycles'];
}

type AeadCall = (
  arena: Uint8Array,
  key: Int32Array,
  aadOffset: Int32Array,
  aadLength: Int32Array,
  ivOffset: Int32Array,
  textOffset: Int32Array,
  textLength: Int32Array,
  result: Int32Array,
  first: number,
  count: number,
) => void;

/** Leaves the socket's mark as it is. */
const NO_MARK = -1;

/** No limit on the bytes that one call reads. */
const UNLIMITED = 2 ** 31 - 1;

/** Bytes of struct sock_filter: u16 code, u8 jt, u8 jf, u32 k, in host order. */
const INSTRUCTION = 8;

/** The program as an array of struct sock_filter. Throws RangeError for a field that does not fit. */
export function packFilter(program: readonly BpfInstruction[]): Uint8Array {
  const code = new Uint16Array(program.length * (INSTRUCTION / 2));
  const bytes = new Uint8Array(code.buffer);
  const k = new Uint32Array(code.buffer);
  program.forEach((instruction, i) => {
    const fits = (value: number, bits: number) => Number.isInteger(value) && value >= 0 && value < 2 ** bits;
    if (!fits(instruction.code, 16) || !fits(instruction.jt, 8) || !fits(instruction.jf, 8) || !fits(instruction.k, 32))
      throw new RangeError(
        `BPF instruction ${i} does not fit code:16 jt:8 jf:8 k:32 bits: ${JSON.stringify(instruction)}`,
      );
    code[i * 4] = instruction.code;
    bytes[i * INSTRUCTION + 2] = instruction.jt;
    bytes[i * INSTRUCTION + 3] = instruction.jf;
    k[i * 2 + 1] = instruction.k;
  });
  return bytes;
}

/** The addon in the shape of types.ts. */
export function faceOf(addon: Addon): Native {
  return {
    opensslVersion: addon.opensslVersion,
    close: addon.close,
    openTap: (name, o) => addon.openTap(name, o.kind === 'tap', o.multiQueue, o.vnetHeader, o.persistent),
    setTapPersistent: addon.setTapPersistent,
    setTapOffload: addon.setTapOffload,
    openRawSocket: (o) =>
      addon.openRawSocket(
        o.family,
        o.protocol,
        o.headerIncluded ?? false,
        o.mark ?? NO_MARK,
        o.receiveBuffer ?? 0,
        o.sendBuffer ?? 0,
      ),
    openUdpSocket: (o) =>
      addon.openUdpSocket(
        o.family,
        o.address,
        o.port,
        o.device ?? '',
        o.packetInfo ?? false,
        o.reusePort ?? false,
        o.mark ?? NO_MARK,
        o.receiveBuffer ?? 0,
        o.sendBuffer ?? 0,
        o.joined ?? false,
        o.receiveTos ?? false,
        o.dontFragment ?? false,
      ),
    openPacketSocket: (device, o) =>
      addon.openPacketSocket(device, o.receiveBuffer ?? 0, o.sendBuffer ?? 0, o.vnetHeader ?? false),
    openPacketSender: addon.openPacketSender,
    openSilentListener: (o) => addon.openSilentListener(o.family, o.address, o.port),
    attachFilter: (fd, program) => addon.attachFilter(fd, packFilter(program)),
    attachReusePortFilter: (fd, program) => addon.attachReusePortFilter(fd, packFilter(program)),
    setMark: addon.setMark,
    readFrames: (fd, c, first, count, capacity, budget = UNLIMITED) =>
      addon.readFrames(fd, c.arena, c.offset, c.length, first, count, capacity, budget),
    writeFrames: (fd, c, first, count, failed) =>
      addon.writeFrames(fd, c.arena, c.offset, c.length, first, count, failed),
    writeGroups: (fd, c, group, first, count, errors) =>
      addon.writeGroups(fd, c.arena, c.offset, c.length, first, count, group, errors),
    receiveBatch: (fd, c, first, count, capacity, from) =>
      addon.receiveBatch(fd, c.arena, c.offset, c.length, first, count, capacity, from),
    reportHeaders6: addon.reportHeaders6,
    receiveDevice: (fd, c, first, count, capacity, vnetHeader) =>
      addon.receiveDevice(fd, c.arena, c.offset, c.length, first, count, capacity, vnetHeader),
    receiveBatch6: (fd, protocol, c, first, count, capacity) =>
      addon.receiveBatch6(fd, protocol, c.arena, c.offset, c.length, first, count, capacity),
    sendBatch: (fd, c, first, count, to, toIndex, errors) =>
      addon.sendBatch(fd, c.arena, c.offset, c.length, first, count, to, toIndex, errors),
    sendSegments: (fd, c, first, count, to, from, mark = 0) =>
      addon.sendSegments(
        fd,
        c.arena,
        c.offset,
        c.length,
        first,
        count,
        to,
        from,
        c.toIndex,
        c.group,
        c.tos,
        c.ttl,
        c.errors,
        mark,
      ),
    receiveSegments: (fd, c, first, count, capacity) =>
      addon.receiveSegments(fd, c.arena, c.offset, c.length, first, count, capacity, c.from, c.local, c.segment, c.tos),
    receiveDatagrams: addon.receiveDatagrams,
    sendDatagram: (fd, data, remote, local) => addon.sendDatagram(fd, data, remote.address, remote.port, local),
    createEventFd: addon.createEventFd,
    signalEventFd: addon.signalEventFd,
    drainEventFd: addon.drainEventFd,
    poll: addon.poll,
    watchReadable: (fd, callback) => {
      const watch = addon.watch(fd, callback);
      return () => addon.unwatch(watch);
    },
    aeadKey: (name, direction, keyAndSalt) => addon.aeadKey(name, direction === 'seal', keyAndSalt),
    aeadDropKey: addon.aeadDropKey,
    sealBatch: (c, first, count) =>
      addon.sealBatch(
        c.arena,
        c.key,
        c.aadOffset,
        c.aadLength,
        c.ivOffset,
        c.textOffset,
        c.textLength,
        c.result,
        first,
        count,
      ),
    openBatch: (c, first, count) =>
      addon.openBatch(
        c.arena,
        c.key,
        c.aadOffset,
        c.aadLength,
        c.ivOffset,
        c.textOffset,
        c.textLength,
        c.result,
        first,
        count,
      ),
    checksum: addon.checksum,
    checksumBatch: (c, sum, first, count) => addon.checksumBatch(c.arena, c.offset, c.length, first, count, sum),
    copyBatch: (c, to, sum, first, count, into = c.arena) =>
      addon.copyBatch(c.arena, c.offset, c.length, first, count, to, sum, into),
    lockPidfile: addon.lockPidfile,
    openNetlink: addon.openNetlink,
    netlinkSend: addon.netlinkSend,
    netlinkReceive: addon.netlinkReceive,
    sendNotification: addon.sendNotification,
    packetMemory: addon.packetMemory,
    limitCapabilities: addon.limitCapabilities,
    execute: addon.execute,
    monotonicMs: addon.monotonicMs,
    cycles: addon.cycles,
  };
}
