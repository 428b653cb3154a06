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

/**
 * @param underlayMtu bytes of the device that the tunnel packets leave through
 * @param tunnelHeader bytes of GRE, or of UDP and VXLAN or Geneve
 * @param esp whether the packets may be sealed
 * @param family of the outer addresses
 */
export function innerMtu(underlayMtu: number, tunnelHeader: number, esp: boolean, family: 4 | 6): number {
  const payload = underlayMtu - IP_HEADER[family];
  const room = esp ? Math.floor((payload - ESP_FIXED) / ESP_ALIGNMENT) * ESP_ALIGNMENT - ESP_TRAILER : payload;
  return Math.max(SMALLEST_MTU, room - tunnelHeader - ETHERNET_HEADER);
}
