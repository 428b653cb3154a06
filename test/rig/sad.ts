/**
 * Reads the SAs that a daemon under null-sad.c would have installed: netlink messages XFRM_MSG_NEWSA and UPDSA
 * (linux/xfrm.h: struct xfrm_usersa_info and its attributes), host byte order, as on x86-64 and arm64.
 */
import { existsSync, readFileSync } from 'node:fs';

/** Offsets within a message: struct nlmsghdr (16), then struct xfrm_usersa_info (224), then attributes. */
const OFFSET = {
  length: 0,
  type: 4,
  selectorDestinationPort: 16 + 32,
  selectorSourcePort: 16 + 36,
  selectorProtocol: 16 + 44,
  destination: 16 + 56,
  spi: 16 + 72,
  source: 16 + 80,
  family: 16 + 212,
  mode: 16 + 214,
  replayWindow: 16 + 215,
  flags: 16 + 216,
  attributes: 16 + 224,
} as const;
const XFRM_STATE_ESN = 128;
const XFRMA = { crypt: 2, encap: 4, aead: 18, authTruncated: 20, replayEsn: 23 } as const;
const ALGORITHM_NAME = 64;

/** One SA as the kernel would have got it. */
export type InstalledSa = {
  readonly source: string;
  readonly destination: string;
  readonly spi: number;
  readonly mode: 'transport' | 'tunnel';
  /** Kernel names: `rfc4106(gcm(aes))`, `cbc(aes)`, `hmac(sha256)`. */
  readonly encryption: string;
  /** With the salt at its end for AEADs. */
  readonly encryptionKey: Buffer;
  readonly integrity: string;
  readonly integrityKey: Buffer;
  readonly esn: boolean;
  readonly udpEncapsulated: boolean;
  readonly replayWindow: number;
  /** Of the selector: IP protocol and ports in host order, 0 for any. */
  readonly selector: { readonly protocol: number; readonly sourcePort: number; readonly destinationPort: number };
};

function address(message: Buffer, at: number, family: number): string {
  if (family === 2) return message.subarray(at, at + 4).join('.');
  return Array.from({ length: 8 }, (_, index) => message.readUInt16BE(at + index * 2).toString(16)).join(':');
}

/** struct xfrm_algo and its kin: a name, the key's length in bits, for AEAD and truncated integrity one more word, the key. */
function algorithm(attribute: Buffer | undefined, keyOffset: number): { name: string; key: Buffer } {
  if (attribute === undefined) return { name: '', key: Buffer.alloc(0) };
  const name = attribute.subarray(0, attribute.indexOf(0)).toString('latin1');
  const bytes = attribute.readUInt32LE(ALGORITHM_NAME) / 8;
  return { name, key: attribute.subarray(keyOffset, keyOffset + bytes) };
}

function parseSa(message: Buffer): InstalledSa {
  const attributes = new Map<number, Buffer>();
  for (let at: number = OFFSET.attributes; at + 4 <= message.length; ) {
    const length = message.readUInt16LE(at);
    if (length < 4) break;
    attributes.set(message.readUInt16LE(at + 2), message.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  const family = message.readUInt16LE(OFFSET.family);
  const aead = algorithm(attributes.get(XFRMA.aead), ALGORITHM_NAME + 8);
  const encryption = aead.name === '' ? algorithm(attributes.get(XFRMA.crypt), ALGORITHM_NAME + 4) : aead;
  const integrity = algorithm(attributes.get(XFRMA.authTruncated), ALGORITHM_NAME + 8);
  // struct xfrm_replay_state_esn: words bmp_len, oseq, seq, oseq_hi, seq_hi, replay_window.
  const esnWindow = attributes.get(XFRMA.replayEsn)?.readUInt32LE(20);
  return {
    source: address(message, OFFSET.source, family),
    destination: address(message, OFFSET.destination, family),
    spi: message.readUInt32BE(OFFSET.spi),
    mode: message[OFFSET.mode] === 0 ? 'transport' : 'tunnel',
    encryption: encryption.name,
    encryptionKey: encryption.key,
    integrity: integrity.name,
    integrityKey: integrity.key,
    esn: (message[OFFSET.flags]! & XFRM_STATE_ESN) !== 0,
    udpEncapsulated: attributes.has(XFRMA.encap),
    replayWindow: esnWindow ?? message[OFFSET.replayWindow]!,
    selector: {
      protocol: message[OFFSET.selectorProtocol]!,
      sourcePort: message.readUInt16BE(OFFSET.selectorSourcePort),
      destinationPort: message.readUInt16BE(OFFSET.selectorDestinationPort),
    },
  };
}

/** Reads all SAs from a NULL_SAD_LOG file, oldest first; none if there is no file yet. */
export function readInstalledSas(path: string): InstalledSa[] {
  if (!existsSync(path)) return [];
  const bytes = readFileSync(path);
  const sas: InstalledSa[] = [];
  for (let at = 0; at + OFFSET.attributes <= bytes.length; ) {
    const length = bytes.readUInt32LE(at + OFFSET.length);
    if (length < OFFSET.attributes) throw new Error(`${path}: a message of ${length} bytes at ${at} is no SA`);
    sas.push(parseSa(bytes.subarray(at, at + length)));
    at += length;
  }
  return sas;
}
