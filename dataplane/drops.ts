/**
 * Why a packet was dropped: one row for each reason, one counter for each row and worker.
 *
 * A stage that drops a packet writes the number of its reason into the row's `verdict`; number 0 is
 * "go on". Adding a reason is adding a row: the counters, coverage/show and docs/drops.md follow from
 * this table. The order is the packet's way, first in, then out, and may change between versions.
 */

export interface DropReason {
  /** Kebab-case, unique; what coverage/show and the metrics print. */
  readonly name: string;
  /** What happened, for an operator, as one sentence. */
  readonly sentence: string;
}

export const DROP_REASONS = [
  { name: 'none', sentence: 'The packet goes on.' },

  // frames from a TAP or a device, and the switch
  {
    name: 'frame-too-short',
    sentence: 'A frame from a port was shorter than an Ethernet header, or than the VLAN tag that it began.',
  },
  { name: 'frame-too-long', sentence: 'A frame from a port did not fit into a packet slot.' },
  { name: 'source-multicast', sentence: 'The source address of a frame was a group address.' },
  { name: 'reserved-destination', sentence: 'The frame was sent to 01:80:c2:00:00:0x, which bridges do not forward.' },
  { name: 'vlan-in', sentence: 'The frame was in a VLAN that its port does not carry.' },
  { name: 'same-port', sentence: 'The destination was learned on the port that the frame came from.' },
  { name: 'no-output', sentence: 'The bridge had no other port to send the frame to.' },
  {
    name: 'flood-limit',
    sentence:
      'A frame to be flooded on a bridge of more than 64 ports, when the worker had made 200,000 copies a second already.',
  },
  { name: 'no-free-slot', sentence: 'A flooded frame had more outputs than there were free packet slots.' },
  { name: 'port-refused', sentence: 'A TAP or device refused the frame, for instance because its link is down.' },
  { name: 'port-queue-full', sentence: 'A TAP or device could not take more frames.' },

  {
    name: 'port-too-big',
    sentence: 'The frame was larger than the MTU of the device behind an uplink of ovs-vswitchd.',
  },
  {
    name: 'bump-large',
    sentence: 'A tunnel packet to be sealed or opened came as a large frame for segmentation offload.',
  },
  {
    name: 'bump-moved',
    sentence:
      'The peer is behind a NAT at another address than remote_ip; an uplink of ovs-vswitchd cannot reach it there.',
  },
  {
    name: 'bump-fragment',
    sentence: 'A fragment between the addresses of a tunnel was to leave; what it is a part of cannot be told.',
  },
  {
    name: 'bump-readdressed',
    sentence:
      'What ESP carried came in a frame to an Ethernet address or VLAN that is none of the host, so ovs-vswitchd might have sent it on in the clear.',
  },
  {
    name: 'bump-returned',
    sentence:
      'A tunnel packet that a peer with IPsec had sent to this host was about to leave again through an uplink.',
  },
  {
    name: 'bump-foreign',
    sentence:
      'A frame at a port of espd=port was none that the flows of ovs-espd lead there, for instance a flooded one.',
  },

  {
    name: 'route-unknown',
    sentence:
      'The kernel routed a packet to us that belongs to no tunnel of the configuration, by its addresses or type.',
  },

  // encapsulation
  { name: 'tunnel-type-unsupported', sentence: 'The tunnel port has a type that this engine cannot encapsulate.' },
  { name: 'encap-too-long', sentence: 'The frame with its tunnel headers is longer than an IP packet can be.' },

  // policy (the skb-mark rule)
  { name: 'policy-mark', sentence: 'A plaintext tunnel packet carried the mark that ipsec_skb_mark forbids.' },
  { name: 'policy-no-sa', sentence: 'A tunnel that is or was protected by IPsec had no SA to send on.' },
  {
    name: 'policy-invalid',
    sentence: 'The IPsec settings of the tunnel are invalid, so it sends and accepts nothing.',
  },
  { name: 'policy-plaintext-in', sentence: 'A plaintext tunnel packet came in for a tunnel that IPsec protects.' },
  { name: 'policy-esp-in', sentence: 'ESP came in for a tunnel that has no IPsec.' },

  // ESP out
  { name: 'esp-sequence-exhausted', sentence: 'The sequence numbers of the outbound SA are used up (RFC 4303 3.3.3).' },
  { name: 'esp-selector-out', sentence: 'The tunnel packet is outside the traffic selectors of its outbound SA.' },
  {
    name: 'esp-too-long',
    sentence: 'The packet with its ESP header and trailer is longer than an IPv4 packet can be.',
  },

  // the uplink
  { name: 'too-big', sentence: 'The packet was larger than the MTU of its path and must not be fragmented.' },
  { name: 'send-unreachable', sentence: 'The kernel had no route to the peer, or the link was down.' },
  { name: 'send-refused', sentence: 'The kernel refused to send the packet, for instance a firewall rule.' },
  { name: 'send-queue-full', sentence: 'The send queue of the uplink stayed full.' },

  // offloads of TAPs and devices
  { name: 'gso-header', sentence: 'The kernel handed over a large TCP or UDP frame that cannot be cut into segments.' },
  { name: 'checksum-range', sentence: 'The kernel left a checksum to us whose place is beyond the frame.' },

  // outer IP in
  { name: 'ip-too-short', sentence: 'A packet from the uplink was shorter than its IP header.' },
  { name: 'ip-too-long', sentence: 'A packet from the uplink did not fit into a packet slot.' },
  { name: 'ip-version', sentence: 'The outer header was neither IPv4 nor IPv6.' },
  { name: 'ip-header-length', sentence: 'The outer IPv4 header length was below 20 or beyond the packet.' },
  { name: 'ip-total-length', sentence: 'The outer IP length was below its header or beyond the packet.' },
  { name: 'ip-fragment', sentence: 'The outer IPv4 packet was a fragment; the kernel hands up whole packets only.' },
  { name: 'ip-protocol', sentence: 'The outer IP packet carried a protocol that no tunnel uses.' },

  // ESP in
  { name: 'nat-keepalive', sentence: 'A NAT keepalive came in; it has done its work on the way (RFC 3948 2.3).' },
  {
    name: 'non-esp-marker',
    sentence: 'A datagram to port 4500 was IKE, which the control plane takes (RFC 3948 2.2).',
  },
  { name: 'esp-too-short', sentence: 'An ESP packet was too short for its header, IV, trailer and ICV.' },
  { name: 'esp-unaligned', sentence: 'The ciphertext of an ESP packet was not a multiple of 4 bytes (RFC 4303 2.4).' },
  { name: 'unknown-spi', sentence: 'No inbound SA of ours has the SPI of the ESP packet.' },
  { name: 'sa-address', sentence: 'The addresses of the ESP packet are not those of its SA.' },
  { name: 'replay-old', sentence: 'The sequence number was below the replay window (RFC 4303 3.4.3).' },
  { name: 'replay-duplicate', sentence: 'The sequence number was received before (RFC 4303 3.4.3).' },
  { name: 'icv-mismatch', sentence: 'The integrity check of the ESP packet failed: forged, damaged, or another key.' },
  { name: 'esp-pad-length', sentence: 'The pad length of a decrypted ESP packet was beyond its payload.' },
  { name: 'esp-padding', sentence: 'The padding of a decrypted ESP packet was not 1, 2, 3 … (RFC 4303 2.4).' },
  { name: 'esp-dummy', sentence: 'A dummy packet (next header 59) was discarded, as RFC 4303 2.6 asks.' },
  { name: 'esp-next-header', sentence: 'A decrypted ESP packet carried a protocol that no tunnel uses.' },
  {
    name: 'esp-selector-in',
    sentence: 'A decrypted packet is outside the traffic selectors of its SA (RFC 4301 5.2).',
  },

  // decapsulation
  { name: 'gre-too-short', sentence: 'A GRE packet was shorter than the header that its flags announce.' },
  { name: 'gre-flags', sentence: 'A GRE header had a version or flags other than checksum, key and sequence.' },
  { name: 'gre-protocol', sentence: 'A GRE packet did not carry Ethernet (protocol 0x6558).' },
  { name: 'gre-checksum', sentence: 'The checksum of a GRE packet was wrong.' },
  { name: 'udp-too-short', sentence: 'A UDP tunnel packet was shorter than a UDP header.' },
  { name: 'udp-length', sentence: 'The UDP length was below 8 or beyond the packet.' },
  { name: 'udp-checksum', sentence: 'The UDP checksum of a tunnel packet was wrong.' },
  { name: 'udp-port', sentence: 'The UDP destination port is the port of no tunnel.' },
  { name: 'vxlan-too-short', sentence: 'A VXLAN packet was shorter than its header.' },
  {
    name: 'vxlan-flags',
    sentence: 'A VXLAN header had flags other than I, or reserved bits set; G only with exts=gbp.',
  },
  { name: 'geneve-too-short', sentence: 'A Geneve packet was shorter than its header and options.' },
  { name: 'geneve-version', sentence: 'A Geneve header had a version other than 0.' },
  { name: 'geneve-options', sentence: 'The options of a Geneve header do not add up to their stated length.' },
  {
    name: 'geneve-critical-option',
    sentence: 'A Geneve packet carried a critical option that is unknown here (RFC 8926 3.5).',
  },
  { name: 'geneve-oam', sentence: 'A Geneve control packet (O bit) was discarded.' },
  { name: 'geneve-protocol', sentence: 'A Geneve packet did not carry Ethernet (protocol 0x6558).' },
  { name: 'tcp-too-short', sentence: 'A TCP packet was shorter than its ports.' },
  { name: 'tcp-port', sentence: 'The TCP destination port is the port of no STT tunnel.' },
  { name: 'stt-too-short', sentence: 'An STT segment or frame was shorter than its header.' },
  { name: 'stt-flags', sentence: 'A packet to the port of STT had SYN, FIN or RST set: it is real TCP.' },
  { name: 'stt-length', sentence: 'The bytes of an STT segment do not lie within the length of its frame.' },
  { name: 'stt-checksum', sentence: 'The TCP checksum of an STT segment was wrong.' },
  { name: 'stt-version', sentence: 'An STT frame header had a version other than 0.' },
  {
    name: 'stt-context',
    sentence: 'The context id of an STT frame was above 2^32-1, the largest key of a tunnel here.',
  },
  { name: 'stt-duplicate', sentence: 'The bytes of an STT segment had come before.' },
  { name: 'stt-overlap', sentence: 'A part of the bytes of an STT segment had come before.' },
  {
    name: 'stt-scattered',
    sentence: 'An STT segment would have been one more loose piece of its frame than are kept.',
  },
  { name: 'stt-timeout', sentence: 'The frame of an STT segment was not whole in time: another segment was lost.' },
  {
    name: 'stt-evicted',
    sentence: 'The unfinished frame of an STT segment gave way to another: its sender had too many.',
  },
  { name: 'stt-offload', sentence: 'An STT frame asked for a checksum or for cutting, of what is no such packet.' },
  { name: 'stt-too-long', sentence: 'A reassembled frame did not fit into a packet slot and could not be cut.' },
  { name: 'no-tunnel', sentence: 'No tunnel port matches the type, addresses and key of the packet.' },
  { name: 'wrong-protection', sentence: 'The SA of the packet belongs to another protection than its tunnel.' },
  {
    name: 'ecn-ce',
    sentence:
      'The outer header says that congestion was met, of an inner packet that does not know ECN (RFC 6040 4.2).',
  },
  { name: 'inner-too-short', sentence: 'The decapsulated frame was shorter than an Ethernet header.' },
] as const satisfies readonly DropReason[];

export type DropName = (typeof DROP_REASONS)[number]['name'];

/** The number of each reason: what stands in the `verdict` column. `DROP.none` is 0. */
export const DROP: Readonly<Record<DropName, number>> = Object.freeze(
  Object.fromEntries(DROP_REASONS.map((reason, index) => [reason.name, index])) as Record<DropName, number>,
);
