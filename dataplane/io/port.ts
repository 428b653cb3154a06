/**
 * Ports that hold frames: TAPs and network devices. Tunnel ports have no descriptor; the uplink carries them.
 */

import type { FrameColumns, Native } from '../../native-shims/types.ts';
import type { FrameList } from '../batch.ts';
import { ERRNO } from './uplink.ts';

/** No method throws for a frame, blocks, or allocates. */
export interface FramePort {
  /** Descriptor to poll; -1 where `watch` is the only way. */
  readonly descriptor: number;
  /** Why the port works no more, for instance because its device was deleted; undefined while it works. */
  readonly failure: string | undefined;
  /** Reads into rows first..first+count-1 as native readFrames does. Returns rows filled. */
  read(columns: FrameColumns, first: number, count: number, capacity: number): number;
  /** Writes all entries. errors[j] is 0 or an errno; what a full queue did not take has EAGAIN. */
  write(list: FrameList): void;
  /** Calls back on this thread when frames can be read; returns a function that stops it. */
  watch(callback: () => void): () => void;
}

/** A TAP device, or one queue of it. */
export class TapPort implements FramePort {
  readonly descriptor: number;
  failure: string | undefined;
  private readonly native: Native;

  constructor(native: Native, descriptor: number) {
    this.native = native;
    this.descriptor = descriptor;
  }

  read(columns: FrameColumns, first: number, count: number, capacity: number): number {
    if (this.failure !== undefined) return 0;
    try {
      return this.native.readFrames(this.descriptor, columns, first, count, capacity);
    } catch (error) {
      return this.fail(error);
    }
  }

  write(list: FrameList): void {
    const taken = this.take(list);
    list.errors.fill(0, 0, taken);
    list.errors.fill(this.failure === undefined ? ERRNO.EAGAIN : ERRNO.ENETDOWN, taken, list.count);
  }

  watch(callback: () => void): () => void {
    return this.native.watchReadable(this.descriptor, callback);
  }

  private take(list: FrameList): number {
    if (this.failure !== undefined) return 0;
    try {
      return this.native.writeFrames(this.descriptor, list, 0, list.count);
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
  private readonly native: Native;
  private readonly noAddresses = new Uint8Array(0);

  constructor(native: Native, descriptor: number) {
    this.native = native;
    this.descriptor = descriptor;
  }

  read(columns: FrameColumns, first: number, count: number, capacity: number): number {
    return this.native.receiveBatch(this.descriptor, columns, first, count, capacity);
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
