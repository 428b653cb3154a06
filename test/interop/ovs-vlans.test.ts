/**
 * OVS itself is the judge of VLANs: random ports are configured in a real ovs-vswitchd (ports of its test datapath, which
 * needs no privilege), and `ofproto/trace` says where each frame goes with which tag. The engine must do the same; but where
 * OVS 3.1 leaves a tag without a VLAN id that its own documentation takes off (priority-tags, `never`), we do as documented.
 */

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PortVlans } from '../../dataplane/commands.ts';
import { openSwitch, taggedFrame, vlans } from '../dataplane/engine/vlan-switch.ts';
import { Random } from '../fuzz/random.ts';
import { type Running, run, start } from '../rig/process.ts';
import { createRig, missingPrograms, type Rig } from '../rig/rig.ts';

const missing = missingPrograms('ovs-vswitchd', 'ovsdb-server', 'ovs-vsctl', 'ovs-appctl');
const reason = missing.length === 0 ? '' : ` (skipped: ${missing.join(', ')} not there)`;
const PORTS = 6;
const CONFIGURATIONS = 12;
const FRAMES = 14;
/** Few, so that ports share them. */
const VLANS: readonly number[] = [1, 10, 20, 4095];
const SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema';

interface Settings {
  readonly columns: readonly string[];
  readonly vlans: PortVlans;
}

function randomPort(random: Random): Settings {
  const mode = random.pick(['trunk', 'trunk', 'access', 'native-tagged', 'native-untagged'] as const);
  const trunks = mode === 'access' || random.once(2) ? [] : VLANS.filter(() => random.once(2));
  // A native VLAN 0 beside others is taken in by OVS and not let out again.
  const tag = mode === 'trunk' ? 0 : random.pick(trunks.length > 0 ? VLANS : [0, ...VLANS, ...VLANS]);
  if (trunks.length > 0 && random.once(3)) trunks.push(0);
  const priorityTags = random.pick(['never', 'never', 'if-nonzero', 'always'] as const);
  const columns = [
    `vlan_mode=${mode}`,
    mode === 'trunk' ? 'tag=[]' : `tag=${tag}`,
    `trunks=[${trunks.join(',')}]`,
    `other_config:priority-tags=${priorityTags}`,
  ];
  return { columns, vlans: vlans({ mode, tag, trunks, priorityTags }) };
}

/** Where a frame goes by the actions of a datapath: port and tag, -1 without, in the order of the ports. */
function outputs(actions: string, tag: number, settings: readonly Settings[]): string[] {
  const out: string[] = [];
  let now = tag;
  for (const action of actions.match(/[a-z_]+\([^)]*\)|[^,]+/g) ?? []) {
    const push = /^push_vlan\(vid=(\d+),pcp=(\d+)\)$/.exec(action);
    if (push !== null) now = (Number(push[2]) << 13) | Number(push[1]);
    else if (action === 'pop_vlan') now = -1;
    else if (/^\d+$/.test(action)) {
      const isOmitted =
        (settings[Number(action) - 1]?.vlans.priorityTags ?? 'never') === 'never' && (now & 0xfff) === 0;
      out.push(`${action}: ${isOmitted ? -1 : now}`);
    } else if (action !== 'drop') throw new Error(`an action that this test does not know: ${action}`);
  }
  return out.sort();
}

describe.skipIf(reason !== '')(`VLANs as a real ovs-vswitchd has them${reason}`, { timeout: 120_000 }, () => {
  let rig: Rig;
  let vswitchd: Running;
  let env: Record<string, string>;
  let remote: string;

  beforeAll(async () => {
    rig = createRig();
    const { directory } = rig;
    env = { OVS_RUNDIR: directory, OVS_LOGDIR: directory, OVS_DBDIR: directory, OVS_SYSCONFDIR: directory };
    remote = `unix:${join(directory, 'db.sock')}`;
    await run({ command: 'ovsdb-tool', args: ['create', join(directory, 'conf.db'), SCHEMA] });
    const server = start(rig, {
      name: 'ovsdb-server',
      command: 'ovsdb-server',
      args: [join(directory, 'conf.db'), `--remote=p${remote}`, `--pidfile=${join(directory, 'ovsdb-server.pid')}`],
      env,
    });
    await server.waitUntil('a database', () => vsctl('--no-wait', '--timeout=1', 'init'));
    vswitchd = start(rig, {
      name: 'ovs-vswitchd',
      command: 'ovs-vswitchd',
      args: [
        remote,
        '--enable-dummy=override',
        '--disable-system',
        '-vconsole:off',
        `--pidfile=${join(directory, 'ovs-vswitchd.pid')}`,
      ],
      env,
    });
    await vswitchd.waitUntil('ovs-vswitchd', () => appctl('version'));
    await vsctl('add-br', 'br0', '--', 'set', 'bridge', 'br0', 'datapath_type=dummy', 'fail-mode=standalone');
    const ports = Array.from({ length: PORTS }, (_, i) => `p${i + 1}`);
    for (const [i, port] of ports.entries())
      await vsctl('add-port', 'br0', port, '--', 'set', 'interface', port, 'type=dummy', `ofport_request=${i + 1}`);
  }, 180_000);
  afterAll(() => rig.close());

  const vsctl = (...words: string[]) =>
    run({ command: 'ovs-vsctl', args: ['--timeout=10', `--db=${remote}`, ...words], env });
  const appctl = async (...words: string[]) =>
    (await run({ command: 'ovs-appctl', args: ['-t', 'ovs-vswitchd', ...words], env })).stdout;

  it.each([...Array(CONFIGURATIONS).keys()])('configuration %i: the same ports, the same tags', async (seed) => {
    const random = new Random(seed);
    const settings = Array.from({ length: PORTS }, () => randomPort(random));
    const words = settings.flatMap(({ columns }, i) => ['--', 'set', 'port', `p${i + 1}`, ...columns]);
    await vsctl(...words.slice(1));
    // Port 0 is the bridge's own, 100 in the test datapath.
    const ours = await openSwitch([undefined, ...settings.map((each) => each.vlans)]);
    try {
      for (let i = 0; i < FRAMES; i++) {
        const port = 1 + random.below(PORTS);
        const id = random.pick([0, 0, ...VLANS]);
        const tag = id === 0 && random.once(2) ? -1 : (random.below(8) << 13) | id;
        const tags = tag < 0 ? [] : [tag];
        const given = taggedFrame(255, 1, tags);
        const dl = tag < 0 ? '' : `,dl_vlan=${id},dl_vlan_pcp=${tag >> 13}`;
        const addresses = 'dl_src=02:00:00:00:00:01,dl_dst=ff:ff:ff:ff:ff:ff,dl_type=0x88b5';
        const trace = await appctl('ofproto/trace', 'br0', `in_port=${port}${dl},${addresses}`);
        const actions = /^Datapath actions: (.*)$/m.exec(trace)![1]!;
        const came: string[] = [];
        for (const [to, frames] of await ours.send(port, given))
          for (const frame of frames) {
            const itsTag = frame[12] === 0x81 ? (frame[14]! << 8) | frame[15]! : -1;
            came.push(`${to === 0 ? 100 : to}: ${itsTag}`);
            expect(frame).toEqual(taggedFrame(255, 1, itsTag < 0 ? [] : [itsTag]));
          }
        const what = `frame of tag ${tag} from port ${port} of ${JSON.stringify(settings.map((each) => each.columns))}`;
        expect(came.sort(), what).toEqual(outputs(actions, tag, settings));
      }
    } finally {
      await ours.engine.stop();
    }
  });
});
