/**
 * What the guided fuzzer runs beside the packet path: readers of IKE, ICMP, netlink, certificates and trace descriptions.
 * None may throw but what its contract says; what was read and can be written is read again as the same.
 */
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { parseFlow, parseHexPacket } from '../../control/trace/flow.ts';
import { CommandError } from '../../control/unixctl/command.ts';
import { parseTooBig } from '../../dataplane/path-mtu.ts';
import {
  asksForProtocol,
  neighbourRequest,
  readMessages,
  readNeighbour,
  readRoute,
  routeRequest,
  saysNoTable,
} from '../../dataplane/wire/netlink.ts';
import { CertificateError, parseCertificate } from '../../ike/certificates/certificate.ts';
import { parseRevocationList } from '../../ike/certificates/revocation.ts';
import { createIvSource, sealBody, skSizes } from '../../ike/crypto/sk-cipher.ts';
import { emitHeader, HEADER_SIZE } from '../../ike/wire/header.ts';
import { emitMessage, openMessage, parseInner, parseMessage } from '../../ike/wire/message.ts';
import { PAYLOAD } from '../../ike/wire/names.ts';
import { emitChain, emitGenericHeader, payloadTypeOf, sizeOfChain } from '../../ike/wire/payload-chain.ts';
import type { Payload } from '../../ike/wire/payloads.ts';
import { describeMessage } from '../../ike/wire/pretty.ts';
import { findRuleViolation } from '../../ike/wire/rules.ts';
import { header as anyHeader, payloads as anyPayloads } from '../ike/wire/arbitraries.ts';
import { AUTH_HEADER } from '../ike/wire/samples.ts';
import { allSuites, patternKey } from '../ike/wire/suites.ts';
import { joined } from './damage.ts';
import type { Target } from './guided.ts';
import { Packets } from './packets.ts';
import type { Random } from './random.ts';

const SEEDS = 200;
const GENERIC_HEADER = 4;
const LENGTH_AT = 24;

const sample = <T>(random: Random, of: fc.Arbitrary<T>): T[] =>
  fc.sample(of, { seed: random.word() | 0, numRuns: SEEDS });
const text = (words: string): Uint8Array => new TextEncoder().encode(words);

/** A message; with an odd first byte its length is set right, which chance would hardly do. */
function message(random: Random): Target {
  const seeds = sample(random, fc.tuple(anyHeader, anyPayloads)).map(([header, payloads]) =>
    joined([1], emitMessage(header, payloads)),
  );
  return {
    name: 'ike-message',
    seeds: () => seeds,
    run: (input) => {
      const bytes = input.slice(1);
      if ((input[0]! & 1) === 1 && bytes.length >= HEADER_SIZE)
        new DataView(bytes.buffer).setUint32(LENGTH_AT, bytes.length);
      const result = parseMessage(bytes);
      if (!result.ok) return;
      const { header, payloads, encrypted } = result.message;
      describeMessage(header, payloads);
      findRuleViolation(header, payloads);
      if (encrypted === undefined) again(payloads);
    },
  };
}

/** What stands in an SK payload: the first byte is the type of the first payload. */
function inner(random: Random): Target {
  return {
    name: 'ike-inner',
    seeds: () => sample(random, anyPayloads).map(chain),
    run: (input) => {
      const result = parseInner(input.subarray(1), input[0] ?? 0);
      if (result.ok) again(result.payloads);
    },
  };
}

function chain(payloads: readonly Payload[]): Uint8Array {
  const bytes = new Uint8Array(1 + sizeOfChain(payloads));
  bytes[0] = payloads[0] === undefined ? PAYLOAD.NO_NEXT : payloadTypeOf(payloads[0]);
  emitChain(payloads, bytes, 1, PAYLOAD.NO_NEXT);
  return bytes;
}

function again(payloads: readonly Payload[]): void {
  // Selectors of an unknown type are counted and not kept, so they can't be written.
  if (payloads.some((payload) => 'unknownSelectors' in payload && payload.unknownSelectors > 0)) return;
  const bytes = chain(payloads);
  const result = parseInner(bytes.subarray(1), bytes[0]!);
  if (!result.ok) throw new Error(`read, written and then refused for ${result.reason}`);
  if (!isDeepStrictEqual(plain(result.payloads), plain(payloads)))
    throw new Error('read, written and then read otherwise');
}

/** Without where the bytes lie. */
function plain(payloads: readonly Payload[]): unknown {
  return JSON.parse(
    JSON.stringify(payloads, (_, value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value,
    ),
  );
}

/** A plaintext of an SK payload, padding and all, from somebody who has the keys; the first byte chooses the suite. */
function sealed(random: Random): Target {
  const suites = allSuites();
  const sources = suites.map((keys) => createIvSource(keys.encryption, (bytes) => patternKey(bytes, 77)));
  return {
    name: 'ike-sealed',
    seeds: () => sample(random, anyPayloads).map((payloads) => joined([random.below(256)], chain(payloads), [0])),
    run: (input) => {
      const which = (input[0] ?? 0) % suites.length;
      const keys = suites[which]!;
      const { iv, icv, block } = skSizes(keys);
      const content = input.subarray(2);
      const plaintext = new Uint8Array(Math.ceil(Math.max(1, content.length) / block) * block);
      plaintext.set(content);
      const length = GENERIC_HEADER + iv + plaintext.length + icv;
      const bytes = new Uint8Array(HEADER_SIZE + length);
      emitHeader(AUTH_HEADER, PAYLOAD.SK, bytes.length, bytes);
      emitGenericHeader(input[1] ?? 0, false, length, bytes, HEADER_SIZE);
      const body = HEADER_SIZE + GENERIC_HEADER;
      bytes.set(plaintext, body + iv);
      bytes.set(sources[which]!(iv), body);
      sealBody(bytes, body, keys);
      const parsed = parseMessage(bytes);
      if (!parsed.ok) throw new Error(`sealed and then refused for ${parsed.reason}`);
      const opened = openMessage(bytes, parsed.message, keys);
      if (!opened.ok && opened.reason === 'bad-integrity') throw new Error('sealed and then not authentic');
    },
  };
}

/** ICMP errors about packets of ours. */
function icmp(random: Random): Target {
  const packets = new Packets(random);
  return {
    name: 'icmp',
    seeds: () =>
      Array.from({ length: SEEDS }, () => {
        const quoted = packets.next();
        const outer = new Uint8Array(20);
        outer[0] = 0x45;
        return (quoted[0] ?? 0) >>> 4 === 6
          ? joined([6, 2, 0, 0, 0, 0, 0, 5, 0], quoted.subarray(0, 100))
          : joined([4], outer, [3, 4, 0, 0, 0, 0, 5, 0], quoted.subarray(0, 100));
      }),
    run: (input) => {
      const family = input[0] === 6 ? 6 : 4;
      const found = parseTooBig(family, input.subarray(1));
      if (found !== undefined && (found.quoted.length < 8 || !(found.mtu >= 0)))
        throw new Error('a quotation cut short');
    },
  };
}

const netlink = (): Target => ({
  name: 'netlink',
  seeds: () => [
    routeRequest(Uint8Array.of(10, 0, 0, 1), Uint8Array.of(10, 0, 0, 2)),
    routeRequest(new Uint8Array(16).fill(1), new Uint8Array(16).fill(2)),
    neighbourRequest(3, Uint8Array.of(10, 0, 0, 2)),
    neighbourRequest(3, new Uint8Array(16).fill(2)),
  ],
  run: (input) => {
    for (const one of readMessages(input, input.length)) {
      readRoute(input, one);
      readNeighbour(input, one);
      asksForProtocol(input, one);
    }
    saysNoTable(input, input.length);
  },
});

const FLOWS = [
  'in_port=LOCAL,dl_dst=02:00:00:00:00:02,udp,nw_dst=10.0.0.2',
  'in_port=1,tcp6,ipv6_src=fd00::1,ipv6_dst=fd00::2,tcp_dst=80,dl_vlan=5,dl_vlan_pcp=3',
  'in_port=tun,arp,arp_op=1,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_sha=02:00:00:00:00:01',
  'in_port=br0,icmp,nw_src=10.0.0.1,icmp_type=8,icmp_code=0,nw_tos=4,nw_ttl=3',
  '0200000000020200000000010800',
];

const flow = (): Target => ({
  name: 'trace',
  seeds: () => FLOWS.map(text),
  run: (input) => {
    const words = new TextDecoder().decode(input);
    orRefused(() => parseFlow(words), CommandError);
    orRefused(() => parseHexPacket(words), CommandError);
  },
});

/** DER from a peer, before anybody has vouched for it. */
const certificate = (): Target => ({
  name: 'certificate',
  seeds: () => [CERTIFICATE],
  run: (input) => {
    orRefused(() => parseCertificate(input), CertificateError);
    orRefused(() => parseRevocationList(input), CertificateError);
  },
});

function orRefused(read: () => unknown, expected: new (message: string) => Error): void {
  try {
    read();
  } catch (error) {
    if (!(error instanceof expected)) throw error;
  }
}

/** Of `openssl req -x509 -newkey ec -subj /CN=fuzz -addext subjectAltName=DNS:fuzz.example`. */
const CERTIFICATE = Buffer.from(
  [
    'MIIBizCCATKgAwIBAgIUSypdTz7Tjy5otVu6/sJldXC572MwCgYIKoZIzj0EAwIwDzENMAsGA1UEAwwEZnV6ejAeFw0yNjExMjgw',
    'ODA4MzJaFw0zNjExMjUwODA4MzJaMA8xDTALBgNVBAMMBGZ1enowWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARpSQvh8dXm/YjR',
    'GwkHH0ecKfJjEa42EnZ/vXjciXHGyh2e8tA06IpUZ61kuyAHcChom5q+koCYkHHCaVoFUW1yo2wwajAdBgNVHQ4EFgQUNYqkSfhF',
    '6kVRlPg/KS8yk/heLlowHwYDVR0jBBgwFoAUNYqkSfhF6kVRlPg/KS8yk/heLlowDwYDVR0TAQH/BAUwAwEB/zAXBgNVHREEEDAO',
    'ggxmdXp6LmV4YW1wbGUwCgYIKoZIzj0EAwIDRwAwRAIgB9C1ns1IaD8PhL2eUn8SZ+d/+6jL3rWUihG2FHMvT/sCIBiwVAMqofLe',
    'l7ps9ezQgJUG0W3Kv7kR9kXJjVIRtk3y',
  ].join(''),
  'base64',
);

/** By name; each is made with the random numbers of its run. */
export const PARSER_TARGETS: Readonly<Record<string, (random: Random) => Target>> = {
  'ike-message': message,
  'ike-inner': inner,
  'ike-sealed': sealed,
  icmp,
  netlink,
  trace: flow,
  certificate,
};
