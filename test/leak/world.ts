/**
 * Two hosts on one wire and a virtual clock, everything driven by one seed; the judge of every packet.
 *
 * Forbidden is what the model forbids: a tunnel packet in the clear that leaves, or that is taken. Forbidden in any case:
 * a payload that can be read in an ESP packet, a packet of neither kind, a sequence number used twice on one SA, a
 * payload taken twice, a secret in an IKE message or in a log.
 */
import { join } from 'node:path';
import { MemoryWire } from '../../dataplane/io/memory.ts';
import type { SocketAddress } from '../../native-shims/types.ts';
import { seededRandom } from '../ike/simulation/world.ts';
import { LeakHost } from './host.ts';
import type { ClearPacket } from './policy-model.ts';
import { PAIRS } from './spec.ts';
import { forge, frameWith, look, MARKER, payloadsIn } from './wire-tap.ts';

/** What happened to the payloads of a run: a test that never sends in the clear proves nothing about the clear. */
export interface Tally {
  sent: number;
  clear: number;
  esp: number;
  deliveredClear: number;
  deliveredEsp: number;
  forged: number;
  forgedTaken: number;
  replayed: number;
  restarts: number;
}

const ETHERNET_AND_IP = 34;

export class LeakWorld {
  nowMs = 1_000_000;
  /** Commands to packet workers take up to so many turns of the event loop. */
  slowness = 0;
  /** Of IKE datagrams, 0 to 1. */
  loss = 0;
  /** No packet of any kind passes. */
  cut = false;
  readonly tally: Tally = {
    sent: 0,
    clear: 0,
    esp: 0,
    deliveredClear: 0,
    deliveredEsp: 0,
    forged: 0,
    forgedTaken: 0,
    replayed: 0,
    restarts: 0,
  };
  readonly hosts: readonly [LeakHost, LeakHost];
  readonly wire: MemoryWire;
  /** Secrets that must not be seen anywhere. */
  readonly secrets = new Set<string>();
  readonly #random: () => number;
  readonly #timers = new Set<{ readonly at: number; readonly order: number; readonly callback: () => void }>();
  readonly #violations: string[] = [];
  readonly #errors: unknown[] = [];
  /** By payload: whether its host could take it in the clear when it arrived there, why not else. */
  readonly #arrivedClear = new Map<number, { readonly packet: ClearPacket; readonly forbidden: string | undefined }>();
  readonly #taken = new Set<number>();
  /** ESP packets as they were sent, for replays. */
  readonly #captured: Uint8Array[] = [];
  readonly #sequences = new Map<string, Set<number>>();
  #nextPayload = 1;
  #order = 0;
  #injecting = false;

  constructor(seed: number, directory: string) {
    this.#random = seededRandom(seed);
    this.wire = new MemoryWire({ slots: 64, mtu: 1500, tap: (packet, mark) => this.#tap(packet, mark) });
    this.hosts = [
      new LeakHost(this, 0, join(directory, `${seed}-a`), this.wire.attach()),
      new LeakHost(this, 1, join(directory, `${seed}-b`), this.wire.attach()),
    ];
  }

  fraction(): number {
    return this.#random();
  }

  chance(probability: number): boolean {
    return this.#random() < probability;
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.#random() * list.length)]!;
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => Math.floor(this.#random() * 256));
  }

  fail(error: unknown): void {
    this.#errors.push(error);
  }

  /** What went wrong so far, one line each; empty is good. */
  violations(): string[] {
    const inLogs = this.hosts
      .flatMap(({ log }) => log)
      .filter((line) => [...this.secrets].some((secret) => line.includes(secret)))
      .map((line) => `a secret in the log: ${line}`);
    const errors = this.#errors.map((error) => `error: ${error instanceof Error ? error.stack : String(error)}`);
    return [...this.#violations, ...errors, ...inLogs];
  }

  // --- time

  after(ms: number, callback: () => void): () => void {
    const entry = { at: this.nowMs + ms, order: this.#order++, callback };
    this.#timers.add(entry);
    return () => this.#timers.delete(entry);
  }

  /** Lets the hosts do what they can do at this moment. */
  async turns(count = 6): Promise<void> {
    for (let turn = 0; turn < count; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      this.#collect();
    }
  }

  /** Lets so much time pass. */
  async run(ms: number): Promise<void> {
    const end = this.nowMs + ms;
    for (;;) {
      let next: { readonly at: number; readonly order: number; readonly callback: () => void } | undefined;
      for (const timer of this.#timers) {
        if (timer.at > end) continue;
        if (next === undefined || timer.at < next.at || (timer.at === next.at && timer.order < next.order))
          next = timer;
      }
      if (next === undefined) break;
      this.#timers.delete(next);
      this.nowMs = Math.max(this.nowMs, next.at);
      next.callback();
      await this.turns(2);
    }
    this.nowMs = end;
  }

  // --- IKE

  sendIke(from: SocketAddress, to: SocketAddress, data: Uint8Array): void {
    const bytes = Buffer.from(data);
    if (bytes.includes(MARKER)) this.#violate('a payload can be read in an IKE message');
    for (const secret of this.secrets)
      if (bytes.includes(secret)) this.#violate('a secret can be read in an IKE message');
    if (this.cut || this.chance(this.loss)) return;
    this.after(1 + this.#random() * 20, () => {
      const host = this.hosts.find(({ index }) => PAIRS.some((addresses) => addresses[index] === to.address));
      host?.receive(to.port, { data: bytes, remote: from, local: to.address });
    });
  }

  // --- traffic

  /** A payload through each tunnel that a host has. */
  traffic(): void {
    for (const host of this.hosts) {
      for (const { name } of host.spec.tunnels) {
        if (host.send(name, this.#nextPayload)) this.tally.sent++;
        this.#nextPayload++;
      }
    }
  }

  /** A packet in the clear that nobody of the two has sent. */
  forge(packet: ClearPacket, to: LeakHost): void {
    const payload = this.#nextPayload++;
    this.tally.forged++;
    this.#arrivedClear.set(payload, { packet, forbidden: to.model.forbidsIn(packet) });
    this.#injecting = true;
    this.wire.inject(forge(packet, to.index, frameWith(payload, 9)));
    this.#injecting = false;
  }

  /** An ESP packet of before comes again, perhaps altered. */
  replay(): void {
    if (this.#captured.length === 0) return;
    const packet = this.pick(this.#captured).slice();
    if (this.chance(0.5))
      packet[20 + Math.floor(this.#random() * (packet.length - 20))]! ^= 1 << Math.floor(this.#random() * 8);
    this.tally.replayed++;
    this.#injecting = true;
    this.wire.inject(packet);
    this.#injecting = false;
  }

  /** An outbound SA of the host is new: its sequence numbers begin anew. */
  freshSpi(host: number, spi: number): void {
    this.#sequences.set(`${host} ${spi}`, new Set());
  }

  // --- the judge

  #violate(what: string): void {
    this.#violations.push(`${(this.nowMs / 1000).toFixed(3)} ${what}`);
  }

  #tap(packet: Uint8Array, mark: number): boolean {
    if (this.#injecting) return true;
    const { host, what, payloads } = look(packet);
    const sender = this.hosts[host];
    if (what.kind === 'other')
      this.#violate(`host ${host} sent a packet that is no tunnel's: ${Buffer.from(packet).toString('hex')}`);
    if (what.kind === 'esp') {
      this.tally.esp++;
      if (payloads.length > 0) this.#violate(`host ${host} sent payload ${payloads[0]} readable in ESP`);
      const used = this.#sequences.get(`${host} ${what.spi}`);
      if (used === undefined) this.#violate(`host ${host} sent ESP with SPI ${what.spi}, which it has not installed`);
      else if (used.has(what.sequence))
        this.#violate(`host ${host} used sequence number ${what.sequence} twice on SPI ${what.spi}`);
      else used.add(what.sequence);
      if (this.#captured.length < 200) this.#captured.push(packet.slice());
    }
    if (what.kind === 'clear') {
      this.tally.clear++;
      const text = JSON.stringify(what.packet);
      const forbidden = sender.model.forbidsOut(what.packet, mark);
      if (forbidden !== undefined) this.#violate(`host ${host} sent ${text} in the clear: ${forbidden}`);
      const receiver = this.hosts[1 - host]!;
      for (const payload of payloads)
        this.#arrivedClear.set(payload, { packet: what.packet, forbidden: receiver.model.forbidsIn(what.packet) });
    }
    return !this.cut;
  }

  /** Judges what came out of TAPs. */
  #collect(): void {
    for (const host of this.hosts) {
      for (const frame of host.delivered()) {
        const [payload] = payloadsIn(Buffer.from(frame.subarray(ETHERNET_AND_IP)));
        if (payload === undefined) {
          this.#violate(`host ${host.index} delivered a frame that nobody sent`);
          continue;
        }
        if (this.#taken.has(payload)) this.#violate(`host ${host.index} took payload ${payload} twice`);
        this.#taken.add(payload);
        const clear = this.#arrivedClear.get(payload);
        if (clear === undefined) {
          this.tally.deliveredEsp++;
          continue;
        }
        this.tally.deliveredClear++;
        if (frame[11] === 9) this.tally.forgedTaken++;
        const now = host.model.forbidsIn(clear.packet);
        if (clear.forbidden !== undefined && now !== undefined)
          this.#violate(`host ${host.index} took ${JSON.stringify(clear.packet)} in the clear: ${clear.forbidden}`);
      }
    }
  }
}
