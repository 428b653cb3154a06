/** `[ADDRESS:]PORT` of --metrics and --http: loopback unless an address is given. */
import { isIP } from 'node:net';

export interface ListenAddress {
  /** Without brackets. */
  readonly address: string;
  /** 0: the kernel chooses, and the log says which. */
  readonly port: number;
}

const LOOPBACK = '127.0.0.1';

/** Undefined for what is none. An IPv6 address stands in brackets. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const [, given, digits = ''] = /^(?:(.*):)?(\d{1,5})$/s.exec(text) ?? [];
  const port = digits === '' ? -1 : Number(digits);
  if (port < 0 || port > 65535) return undefined;
  if (given === undefined) return { address: LOOPBACK, port };
  const bracketed = /^\[(.*)\]$/s.exec(given)?.[1];
  const address = bracketed ?? given;
  return isIP(address) === (bracketed === undefined ? 4 : 6) ? { address, port } : undefined;
}

export function listenAddressText({ address, port }: ListenAddress): string {
  return `${address.includes(':') ? `[${address}]` : address}:${port}`;
}

export function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}
