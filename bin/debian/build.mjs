/**
 * `npm run deb`: a Debian package of what is built here, in build/deb/. Needs dpkg-deb, and nothing from the network.
 *
 * The package holds the compiled program, the native addon and those npm packages that are not part of what was compiled,
 * under /usr/lib/ovs-espd, and the licences of all of them; the unit is installed and not started, since it takes UDP port 500 and the datapath.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { EXTERNAL } from '../bundle.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, '../..');
const OUT = process.argv[2] ?? join(ROOT, 'build/deb');
const TREE = join(OUT, 'tree');
const LIB = 'usr/lib/ovs-espd';
const { version, description, engines } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));

const put = (path, content, mode = 0o644) => {
  mkdirSync(dirname(join(TREE, path)), { recursive: true });
  writeFileSync(join(TREE, path), content);
  chmodSync(join(TREE, path), mode);
};
const read = (path) => readFileSync(join(ROOT, path));
const copy = (from, to, filter = () => true) =>
  cpSync(join(ROOT, from), join(TREE, to), { recursive: true, dereference: true, filter });

function program() {
  copy('dist/daemon', `${LIB}/dist/daemon`, (path) => !path.endsWith('.map'));
  put(
    `${LIB}/native-shims/build/Release/ovs_espd_native.node`,
    read('native-shims/build/Release/ovs_espd_native.node'),
  );
  put(`${LIB}/bin/ovs-espd`, read('bin/ovs-espd'), 0o755);
  put(`${LIB}/package.json`, read('package.json'));
  for (const name of packages) if (EXTERNAL.includes(name)) copy(`node_modules/${name}`, `${LIB}/node_modules/${name}`);
  mkdirSync(join(TREE, 'usr/sbin'), { recursive: true });
  symlinkSync('../lib/ovs-espd/bin/ovs-espd', join(TREE, 'usr/sbin/ovs-espd'));
}

/** Names of the npm packages that the program is made of or needs when it runs. */
const packages = namesOfPackages();

function namesOfPackages() {
  const args = ['ls', '--omit=dev', '--omit=optional', '--all', '--parseable'];
  const listing = execFileSync('npm', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return listing
    .split('\n')
    .filter((path) => path.includes('node_modules'))
    .map((path) => relative(join(ROOT, 'node_modules'), path));
}

/** The licences of packages ask for a copy of them wherever their code goes. */
function licences() {
  for (const name of packages) {
    const folder = `node_modules/${name}`;
    const file = readdirSync(join(ROOT, folder)).find((entry) => /^licen[cs]e/i.test(entry));
    if (file !== undefined) put(`usr/share/doc/ovs-espd/licences/${name.replace('/', '_')}`, read(join(folder, file)));
  }
}

function system() {
  put('lib/systemd/system/ovs-espd.service', read('bin/debian/ovs-espd.service'));
  put('etc/default/ovs-espd', read('bin/debian/ovs-espd.default'));
  put('etc/logrotate.d/ovs-espd', read('bin/debian/ovs-espd.logrotate'));
  put('usr/share/bash-completion/completions/ovs-espd', read('docs/man/ovs-espd.bash-completion'));
  for (const page of ['ovs-espd.8', 'ovs-espd.conf.5'])
    put(`usr/share/man/man${page.at(-1)}/${page}.gz`, gzipSync(read(`docs/man/${page}`), { level: 9 }));
  put('usr/share/doc/ovs-espd/changelog.gz', gzipSync(read('CHANGELOG.md'), { level: 9 }));
  put('usr/share/doc/ovs-espd/README.md', read('README.md'));
  put('usr/share/doc/ovs-espd/copyright', copyright());
}

function copyright() {
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: ovs-espd

Files: *
Copyright: the authors of ovs-espd
License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.

Files: usr/lib/ovs-espd/node_modules/* usr/lib/ovs-espd/dist/daemon/*
Copyright: the authors of each package
Comment: dist/daemon holds code of npm packages. The licence of each is in /usr/share/doc/ovs-espd/licences.
License: MIT and BSD-3-Clause and 0BSD
`;
}

function control() {
  const reload = '#!/bin/sh\nset -e\nif [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi\n';
  const stop =
    '#!/bin/sh\nset -e\nif [ "$1" = remove ] && [ -d /run/systemd/system ]; then systemctl stop ovs-espd.service || true; fi\n';
  const kilobytes = execFileSync('du', ['-sk', TREE], { encoding: 'utf8' }).split('\t')[0];
  const architecture = execFileSync('dpkg', ['--print-architecture'], { encoding: 'utf8' }).trim();
  const node = /\d[\d.]*/.exec(engines.node)[0];
  put(
    'DEBIAN/control',
    `Package: ovs-espd
Version: ${version}
Architecture: ${architecture}
Maintainer: the authors of ovs-espd <root@localhost>
Installed-Size: ${kilobytes}
Depends: nodejs (>= ${node}), iproute2, libc6
Recommends: openvswitch-common, openvswitch-switch
Conflicts: openvswitch-ipsec
Section: net
Priority: optional
Description: ${description.split(':')[0]}
 ${description}.
 Reads the settings of ovs-monitor-ipsec and stands in its place.
`,
  );
  put('DEBIAN/conffiles', '/etc/default/ovs-espd\n/etc/logrotate.d/ovs-espd\n');
  put('DEBIAN/postinst', reload, 0o755);
  put('DEBIAN/postrm', reload, 0o755);
  put('DEBIAN/prerm', stop, 0o755);
  return join(OUT, `ovs-espd_${version}_${architecture}.deb`);
}

if (!existsSync(join(ROOT, 'dist/daemon/main.js'))) {
  process.stderr.write('not built: run `npm run build` first\n');
  process.exit(1);
}
rmSync(TREE, { recursive: true, force: true });
process.umask(0o022);
program();
licences();
system();
const file = control();
execFileSync('dpkg-deb', ['--build', '--root-owner-group', TREE, file], { stdio: ['ignore', 'ignore', 'inherit'] });
rmSync(TREE, { recursive: true });
process.stdout.write(`${file}\n`);
