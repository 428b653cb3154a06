/**
 * `--keylog=DIRECTORY`: every key of IKE and ESP, in the two tables that Wireshark decrypts captures with
 * (`ikev2_decryption_table`, `esp_sa`, to be put in its profile directory). Whoever reads them reads all traffic: off by
 * default, files of mode 0600, and a warning at each start.
 *
 * Wireshark takes one set of keys an IKE SA. Those that an additional key exchange replaced (RFC 9370) are in profile
 * directories of their own, `intermediate-1` beside the tables: what decrypts the last IKE_INTERMEDIATE; `-2` the one before.
 */
import { appendFileSync, chmodSync, closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { ChildSa, IkeKeyLog } from '../ike/index.ts';
import { transformText } from '../ike/index.ts';
import { espKeyLines } from './pcap/esp-keys.ts';

const OWNER_ONLY = 0o600;
const IKE_TABLE = 'ikev2_decryption_table';

function makeFile(file: string): void {
  closeSync(openSync(file, 'a', OWNER_ONLY));
  chmodSync(file, OWNER_ONLY);
}

/** Wireshark's words, by ours. It has no ChaCha20-Poly1305 for IKE: such a line it does not take. */
const ENCRYPTION: Readonly<Record<string, string>> = {
  AES_GCM_16_256: 'AES-GCM-256 with 16 octet ICV [RFC5282]',
  AES_GCM_16_192: 'AES-GCM-192 with 16 octet ICV [RFC5282]',
  AES_GCM_16_128: 'AES-GCM-128 with 16 octet ICV [RFC5282]',
  AES_CBC_256: 'AES-CBC-256 [RFC3602]',
  AES_CBC_192: 'AES-CBC-192 [RFC3602]',
  AES_CBC_128: 'AES-CBC-128 [RFC3602]',
};
const INTEGRITY: Readonly<Record<string, string>> = {
  HMAC_SHA2_256_128: 'HMAC_SHA2_256_128 [RFC4868]',
  HMAC_SHA2_384_192: 'HMAC_SHA2_384_192 [RFC4868]',
  HMAC_SHA2_512_256: 'HMAC_SHA2_512_256 [RFC4868]',
};
const NO_INTEGRITY = 'NONE [RFC4306]';

/** A line of ikev2_decryption_table, or undefined: Wireshark has no name for the cipher. */
export function ikeKeyLine(keys: IkeKeyLog): string | undefined {
  const encryption = ENCRYPTION[transformText(keys.encryption)];
  const integrity = keys.integrity === undefined ? NO_INTEGRITY : INTEGRITY[transformText(keys.integrity)];
  if (encryption === undefined || integrity === undefined) return undefined;
  const hex = (key: Uint8Array): string => Buffer.from(key).toString('hex');
  const { initiatorSpi, responderSpi, skEi, skEr, skAi, skAr } = keys;
  return `${initiatorSpi},${responderSpi},${hex(skEi)},${hex(skEr)},"${encryption}",${hex(skAi)},${hex(skAr)},"${integrity}"\n`;
}

export class KeyLog {
  readonly #directory: string;
  readonly #ikeTable: string;
  readonly #espTable: string;

  /** Makes directory and files. @throws Error of node:fs if they can't be written. */
  constructor(directory: string) {
    this.#directory = directory;
    this.#ikeTable = join(directory, IKE_TABLE);
    this.#espTable = join(directory, 'esp_sa');
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    for (const file of [this.#ikeTable, this.#espTable]) makeFile(file);
  }

  ikeSa(keys: IkeKeyLog): void {
    const line = ikeKeyLine(keys);
    if (line !== undefined) appendFileSync(this.#ikeTableFor(keys.exchangesToCome), line);
  }

  #ikeTableFor(exchangesToCome: number): string {
    if (exchangesToCome === 0) return this.#ikeTable;
    const directory = join(this.#directory, `intermediate-${exchangesToCome}`);
    const table = join(directory, IKE_TABLE);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    makeFile(table);
    return table;
  }

  childSa(sa: ChildSa): void {
    appendFileSync(this.#espTable, espKeyLines(sa));
  }
}
