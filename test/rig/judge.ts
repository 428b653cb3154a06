/**
 * Independent judges of single packets: tshark decrypts ESP and IKEv2 with keys given, scapy seals and opens ESP.
 *
 * tshark reads keys from the files `esp_sa` and `ikev2_decryption_table` of a configuration directory, here a new one
 * for each call. The names of the algorithms are those that tshark 4.0 knows; what it cannot do: the ICV of ESN
 * packets shows as bad (it assumes 8 bytes of AAD).
 */
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './process.ts';
import type { Rig } from './rig.ts';
import { rigAsset } from './root.ts';

/** Keys of one ESP SA. Addresses and SPI default to any. */
export type EspKey = {
  readonly spi?: number;
  readonly source?: string;
  readonly destination?: string;
  readonly family?: 'IPv4' | 'IPv6';
  /** For AES-GCM with the 4 bytes of salt at its end. */
  readonly key: Buffer;
  /** Default AES-GCM with an ICV of 16 octets. */
  readonly encryption?: string;
  readonly integrity?: string;
  readonly integrityKey?: Buffer;
};

/** Keys of one IKE SA. For AEADs the keys carry the 4 bytes of salt, and the SK_a are empty. */
export type IkeKeys = {
  readonly initiatorSpi: string;
  readonly responderSpi: string;
  readonly skEi: Buffer;
  readonly skEr: Buffer;
  readonly skAi?: Buffer;
  readonly skAr?: Buffer;
  readonly encryption?: string;
  readonly integrity?: string;
};

const ESP_GCM = 'AES-GCM with 16 octet ICV [RFC4106]';
const IKE_GCM_256 = 'AES-GCM-256 with 16 octet ICV [RFC5282]';
const PREFERENCES = ['esp.enable_encryption_decode:TRUE', 'esp.enable_authentication_check:TRUE'];

/** Debian's scapy belongs to Debian's Python; another one may come first on PATH. */
const PYTHON = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';

const hex = (bytes: Buffer | undefined) => (bytes === undefined || bytes.length === 0 ? '' : bytes.toString('hex'));
const row = (...cells: string[]) => `${cells.map((cell) => `"${cell}"`).join(',')}\n`;

function espRow(sa: EspKey): string {
  const spi = sa.spi === undefined ? '*' : `0x${sa.spi.toString(16).padStart(8, '0')}`;
  const ends = [sa.family ?? 'IPv4', sa.source ?? '*', sa.destination ?? '*', spi];
  const integrityKey = sa.integrityKey === undefined ? '' : `0x${hex(sa.integrityKey)}`;
  return row(...ends, sa.encryption ?? ESP_GCM, `0x${hex(sa.key)}`, sa.integrity ?? 'NULL', integrityKey);
}

function ikeRow(sa: IkeKeys): string {
  const keys = [hex(sa.skEi), hex(sa.skEr), `"${sa.encryption ?? IKE_GCM_256}"`];
  const integrity = [hex(sa.skAi), hex(sa.skAr), `"${sa.integrity ?? 'NONE [RFC4306]'}"`];
  return `${[sa.initiatorSpi, sa.responderSpi, ...keys, ...integrity].join(',')}\n`;
}

/**
 * Decodes a capture with tshark: one record per packet that passes `filter` (a display filter), with the values of
 * `fields` (a field that occurs more than once has its values joined by commas; absent ones are '').
 */
export async function tshark<Field extends string>(
  rig: Rig,
  capture: string,
  {
    fields,
    filter,
    esp = [],
    ike = [],
  }: { fields: readonly Field[]; filter?: string; esp?: readonly EspKey[]; ike?: readonly IkeKeys[] },
): Promise<Record<Field, string>[]> {
  const directory = mkdtempSync(join(rig.directory, 'wireshark-'));
  writeFileSync(join(directory, 'esp_sa'), esp.map(espRow).join(''));
  writeFileSync(join(directory, 'ikev2_decryption_table'), ike.map(ikeRow).join(''));
  const args = ['-n', '-r', capture, '-T', 'fields', '-E', 'separator=/t'];
  args.push(...PREFERENCES.flatMap((preference) => ['-o', preference]));
  args.push(...(filter === undefined ? [] : ['-Y', filter]), ...fields.flatMap((field) => ['-e', field]));
  const { stdout } = await run({ command: 'tshark', args, env: { WIRESHARK_CONFIG_DIR: directory } }, { ms: 60_000 });
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const cells = line.split('\t');
      return Object.fromEntries(fields.map((field, index) => [field, cells[index] ?? ''])) as Record<Field, string>;
    });
}

/** What scapy needs to know of an ESP SA in order to handle one packet. */
export type ScapyRequest = {
  readonly spi: number;
  /** Low 32 bits; with `esn` the high 32 bits beside. */
  readonly sequence?: number;
  readonly esn?: number;
  /** With the salt at its end. */
  readonly key: Buffer;
  /** scapy's name; default AES-GCM. */
  readonly algorithm?: string;
  /** 8 bytes; default random. Only for sealing. */
  readonly iv?: Buffer;
  /** An IP datagram, with its IP header. */
  readonly packet: Buffer;
};

async function scapy(op: 'seal' | 'open', { key, iv, packet, ...rest }: ScapyRequest): Promise<Buffer> {
  const bytes = { key: hex(key), packet: hex(packet), ...(iv === undefined ? {} : { iv: hex(iv) }) };
  const command = { command: PYTHON, args: [rigAsset('scapy-esp.py')], name: `scapy ${op}` };
  const { stdout } = await run(command, { input: JSON.stringify({ op, ...bytes, ...rest }) });
  const answer = JSON.parse(stdout) as { packet?: string; error?: string };
  if (answer.packet === undefined) throw new Error(`scapy could not ${op} the packet: ${answer.error}`);
  return Buffer.from(answer.packet, 'hex');
}

/** Gives the ESP datagram, in transport mode, that scapy makes of an IP datagram. */
export function scapySeal(request: ScapyRequest): Promise<Buffer> {
  return scapy('seal', request);
}

/** Gives the IP datagram within an ESP datagram. @throws if scapy finds the ICV wrong. */
export function scapyOpen(request: Omit<ScapyRequest, 'iv'>): Promise<Buffer> {
  return scapy('open', request);
}

const SEND_RAW = `import socket, sys
data = bytes.fromhex(sys.stdin.read())
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.sendto(data, (socket.inet_ntoa(data[16:20]), 0))`;

/** Sends an IPv4 datagram as it is from a namespace; the kernel sets its header checksum. */
export async function sendDatagram(namespace: string, datagram: Buffer): Promise<void> {
  const command = { command: PYTHON, args: ['-c', SEND_RAW], namespace, name: 'sending a raw datagram' };
  await run(command, { input: hex(datagram) });
}

/** True if Python has scapy, and the `cryptography` that its IPsec layer needs. */
export async function scapyIsThere(): Promise<boolean> {
  const probe = { command: PYTHON, args: ['-c', 'import scapy.layers.ipsec, cryptography'] };
  return (await run(probe, { expect: 'any' }).catch(() => ({ status: 1 }))).status === 0;
}
