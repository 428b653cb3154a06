/**
 * The two IKE daemons of OVS, charon and pluto, behind one face, so that one list of tests holds for both
 * (ike-peers.test.ts). One tunnel named `tun` to one peer; the daemons are the rig's.
 */
import { startCharon } from '../rig/charon.ts';
import { childNames } from '../rig/charon-conf.ts';
import type { CharonCertificates } from '../rig/charon-credentials.ts';
import { libreswanFolder, startPluto } from '../rig/libreswan.ts';
import type { Host } from '../rig/namespace.ts';
import type { Running } from '../rig/process.ts';
import { missingPrograms, type Rig } from '../rig/rig.ts';
import type { InstalledSa } from '../rig/sad.ts';

/** What the peer is told. */
export type PeerChoices = {
  readonly type: 'gre' | 'geneve' | 'vxlan';
  readonly remote: string;
  readonly psk?: string;
  readonly certificates?: CharonCertificates;
  /** Whether it takes and sends IKE fragments; default yes. */
  readonly fragmentation?: boolean;
};

/** An IKE daemon that runs. Its connections wait until either side starts. */
export type IkePeer = {
  readonly running: Running;
  log(): string;
  /** Starts every child, and the IKE SA with the first. Rejects with its words. */
  initiate(): Promise<void>;
  /** Rekeys one child or the IKE SA; resolves when the new one is in place. */
  rekey(what: 'child' | 'ike'): Promise<void>;
  /** Deletes the IKE SA with its children. */
  terminate(): Promise<void>;
  /** SPIs of its installed children as the daemon lists them: the peer's `in` is our `out`. */
  children(): Promise<{ readonly spiIn: number; readonly spiOut: number }[]>;
  /** What tells its IKE SAs apart. */
  ikeSas(): Promise<string[]>;
  /** Every SA that its kernel would have got, with keys, oldest first. */
  installedSas(): InstalledSa[];
  /** What its log says of a failed authentication by us. */
  readonly refusal: RegExp;
};

export type PeerKind = 'strongSwan' | 'Libreswan';

/** Why a peer of that kind cannot run here; '' if it can. */
export function peerObstacle(kind: PeerKind): string {
  if (kind === 'strongSwan') return missingPrograms('swanctl', 'charon-systemd').join(', ');
  return [...missingPrograms('certutil', 'pk12util'), ...(libreswanFolder() === undefined ? ['libreswan'] : [])].join(
    ', ',
  );
}

async function startStrongswan(rig: Rig, host: Host, choices: PeerChoices): Promise<IkePeer> {
  const { type, remote, psk, certificates, fragmentation = true } = choices;
  const connection = { fragmentation: fragmentation ? 'yes' : 'no' };
  const spec = { name: 'tun', type, remote, connection };
  const charon = await startCharon(rig, host, [
    { ...spec, ...(psk === undefined ? {} : { psk }), ...(certificates === undefined ? {} : { certificates }) },
  ]);
  const names = childNames({ name: 'tun', type });
  return {
    running: charon.running,
    log: charon.log,
    async initiate() {
      for (const name of names) await charon.initiate(name);
    },
    rekey: (what) => charon.rekey(what, what === 'ike' ? 'tun' : names[0]!),
    terminate: () => charon.terminate('tun'),
    async children() {
      return (await charon.listSas()).flatMap((sa) => sa.children).filter(({ state }) => state === 'INSTALLED');
    },
    async ikeSas() {
      return (await charon.listSas()).filter((sa) => sa.state === 'ESTABLISHED').map((sa) => sa.initiatorSpi);
    },
    installedSas: charon.installedSas,
    refusal: /AUTH_FAILED|no trusted .* public key found|MAC mismatched|no matching peer config found/,
  };
}

async function startLibreswan(rig: Rig, host: Host, choices: PeerChoices): Promise<IkePeer> {
  const { type, remote, psk, certificates, fragmentation = true } = choices;
  const connection = { fragmentation: fragmentation ? 'yes' : 'no' };
  const pluto = await startPluto(rig, host, [
    {
      name: 'tun',
      type,
      remote,
      connection,
      ...(psk === undefined ? {} : { psk }),
      ...(certificates === undefined ? {} : { certificates }),
    },
  ]);
  const names = childNames({ name: 'tun', type });
  const demand = async (success: RegExp, ...words: string[]) => {
    const { stdout, stderr } = await pluto.whack(...words);
    if (!success.test(stdout)) throw new Error(`whack ${words.join(' ')}: no ${success} in\n${stdout}${stderr}`);
  };
  return {
    running: pluto.running,
    log: pluto.log,
    async initiate() {
      for (const name of names) await demand(/initiator established Child SA/, '--initiate', '--name', name);
    },
    rekey: (what) =>
      what === 'ike'
        ? demand(/initiator rekeyed IKE SA/, '--rekey-ike', '--name', names[0]!)
        : demand(/initiator rekeyed Child SA/, '--rekey-ipsec', '--name', names[0]!),
    async terminate() {
      for (const name of names) await pluto.whack('--terminate', '--name', name);
    },
    children: pluto.children,
    ikeSas: async () => (await pluto.ikeSas()).map(String),
    installedSas: pluto.installedSas,
    refusal:
      /authentication failed|AUTHENTICATION_FAILED|no connection.*authorized|certificate.*(?:failed|expired|invalid)/i,
  };
}

/** Starts the daemon of that kind on `host`. */
export function startPeer(kind: PeerKind, rig: Rig, host: Host, choices: PeerChoices): Promise<IkePeer> {
  return kind === 'strongSwan' ? startStrongswan(rig, host, choices) : startLibreswan(rig, host, choices);
}
