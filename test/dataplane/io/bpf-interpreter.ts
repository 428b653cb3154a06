/**
 * Runs a classic BPF program as the kernel does (Documentation/networking/filter.rst): a load beyond the packet ends
 * it with 0. `network` is what stands behind SKF_NET_OFF. Only what the programs of dataplane/io/bpf.ts use; anything else is an error.
 */

import type { BpfInstruction } from '../../../native-shims/types.ts';

const SKF_NET_OFF = 0xfff00000;

export function runFilter(program: readonly BpfInstruction[], packet: Uint8Array, network = packet): number {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const header = new DataView(network.buffer, network.byteOffset, network.byteLength);
  const memory = new Uint32Array(16);
  let a = 0;
  let x = 0;
  const has = (offset: number, bytes: number): boolean => offset + bytes <= packet.length;
  for (let pc = 0; pc < program.length; pc++) {
    const { code, jt, jf, k } = program[pc];
    switch (code) {
      case 0x20:
      case 0x40: {
        if (code === 0x20 && k >= SKF_NET_OFF) {
          a = header.getUint32(k - SKF_NET_OFF);
          break;
        }
        const at = code === 0x20 ? k : x + k;
        if (!has(at, 4)) return 0;
        a = view.getUint32(at);
        break;
      }
      case 0x28:
      case 0x48: {
        const at = code === 0x28 ? k : x + k;
        if (!has(at, 2)) return 0;
        a = view.getUint16(at);
        break;
      }
      case 0xb1:
        if (!has(k, 1)) return 0;
        x = (packet[k] & 15) * 4;
        break;
      case 0x01:
        x = k;
        break;
      case 0x61:
        x = memory[k];
        break;
      case 0x02:
        memory[k] = a;
        break;
      case 0x80:
        a = packet.length;
        break;
      case 0x04:
        a = (a + k) >>> 0;
        break;
      case 0x16:
        return a;
      case 0x54:
        a = (a & k) >>> 0;
        break;
      case 0x74:
        a >>>= k;
        break;
      case 0x94:
        a %= k;
        break;
      case 0xac:
        a = (a ^ x) >>> 0;
        break;
      case 0x07:
        x = a;
        break;
      case 0x15:
        pc += a === k ? jt : jf;
        break;
      case 0x35:
        pc += a >= k ? jt : jf;
        break;
      case 0x45:
        pc += (a & k) !== 0 ? jt : jf;
        break;
      case 0x06:
        return k;
      default:
        throw new Error(`BPF instruction 0x${code.toString(16)} is unknown to the interpreter`);
    }
  }
  throw new Error('the BPF program ends without a return');
}
