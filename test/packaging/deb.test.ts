import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { espdIsBuilt } from '../rig/espd.ts';
import { missingPrograms } from '../rig/rig.ts';
import { ROOT } from '../rig/root.ts';

const missing = missingPrograms('dpkg-deb', 'dpkg', 'npm');
const reason =
  missing.length > 0 ? `${missing.join(', ')} not installed` : espdIsBuilt() ? '' : 'not built, run npm run build';
const skipped = reason === '' ? '' : ` (skipped: ${reason})`;

describe.skipIf(reason !== '')(`the Debian package${skipped}`, { timeout: 240_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'espd-deb-'));
  const tree = join(directory, 'installed');
  let file: string;

  beforeAll(() => {
    const output = execFileSync(process.execPath, [join(ROOT, 'bin/debian/build.mjs'), directory], {
      encoding: 'utf8',
    });
    file = output.trim();
    execFileSync('dpkg-deb', ['--extract', file, tree]);
  }, 180_000);
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it('runs from where it is installed, with its own packages and its addon', () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    const run = (...args: string[]) => spawnSync(join(tree, 'usr/sbin/ovs-espd'), args, { encoding: 'utf8', cwd: '/' });
    expect(run('--version')).toMatchObject({ status: 0, stdout: `ovs-espd (Open vSwitch) ${version}\n`, stderr: '' });
    for (const name of ['main', 'worker', 'compute-thread', 'program-thread']) {
      const load = `import('${tree}/usr/lib/ovs-espd/dist/daemon/${name}.js')`;
      expect(spawnSync(process.execPath, ['-e', load], { encoding: 'utf8', cwd: '/' }).stderr, name).toBe('');
    }
    // By the addon.
    expect(run('doctor').stdout).toMatch(/^ok +program +AEAD of OpenSSL/m);
  });

  it('has unit, manual pages, completion, settings and changelog where Debian looks for them', () => {
    for (const path of [
      'lib/systemd/system/ovs-espd.service',
      'usr/share/man/man8/ovs-espd.8.gz',
      'usr/share/man/man5/ovs-espd.conf.5.gz',
      'usr/share/bash-completion/completions/ovs-espd',
      'etc/default/ovs-espd',
      'etc/logrotate.d/ovs-espd',
      'usr/share/doc/ovs-espd/changelog.gz',
      'usr/share/doc/ovs-espd/copyright',
      'usr/share/doc/ovs-espd/licences/zod',
      'usr/share/doc/ovs-espd/licences/@noble_ciphers',
    ])
      expect(existsSync(join(tree, path)), path).toBe(true);
  });

  it('names what it needs and what it replaces, and holds no development packages', () => {
    const field = (name: string) => execFileSync('dpkg-deb', ['--field', file, name], { encoding: 'utf8' }).trim();
    expect(field('Depends')).toMatch(/^nodejs \(>= 20\.19\)/);
    expect(field('Conflicts')).toBe('openvswitch-ipsec');
    expect(existsSync(join(tree, 'usr/lib/ovs-espd/node_modules/piscina'))).toBe(true);
    for (const name of ['vitest', 'typescript', '@biomejs', 'rolldown', 'raw-socket', 'benchmark', 'zod'])
      expect(existsSync(join(tree, 'usr/lib/ovs-espd/node_modules', name)), name).toBe(false);
    expect(statSync(file).size).toBeLessThan(20e6);
  });

  it('names this machine nowhere', () => {
    const found = spawnSync('grep', ['-rlF', '--exclude-dir=node_modules', '--include=*.js', ROOT, tree], {
      encoding: 'utf8',
    });
    expect(found.stdout).toBe('');
  });
});

describe('the systemd unit', () => {
  const none = missingPrograms('systemd-analyze').length > 0;
  it.skipIf(none)(`is understood by systemd${none ? ' (skipped: systemd-analyze not installed)' : ''}`, () => {
    const directory = mkdtempSync(join(tmpdir(), 'espd-unit-'));
    try {
      // The program is not installed here: any other stands for it.
      const unit = readFileSync(join(ROOT, 'bin/debian/ovs-espd.service'), 'utf8').replace(
        '/usr/sbin/ovs-espd',
        '/bin/true',
      );
      const path = join(directory, 'ovs-espd.service');
      writeFileSync(path, unit);
      const { stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', path], { encoding: 'utf8' });
      expect(stderr.split('\n').filter((line) => line.includes('ovs-espd'))).toEqual([]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
