/** The `ipsec_*` keys of a tunnel: rows as in keys.ts. What they mean together is ipsec-options.ts. */
import { option } from './key-row.ts';
import { duration, identity, integer, oneOf, percent, text, textOf, yesOrNo } from './value-formats.ts';

/** Lifetimes in seconds, shortest and longest. */
const LIFETIME = [10, 7 * 86_400] as const;

/** Interface.options that set IPsec details: `ipsec_X` for `X` of an ipsec.conf. */
export const IPSEC_KEYS = {
  ike: option('ipsec_ike', {
    parse: text,
    expected: 'IKE proposals',
    example: 'aes256gcm16-prfsha256-modp2048',
    byDefault: "the daemon's default proposals",
    documentation:
      'Proposals of the IKE SA in the spelling of strongSwan or Libreswan. Post-quantum key exchange on top of another ' +
      'one: `aes256gcm16-prfsha256-x25519-ke1_mlkem768` or `aes_gcm256-sha2_256;dh31;addke1=ml_kem_768` demands it, ' +
      '`-ke1_none` with it allows a peer to do without. The default prefers ML-KEM-768 with peers that have it.',
  }),
  esp: option('ipsec_esp', {
    parse: text,
    expected: 'ESP proposals',
    example: 'aes256gcm16',
    byDefault: "the daemon's default proposals",
    documentation:
      'Proposals of the child SAs in the spelling of strongSwan or Libreswan. With `-ke1_mlkem768` behind a group, ' +
      'rekeying a child does a post-quantum key exchange of its own; otherwise its keys come of those of the IKE SA.',
  }),
  type: option('ipsec_type', {
    parse: oneOf('transport', 'tunnel'),
    expected: 'transport or tunnel',
    example: 'transport',
    byDefault: 'transport',
    documentation:
      'ESP mode. `tunnel` puts an IP header of its own inside ESP, 20 or 40 bytes more; both ends must have the same.',
  }),
  encapsulation: option('ipsec_encapsulation', {
    aliases: ['ipsec_forceencaps'],
    parse: oneOf('yes', 'no', 'auto', 'true', 'false'),
    expected: 'yes, no or auto',
    example: 'auto',
    byDefault: 'auto',
    documentation:
      'UDP encapsulation of ESP (port 4500). `auto`: when a NAT is found between the ends; `yes`: always; `no`: never.',
  }),
  ikeLifetime: option('ipsec_ikelifetime', {
    aliases: ['ipsec_ike-lifetime'],
    parse: duration(...LIFETIME),
    expected: '10s to 7d',
    example: '3h',
    byDefault: '3h',
    documentation: 'Life of an IKE SA; it is rekeyed a jittered margin before.',
  }),
  childLifetime: option('ipsec_salifetime', {
    aliases: ['ipsec_lifetime', 'ipsec_keylife', 'ipsec_ipsec-lifetime'],
    parse: duration(...LIFETIME),
    expected: '10s to 7d',
    example: '1h',
    byDefault: '1h',
    documentation: 'Life of a child SA; it is rekeyed a jittered margin before.',
  }),
  margin: option('ipsec_margintime', {
    aliases: ['ipsec_rekeymargin', 'ipsec_margin-time'],
    parse: duration(1, 86_400),
    expected: '1s to 1d, with its fuzz less than the lifetimes',
    example: '9m',
    byDefault: '9m, at most a tenth of the shorter lifetime',
    documentation: 'How long before its end an SA is rekeyed.',
  }),
  fuzz: option('ipsec_rekeyfuzz', {
    parse: percent(0, 1000),
    expected: '0% to 1000%',
    example: '100%',
    byDefault: '100%',
    documentation: 'By how much of itself the margin is stretched at random.',
  }),
  dpdDelay: option('ipsec_dpddelay', {
    aliases: ['ipsec_dpd-delay'],
    parse: duration(0, 86_400),
    expected: '0s (never) to 1d',
    example: '30s',
    byDefault: '30s',
    documentation: 'Idle time after which the peer is checked for life (RFC 7296 §2.4).',
  }),
  replayWindow: option('ipsec_replay_window', {
    aliases: ['ipsec_replay-window'],
    parse: integer(64, 4096),
    expected: '64 to 4096 packets',
    example: '1024',
    byDefault: '1024',
    documentation: 'Anti-replay window (RFC 4303 §3.4.3).',
  }),
  pfs: option('ipsec_pfs', {
    parse: yesOrNo,
    expected: 'yes or no',
    example: 'yes',
    byDefault: 'yes',
    documentation: 'Fresh Diffie-Hellman when a child SA is rekeyed.',
  }),
  perWorker: option('ipsec_per_worker_sas', {
    parse: yesOrNo,
    expected: 'yes or no',
    example: 'yes',
    byDefault: 'no',
    documentation:
      'Whether each packet worker gets child SAs of its own (RFC 9611), so that one tunnel uses as many cores at both ends as ' +
      'workers that have some at both: with `--workers=N` N, if the peer takes so many. A peer that does not is asked once. ' +
      'With `espd=uplink` what comes in is opened by one worker all the same, and with `espd=port` one does everything.',
  }),
  fragmentation: option('ipsec_fragmentation', {
    parse: yesOrNo,
    expected: 'yes or no',
    example: 'yes',
    byDefault: 'yes',
    documentation: 'Whether large IKE messages go in fragments (RFC 7383), if the peer can.',
  }),
  reauthenticate: option('ipsec_reauth', {
    parse: yesOrNo,
    expected: 'yes or no',
    example: 'no',
    byDefault: 'no: the IKE SA is rekeyed',
    documentation:
      'Whether an IKE SA near its end is replaced by a new authentication, make before break (RFC 7296 §2.8.3).',
  }),
  ppk: option('ipsec_ppk', {
    secret: true,
    parse: text,
    expected: 'a post-quantum preshared key',
    example: '$(openssl rand -hex 32)',
    documentation:
      'A post-quantum preshared key (RFC 8784), mixed into the keys beside `psk` or certificates, the UTF-8 bytes of the ' +
      'text: at least 32 random bytes, for instance of `openssl rand -hex 32`. Never shown again. Needs `ipsec_ppk_id`.',
  }),
  ppkId: option('ipsec_ppk_id', {
    parse: textOf(128),
    expected: 'a name of at most 128 bytes',
    example: 'site-a-b-2026',
    documentation: 'The name that both ends know the `ipsec_ppk` by. It is sent to the peer, encrypted.',
  }),
  ppkRequired: option('ipsec_ppk_required', {
    parse: yesOrNo,
    expected: 'yes or no',
    example: 'yes',
    byDefault: 'no: with a peer that has no PPK, or another one, it is left out',
    documentation: 'Whether there may be no SA without the `ipsec_ppk`.',
  }),
  localId: option('ipsec_leftid', {
    parse: identity,
    expected: 'an IP address, a host name, @name or user@host',
    example: '@host1',
    byDefault: 'the local address; with certificates the name in ours',
    documentation: 'What we call ourselves in IKE. Needed with a PSK behind a NAT: the peer sees another address.',
  }),
  remoteId: option('ipsec_rightid', {
    parse: identity,
    expected: 'an IP address, a host name, @name or user@host',
    example: '@host2',
    byDefault: "remote_ip; with certificates the peer's name",
    documentation: 'What the peer calls itself in IKE. Needed with a PSK when the peer is behind a NAT.',
  }),
} as const;
