/**
 * Keys of ESP SAs in the form of Wireshark's `esp_sa` file, a line for each direction: what decrypts a capture. Only for
 * `pcap/start --keylog` and `--keylog`; nothing else of the daemon ever writes a key.
 *
 * The key is followed by its salt, and the name of the cipher is the one whose ICV Wireshark checks too. It takes
 * packets of an SA with extended sequence numbers for unauthentic, because it does not know their high half.
 */
import type { ChildSa } from '../../ike/index.ts';

const CIPHERS: Readonly<Partial<Record<ChildSa['algorithm'], string>>> = {
  aes128gcm16: 'AES-GCM with 16 octet ICV [RFC4106]',
  aes192gcm16: 'AES-GCM with 16 octet ICV [RFC4106]',
  aes256gcm16: 'AES-GCM with 16 octet ICV [RFC4106]',
  chacha20poly1305: 'ChaCha20 with Poly1305 [RFC7634]',
};

/** The two lines of one child SA. */
export function espKeyLines(sa: ChildSa): string {
  const local = sa.tsLocal[0]?.startAddress ?? '*';
  const remote = sa.tsRemote[0]?.startAddress ?? '*';
  return (
    line(local, remote, sa.outboundSpi, sa.algorithm, sa.outboundKey) +
    line(remote, local, sa.inboundSpi, sa.algorithm, sa.inboundKey)
  );
}

function line(from: string, to: string, spi: number, algorithm: ChildSa['algorithm'], key: Uint8Array): string {
  const family = from.includes(':') ? 'IPv6' : 'IPv4';
  const hex = (value: number): string => `0x${value.toString(16).padStart(8, '0')}`;
  const fields = [family, from, to, hex(spi), CIPHERS[algorithm], `0x${Buffer.from(key).toString('hex')}`, 'NULL', ''];
  return `${fields.map((field) => `"${field}"`).join(',')}\n`;
}
