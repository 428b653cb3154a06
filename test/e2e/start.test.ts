/** Starts that cannot work end with status 1 and one line that says what is wrong and how to mend it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fileConfig } from '../rig/espd.ts';
import { createNamespace } from '../rig/namespace.ts';
import { ovsEnvironment } from '../rig/ovsdb.ts';
import { run, start } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ROOT } from '../rig/root.ts';
import { obstacle } from './two-hosts.ts';

const reason = obstacle('unshare', 'setpriv');
const DAEMON = join(ROOT, 'bin/ovs-espd');

describe.skipIf(reason !== '')(`a start that cannot work${reason}`, { timeout: 90_000 }, () => {
  let rig: Rig;
  let database: string;
  let directory: string;
  beforeEach(() => {
    rig = createRig();
    directory = join(rig.directory, 'run');
    mkdirSync(directory, { mode: 0o777 });
    const path = join(rig.directory, 'config.json');
    writeFileSync(path, fileConfig('br-ipsec', []));
    database = `file:${path}`;
  });
  afterEach(() => rig.close());

  /** Runs the daemon behind `wrapper` in a namespace of its own and gives its status and what it said. */
  async function attempt(wrapper: readonly string[], words: readonly string[] = [database]) {
    const namespace = await createNamespace(rig, 'start');
    const [command, ...args] = [...wrapper, process.execPath, DAEMON, ...words];
    const env = ovsEnvironment(directory);
    return run({ command: command!, args, namespace, env }, { expect: 'any', ms: 15_000 });
  }

  const cases = [
    {
      what: 'no privilege',
      // uid 0 without a capability: the checkout may lie where another user cannot read.
      wrapper: ['setpriv', '--bounding-set=-all', '--inh-caps=-all'],
      line: /Operation not permitted.*run as root, or with CAP_NET_ADMIN/,
    },
    {
      what: 'no /dev/net/tun',
      wrapper: ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /dev/net && exec "$0" "$@"'],
      line: /\/dev\/net\/tun: No such file.*modprobe tun/,
    },
    {
      what: 'the addon not built',
      wrapper: ['unshare', '--mount', 'sh', '-c', `mount -t tmpfs none ${ROOT}/native-shims/build && exec "$0" "$@"`],
      line: /native addon not found.*npm run build/,
    },
    {
      what: 'a database nobody can spell',
      wrapper: [],
      words: ['foo:bar'],
      line: /DATABASE is "foo:bar", expected unix:PATH/,
    },
    { what: 'an unknown option', wrapper: [], words: ['--worker=3'], line: /option is "--worker", expected one of/ },
  ];
  it.each(cases)('says so in one line and exits 1: $what', async ({ wrapper, words, line }) => {
    const { status, stderr, stdout } = await attempt(wrapper, words);
    const said = stderr
      .trim()
      .split('\n')
      .filter((text) => !text.includes('|INFO|'));
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(line);
    expect(said[0]).toMatch(/^ovs-espd: (?!ovs-espd)/);
    expect(stdout).toBe('');
    expect(status).toBe(1);
  });

  it('says so in one line and exits 1: UDP port 500 is taken', async () => {
    const namespace = await createNamespace(rig, 'port');
    const squatter = "require('node:dgram').createSocket('udp4').bind(500, () => console.log('bound'))";
    const other = start(rig, { command: process.execPath, args: ['-e', squatter], namespace });
    await other.waitForOutput(/bound/);
    const env = ovsEnvironment(directory);
    const { status, stderr } = await run(
      { command: process.execPath, args: [DAEMON, database], namespace, env },
      { expect: 'any' },
    );
    expect(status).toBe(1);
    expect(stderr).toMatch(/^ovs-espd: bind UDP 0\.0\.0\.0:500: Address already in use.*stop it/m);
  });

  it('refuses a second daemon by the lock on its pidfile, and the first goes on', async () => {
    const namespace = await createNamespace(rig, 'twice');
    const env = ovsEnvironment(directory);
    const command = { command: process.execPath, args: [DAEMON, '--pidfile', database], namespace, env };
    const first = start(rig, command);
    await first.waitForOutput(/started/);
    const second = await run(command, { expect: 'any' });
    expect(second.status).toBe(1);
    expect(second.stderr).toMatch(new RegExp(`already running as pid ${first.pid}`));
    expect(first.isRunning()).toBe(true);
  });
});
