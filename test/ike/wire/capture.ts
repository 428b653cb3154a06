/** A pcap file of IKE messages on UDP 500 between 10.0.0.1 and 10.0.0.2, with raw IP as link layer (for tests). */

const LINKTYPE_RAW = 101;
const SNAP_LENGTH = 65535;
const IKE_PORT = 500;

export function ikev2Capture(messages: readonly Uint8Array[]): Uint8Array {
  const file = Buffer.alloc(24);
  file.writeUInt32LE(0xa1b2c3d4, 0);
  file.writeUInt16LE(2, 4);
  file.writeUInt16LE(4, 6);
  file.writeUInt32LE(SNAP_LENGTH, 16);
  file.writeUInt32LE(LINKTYPE_RAW, 20);
  const records = messages.map((message, index) => {
    const packet = udpPacket(message);
    const record = Buffer.alloc(16);
    record.writeUInt32LE(index + 1, 0);
    record.writeUInt32LE(packet.length, 8);
    record.writeUInt32LE(packet.length, 12);
    return Buffer.concat([record, packet]);
  });
  return Buffer.concat([file, ...records]);
}

function udpPacket(message: Uint8Array): Buffer {
  const headers = Buffer.alloc(28);
  headers[0] = 0x45;
  headers.writeUInt16BE(28 + message.length, 2);
  headers[8] = 64;
  headers[9] = 17;
  headers.set([10, 0, 0, 1, 10, 0, 0, 2], 12);
  headers.writeUInt16BE(IKE_PORT, 20);
  headers.writeUInt16BE(IKE_PORT, 22);
  headers.writeUInt16BE(8 + message.length, 24);
  return Buffer.concat([headers, message]);
}
