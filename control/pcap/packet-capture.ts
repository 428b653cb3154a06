/**
 * A capture that runs: its file, its limits, its keys if they were asked for. The workers make the blocks
 * (dataplane/capture/); here they are appended until somebody stops it, the file is as long as it may be, or the disk is full.
 *
 * Files are new ones of mode 0600: an existing one, or a link that somebody has laid, is refused.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import {
  CAPTURE_POINTS,
  type CapturePoint,
  type CaptureSettings,
  captureHeader,
  type EngineEvent,
  statisticsBlock,
} from '../../dataplane/index.ts';
import type { ChildSa } from '../../ike/index.ts';
import { CommandError } from '../unixctl/command.ts';
import { espKeyLines } from './esp-keys.ts';
import type { CaptureRequest } from './pcap-command.ts';

type CapturedEvent = Extract<EngineEvent, { event: 'captured' }>;

export interface PacketCaptureOptions {
  readonly application: string;
  /** Tells the workers; undefined: no longer. */
  readonly set: (capture: CaptureSettings | undefined) => Promise<void>;
  /** The child SAs that are installed. */
  readonly children: () => Iterable<ChildSa>;
  /** Microseconds since 1970. */
  readonly micros: () => number;
  /** One line for the log. */
  readonly log: (message: string) => void;
}

interface Running {
  readonly request: CaptureRequest;
  readonly file: number;
  readonly keylog: number | undefined;
  readonly keysWritten: Set<number>;
  bytes: number;
  packets: number;
  readonly seen: Record<CapturePoint, number>;
  readonly skipped: Record<CapturePoint, number>;
}

/** Left free for the statistics blocks at the end. */
const TAIL_BYTES = 256;

export class PacketCapture {
  readonly #options: PacketCaptureOptions;
  #running: Running | undefined;

  constructor(options: PacketCaptureOptions) {
    this.#options = options;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** @throws CommandError when one runs already, or a file can't be made. */
  async start(request: CaptureRequest): Promise<string> {
    if (this.#running !== undefined)
      throw new CommandError(`a capture to ${this.#running.request.file} runs already; end it with pcap/stop`);
    const file = newFile(request.file);
    let keylog: number | undefined;
    try {
      keylog = request.keylog === undefined ? undefined : newFile(request.keylog);
    } catch (error) {
      closeSync(file);
      throw error;
    }
    const counts = () => ({ inside: 0, outside: 0 });
    const header = captureHeader(this.#options.application);
    const running: Running = {
      ...{ request, file, keylog, keysWritten: new Set<number>() },
      ...{ bytes: header.length, packets: 0, seen: counts(), skipped: counts() },
    };
    this.#running = running;
    this.#write(running, file, header);
    this.childrenChanged();
    const { points, dropsOnly, packetsPerSecond } = request;
    await this.#options.set({ points, dropsOnly, packetsPerSecond });
    const keys = keylog === undefined ? '' : `; keys of ESP SAs go to ${request.keylog}`;
    this.#options.log(`capture of ${points.join(' and ')} to ${request.file} started${keys}`);
    return `capturing ${dropsOnly ? 'dropped packets ' : ''}${points.join(' and ')} to ${request.file}, at most ${request.megabytes} MB${keys}\n`;
  }

  /** @throws CommandError when none runs. */
  async stop(): Promise<string> {
    const running = this.#running;
    if (running === undefined) throw new CommandError('no capture runs; start one with pcap/start');
    // Blocks under way come before the workers' answer, so nothing is lost by closing after it.
    await this.#options.set(undefined);
    if (this.#running === running) this.#close(running, 'stopped');
    return `${summary(running)}\n`;
  }

  /** Blocks of a worker. Late ones, after the end, are passed over. */
  captured(event: CapturedEvent): void {
    const running = this.#running;
    if (running === undefined) return;
    for (const { name } of CAPTURE_POINTS) {
      running.seen[name] += event.seen[name];
      running.skipped[name] += event.skipped[name];
    }
    if (event.blocks.length === 0) return;
    if (running.bytes + event.blocks.length + TAIL_BYTES > running.request.megabytes * 1e6) {
      this.#end(running, `the file has reached ${running.request.megabytes} MB`);
      return;
    }
    running.packets += event.packets;
    running.bytes += event.blocks.length;
    this.#write(running, running.file, event.blocks);
  }

  /** Writes the keys of child SAs that are new, if they were asked for. */
  childrenChanged(): void {
    const running = this.#running;
    if (running?.keylog === undefined) return;
    for (const sa of this.#options.children()) {
      if (running.keysWritten.has(sa.id)) continue;
      running.keysWritten.add(sa.id);
      this.#write(running, running.keylog, Buffer.from(espKeyLines(sa)));
    }
  }

  #write(running: Running, file: number, bytes: Uint8Array): void {
    if (this.#running !== running) return;
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
    } catch (error) {
      this.#end(running, `writing failed (${(error as NodeJS.ErrnoException).code})`);
    }
  }

  /** Ends it by itself; the workers hear of it soon. */
  #end(running: Running, why: string): void {
    this.#close(running, why);
    this.#options.set(undefined).catch(() => undefined);
  }

  #close(running: Running, why: string): void {
    this.#running = undefined;
    const { file, keylog, seen, skipped, request } = running;
    try {
      for (const { name } of CAPTURE_POINTS)
        writeSync(file, statisticsBlock(name, this.#options.micros(), seen[name], skipped[name]));
    } catch {
      // The disk is full, and the log says so already.
    }
    closeSync(file);
    if (keylog !== undefined) closeSync(keylog);
    this.#options.log(`capture to ${request.file} ended (${why}): ${summary(running)}`);
  }
}

function summary({ packets, bytes, skipped, request }: Running): string {
  const left = skipped.inside + skipped.outside;
  const more = left === 0 ? '' : `; ${left} left out, more than ${request.packetsPerSecond} a second and worker`;
  return `${packets} packets, ${bytes} bytes in ${request.file}${more}`;
}

function newFile(path: string): number {
  try {
    return openSync(path, 'wx', 0o600);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const mend = code === 'EEXIST' ? 'it exists already; choose another name or remove it' : 'choose another directory';
    throw new CommandError(`${path}: cannot be created (${code}); ${mend}`);
  }
}
