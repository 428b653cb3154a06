/**
 * Whether this network namespace has netfilter rules: nftables (which iptables-nft fills as well) or the older iptables. What
 * leaves past the IP stack would pass them by, so while there is any table nothing does.
 *
 * nftables tells of changes. The older tables are files of /proc, looked at once a second.
 */

import { readFileSync } from 'node:fs';
import type { Native } from '../../native-shims/types.ts';
import { saysNoTable, tablesRequest } from '../wire/netlink.ts';

const OLD_TABLES = ['/proc/net/ip_tables_names', '/proc/net/ip6_tables_names', '/proc/net/arp_tables_names'];
const LOOK_MS = 1000;
const MESSAGE_BYTES = 16_384;

export class Netfilter {
  /** There may be rules. */
  isUsed = true;
  private readonly native: Native;
  /** Netlink socket in the group of nftables; undefined: the kernel has none. */
  private readonly socket: number | undefined;
  private readonly message = new Uint8Array(MESSAGE_BYTES);
  private lookedAt = Number.NEGATIVE_INFINITY;
  private hasNewTables = true;

  constructor(native: Native, socket: number | undefined) {
    this.native = native;
    this.socket = socket;
  }

  /** Looks again, if something has changed or it is time. */
  refresh(now: number): void {
    const changed = this.socket !== undefined && this.native.netlinkReceive(this.socket, this.message) !== 0;
    if (!changed && now - this.lookedAt < LOOK_MS) return;
    this.lookedAt = now;
    this.hasNewTables = this.socket !== undefined && this.findsNewTables(this.socket);
    this.isUsed = this.hasNewTables || OLD_TABLES.some(isFilled);
  }

  private findsNewTables(socket: number): boolean {
    const { native, message } = this;
    // What is still to be heard of changes is answered by looking now.
    while (native.netlinkReceive(socket, message) !== 0);
    native.netlinkSend(socket, tablesRequest());
    return !saysNoTable(message, Math.max(0, native.netlinkReceive(socket, message)));
  }
}

/** A file that is not there belongs to a module that is not loaded. */
function isFilled(path: string): boolean {
  try {
    return readFileSync(path, 'utf8') !== '';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT';
  }
}
