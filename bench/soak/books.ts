/**
 * The books of a soak: every place on the way where packets are counted, and what must be equal between two places once the counted drops
 * are taken off. What is left over is a packet that vanished without a counter.
 */

/** The counters of one daemon, from `coverage/show`. */
export type DaemonBooks = {
  /** Packets dropped, by reason. */
  readonly drops: Readonly<Record<string, number>>;
  readonly framesRead: number;
  readonly packetsReceived: number;
  readonly packetsSent: number;
  readonly framesWritten: number;
};

/** What the kernel of a host counts around the daemon. */
export type KernelBooks = {
  /** Frames that the TAP handed to the daemon, and those its queue had no room for. */
  readonly tapSent: number;
  readonly tapSendDropped: number;
  /** Frames that the TAP took from the daemon. */
  readonly tapReceived: number;
  /** Packets that raw sockets had no room for. */
  readonly socketDropped: number;
  /** Datagrams that the UDP sockets of whoever uses the tunnel had no room for: after the tunnel, so in no equation. */
  readonly udpDropped: number;
};

/** Both of one host. */
export type HostBooks = { readonly daemon: DaemonBooks; readonly kernel: KernelBooks };

const KERNEL_COUNTERS = ['tapSent', 'tapSendDropped', 'tapReceived', 'socketDropped', 'udpDropped'] as const;
const WORKER_COUNTERS = ['framesRead', 'packetsReceived', 'packetsSent', 'framesWritten'] as const;

/** Parses `coverage/show`. @throws if it has no line of a worker. */
export function parseCoverage(text: string): DaemonBooks {
  const [, dropPart = ''] = /^Packets dropped, by reason:\n([\s\S]*?)(?=^\S)/m.exec(text) ?? [];
  const drops = Object.fromEntries(
    [...dropPart.matchAll(/^ {2}(\S+) +(\d+) /gm)].map(([, name, count]) => [name, Number(count)]),
  );
  const workers = [...text.matchAll(/^ {2}\d+: (.*)$/gm)].map(([, line]) => line ?? '');
  if (workers.length === 0) throw new Error('coverage/show has no line of a worker');
  const sumOf = (counter: string) =>
    workers.reduce((sum, line) => sum + Number(new RegExp(`\\b${counter} (\\d+)`).exec(line)?.[1] ?? 0), 0);
  const [framesRead, packetsReceived, packetsSent, framesWritten] = WORKER_COUNTERS.map(sumOf) as [
    number,
    number,
    number,
    number,
  ];
  return { drops, framesRead, packetsReceived, packetsSent, framesWritten };
}

/** Drops of all raw sockets: the last column of /proc/net/raw and /proc/net/raw6. */
export function parseRawDrops(text: string): number {
  const rows = text.split('\n').filter((line) => /^\s*\d+:/.test(line));
  return rows.reduce((sum, line) => sum + Number(line.trim().split(/\s+/).at(-1)), 0);
}

/** RcvbufErrors of the line that follows the head of UDP in /proc/net/snmp. */
export function parseUdpDrops(text: string): number {
  const [head, row] = text.split('\n').filter((line) => line.startsWith('Udp:'));
  const column = head?.split(' ').indexOf('RcvbufErrors') ?? -1;
  if (column < 0 || row === undefined) throw new Error('/proc/net/snmp has no RcvbufErrors of UDP');
  return Number(row.split(' ')[column]);
}

/** The statistics of `ip -s -j link show DEVICE`, for a TAP. */
export function parseLink(json: string): Omit<KernelBooks, 'socketDropped' | 'udpDropped'> {
  type Side = { packets: number; dropped: number };
  const [link] = JSON.parse(json) as { stats64?: { rx: Side; tx: Side } }[];
  if (link?.stats64 === undefined) throw new Error('ip -s -j link show gave no statistics');
  const { rx, tx } = link.stats64;
  return { tapSent: tx.packets, tapSendDropped: tx.dropped, tapReceived: rx.packets };
}

/** What was counted between two readings of a host. */
export function since(earlier: HostBooks, later: HostBooks): HostBooks {
  const difference = <Key extends string>(keys: readonly Key[], a: Record<Key, number>, b: Record<Key, number>) =>
    Object.fromEntries(keys.map((key) => [key, b[key] - a[key]])) as Record<Key, number>;
  const reasons = Object.entries(later.daemon.drops).map(
    ([reason, count]) => [reason, count - (earlier.daemon.drops[reason] ?? 0)] as const,
  );
  return {
    daemon: {
      ...difference(WORKER_COUNTERS, earlier.daemon, later.daemon),
      drops: Object.fromEntries(reasons.filter(([, count]) => count > 0)),
    },
    kernel: difference(KERNEL_COUNTERS, earlier.kernel, later.kernel),
  };
}

/** One equation of the books. */
export type Balance = {
  readonly what: string;
  readonly before: number;
  readonly after: number;
  readonly counted: number;
  /** What no counter explains; 0 is the aim. */
  readonly unexplained: number;
};

const dropsOf = ({ drops }: DaemonBooks) => Object.values(drops).reduce((sum, count) => sum + count, 0);

function hostBalances(name: string, { daemon, kernel }: HostBooks): Balance[] {
  const row = (what: string, before: number, after: number, counted: number) => ({
    what: `${name}: ${what}`,
    before,
    after,
    counted,
    unexplained: before - after - counted,
  });
  const [into, out] = [daemon.framesRead + daemon.packetsReceived, daemon.packetsSent + daemon.framesWritten];
  return [
    row('frames from the TAP to the daemon', kernel.tapSent, daemon.framesRead, 0),
    row('into the daemon and out of it', into, out, dropsOf(daemon)),
    row('frames from the daemon to the TAP', daemon.framesWritten, kernel.tapReceived, 0),
  ];
}

/** All equations, of both hosts and of the wire between them, at a moment without traffic. */
export function balances(a: HostBooks, b: HostBooks): Balance[] {
  const wire = (what: string, from: HostBooks, to: HostBooks) => ({
    what: `wire: ${what}`,
    before: from.daemon.packetsSent,
    after: to.daemon.packetsReceived,
    counted: to.kernel.socketDropped,
    unexplained: from.daemon.packetsSent - to.daemon.packetsReceived - to.kernel.socketDropped,
  });
  return [...hostBalances('a', a), wire('a to b', a, b), wire('b to a', b, a), ...hostBalances('b', b)];
}

/**
 * Growth of a series: by how much its peak in the second half exceeds that in the first, as a share. A garbage collector
 * makes memory rise and fall; only what it cannot take back moves the peak.
 */
export function growth(values: readonly number[]): number {
  const half = values.length >> 1;
  if (half === 0) return Number.NaN;
  const first = Math.max(...values.slice(0, half));
  return (Math.max(...values.slice(half)) - first) / first;
}
