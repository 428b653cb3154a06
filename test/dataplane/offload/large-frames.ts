/**
 * Large TCP and UDP frames as the kernel hands them over, and what they are as segments: written down anew, byte by byte
 * and with whole checksums, so that nothing is shared with what is tested.
 */

import fc from 'fast-check';

export interface LargeFrame {
  readonly version: 4 | 6;
  readonly protocol: 'tcp' | 'udp';
  /** Bytes of 802.1Q tags. */
  readonly tags: number;
  readonly id: number;
  readonly tos: number;
  readonly sequence: number;
  /** TCP flags of the whole. */
  readonly flags: number;
  /** TCP options, a multiple of 4 bytes. */
  readonly options: Uint8Array;
  readonly payload: Uint8Array;
  readonly ports: readonly [number, number];
}

export const FIN = 1;
export const SYN = 2;
export const PSH = 8;
export const ACK = 16;
export const CWR = 128;
const VNET = 10;

const be16 = (value: number) => [(value >>> 8) & 255, value & 255];
const be32 = (value: number) => [...be16(value >>> 16), ...be16(value)];

/** RFC 1071, word by word. */
export function internetSum(bytes: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i]! * 256 + (i + 1 < bytes.length ? bytes[i + 1]! : 0);
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return sum;
}

export function headerLength(frame: LargeFrame): number {
  return transportAt(frame) + (frame.protocol === 'tcp' ? 20 + frame.options.length : 8);
}

export function transportAt(frame: LargeFrame): number {
  return 14 + frame.tags + (frame.version === 4 ? 20 : 40);
}

const SOURCE = { 4: [10, 0, 0, 1], 6: [0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] };
const DESTINATION = { 4: [10, 0, 0, 2], 6: [0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2] };

/** The sum of addresses, protocol and length. */
function pseudoSum(frame: LargeFrame, length: number): number {
  const { version, protocol } = frame;
  return internetSum([...SOURCE[version], ...DESTINATION[version], 0, protocol === 'tcp' ? 6 : 17, ...be32(length)]);
}

/**
 * One frame with all its headers. `checksum` gives the TCP or UDP checksum field for the sum over pseudo-header, header and
 * payload.
 */
function build(
  frame: LargeFrame,
  part: { id: number; sequence: number; flags: number; payload: Uint8Array },
  checksum: (whole: number, pseudo: number) => number,
): Uint8Array {
  const { version, protocol, tags, tos, ports, options } = frame;
  const type = version === 4 ? [8, 0] : [0x86, 0xdd];
  const vlan = [0x81, 0, 0x60, 5, 0x81, 0, 0, 7].slice(0, tags);
  const ethernet = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, ...vlan, ...type];
  const length = (protocol === 'tcp' ? 20 + options.length : 8) + part.payload.length;
  const header = (field: number) =>
    protocol === 'tcp'
      ? [
          ...be16(ports[0]),
          ...be16(ports[1]),
          ...be32(part.sequence),
          ...be32(0x01020304),
          (20 + options.length) << 2,
          part.flags,
          ...be16(500),
          ...be16(field),
          0,
          0,
          ...options,
        ]
      : [...be16(ports[0]), ...be16(ports[1]), ...be16(length), ...be16(field)];
  const pseudo = pseudoSum(frame, length);
  const whole = internetSum([...be16(pseudo), ...header(0), ...part.payload]);
  const protocolNumber = protocol === 'tcp' ? 6 : 17;
  const ip = (sum: number) =>
    version === 4
      ? [0x45, tos, ...be16(20 + length), ...be16(part.id), 0x40, 0, 64, protocolNumber, ...be16(sum), ...SOURCE[4]]
      : [0x60 | (tos >> 4), (tos & 15) << 4, 0x12, 0x34, ...be16(length), protocolNumber, 64, ...SOURCE[6]];
  const address = DESTINATION[version];
  const ipSum = version === 4 ? ~internetSum([...ip(0), ...address]) & 0xffff : 0;
  return Uint8Array.from([...ethernet, ...ip(ipSum), ...address, ...header(checksum(whole, pseudo)), ...part.payload]);
}

const complete = (protocol: 'tcp' | 'udp') => (whole: number) => {
  const value = ~whole & 0xffff;
  return value === 0 && protocol === 'udp' ? 0xffff : value;
};

/** The frame behind its vnet header, as Linux hands it over: to be cut into segments of `size`, checksum open. */
export function withVnetHeader(frame: LargeFrame, size: number): Uint8Array {
  const start = transportAt(frame);
  const type = frame.protocol === 'udp' ? 5 : frame.version === 4 ? 1 : 4;
  const whole = build(frame, frame, (_, pseudo) => pseudo);
  const ecn = (frame.flags & CWR) !== 0 && frame.protocol === 'tcp' ? 0x80 : 0;
  const bytes = new Uint8Array(VNET + whole.length);
  bytes.set([1, type | ecn]);
  new Uint16Array(bytes.buffer, 2, 4).set([headerLength(frame), size, start, frame.protocol === 'tcp' ? 16 : 6]);
  bytes.set(whole, VNET);
  return bytes;
}

/** What stands on the wire in its place. */
export function segmentsOf(frame: LargeFrame, size: number): Uint8Array[] {
  const { payload, protocol } = frame;
  const count = Math.ceil(payload.length / size);
  return Array.from({ length: count }, (_, i) => {
    let flags = frame.flags;
    if (i > 0) flags &= ~CWR;
    if (i < count - 1) flags &= ~(FIN | PSH);
    const part = {
      id: (frame.id + i) & 0xffff,
      sequence: (frame.sequence + i * size) >>> 0,
      flags,
      payload: payload.subarray(i * size, (i + 1) * size),
    };
    return build(frame, part, complete(protocol));
  });
}

/** A frame that stands alone on the wire. */
export function plainFrame(frame: LargeFrame): Uint8Array {
  return build(frame, frame, complete(frame.protocol));
}

const options = fc.constantFrom(
  new Uint8Array(0),
  Uint8Array.from([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
  new Uint8Array(40).fill(1),
);

/** Any large frame and segment size; at most 60 segments. */
export function largeFrames(most = 8_000): fc.Arbitrary<{ frame: LargeFrame; size: number }> {
  return fc
    .record({
      version: fc.constantFrom(4 as const, 6 as const),
      protocol: fc.constantFrom('tcp' as const, 'tcp' as const, 'udp' as const),
      tags: fc.constantFrom(0, 0, 4, 8),
      id: fc.nat(0xffff),
      tos: fc.nat(255),
      sequence: fc.nat(0xffffffff),
      flags: fc.constantFrom(ACK, ACK | PSH, ACK | FIN | PSH, ACK | CWR, ACK | PSH | CWR | FIN),
      options,
      size: fc.integer({ min: 1, max: 1448 }),
      length: fc.integer({ min: 1, max: most }),
      seed: fc.nat(0xffff),
      ports: fc.tuple(fc.nat(0xffff), fc.nat(0xffff)),
    })
    .map(({ size, length, seed, ...rest }) => {
      const bytes = Math.min(length, size * 60);
      let state = seed | 1;
      const payload = Uint8Array.from({ length: bytes }, () => {
        state = (Math.imul(state, 1103515245) + 12345) | 0;
        return state >>> 16;
      });
      return { frame: { ...rest, payload, options: rest.protocol === 'tcp' ? rest.options : new Uint8Array(0) }, size };
    });
}
