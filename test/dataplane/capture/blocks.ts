/** Reads pcapng blocks back, for tests: type, lengths checked, packets with their options. */
import { expect } from 'vitest';

export interface Block {
  readonly type: number;
  readonly body: DataView;
}

export interface PacketRecord {
  readonly point: number;
  readonly micros: number;
  readonly bytes: Uint8Array;
  readonly flags: number | undefined;
  readonly comment: string | undefined;
}

export function blocksOf(file: Uint8Array): Block[] {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const blocks: Block[] = [];
  for (let at = 0; at < file.length; ) {
    const total = view.getUint32(at + 4, true);
    expect(total % 4).toBe(0);
    expect(at + total).toBeLessThanOrEqual(file.length);
    expect(view.getUint32(at + total - 4, true)).toBe(total);
    blocks.push({
      type: view.getUint32(at, true),
      body: new DataView(file.buffer, file.byteOffset + at + 8, total - 12),
    });
    at += total;
  }
  return blocks;
}

export function packetsOf(file: Uint8Array): PacketRecord[] {
  return blocksOf(file)
    .filter(({ type }) => type === 6)
    .map(({ body }) => {
      const length = body.getUint32(12, true);
      const options = new Map<number, Uint8Array>();
      for (let at = 20 + ((length + 3) & ~3); at < body.byteLength; ) {
        const [code, size] = [body.getUint16(at, true), body.getUint16(at + 2, true)];
        if (code === 0) break;
        options.set(code, new Uint8Array(body.buffer, body.byteOffset + at + 4, size).slice());
        at += 4 + ((size + 3) & ~3);
      }
      const comment = options.get(1);
      return {
        point: body.getUint32(0, true),
        micros: body.getUint32(4, true) * 2 ** 32 + body.getUint32(8, true),
        bytes: new Uint8Array(body.buffer, body.byteOffset + 20, length).slice(),
        flags: options.get(2)?.[0],
        comment: comment === undefined ? undefined : new TextDecoder().decode(comment),
      };
    });
}
