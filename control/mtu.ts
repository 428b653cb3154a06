/**
 * How large an inner packet may be so that the tunnel packet fits the underlay unfragmented.
 *
 * The header stack is outer IPv4 or IPv6, ESP with its IV, trailer and ICV (RFC 4303 §2, RFC 4106 §2), the tunnel
 * header, and the inner Ethernet header. The ESP text is padded to a multiple of 4 bytes.
 */

const IP_HEADER = { 4: 20, 6: 40 } as const;
const ETHERNET_HEADER = 14;
/** SPI, sequence number, 8-byte IV and 16-byte ICV: the same for all four AEADs. */
const ESP_FIXED = 8 + 8 + 16;
/** Pad length and next header, before padding. */
const ESP_TRAILER = 2;
const ESP_ALIGNMENT = 4;

/** The smallest MTU an IPv4 device may have (RFC 791); a TAP gets no less. */
export const SMALLEST_MTU = 576;

const UDP_HEADER = 8;

/** What is sealed and how it travels; undefined: nothing is sealed. */
export interface EspLayers {
  /** An inner IP header (RFC 4303 §3.1.2). */
  readonly tunnelMode: boolean;
  /** ESP in UDP (RFC 3948). */
  readonly inUdp: boolean;
}

/**
 * @param underlayMtu bytes of the device that the tunnel packets leave through
 * @param tunnelHeader bytes of GRE, or of UDP and VXLAN or Geneve
 * @param family of the outer addresses
 */
export function innerMtu(underlayMtu: number, tunnelHeader: number, esp: EspLayers | undefined, family: 4 | 6): number {
  const payload = underlayMtu - IP_HEADER[family];
  if (esp === undefined) return Math.max(SMALLEST_MTU, payload - tunnelHeader - ETHERNET_HEADER);
  return Math.max(SMALLEST_MTU, sealedRoom(payload, esp, family) - tunnelHeader - ETHERNET_HEADER);
}

/** How large a tunnel packet may be, with its IP header, so that it fits the underlay unfragmented when it is sealed. Bytes. */
export function routedMtu(underlayMtu: number, esp: EspLayers, family: 4 | 6): number {
  return sealedRoom(underlayMtu - IP_HEADER[family], esp, family) + IP_HEADER[family];
}

/** What ESP leaves of the payload of the outermost IP packet. */
function sealedRoom(payload: number, esp: EspLayers, family: 4 | 6): number {
  const text = payload - ESP_FIXED - (esp.inUdp ? UDP_HEADER : 0);
  return Math.floor(text / ESP_ALIGNMENT) * ESP_ALIGNMENT - ESP_TRAILER - (esp.tunnelMode ? IP_HEADER[family] : 0);
}
