/**
 * Keys of IKE SAs out of the log of a charon that runs with `verbose` (log level 4 of IKE): for tshark, and to
 * compare key derivation with. Test keys only, of course.
 */

/** The keys that charon derived for one IKE SA (RFC 7296 §2.14); the SPIs are in `listSas`. */
export type IkeSecrets = {
  readonly skD: Buffer;
  /** With the salt at its end for AEADs. */
  readonly skEi: Buffer;
  readonly skEr: Buffer;
  /** Empty for AEADs. */
  readonly skAi: Buffer;
  readonly skAr: Buffer;
  readonly skPi: Buffer;
  readonly skPr: Buffer;
};

const START = /\] Sk_(d|ei|er|ai|ar|pi|pr) secret => (\d+) bytes/;
const DUMP = /\]\s+\d+: ((?:[0-9A-F]{2} ?)+)/;

/** The secrets of all IKE SAs in the log, in the order in which they were derived. */
export function parseIkeSecrets(log: string): IkeSecrets[] {
  const found: Record<string, Buffer>[] = [];
  const lines = log.split('\n');
  for (const [index, line] of lines.entries()) {
    const start = START.exec(line);
    if (start === null) continue;
    const [name, length] = [start[1]!, Number(start[2])];
    if (name === 'd') found.push({});
    // 16 bytes a line; the text column behind a full line begins after two spaces.
    const dump = lines.slice(index + 1, index + 1 + Math.ceil(length / 16));
    const bytes = Buffer.from(
      dump
        .map((text) => DUMP.exec(text)?.[1] ?? '')
        .join('')
        .replaceAll(' ', ''),
      'hex',
    );
    if (bytes.length < length) throw new Error(`charon's log dumps ${bytes.length} of ${length} bytes of Sk_${name}`);
    const current = found.at(-1);
    if (current !== undefined) current[name] = bytes.subarray(0, length);
  }
  const part = (secrets: Record<string, Buffer>, name: string) => secrets[name] ?? Buffer.alloc(0);
  return found.map((secrets) => ({
    skD: part(secrets, 'd'),
    skEi: part(secrets, 'ei'),
    skEr: part(secrets, 'er'),
    skAi: part(secrets, 'ai'),
    skAr: part(secrets, 'ar'),
    skPi: part(secrets, 'pi'),
    skPr: part(secrets, 'pr'),
  }));
}
