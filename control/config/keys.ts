/**
 * The OVSDB keys that ovs-espd reads: for each its column, the values it takes, its default, and its
 * documentation. Checks, messages and documents are made from these rows, so a key is one row.
 *
 * The words `expected` and `example` make the line that a wrong value gives. `aliases` are spellings of
 * strongSwan's and Libreswan's ipsec.conf that mean the same key.
 */
import type { TunnelType } from '../../dataplane/commands.ts';
import { IPSEC_KEYS } from './ipsec-keys.ts';
import { type OvsdbKey, option } from './key-row.ts';
import {
  datapathId,
  deviceName,
  integer,
  macAddress,
  markMatch,
  oneOf,
  text,
  trueOrFalse,
  tunnelKey,
  unicastAddress,
} from './value-formats.ts';

const TUNNELS_WITH_PORTS: readonly TunnelType[] = ['geneve', 'vxlan', 'stt'];
/** Interface.options of a tunnel, but for the ipsec_* keys. */
export const TUNNEL_KEYS = {
  remoteIp: option('remote_ip', {
    parse: unicastAddress,
    expected: 'a unicast IPv4 or IPv6 address',
    example: '10.0.0.2',
    documentation:
      'Address of the other end. Required. `flow` only beside a real ovs-vswitchd: such a tunnel is protected as the tunnels with a fixed `remote_ip` of its type and port are, and if it asks for IPsec it sends nothing to other addresses.',
  }),
  localIp: option('local_ip', {
    parse: unicastAddress,
    expected: 'a unicast IPv4 or IPv6 address of this host',
    example: '10.0.0.1',
    byDefault: 'the source address of the route to remote_ip',
    documentation: 'Address of this end, of the same family as `remote_ip`.',
  }),
  psk: option('psk', {
    secret: true,
    parse: text,
    expected: 'a pre-shared key',
    example: 'swordfish',
    documentation: 'Asks for IPsec with this pre-shared key, the UTF-8 bytes of the text. Never shown again.',
  }),
  remoteCert: option('remote_cert', {
    parse: text,
    expected: 'the path of a PEM certificate',
    example: '/etc/keys/peer-cert.pem',
    documentation:
      'Asks for IPsec with exactly this certificate of the peer, self-signed or not; read again when the file changes. Its common name is taken for remote_name.',
  }),
  remoteName: option('remote_name', {
    parse: text,
    expected: "the common name in the peer's certificate",
    example: 'host2',
    documentation:
      'Asks for IPsec with a certificate that ca_cert vouches for and that has this name as common name or DNS subjectAltName.',
  }),
  key: option('key', {
    parse: tunnelKey(0xffff_ffff),
    expected: '0 to 4294967295, or flow',
    example: '100',
    byDefault: 'no key (GRE), VNI 0 (Geneve, VXLAN), context id 0 (STT)',
    documentation:
      'in_key and out_key in one. At most 16777215 for Geneve and VXLAN; of the 64 bits of an STT context id the upper half is 0.',
  }),
  inKey: option('in_key', {
    parse: tunnelKey(0xffff_ffff),
    expected: '0 to 4294967295, or flow',
    example: '100',
    documentation:
      'Key that received packets must have; no key and 0 are the same. `flow` takes any that no other tunnel between the same addresses asks for.',
  }),
  outKey: option('out_key', {
    parse: tunnelKey(0xffff_ffff),
    expected: '0 to 4294967295, or flow',
    example: '100',
    documentation:
      'Key of sent packets. `flow` sends 0: bridges here learn and have no flows that could set another one, and that is what OVS sends without one too.',
  }),
  checksum: option('csum', {
    parse: trueOrFalse,
    expected: 'true or false',
    example: 'true',
    byDefault: 'false',
    documentation:
      'Send the GRE checksum, or the checksum of the outer UDP header. STT always has the one of its TCP header. Received checksums are always verified.',
  }),
  dontFragment: option('df_default', {
    parse: trueOrFalse,
    expected: 'true or false',
    example: 'false',
    byDefault: 'true',
    documentation: "The outer header's don't-fragment bit.",
  }),
  tos: option('tos', {
    parse: (value) => (value === 'inherit' ? ('inherit' as const) : tosByte(value)),
    expected: '0 to 252 with the two ECN bits zero, or inherit',
    example: '0x28',
    byDefault: '0',
    documentation:
      'DSCP byte of the outer header; `inherit` copies it from the inner IPv4 or IPv6 packet, 0 where it is neither. The ECN field is always the inner one (CE goes out as ECT(0)), and combined again at the other end (RFC 6040).',
  }),
  ttl: option('ttl', {
    parse: (value) => (value === 'inherit' ? ('inherit' as const) : integer(0, 255)(value)),
    expected: '1 to 255, 0 for the default, or inherit',
    example: '64',
    byDefault: '64',
    documentation:
      'TTL or hop limit of the outer header; `inherit` copies it from the inner IPv4 or IPv6 packet, 64 where it is neither.',
  }),
  destinationPort: option('dst_port', {
    types: TUNNELS_WITH_PORTS,
    parse: integer(1, 65_535),
    expected: '1 to 65535',
    example: '6081',
    byDefault: '6081 (Geneve), 4789 (VXLAN), 7471 (STT)',
    documentation:
      'Destination port of the outer UDP header, of STT that of its TCP header; the IPsec policy follows it.',
  }),
  extensions: option('exts', {
    types: ['vxlan'],
    parse: oneOf('gbp'),
    expected: 'gbp (VXLAN-GPE is not supported)',
    example: 'gbp',
    byDefault: 'none: packets with an extension are dropped',
    documentation:
      'VXLAN extensions. `gbp`: packets with a group policy are accepted and the policy is passed over; none is sent, as every frame has policy 0.',
  }),
  packetType: option('packet_type', {
    parse: oneOf('legacy_l2'),
    expected: 'legacy_l2',
    example: 'legacy_l2',
    byDefault: 'legacy_l2',
    documentation: 'Tunnels carry Ethernet frames only.',
  }),
  egressMark: option('egress_pkt_mark', {
    parse: integer(0, 0xffff_ffff),
    expected: '0 to 4294967295',
    example: '1',
    byDefault: 'the mark of the uplink, else 0',
    documentation: "Mark of this tunnel's packets, which ipsec_skb_mark is compared with.",
  }),
} as const;

function tosByte(value: string): number | undefined {
  const byte = integer(0, 255)(value);
  return byte === undefined || (byte & 3) !== 0 ? undefined : byte;
}

export const BRIDGE_KEYS = {
  ageing: {
    table: 'Bridge',
    column: 'other_config',
    key: 'mac-aging-time',
    parse: integer(15, 3600),
    expected: '15 to 3600 seconds',
    example: '300',
    byDefault: '300',
    documentation: 'How long a learned address is kept without traffic.',
  },
  tableSize: {
    table: 'Bridge',
    column: 'other_config',
    key: 'mac-table-size',
    parse: integer(10, 1_000_000),
    expected: '10 to 1000000',
    example: '8192',
    byDefault: '8192',
    documentation: 'How many addresses are learned at most.',
  },
  hwaddr: {
    table: 'Bridge',
    column: 'other_config',
    key: 'hwaddr',
    parse: macAddress,
    expected: 'a unicast MAC address',
    example: '02:00:00:00:00:01',
    byDefault: "the device's own",
    documentation: "MAC address of the bridge's local port.",
  },
  datapathId: {
    table: 'Bridge',
    column: 'other_config',
    key: 'datapath-id',
    parse: datapathId,
    expected: '16 hexadecimal digits, not all zero',
    example: '0000000000000001',
    byDefault: 'made of the MAC address',
    documentation: 'What Bridge.datapath_id shows.',
  },
} as const satisfies Record<string, OvsdbKey<unknown>>;

export const SWITCH_KEYS = {
  skbMark: {
    table: 'Open_vSwitch',
    column: 'other_config',
    key: 'ipsec_skb_mark',
    parse: markMatch,
    expected: 'value/mask, each 0 to 4294967295, decimal or 0x',
    example: '0/1',
    byDefault: 'unset: no plaintext is dropped for its mark',
    documentation:
      'Plaintext tunnel packets with mark & mask = value & mask are dropped, whatever tunnel they belong to.',
  },
  certificate: {
    table: 'Open_vSwitch',
    column: 'other_config',
    key: 'certificate',
    parse: text,
    expected: 'the path of a PEM certificate',
    example: '/etc/keys/host1-cert.pem',
    documentation:
      'Certificate of this host, then those of intermediate authorities, if any. Its common name is our identity. Read again when the file changes; no psk may be set on any tunnel then.',
  },
  privateKey: {
    table: 'Open_vSwitch',
    column: 'other_config',
    key: 'private_key',
    parse: text,
    expected: 'the path of a PEM private key',
    example: '/etc/keys/host1-privkey.pem',
    documentation:
      'Private key of that certificate, unencrypted: RSA of at least 2048 bits, ECDSA P-256, P-384 or P-521, Ed25519 or Ed448.',
  },
  caCert: {
    table: 'Open_vSwitch',
    column: 'other_config',
    key: 'ca_cert',
    parse: text,
    expected: 'the path of a PEM certificate',
    example: '/etc/keys/cacert.pem',
    documentation: 'Certificates of the authorities that may vouch for peers of tunnels with remote_name.',
  },
  caCrl: {
    table: 'Open_vSwitch',
    column: 'other_config',
    key: 'ca_crl',
    parse: text,
    expected: 'the path of PEM certificate revocation lists',
    example: '/etc/keys/cacrl.pem',
    byDefault: 'unset: revocation is not checked',
    documentation:
      'Revocation lists of those authorities. When set, every authority between a peer and ca_cert needs one that is not out of date.',
  },
} as const satisfies Record<string, OvsdbKey<unknown>>;

function externalId<T>(key: string, row: Omit<OvsdbKey<T>, 'table' | 'column' | 'key'>): OvsdbKey<T> {
  return { table: 'Interface', column: 'external_ids', key, ...row };
}

/** Interface.external_ids of a port through which ovs-espd sits between a real ovs-vswitchd and the network. */
export const COMPANION_KEYS = {
  attach: externalId('espd', {
    parse: oneOf('uplink', 'port'),
    expected: 'uplink or port',
    example: 'uplink',
    byDefault: 'the interface is none of ours',
    documentation:
      'The interface is a TAP that ovs-espd makes, a port of the physical bridge of a userspace datapath. `uplink`: what leaves through it goes to the NIC of `espd-nic`, tunnel packets as the IPsec policy says, everything else unchanged. `port`: the bridge keeps its NICs, and flows that ovs-espd adds lead tunnel packets of peers with IPsec through it and back.',
  }),
  nic: externalId('espd-nic', {
    parse: deviceName,
    expected: 'the name of a network device, 1 to 15 characters',
    example: 'eth0',
    documentation: 'The NIC behind the interface. It must not be a port of OVS itself.',
  }),
  mark: externalId('espd-mark', {
    parse: integer(0, 0xffff_ffff),
    expected: '0 to 4294967295',
    example: '1',
    byDefault: '0',
    documentation:
      'Mark of what leaves through the interface, which ipsec_skb_mark is compared with; options:egress_pkt_mark of the tunnel comes first.',
  }),
} as const;

/** Open_vSwitch.external_ids. */
export const HOST_KEYS = {
  attach: {
    table: 'Open_vSwitch',
    column: 'external_ids',
    key: 'espd',
    parse: oneOf('route'),
    expected: 'route',
    example: 'route',
    byDefault: 'ovs-espd is the datapath, or beside one by `external_ids:espd` of its interfaces',
    documentation:
      'The kernel of this host makes the tunnel packets (OVS kernel datapath; vxlan, geneve and gre devices): routing rules lead those of protected tunnels through a TUN of ovs-espd. Tunnels of bridges with datapath_type=netdev are left out.',
  },
} as const satisfies Record<string, OvsdbKey<unknown>>;

/** Port.other_config; the columns `tag`, `trunks` and `vlan_mode` are read by vlans.ts. */
export const PORT_KEYS = {
  priorityTags: {
    table: 'Port',
    column: 'other_config',
    key: 'priority-tags',
    parse: oneOf('never', 'if-nonzero', 'always'),
    expected: 'never, if-nonzero or always',
    example: 'if-nonzero',
    byDefault: 'never',
    documentation:
      'Whether frames that leave without a VLAN id keep their 802.1Q tag: never, if it has a priority, or always.',
  },
} as const satisfies Record<string, OvsdbKey<unknown>>;

/** All rows, for documents. */
export const ALL_KEYS: readonly OvsdbKey<unknown>[] = [
  ...Object.values(SWITCH_KEYS),
  ...Object.values(HOST_KEYS),
  ...Object.values(BRIDGE_KEYS),
  ...Object.values(PORT_KEYS),
  ...Object.values(COMPANION_KEYS),
  ...Object.values(TUNNEL_KEYS),
  ...Object.values(IPSEC_KEYS),
];
