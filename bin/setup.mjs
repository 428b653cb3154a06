/**
 * Sets up what a command of package.json needs, says beforehand what it installs, then runs the command.
 *
 * Plain JavaScript without a dependency, because it runs before `npm ci`. Modes: build, start, test, bench, simulate, leak, fuzz, faults, interop, mutants.
 * Debian packages are installed only as root, on Debian or Ubuntu, and not with NO_INSTALL=1; what stays
 * missing is named, and the tests that need it report themselves as skipped.
 */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const ADDON = join(ROOT, 'native-shims/build/Release/ovs_espd_native.node');
const MODES = ['build', 'start', 'test', 'bench', 'simulate', 'leak', 'fuzz', 'faults', 'interop', 'mutants'];

/** Programs by what needs them: the command looked for, the Debian package that brings it, and the modes that use it. */
const PROGRAMS = [
  { command: 'cc', package: 'build-essential', modes: MODES, needed: () => !existsSync(ADDON) },
  { command: 'make', package: 'build-essential', modes: MODES, needed: () => !existsSync(ADDON) },
  { command: 'python3', package: 'python3', modes: MODES, needed: () => !existsSync(ADDON) },
  // test/rig compiles a preload library for charon, also where the addon is there already.
  { command: 'cc', package: 'build-essential', modes: ['test'] },
  { command: 'ip', package: 'iproute2', modes: ['start', 'test', 'bench', 'faults', 'interop'] },
  { command: 'ping', package: 'iputils-ping', modes: ['start', 'test', 'bench', 'faults', 'interop'] },
  { command: 'iperf3', package: 'iperf3', modes: ['start', 'test', 'bench'] },
  { command: 'tcpdump', package: 'tcpdump', modes: ['test', 'bench', 'faults', 'interop'] },
  { command: 'ethtool', package: 'ethtool', modes: ['test', 'bench', 'faults'] },
  { command: 'tshark', package: 'tshark', modes: ['test'] },
  { command: 'ovsdb-server', package: 'openvswitch-switch', modes: ['test', 'bench', 'faults', 'interop'] },
  { command: 'wireguard-go', package: 'wireguard-go', modes: ['bench'] },
  { command: 'wg', package: 'wireguard-tools', modes: ['bench'] },
  { command: 'ovn-northd', package: 'ovn-central', modes: ['test'] },
  { command: 'ovn-controller', package: 'ovn-host', modes: ['test'] },
  { command: 'openssl', package: 'openssl', modes: ['test', 'interop'] },
  { command: 'ovs-pki', package: 'openvswitch-pki', modes: ['test', 'interop'] },
  { command: 'certutil', package: 'libnss3-tools', modes: ['test'] },
  { command: 'swanctl', package: 'strongswan-swanctl', modes: ['test', 'bench'] },
  { command: 'qemu-system-x86_64', package: 'qemu-system-x86', modes: ['interop'] },
  { command: 'debootstrap', package: 'debootstrap', modes: ['interop'] },
  { command: 'mkfs.ext4', package: 'e2fsprogs', modes: ['interop'] },
  { command: 'busybox', package: 'busybox-static', modes: ['interop'] },
  { command: 'charon-systemd', package: 'charon-systemd', modes: ['test', 'bench'] },
  // On Ubuntu that package is a snap, which a container cannot have.
  { command: 'chromium', package: 'chromium', modes: ['test'], needed: () => isDebian(/^ID=debian/m) },
];
/** Debian packages that bring no command of their own: a file tells whether they are there. */
const LIBRARIES = [
  {
    file: '/usr/lib/ipsec/plugins/libstrongswan-gcm.so',
    package: 'libstrongswan-standard-plugins',
    modes: ['test', 'bench'],
  },
  { file: '/usr/lib/python3/dist-packages/cryptography', package: 'python3-cryptography', modes: ['test'] },
  {
    file: '/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so',
    package: 'libcharon-extra-plugins',
    modes: ['test', 'bench'],
  },
  {
    file: '/usr/lib/ipsec/plugins/libstrongswan-curve25519.so',
    package: 'libstrongswan-extra-plugins',
    modes: ['test', 'bench'],
  },
  { file: '/usr/lib/python3/dist-packages/scapy', package: 'python3-scapy', modes: ['test'] },
];

/** What outlives a checkout (test/rig/cache.ts has the same rule). */
const CACHE = process.env.OVS_ESPD_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'ovs-espd');
/** Debian packages that conflict with others that are needed: unpacked into the cache, and only their libraries installed. */
const UNPACKED = [{ package: 'libreswan', installed: '/usr/libexec/ipsec/pluto', modes: ['test'] }];

const say = (text) => process.stdout.write(`setup: ${text}\n`);

function fail(text) {
  process.stderr.write(`setup: ${text}\n`);
  process.exit(1);
}

/** Runs a program with its output shown; ends this process with one line if it fails. */
function run(command, args, { cwd = ROOT, env = {}, mend } = {}) {
  const result = spawnSync(command, args, { cwd, stdio: 'inherit', env: { ...process.env, ...env } });
  if (result.error) fail(`cannot run ${command}: ${result.error.message}`);
  if (result.status !== 0)
    fail(`\`${command} ${args.join(' ')}\` ended with ${result.status ?? result.signal}${mend ? `: ${mend}` : ''}`);
}

function has(command) {
  const path = `${process.env.PATH ?? ''}:/usr/sbin:/sbin:/usr/lib/ipsec`;
  return path.split(':').some((folder) => existsSync(join(folder, command)));
}

function isDebian(pattern = /^ID(_LIKE)?=.*(debian|ubuntu)/m) {
  return existsSync('/etc/os-release') && pattern.test(readFileSync('/etc/os-release', 'utf8'));
}

function missingPackages(mode) {
  const missing = [
    ...PROGRAMS.filter((row) => row.modes.includes(mode) && (row.needed?.() ?? true) && !has(row.command)),
    ...LIBRARIES.filter((row) => row.modes.includes(mode) && !existsSync(row.file)),
  ];
  return [...new Set(missing.map((row) => row.package))];
}

function installDebianPackages(mode) {
  const packages = missingPackages(mode);
  const toUnpack = UNPACKED.filter(
    (row) => row.modes.includes(mode) && !existsSync(row.installed) && !existsSync(join(CACHE, row.package)),
  ).map((row) => row.package);
  if (packages.length === 0 && toUnpack.length === 0) return;
  const refusal =
    process.env.NO_INSTALL === '1'
      ? 'NO_INSTALL=1 is set'
      : process.getuid() !== 0
        ? 'not root'
        : !isDebian()
          ? 'not Debian or Ubuntu'
          : undefined;
  if (refusal !== undefined) {
    say(`missing, and not installed because ${refusal}: ${[...packages, ...toUnpack].join(' ')}`);
    return;
  }
  if (packages.length > 0) say(`installing Debian packages: ${packages.join(' ')}`);
  const apt = { DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '-qq'], { env: apt, mend: "check the machine's package sources, or set NO_INSTALL=1" });
  installWithoutServices(packages, apt);
  for (const name of toUnpack) unpack(name, apt);
}

/** Unpacks a Debian package into the cache and installs the shared libraries that it depends on. */
function unpack(name, apt) {
  say(`unpacking the Debian package ${name} into ${CACHE}, and installing its libraries`);
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, 'unpacking-'));
  const words = ['download', '-qq', '-o', 'APT::Sandbox::User=root', name];
  const download = spawnSync('apt-get', words, { cwd: work, stdio: ['ignore', 'ignore', 'inherit'] });
  const file = readdirSync(work).find((entry) => entry.endsWith('.deb'));
  if (download.status !== 0 || file === undefined) {
    rmSync(work, { recursive: true });
    say(`${name} could not be downloaded: tests that need it are skipped`);
    return;
  }
  const depends = spawnSync('dpkg-deb', ['--field', join(work, file), 'Depends'], { encoding: 'utf8' }).stdout;
  const libraries = depends
    .split(',')
    .map((entry) => entry.trim().split(/[ (|:]/)[0])
    .filter((entry) => entry.startsWith('lib'));
  installWithoutServices(libraries, apt);
  run('dpkg-deb', ['-x', join(work, file), join(work, 'root')]);
  renameSync(join(work, 'root'), join(CACHE, name));
  rmSync(work, { recursive: true });
}

function installWithoutServices(packages, apt) {
  if (packages.length === 0) return;
  // Services of these packages would take UDP 500 and the OVS database on a machine with an init: policy-rc.d keeps them down.
  const policy = '/usr/sbin/policy-rc.d';
  const own = !existsSync(policy);
  if (own) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  const result = spawnSync(
    'apt-get',
    ['install', '-y', '-qq', '--no-install-recommends', '-o', 'Dpkg::Use-Pty=0', ...packages],
    {
      env: { ...process.env, ...apt },
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  if (own) spawnSync('rm', ['-f', policy]);
  if (result.status !== 0)
    fail(
      `apt-get install ${packages.join(' ')} ended with ${result.status}: install them by hand, or set NO_INSTALL=1`,
    );
}

/** Those of the project, or those that only one command needs, in a folder with a lock of its own. */
function installNpmPackages(folder = '.') {
  const cwd = join(ROOT, folder);
  const stamp = join(cwd, 'node_modules/.package-lock.json');
  const fresh = existsSync(stamp) && statSync(stamp).mtimeMs >= statSync(join(cwd, 'package-lock.json')).mtimeMs;
  if (fresh) return;
  say(`installing the npm packages of ${join(folder, 'package-lock.json')} into ${join(folder, 'node_modules')}`);
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error', '--ignore-scripts'], {
    cwd,
    mend: 'check that the npm registry is reachable',
  });
}

/** The one native package: scripts are off above, so that nothing but this one build runs. Its addon serves one version of Node only. */
function buildRawSocket() {
  const loads = () =>
    spawnSync(process.execPath, ['-e', "require('raw-socket')"], { cwd: ROOT, stdio: 'ignore' }).status === 0;
  if (!existsSync(join(ROOT, 'node_modules/raw-socket')) || loads()) return;
  say('building the raw-socket package (optional: the backend --uplink-io=raw-socket)');
  spawnSync('npm', ['rebuild', 'raw-socket', '--loglevel=silent'], {
    cwd: ROOT,
    stdio: 'ignore',
    env: { ...process.env, ...nodedir().env },
  });
  if (!loads()) say('raw-socket could not be built here: --uplink-io=raw-socket will say so, everything else works');
}

/** Headers of the running Node where it ships them, so that node-gyp needs no download. */
function nodedir() {
  const prefix = dirname(dirname(process.execPath));
  const found = [prefix, '/usr', '/usr/local'].find((folder) => headersMajor(folder) === String(major));
  return found === undefined
    ? { args: [], env: {} }
    : { args: [`--nodedir=${found}`], env: { npm_config_nodedir: found } };
}

/** Major version of the Node whose headers a prefix has, as text: addons built with them load in all of that major. */
function headersMajor(prefix) {
  const file = join(prefix, 'include/node/node_version.h');
  return existsSync(file) ? /#define NODE_MAJOR_VERSION (\d+)/.exec(readFileSync(file, 'utf8'))?.[1] : undefined;
}

function newestSource(folder) {
  const listing = spawnSync('find', [folder, '-name', '*.c', '-o', '-name', '*.h', '-o', '-name', '*.gyp'], {
    encoding: 'utf8',
  });
  return Math.max(
    ...listing.stdout
      .split('\n')
      .filter(Boolean)
      .filter((file) => !file.includes('/build/'))
      .map((file) => statSync(file).mtimeMs),
  );
}

function buildAddon() {
  if (existsSync(ADDON) && statSync(ADDON).mtimeMs >= newestSource(join(ROOT, 'native-shims'))) return;
  say('building the native addon (TAP, sockets, AEAD)');
  const gyp = join(dirname(process.execPath), '../lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js');
  const candidates = [
    gyp,
    join(npmRoot(), 'npm/node_modules/node-gyp/bin/node-gyp.js'),
    '/usr/share/nodejs/node-gyp/bin/node-gyp.js',
  ];
  const script = candidates.find((file) => existsSync(file));
  if (script === undefined)
    fail(`node-gyp was not found beside npm (looked for ${candidates.join(', ')}): install npm 10 or newer`);
  const result = spawnSync(
    process.execPath,
    [script, 'rebuild', '--directory', 'native-shims', '--silent', ...nodedir().args],
    {
      cwd: ROOT,
      encoding: 'utf8',
      env: { ...process.env, ...nodedir().env },
    },
  );
  if (result.status !== 0) {
    process.stderr.write(`${result.stdout}\n${result.stderr}\n`);
    fail(
      'the native addon could not be built: a C compiler, make and python3 are needed (Debian: apt-get install build-essential python3)',
    );
  }
}

function npmRoot() {
  const result = spawnSync('npm', ['root', '-g'], { encoding: 'utf8' });
  return result.stdout?.trim().split('\n').pop() ?? '';
}

function compile() {
  say('compiling TypeScript to dist/');
  run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json']);
  run(process.execPath, ['bin/bundle.mjs']);
}

/** Vitest with its own report, then the closing line that CI reads. */
function runTests(args) {
  if (args.length === 0) {
    say('checking format, lint and types');
    run(process.execPath, ['node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.']);
    run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']);
  }
  const report = join(ROOT, 'node_modules/.cache/ovs-espd/tests.json');
  mkdirSync(dirname(report), { recursive: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const result = spawnSync(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...reporters, ...args], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  if (!existsSync(report)) fail('vitest wrote no report');
  const summary = JSON.parse(readFileSync(report, 'utf8'));
  const skipped = summary.testResults.flatMap((file) =>
    file.assertionResults.filter((test) => test.status === 'skipped' || test.status === 'pending'),
  );
  if (skipped.length > 0) {
    process.stdout.write('\nSkipped, with the reason in the name:\n');
    for (const test of skipped) process.stdout.write(`  - ${test.fullName}\n`);
  }
  const failed = Math.max(summary.numFailedTests, result.status === 0 ? 0 : 1);
  process.stdout.write(`\n${summary.numPassedTests} passed, ${failed} failed, ${skipped.length} skipped\n`);
  process.exit(result.status ?? 1);
}

const [mode, ...rest] = process.argv.slice(2);
if (!MODES.includes(mode)) fail(`unknown mode ${mode ?? '(none)'}: expected one of ${MODES.join(', ')}`);
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19))
  fail(`Node ${process.versions.node} is too old: 20.19 or newer is needed`);

say(
  `ovs-espd needs: npm packages, a native addon built with a C compiler${mode === 'build' ? '' : `, and the Debian packages that \`npm ${mode}\` uses`}; only what is missing is installed`,
);
installDebianPackages(mode);
installNpmPackages();
if (mode === 'mutants') installNpmPackages('test/mutants');
buildRawSocket();
buildAddon();
compile();
if (mode === 'start') run(process.execPath, ['dist/bench/demo/main.js', ...rest]);
if (mode === 'test') runTests(rest);
if (mode === 'bench') run(process.execPath, ['dist/bench/main.js', ...rest]);
if (mode === 'simulate') run(process.execPath, ['dist/test/ike/simulation/main.js', ...rest]);
if (mode === 'leak') run(process.execPath, ['dist/test/leak/main.js', ...rest]);
if (mode === 'faults') run(process.execPath, ['dist/test/faults/main.js', ...rest]);
if (mode === 'interop') run(process.execPath, ['dist/test/interop/main.js', ...rest]);
if (mode === 'fuzz') run(process.execPath, ['dist/test/fuzz/main.js', ...rest]);
if (mode === 'mutants') run(process.execPath, ['dist/test/mutants/main.js', ...rest]);
