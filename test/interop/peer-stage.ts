/**
 * One tunnel `tun` between ovs-espd and an IKE daemon of OVS (ike-peers.ts), from a `file:` database: what both ends are told
 * so that they agree, how they are started, and what their SAs are.
 */
import { PROFILES } from '../faults/profiles.ts';
import { createFaultyWire } from '../faults/wire.ts';
import type { CharonCertificates } from '../rig/charon-credentials.ts';
import { type Espd, espdIsBuilt, fileConfig, startEspd } from '../rig/espd.ts';
import { createLan, type Host } from '../rig/namespace.ts';
import { type Issued, Pki } from '../rig/pki.ts';
import { until } from '../rig/process.ts';
import { canMakeNamespaces, createRig, missingPrograms, type Rig } from '../rig/rig.ts';
import { type IkePeer, type PeerChoices, type PeerKind, peerObstacle, startPeer } from './ike-peers.ts';

export const PSK = 'swordfish';
export const METHODS = ['PSK', 'self-signed certificates', 'CA-signed certificates'] as const;
export type Method = (typeof METHODS)[number];
/** Lines of a peer's log that are shown when a test fails. */
const LAST_LINES = 40;

/** What both ends are told, so that they agree. */
export type Agreement = {
  readonly options: Readonly<Record<string, string>>;
  readonly global?: Readonly<Record<string, string>>;
  readonly theirs: Pick<PeerChoices, 'psk' | 'certificates'>;
};

export interface Choices {
  readonly ours?: Readonly<Record<string, string>>;
  readonly theirs?: Partial<PeerChoices>;
}

/** Both ends up. */
export interface Up {
  readonly hosts: { readonly a: Host; readonly b: Host };
  readonly espd: Espd;
  readonly peer: IkePeer;
}

/** Why the tests with that peer cannot run here, for their names; '' if they can. */
export function stageObstacle(kind: PeerKind): string {
  const missing = [
    ...(canMakeNamespaces() ? [] : ['root']),
    ...(espdIsBuilt() ? [] : ['npm run build']),
    ...missingPrograms('cc', 'openssl', 'tcpdump', 'ethtool', 'ovs-appctl'),
    peerObstacle(kind),
  ].filter(Boolean);
  return missing.length === 0 ? '' : ` (skipped: needs ${missing.join(', ')})`;
}

export class PeerStage {
  readonly kind: PeerKind;
  readonly rig: Rig = createRig();
  readonly pki = new Pki(this.rig.directory);
  readonly #peers: IkePeer[] = [];

  constructor(kind: PeerKind) {
    this.kind = kind;
  }

  /** What the peers had to say, on stderr. */
  complain(): void {
    for (const peer of this.#peers) process.stderr.write(`${peer.log().split('\n').slice(-LAST_LINES).join('\n')}\n`);
  }

  agreement(method: Method): Agreement {
    if (method === 'PSK') return { options: { psk: PSK }, theirs: { psk: PSK } };
    const { pki } = this;
    if (method === 'self-signed certificates') {
      const [ours, theirs] = [pki.selfSigned('host_1', { key: 'rsa' }), pki.selfSigned('host_2', { key: 'rsa' })];
      return {
        options: { remote_cert: theirs.certificatePath },
        global: filesOf(ours),
        theirs: { certificates: certificatesOf(theirs, { peerCertificate: ours.certificatePath }) },
      };
    }
    const root = pki.authority('root', { key: 'rsa' });
    return this.caSigned(root, pki.signed(root, 'host_2', { key: 'rsa' }));
  }

  /** They show `theirs`; each end trusts `root` only. */
  caSigned(root: Issued, theirs: Issued, ours = this.pki.signed(root, 'host_1', { key: 'rsa' })): Agreement {
    return {
      options: { remote_name: 'host_2' },
      global: { ...filesOf(ours), ca_cert: root.certificatePath },
      theirs: { certificates: certificatesOf(theirs, { authority: root.certificatePath }) },
    };
  }

  startOurs(
    host: Host,
    remote: string,
    { options, global = {} }: Agreement,
    more: Readonly<Record<string, string>> = {},
    type: PeerChoices['type'] = 'gre',
  ): Promise<Espd> {
    const all = { local_ip: host.address, remote_ip: remote, ...options, ...more };
    const config = fileConfig('br-ipsec', [{ name: 'tun', type, options: all }], global);
    return startEspd(this.rig, host, { config });
  }

  async startTheirs(host: Host, remote: string, { theirs }: Agreement, more: Partial<PeerChoices> = {}) {
    const peer = await startPeer(this.kind, this.rig, host, { type: 'gre', remote, ...theirs, ...more });
    this.#peers.push(peer);
    return peer;
  }

  /** Ours begins, over a plain wire. */
  async weStart(agreed: Agreement, { ours = {}, theirs = {} }: Choices = {}): Promise<Up> {
    const hosts = await createLan(this.rig);
    const { a, b } = hosts;
    const peer = await this.startTheirs(b, a.address, agreed, theirs);
    const espd = await this.startOurs(a, b.address, agreed, ours, theirs.type ?? 'gre');
    await espd.waitForTunnel('tun');
    await sameChildren(espd, peer);
    return { hosts, espd, peer };
  }

  /** The peer begins, over a wire that loses every IKE_SA_INIT request of ours until `unmute`: nobody else can have begun. */
  async theyStart(agreed: Agreement, { ours = {}, theirs = {} }: Choices = {}) {
    const wire = await createFaultyWire(this.rig, 1);
    const { a, b } = wire;
    await wire.become({ ...PROFILES.sound, name: 'mute', mute: a.address });
    const peer = await this.startTheirs(b, a.address, agreed, theirs);
    const espd = await this.startOurs(a, b.address, agreed, ours, theirs.type ?? 'gre');
    // Before, ours does not know its configuration.
    await until('a first attempt', () => /initiating IKE_SA/.test(espd.log()));
    await peer.initiate();
    await espd.waitForTunnel('tun');
    await sameChildren(espd, peer);
    return { hosts: { a, b }, espd, peer, unmute: () => wire.become(PROFILES.sound) };
  }
}

/** SPIs of all child SAs of ours, as `in/out` pairs crossed to the peer's view. */
export async function ourChildren(espd: Espd): Promise<string[]> {
  const text = await espd.appctl('sas/show');
  return [...text.matchAll(/in {2}SPI 0x([0-9a-f]+).*\n\s*out SPI 0x([0-9a-f]+)/g)].map(
    ([, spiIn, spiOut]) => `${spiOut}/${spiIn}`,
  );
}

/** Resolves when both ends hold the same SAs, `count` of them if given. */
export function sameChildren(espd: Espd, peer: IkePeer, count?: number): Promise<string> {
  return until('the same SAs on both ends', async () => {
    const hex = (spi: number) => spi.toString(16).padStart(8, '0');
    const theirs = (await peer.children()).map(({ spiIn, spiOut }) => `${hex(spiIn)}/${hex(spiOut)}`);
    const [a, b] = [(await ourChildren(espd)).sort().join(' '), theirs.sort().join(' ')];
    if (a !== b || a === '' || (count !== undefined && theirs.length !== count))
      throw new Error(`ours '${a}', theirs '${b}'`);
    return a;
  });
}

const filesOf = ({ certificatePath, keyPath }: Issued) => ({ certificate: certificatePath, private_key: keyPath });

const certificatesOf = (own: Issued, trust: Partial<CharonCertificates>): CharonCertificates => ({
  id: own.name,
  certificate: own.certificatePath,
  privateKey: own.keyPath,
  peerId: 'host_1',
  ...trust,
});
