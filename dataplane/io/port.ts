/**
 * Ports that hold frames: TAPs and network devices. Tunnel ports have no descriptor; the uplink carries them.
 */

import type { FrameColumns, Native } from '../../native-shims/types.ts';
import type { FrameList } from '../batch.ts';
import { ERRNO } from './uplink.ts';

/** Bytes of one read: about what two of the largest frames make, so that what is read is handled while it is in the cache. */
const READ_BUDGET = 65536;

/** No method throws for a frame, blocks, or allocates. */
export interface FramePort {
  /** Descriptor to poll; -1 where `watch` is the only way. */
  readonly descriptor: number;
  /** Why the port works no more, for instance because its device was deleted; undefined while it works. */
  readonly failure: string | undefined;
  /** Each frame has a vnet header in front (offload/vnet-header.ts), in what is read and in what is to be written. */
  readonly hasVnetHeader: boolean;
  /** Takes frames in pieces. */
  readonly takesGroups: boolean;
  /** Reads into rows first..first+count-1 as native readFrames does. Returns rows filled. */
  read(columns: FrameColumns, first: number, count: number, capacity: number): number;
  /**
   * Writes all entries. errors[j] is 0 or an errno; what a full queue did not take has EAGAIN. With takesGroups, entry j and
   * the group[j] - 1 behind it are one frame, and errors[j] of the first counts.
   */
  write(list: FrameList): void;
  /** Calls back on this thread when frames can be read; returns a function that stops it. */
  watch(callback: () => void): () => void;
}

/** A TAP device, or one queue of it. */
export class TapPort implements FramePort {
  readonly descriptor: number;
  readonly hasVnetHeader: boolean;
  readonly takesGroups = true;
  failure: string | undefined;
  private readonly native: Native;

  constructor(native: Native, descriptor: number, hasVnetHeader: boolean) {
    this.native = native;
    this.descriptor = descriptor;
    this.hasVnetHeader = hasVnetHeader;
  }

  read(columns: FrameColumns, first: number, count: number, capacity: number): number {
    if (this.failure !== undefined) return 0;
    try {
      return this.native.readFrames(this.descriptor, columns, first, count, capacity, READ_BUDGET);
    } catch (error) {
      return this.fail(error);
    }
  }

  write(list: FrameList): void {
    const taken = this.take(list);
    list.errors.fill(this.failure === undefined ? ERRNO.EAGAIN : ERRNO.ENETDOWN, taken, list.count);
  }

  watch(callback: () => void): () => void {
    return this.native.watchReadable(this.descriptor, callback);
  }

  private take(list: FrameList): number {
    if (this.failure !== undefined) return 0;
    try {
      return this.native.writeGroups(this.descriptor, list, list.group, 0, list.count, list.errors);
    } catch (error) {
      return this.fail(error);
    }
  }

  private fail(error: unknown): number {
    this.failure = error instanceof Error ? error.message : String(error);
    return 0;
  }
}

/** An existing network device through AF_PACKET. */
export class DevicePort implements FramePort {
  readonly descriptor: number;
  /** A socket outlives its device: frames are refused while that is down or gone, and it may come back. */
  readonly failure = undefined;
  readonly hasVnetHeader: boolean;
  readonly takesGroups = false;
  private readonly native: Native;
  private readonly noAddresses = new Uint8Array(0);

  constructor(native: Native, descriptor: number, hasVnetHeader: boolean) {
    this.native = native;
    this.descriptor = descriptor;
    this.hasVnetHeader = hasVnetHeader;
  }

  read(columns: FrameColumns, first: number, count: number, capacity: number): number {
    return this.native.receiveDevice(this.descriptor, columns, first, count, capacity, this.hasVnetHeader);
  }

  write(list: FrameList): void {
    list.toIndex.fill(-1, 0, list.count);
    let sent = 0;
    while (sent < list.count) {
      const taken = this.native.sendBatch(
        this.descriptor,
        list,
        sent,
        list.count - sent,
        this.noAddresses,
        list.toIndex,
        list.errors,
      );
      if (taken <= 0) break;
      sent += taken;
    }
    list.errors.fill(ERRNO.EAGAIN, sent, list.count);
  }

  watch(callback: () => void): () => void {
    return this.native.watchReadable(this.descriptor, callback);
  }
}
