/**
 * NativeError: a system call of the addon that failed, with its errno and what was tried, and how to mend it where
 * the errno alone does not tell. The addon itself makes these (src/error.c); this file owns their wording.
 */

import type { NativeErrorShape } from './types.ts';

interface Hint {
  readonly attempted: RegExp;
  readonly codes: readonly string[];
  readonly mend: string;
}

const ROOT = 'run as root, or with CAP_NET_ADMIN and CAP_NET_RAW';

/** First match counts. */
const HINTS: readonly Hint[] = [
  {
    attempted: /^open \/dev\/net\/tun/,
    codes: ['ENOENT', 'ENXIO', 'ENODEV'],
    mend: 'this system has no TUN driver here: load it with `modprobe tun`, or pass /dev/net/tun into the container',
  },
  {
    attempted: /^open T(AP|UN) .*\(TUNSETIFF\)$/,
    codes: ['EINVAL'],
    mend: 'a device of this name exists and is of another kind (TUN or TAP, multi-queue, or no TUN/TAP at all): remove it with `ip link delete`, or choose another name',
  },
  {
    attempted: /^open T(AP|UN) /,
    codes: ['EBUSY'],
    mend: 'another process has this device open: stop it or choose another name',
  },
  {
    attempted: /^(bind UDP|listen TCP) /,
    codes: ['EADDRINUSE'],
    mend: 'another process has this port (`ss -lnup`, `ss -lntp`): stop it or choose another address',
  },
  {
    attempted: /^(bind UDP|listen TCP|send) /,
    codes: ['EADDRNOTAVAIL'],
    mend: 'this host has no such address: `ip address` lists those it has',
  },
  {
    attempted: /^(find device|bind packet socket) /,
    codes: ['ENODEV', 'ENXIO'],
    mend: 'there is no such network device here: `ip link` lists them',
  },
  {
    attempted: /^lock pidfile /,
    codes: ['EAGAIN', 'EACCES'],
    mend: 'another instance is running: stop it first',
  },
  {
    attempted: /^open pidfile /,
    codes: ['EACCES', 'EPERM', 'EROFS', 'ENOENT'],
    mend: 'choose a path in a directory that exists and that this user may write',
  },
  { attempted: /^/, codes: ['EPERM', 'EACCES'], mend: ROOT },
];

export class NativeError extends Error implements NativeErrorShape {
  override readonly name = 'NativeError';
  /** errno name, for instance EPERM. */
  readonly code: string;
  readonly errno: number;
  /** What was tried, for instance `bind UDP 0.0.0.0:500`. */
  readonly attempted: string;
  /** Process that holds the pidfile; only of lockPidfile. */
  readonly holder?: number;

  /** `explanation` is strerror's text; a `holder` of 0 means none or not known. */
  constructor(code: string, errno: number, attempted: string, explanation: string, holder = 0) {
    const hint = HINTS.find((row) => row.codes.includes(code) && row.attempted.test(attempted));
    const held = holder > 0 ? `, held by process ${holder}` : '';
    super(`${attempted}: ${explanation} (${code})${held}${hint === undefined ? '' : `; ${hint.mend}`}`);
    this.code = code;
    this.errno = errno;
    this.attempted = attempted;
    if (holder > 0) this.holder = holder;
  }
}
