import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DROP } from '../../../dataplane/drops.ts';
import {
  TCP_ACK,
  TCP_PSH,
  tcpDestinationPort,
  tcpHeaderLength,
  tcpSequence,
  tcpSourcePort,
  writeTcp,
} from '../../../dataplane/wire/tcp.ts';
import { checkUdp, udpChecksum, udpDestinationPort, udpSourcePort, writeUdp } from '../../../dataplane/wire/udp.ts';

const port = fc.nat(65535);

describe('the UDP header', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(port, port, fc.integer({ min: 8, max: 65535 }), (source, destination, length) => {
        const bytes = new Uint8Array(8).fill(0xaa);
        writeUdp(bytes, 0, source, destination, length);
        expect(checkUdp(bytes, 0, length)).toBe(length);
        expect(udpSourcePort(bytes, 0)).toBe(source);
        expect(udpDestinationPort(bytes, 0)).toBe(destination);
        expect(udpChecksum(bytes, 0)).toBe(0);
      }),
    );
  });

  it('is refused when cut anywhere', () => {
    const bytes = new Uint8Array(12);
    writeUdp(bytes, 0, 1, 2, 12);
    for (let length = 0; length < 12; length++) {
      expect(checkUdp(bytes, 0, length)).toBe(-DROP[length < 8 ? 'udp-too-short' : 'udp-length']);
    }
  });

  it('is refused with a length below 8', () => {
    const bytes = new Uint8Array(12);
    writeUdp(bytes, 0, 1, 2, 7);
    expect(checkUdp(bytes, 0, 12)).toBe(-DROP['udp-length']);
  });
});

describe('the TCP header', () => {
  it('is written byte for byte', () => {
    const bytes = new Uint8Array(20).fill(0xaa);
    writeTcp(bytes, 0, 0x0102, 0x0304, 0x05060708, 0x090a0b0c, TCP_ACK | TCP_PSH, 0xffff);
    expect(Buffer.from(bytes).toString('hex')).toBe('0102030405060708090a0b0c5018ffff00000000');
    expect(tcpSourcePort(bytes, 0)).toBe(0x0102);
    expect(tcpDestinationPort(bytes, 0)).toBe(0x0304);
    expect(tcpSequence(bytes, 0)).toBe(0x05060708);
  });

  it('has the length of its data offset, and none where that is below 20 bytes or beyond the packet', () => {
    const bytes = new Uint8Array(60);
    for (let words = 0; words < 16; words++) {
      bytes[12] = words << 4;
      for (let length = 0; length <= 60; length++) {
        const fits = length >= 20 && words >= 5 && words * 4 <= length;
        expect(tcpHeaderLength(bytes, 0, length)).toBe(fits ? words * 4 : 0);
      }
    }
  });
});
