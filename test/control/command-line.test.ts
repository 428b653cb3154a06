import { describe, expect, it } from 'vitest';
import { type CommandLine, parseCommandLine } from '../../control/command-line.ts';
import { directoriesOf } from '../../control/directories.ts';
import { IGNORED, OPTIONS } from '../../control/options.ts';

function parse(...args: readonly string[]): CommandLine {
  const parsed = parseCommandLine(args, {});
  if (parsed.kind !== 'run') throw new Error('expected a run');
  return parsed;
}

describe('the command line', () => {
  it('has the defaults of an OVS daemon', () => {
    expect(parse()).toMatchObject({
      database: 'unix:/var/run/openvswitch/db.sock',
      pidfile: undefined,
      detach: false,
      logFile: undefined,
      verbose: [],
      unixctl: `/var/run/openvswitch/ovs-espd.${process.pid}.ctl`,
      aead: 'native',
      uplinkIo: 'mmsg',
      offloads: { tso: true, gro: true, 'udp-gso': true, 'udp-gro': true },
      noCleanup: false,
      ignored: [],
      tls: {},
    });
    expect(parse().workers).toBeGreaterThanOrEqual(1);
  });

  it('honours OVS_RUNDIR, OVS_LOGDIR, OVS_DBDIR and OVS_SYSCONFDIR', () => {
    const environment = { OVS_RUNDIR: '/r', OVS_LOGDIR: '/l', OVS_SYSCONFDIR: '/s' };
    expect(directoriesOf(environment)).toEqual({
      run: '/r',
      log: '/l',
      database: '/s/openvswitch',
      configuration: '/s',
    });
    expect(directoriesOf({ OVS_DBDIR: '/d', OVS_RUNDIR: '' })).toMatchObject({
      database: '/d',
      run: '/var/run/openvswitch',
    });
    expect(parseCommandLine(['--pidfile', '--log-file'], environment)).toMatchObject({
      database: 'unix:/r/db.sock',
      pidfile: '/r/ovs-espd.pid',
      logFile: '/l/ovs-espd.log',
    });
  });

  it('takes optional arguments only after an equals sign', () => {
    expect(parse('--pidfile', 'tcp:10.0.0.1:6640')).toMatchObject({
      pidfile: '/var/run/openvswitch/ovs-espd.pid',
      database: 'tcp:10.0.0.1:6640',
    });
    expect(parse('--pidfile=x.pid', '--log-file=/tmp/x.log')).toMatchObject({
      pidfile: '/var/run/openvswitch/x.pid',
      logFile: '/tmp/x.log',
    });
  });

  it('takes -v, -vSPEC and --verbose=SPEC, many of them, in order', () => {
    expect(parse('-v', '-vconsole:off', '--verbose=ike:dbg', '--verbose').verbose).toEqual([
      '',
      'console:off',
      'ike:dbg',
      '',
    ]);
  });

  it('takes required arguments either way', () => {
    expect(parse('--workers', '3', '--unixctl=/x.ctl', '-p', 'key', '--ca-cert=ca')).toMatchObject({
      workers: 3,
      unixctl: '/x.ctl',
      tls: { privateKey: 'key', caCert: 'ca' },
    });
    expect(parse('--workers=0', '--aead=noble', '--uplink-io=raw-socket')).toMatchObject({
      workers: 0,
      aead: 'noble',
      uplinkIo: 'raw-socket',
    });
  });

  it('takes the command line that ovs-ctl gives ovs-monitor-ipsec, and says what it ignores', () => {
    const settings = parse(
      'unix:/var/run/openvswitch/db.sock',
      '--pidfile=/run/openvswitch/ovs-monitor-ipsec.pid',
      '--ike-daemon=strongswan',
      '--no-restart-ike-daemon',
      '--log-file',
      '--detach',
      '--monitor',
      '--no-chdir',
      '--root-prefix=/x',
      '--ipsec-conf=/a',
      '--root-ipsec-conf=/b',
      '--ipsec-d=/c',
      '--ipsec-secrets=/d',
      '--ipsec-ctl=/e',
      '--command-timeout=5',
      '--use-default-crypto',
    );
    expect(settings).toMatchObject({ detach: true, monitor: true, noChdir: true });
    expect(settings.ignored).toHaveLength(10);
    expect(settings.ignored[0]).toBe('option --root-prefix is ignored: there is no other IKE daemon to control');
  });

  it.each([
    [['--foo'], 'ovs-espd: option is "--foo", expected one of `ovs-espd --help`; leave it out, or spell it as there'],
    [['-x'], 'ovs-espd: option is "-x", expected one of `ovs-espd --help`; leave it out, or spell it as there'],
    [['--detach=3'], 'ovs-espd: --detach is "3", expected no argument; spell it --detach'],
    [['--workers'], 'ovs-espd: --workers is not set, expected an argument; spell it --workers=N'],
    [['--workers=x'], 'ovs-espd: --workers is "x", expected 0 to 64; for instance --workers=2'],
    [['--workers=65'], 'ovs-espd: --workers is "65", expected 0 to 64; for instance --workers=2'],
    [
      ['--offload=gro,lro'],
      'ovs-espd: --offload is "lro", expected all, none, or some of tso, gro, udp-gso, udp-gro; for instance --offload=tso',
    ],
    [['--aead=rot13'], 'ovs-espd: --aead is "rot13", expected native or node or noble; spell it --aead=BACKEND'],
    [['a', 'b'], 'ovs-espd: DATABASE is "a b", expected at most one; see ovs-espd --help'],
  ])('refuses %j in one line', (args, message) => {
    expect(() => parseCommandLine(args, {})).toThrow(expect.objectContaining({ message }));
  });

  it('takes all offloads, none, or those that are named', () => {
    const chosen = (word: string) => Object.entries(parse(`--offload=${word}`).offloads).filter(([, on]) => on);
    expect(chosen('all').map(([name]) => name)).toEqual(['tso', 'gro', 'udp-gso', 'udp-gro']);
    expect(chosen('none')).toEqual([]);
    expect(chosen('udp-gro,tso').map(([name]) => name)).toEqual(['tso', 'udp-gro']);
  });

  it('shows its options on one screen of 24 lines and 80 columns', () => {
    const help = parseCommandLine(['--help'], {});
    if (help.kind !== 'text') throw new Error('expected a text');
    const lines = help.text.trimEnd().split('\n');
    expect(lines.length).toBeLessThanOrEqual(23);
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
    for (const { name, brief, group } of OPTIONS)
      if (brief !== '' && group !== IGNORED) expect(help.text).toContain(`--${name}`);
  });

  it('gives its version for -V', () => {
    expect(parseCommandLine(['-V'], {})).toEqual({
      kind: 'text',
      text: expect.stringMatching(/^ovs-espd \(Open vSwitch\) \d+\.\d+\.\d+\n$/),
    });
  });
});
