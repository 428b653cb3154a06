/**
 * One cell of the matrix: a tunnel between ovs-espd and the reference system lives from its first packet to its end. STEPS is
 * the cell's story in order; a step that fails ends it. During the whole cell the wire is watched: no tunnel packet in the clear.
 */
import { type Capture, startCapture } from '../rig/capture.ts';
import { until } from '../rig/process.ts';
import { type Cell, cellName } from './matrix-cells.ts';
import { INNER, MatrixHost } from './matrix-host.ts';
import type { Stage } from './matrix-stage.ts';

const BYTES = 20_000_000;
/** Ours rekeys its child after 15 s, then its IKE SA, whatever the peer does in hours. */
const SHORT_LIFE = {
  ipsec_salifetime: '60s',
  ipsec_ikelifetime: '60s',
  ipsec_rekeymargin: '45s',
  ipsec_rekeyfuzz: '0%',
} as const;

/** What both ends are told where a cell names a key exchange: on top of X25519, for the IKE SA and at each rekeying of a child. */
const KEY_EXCHANGES = {
  mlkem768: {
    options: { ipsec_ike: 'aes256gcm16-prfsha256-x25519-ke1_mlkem768', ipsec_esp: 'aes256gcm16-x25519-ke1_mlkem768' },
    suite: / IKEv2 .*CURVE_25519\S*ML_KEM_768/,
  },
} as const;

/** What a step works with. */
type Scene = {
  readonly stage: Stage;
  readonly cell: Cell;
  readonly ours: MatrixHost;
  /** Name of the tunnel on both ends. */
  readonly name: string;
  /** Child SAs that make a tunnel of its type. */
  readonly children: number;
  readonly options: { readonly ours: Record<string, string>; readonly theirs: Record<string, string> };
};

export type StepName = keyof typeof STEPS;

/** Brings the tunnel up with one side unable to begin: its IKE_SA_INIT requests are dropped in the guest. */
async function up({ stage, cell, ours, name, children, options }: Scene): Promise<void> {
  const { system, guest } = stage;
  const { ours: our, theirs } = stage.credentials(cell.method);
  // Cells are independent: nothing that the IKE daemon or the kernel remembers of the last one is left.
  await system.reboot();
  await system.silenceRequests(cell.starts === 'we-start' ? 'output' : 'input');
  await system.trustAuthority(theirs);
  await system.addTunnel(name, cell.type, options.theirs, theirs);
  await system.connections(name);
  await ours.addTunnel(name, cell.type, { ...options.ours, ...SHORT_LIFE }, our);
  let knock: Promise<unknown> = Promise.resolve();
  if (cell.starts === 'they-start') {
    await until('a first attempt of ours', () => /initiating IKE_SA/.test(ours.espd.log()), 30_000);
    const knocks = `for try in $(seq 60); do ping -n -c 1 -W 1 ${INNER.ours} >/dev/null && exit; done`;
    if (system.hasTraps) knock = guest.sh(knocks, { expect: 'any', ms: 120_000 });
    // Awaited below; a failure meanwhile must not be nobody's.
    knock.catch(() => undefined);
  }
  await ours.espd.waitForTunnel(name, undefined, 120_000);
  await system.waitForPolicies(children);
  await knock;
  // Whose IKE SA came up: the initiator is the one that logs what was selected. Later ones were rekeyed, by whoever came first.
  const [begun = ''] = ours.espd.log().split(' established between ');
  if (/IKE_SA \S+ \S+: selected /.test(begun) !== (cell.starts === 'we-start'))
    throw new Error('the wrong side started');
  if (cell.keyExchange !== undefined && !KEY_EXCHANGES[cell.keyExchange].suite.test(await ours.espd.tunnelsShow(name)))
    throw new Error(`${cell.keyExchange} was not agreed on`);
  await system.silenceRequests('none');
}

/** Transfers until ours has rekeyed child and IKE SA at least once each while bytes were moving. */
async function rekeyedByUs({ stage, ours }: Scene): Promise<void> {
  const before = await ours.rekeyings();
  for (let round = 0; round < 12; round++) {
    await ours.transfer(stage.guest, stage.script, 'to guest', BYTES);
    const now = await ours.rekeyings();
    if (now.child > before.child && now.ike > before.ike) return;
  }
  throw new Error('no rekeying of ours in twelve transfers');
}

async function rekeyedByThem({ stage, ours, name }: Scene): Promise<void> {
  const { system, guest } = stage;
  const connections = await system.connections(name);
  const transfer = ours.transfer(guest, stage.script, 'from guest', BYTES);
  // Awaited below; a failure meanwhile must not be nobody's.
  transfer.catch(() => undefined);
  for (const what of ['child', 'ike', 'child'] as const) {
    const before = ours.rekeyingsOfPeer()[what];
    // Told more than once: where ours rekeys the same SA meanwhile, the peer gives up its own rekeying (RFC 7296 §2.8.1, §2.25).
    await until(
      `a rekeying of the ${what} SA by the peer`,
      async () => {
        await system.rekey(what, connections);
        await until('it', () => ours.rekeyingsOfPeer()[what] > before, 20_000);
        return true;
      },
      100_000,
    );
  }
  await transfer;
}

/** The story, in order. */
const STEPS = {
  up,
  ping: ({ ours, stage }: Scene) => ours.pingBothWays(stage.guest),
  '20 MB, our rekeys': rekeyedByUs,
  '20 MB, their rekeys': rekeyedByThem,
  'peer reboot': async ({ ours, stage, children }: Scene) => {
    await stage.system.reboot();
    await stage.system.waitForPolicies(children);
    await ours.pingBothWays(stage.guest);
  },
  'our restart': async ({ ours, stage }: Scene) => {
    await ours.restart();
    await ours.pingBothWays(stage.guest);
  },
  delete: async ({ ours, stage, name }: Scene) => {
    await ours.ovsdb.vsctl(`--timeout=20 del-port ${name}`);
    await until('the end of their SAs', async () => (await stage.system.children()).trim() === '', 60_000);
  },
} as const satisfies Record<string, (scene: Scene) => Promise<void>>;

export const STEP_NAMES = Object.keys(STEPS) as StepName[];

export type CellResult = {
  readonly cell: string;
  readonly date: string;
  readonly versions: string;
  /** Seconds of each step that passed. */
  readonly passed: Readonly<Partial<Record<StepName, number>>>;
  readonly failure?: { readonly step: string; readonly reason: string };
};

function assertNoPlaintext(capture: Capture): void {
  const open = capture.packets().filter(({ kind }) => ['gre', 'geneve', 'vxlan'].includes(kind));
  if (open.length > 0) throw new Error(`${open.length} tunnel packets in the clear, the first from ${open[0]!.source}`);
}

/** Runs a cell; what fails is in the result. `report` hears of each step; `explain` gets the diagnosis of a failure. */
export async function runCell(
  stage: Stage,
  cell: Cell,
  { name, report, explain }: { name: string; report: (text: string) => void; explain: (text: string) => void },
): Promise<CellResult> {
  const { ours: our, theirs: their } = stage.addresses(cell.family);
  const ours = await MatrixHost.start(stage.rig, stage.host, { mtu: stage.innerMtu, label: `-${name}` });
  const capture = await startCapture(stage.rig, stage.wire);
  const exchange = cell.keyExchange === undefined ? {} : KEY_EXCHANGES[cell.keyExchange].options;
  const options = {
    ours: { local_ip: our, remote_ip: their, ...exchange },
    theirs: { local_ip: their, remote_ip: our, ...exchange },
  };
  // ovs-monitor-ipsec and ours have one for each direction of a UDP port.
  const children = cell.type === 'gre' ? 1 : 2;
  const passed: Partial<Record<StepName, number>> = {};
  const about = { cell: cellName(cell), date: new Date().toISOString().slice(0, 10), versions: stage.system.versions };
  let step = 'set-up';
  try {
    for (const [next, act] of Object.entries(STEPS) as [StepName, (scene: Scene) => Promise<void>][]) {
      step = next;
      const begin = performance.now();
      await act({ stage, cell, ours, name, children, options });
      assertNoPlaintext(capture);
      passed[next] = Math.round((performance.now() - begin) / 100) / 10;
      report(`${next} ${passed[next]} s`);
    }
    return { ...about, passed };
  } catch (error) {
    const reason = (error as Error).message;
    const packets = capture
      .packets()
      .slice(-60)
      .map(({ kind, source, destination }) => `${source} > ${destination} ${kind}`);
    const words = [
      reason,
      ours.espd.log(),
      await ours.espd.tunnelsShow().catch(String),
      await stage.guest.diagnosis(),
      ...packets,
    ];
    explain(`${cellName(cell)}: ${step}\n${words.join('\n')}\n`);
    return { ...about, passed, failure: { step, reason: reason.split('\n')[0]! } };
  } finally {
    await capture.stop();
    await ours.stop();
    await stage.system.silenceRequests('none');
    await stage.system.removeTunnel(name);
  }
}
