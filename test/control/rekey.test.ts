/**
 * The swap of a rekeying, as control carries it out in two engines: every frame of steady traffic in both directions
 * arrives exactly once, while packets overtake each other on the wire by almost a replay window.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ChildSaInstaller } from '../../control/child-sas.ts';
import { Protections } from '../../control/protections.ts';
import type { Logger } from '../../control/vlog.ts';
import { type MemoryUplink, MemoryWire } from '../../dataplane/io/memory.ts';
import type { ChildSa } from '../../ike/index.ts';
import {
  BRIDGE,
  frame,
  openPair,
  type Side,
  settle,
  TEST_LIMITS,
  TUNNEL_PORT,
  tunnelSettings,
} from '../dataplane/engine/pair.ts';
import { ManualTimers } from './ovsdb/manual-timers.ts';

const REKEYS = 200;
/** Packets that are on the wire at a time: fewer than the replay window of 64. */
const IN_FLIGHT = 48;
const DRAIN_MS = 5000;
/** Longer than a released SPI rests. */
const REKEY_INTERVAL_MS = 130_000;

/** Keeps packets until there are IN_FLIGHT and gives them out in any order. */
class ShufflingWire extends MemoryWire {
  private readonly held: { sender: MemoryUplink | undefined; packet: Uint8Array; mark: number }[] = [];
  private state = 1;

  override carry(
    sender: MemoryUplink | undefined,
    arena: Uint8Array,
    offset: number,
    length: number,
    mark: number,
  ): number {
    this.held.push({ sender, packet: arena.slice(offset, offset + length), mark });
    if (this.held.length === IN_FLIGHT) this.flush();
    return 0;
  }

  flush(): void {
    while (this.held.length > 0) this.release();
  }

  private release(): void {
    // A generator of its own, so that a failing run can be repeated.
    this.state = (Math.imul(this.state, 1103515245) + 12345) & 0x7fffffff;
    const [{ sender, packet, mark }] = this.held.splice(this.state % this.held.length, 1) as [
      (typeof this.held)[number],
    ];
    super.carry(sender, packet, 0, packet.length, mark);
  }
}

const silent: Logger = {
  emer: () => {},
  err: () => {},
  warn: () => {},
  info: () => {},
  dbg: () => {},
  log: () => {},
  limited: () => {},
  enabled: () => false,
} as unknown as Logger;

/** What control has on each side. */
class Control {
  readonly side: Side;
  readonly children: ChildSaInstaller;
  readonly timers = new ManualTimers();
  private applied: Promise<void> = Promise.resolve();

  private constructor(side: Side, protections: Protections, protection: number) {
    this.side = side;
    this.children = new ChildSaInstaller({
      apply: (command) => {
        this.applied = Promise.all([this.applied, side.engine.apply(command)]).then(() => {});
      },
      onRefused: (_id: number, reason: string) => expect.unreachable(reason),
      releaseSpi: (spi) => side.engine.releaseSpi(spi),
      protections,
      roleOf: () => ({
        protection,
        sends: true,
        replayWindow: 64,
        softPackets: 0,
        softBytes: 0,
        worker: undefined,
        isFallback: true,
      }),
      log: silent,
      onChange: () => {},
      timers: this.timers,
    });
  }

  static async over(side: Side, remote: string, directory: string): Promise<Control> {
    const protections = new Protections(join(directory, side.address));
    const target = { type: 'gre', local: side.address, remote, port: 0, tunnels: ['tun'] } as const;
    const commands = protections.set(new Map([['gre', target]]), new Set(['tun']), () => true);
    for (const command of commands) await side.engine.apply(command);
    const protection = protections.get('gre')!.id;
    const tunnel = { ...tunnelSettings('gre', side.address, remote), protection };
    await side.engine.apply({ op: 'set-tunnel-port', port: TUNNEL_PORT, bridge: BRIDGE, name: 'tun', tunnel });
    return new Control(side, protections, protection);
  }

  /** All commands so far have been carried out. */
  done(): Promise<void> {
    return this.applied;
  }
}

/** The two ends of a new child SA. */
function negotiate(id: number, a: Side, b: Side): { readonly a: ChildSa; readonly b: ChildSa } {
  const spis = { a: a.engine.allocateSpi(), b: b.engine.allocateSpi() };
  const key = (): Uint8Array => new Uint8Array(randomBytes(36));
  const [toA, toB] = [key(), key()];
  const selector = (address: string) => [
    { protocol: 47, startAddress: address, endAddress: address, startPort: 0, endPort: 65535 },
  ];
  const common = { id, connection: 'c', child: 'tun', algorithm: 'aes256gcm16', esn: true, mode: 'transport' } as const;
  const rest = { udpEncapsulation: undefined, replaces: undefined };
  return {
    a: {
      ...common,
      ...rest,
      inboundSpi: spis.a,
      outboundSpi: spis.b,
      inboundKey: toA.slice(),
      outboundKey: toB.slice(),
      tsLocal: selector(a.address),
      tsRemote: selector(b.address),
      initiator: true,
    },
    b: {
      ...common,
      ...rest,
      inboundSpi: spis.b,
      outboundSpi: spis.a,
      inboundKey: toB.slice(),
      outboundKey: toA.slice(),
      tsLocal: selector(b.address),
      tsRemote: selector(a.address),
      initiator: false,
    },
  };
}

it(`${REKEYS} rekeyings under traffic lose no frame, double none and drop none`, { timeout: 120_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'rekey-'));
  const clock = { ms: 1 };
  const wire = new ShufflingWire();
  const pair = await openPair({ wire, now: () => clock.ms, limits: { ...TEST_LIMITS, saSlots: 512 } });
  try {
    const a = await Control.over(pair.a, pair.b.address, directory);
    const b = await Control.over(pair.b, pair.a.address, directory);
    const seen = { a: new Map<number, number>(), b: new Map<number, number>() };
    let sent = 0;

    const collect = (): void => {
      for (const name of ['a', 'b'] as const) {
        for (let bytes = pair[name].port.take(); bytes !== undefined; bytes = pair[name].port.take()) {
          const number = Buffer.from(bytes).readUInt32BE(60);
          seen[name].set(number, (seen[name].get(number) ?? 0) + 1);
        }
      }
    };
    /** Frames in both directions, and turns of the event loop, so that they meet every step of the swap. */
    const traffic = async (): Promise<void> => {
      for (let turn = 0; turn < 3; turn++) {
        for (const side of [pair.a, pair.b]) {
          const bytes = frame(255, side === pair.a ? 1 : 2);
          Buffer.from(bytes.buffer).writeUInt32BE(sent, 60);
          side.port.put(bytes);
        }
        sent++;
        await new Promise((resolve) => setImmediate(resolve));
        collect();
      }
    };

    let old = negotiate(0, pair.a, pair.b);
    b.children.install(old.b, true);
    a.children.install(old.a, true);
    await Promise.all([a.done(), b.done()]);
    for (let id = 1; id <= REKEYS; id++) {
      const fresh = negotiate(id, pair.a, pair.b);
      // In turn each side begins; the other one learns of the Delete while traffic goes on.
      const [first, second] = id % 2 === 0 ? [a, b] : [b, a];
      const [firstSa, secondSa] = first === a ? [fresh.a, fresh.b] : [fresh.b, fresh.a];
      await traffic();
      second.children.install(secondSa, false);
      await Promise.all([second.done(), traffic()]);
      first.children.install(firstSa, true);
      await Promise.all([first.done(), traffic()]);
      first.children.remove(id - 1, DRAIN_MS, 'rekeyed');
      await Promise.all([first.done(), traffic()]);
      second.children.send(id);
      second.children.remove(id - 1, DRAIN_MS, 'rekeyed');
      await Promise.all([second.done(), traffic()]);
      // What is under way has arrived before the drain time is over.
      for (let i = 0; i < 10; i++) await traffic();
      for (const { timers } of [a, b]) timers.advance(DRAIN_MS);
      await Promise.all([a.done(), b.done(), traffic()]);
      clock.ms += REKEY_INTERVAL_MS;
      old = fresh;
    }
    wire.flush();
    await settle();
    collect();

    for (const name of ['a', 'b'] as const) {
      expect(pair[name].drops()).toEqual({});
      expect(seen[name].size).toBe(sent);
      expect([...seen[name].values()].filter((times) => times !== 1)).toEqual([]);
    }
    // Every SA has carried its part: the last one alone is left, and it began to count anew.
    expect([...a.children.installed()].map((child) => child.sa.id)).toEqual([REKEYS]);
    expect(pair.a.engine.counters().sa('in', old.a.inboundSpi & 0xffff).packets).toBeLessThan(100);
  } finally {
    await pair.stop();
    rmSync(directory, { recursive: true, force: true });
  }
});
