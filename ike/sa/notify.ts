/** Finding payloads in a message, and making notifies (RFC 7296 §3.10): the small change of every task. */

import { FIRST_STATUS_NOTIFY } from '../wire/names.ts';
import type { NotifyPayload, Payload, PayloadOf, PayloadType } from '../wire/payloads.ts';

const EMPTY = new Uint8Array(0);

/** A notify about the IKE SA or about nothing in particular: no protocol, no SPI. */
export function notify(type: number, data: Uint8Array = EMPTY): NotifyPayload {
  return { type: 'N', protocol: 'NONE', spi: EMPTY, notify: type, data };
}

/** A notify about a child SA: REKEY_SA and CHILD_SA_NOT_FOUND. */
export function childNotify(type: number, spi: Uint8Array): NotifyPayload {
  return { type: 'N', protocol: 'ESP', spi, notify: type, data: EMPTY };
}

/** The first payload of a type. */
export function find<T extends PayloadType>(payloads: readonly Payload[], type: T): PayloadOf<T> | undefined {
  return payloads.find((payload): payload is PayloadOf<T> => payload.type === type);
}

export function findAll<T extends PayloadType>(payloads: readonly Payload[], type: T): PayloadOf<T>[] {
  return payloads.filter((payload): payload is PayloadOf<T> => payload.type === type);
}

export function findNotify(payloads: readonly Payload[], type: number): NotifyPayload | undefined {
  return findAll(payloads, 'N').find((payload) => payload.notify === type);
}

/** The first notify that reports an error. */
export function findError(payloads: readonly Payload[]): NotifyPayload | undefined {
  return findAll(payloads, 'N').find((payload) => payload.notify < FIRST_STATUS_NOTIFY);
}

/** SPIs 0 to 255 are reserved (RFC 4303 §2.1). */
const FIRST_SPI = 256;

/** The SPI of an ESP SA as number, or undefined if the bytes are none. */
export function readSpi(bytes: Uint8Array): number | undefined {
  if (bytes.length !== 4) return undefined;
  const spi = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0);
  return spi < FIRST_SPI ? undefined : spi;
}

export function writeSpi(spi: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, spi);
  return bytes;
}
