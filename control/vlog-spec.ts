/**
 * What `vlog/set` and `--verbose` take (ovs-appctl(8)): words for module, destination and level in any order,
 * `PATTERN:destination:pattern`, or `FACILITY:facility`. The sentences for mistakes are those of OVS.
 */

/** From silent to talkative: a destination at a level shows that one and all before it. */
export const LEVELS = ['off', 'emer', 'err', 'warn', 'info', 'dbg'] as const;
export const DESTINATIONS = ['console', 'syslog', 'file'] as const;

export type Level = (typeof LEVELS)[number];
export type Destination = (typeof DESTINATIONS)[number];

/** RFC 5424 §6.2.1, with the names of syslog(3). */
export const FACILITIES: Readonly<Record<string, number>> = {
  kern: 0,
  user: 1,
  mail: 2,
  daemon: 3,
  auth: 4,
  syslog: 5,
  lpr: 6,
  news: 7,
  uucp: 8,
  clock: 9,
  ftp: 11,
  ntp: 12,
  audit: 13,
  alert: 14,
  clock2: 15,
  local0: 16,
  local1: 17,
  local2: 18,
  local3: 19,
  local4: 20,
  local5: 21,
  local6: 22,
  local7: 23,
};

export type VlogChange =
  | {
      /** Undefined: every module. */
      readonly module: string | undefined;
      readonly destinations: readonly Destination[];
      readonly level: Level;
    }
  | { readonly pattern: string; readonly destinations: readonly Destination[] }
  | { readonly facility: number }
  | { readonly error: string };

/** Reads one specification. No level means dbg, no destination all of them, no module every one. */
export function parseVlogSpec(spec: string, isModule: (name: string) => boolean): VlogChange {
  const [, kind, rest = ''] = /^(PATTERN|FACILITY)\b:?(.*)$/is.exec(spec) ?? [];
  if (kind?.toUpperCase() === 'PATTERN') return parsePattern(rest);
  if (kind?.toUpperCase() === 'FACILITY') {
    const facility = Object.hasOwn(FACILITIES, rest.toLowerCase()) ? FACILITIES[rest.toLowerCase()] : undefined;
    return facility === undefined ? { error: 'invalid facility' } : { facility };
  }
  let module: string | undefined;
  let destination: Destination | undefined;
  let level: Level | undefined;
  for (const word of spec.split(/[ :,\t]+/).filter((text) => text !== '')) {
    const lower = word.toLowerCase();
    const asDestination = DESTINATIONS.find((name) => name === lower);
    const asLevel = LEVELS.find((name) => name === lower);
    if (lower === 'any') continue;
    if (asDestination !== undefined) {
      if (destination !== undefined) return { error: 'cannot specify multiple destinations' };
      destination = asDestination;
    } else if (asLevel !== undefined) {
      if (level !== undefined) return { error: 'cannot specify multiple levels' };
      level = asLevel;
    } else if (isModule(lower.replaceAll('-', '_')) || isModule(word)) {
      if (module !== undefined) return { error: 'cannot specify multiple modules' };
      module = isModule(word) ? word : lower.replaceAll('-', '_');
    } else {
      return { error: `no destination, level, or module "${word}"` };
    }
  }
  return { module, destinations: destination === undefined ? DESTINATIONS : [destination], level: level ?? 'dbg' };
}

function parsePattern(rest: string): VlogChange {
  const [, name = '', pattern] = /^([^:]*):(.*)$/s.exec(rest) ?? [undefined, rest];
  const lower = name.toLowerCase();
  if (lower !== 'any' && !DESTINATIONS.some((destination) => destination === lower)) {
    return { error: `unknown destination "${name}"` };
  }
  if (pattern === undefined) return { error: 'missing pattern' };
  return { pattern, destinations: DESTINATIONS.filter((destination) => lower === 'any' || destination === lower) };
}
