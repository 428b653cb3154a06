/** IPv4 addresses: text on one side, the int32 in network order that the packet path compares on the other. */

const OCTET = /^(?:0|[1-9]\d{0,2})$/;

/** 10.0.0.1 is 0x0a000001, 192.0.2.1 a negative number. undefined: not an IPv4 address in dotted decimal. */
export function parseIpv4(text: string): number | undefined {
  const octets = text.split('.');
  if (octets.length !== 4) return undefined;
  let value = 0;
  for (const octet of octets) {
    if (!OCTET.test(octet) || Number(octet) > 255) return undefined;
    value = (value << 8) | Number(octet);
  }
  return value;
}

export function formatIpv4(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}
