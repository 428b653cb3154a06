import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, describe, expect, it } from 'vitest';
import { vlogCommands } from '../../control/unixctl/vlog-commands.ts';
import { escapeControls, Vlog } from '../../control/vlog.ts';
import { MemoryDestinations, SystemDestinations } from '../../control/vlog-destinations.ts';

const AT = Date.UTC(2026, 10, 23, 13, 45, 0, 123);

function memoryLog() {
  const destinations = new MemoryDestinations();
  const clock = { ms: AT };
  const vlog = new Vlog({ program: 'ovs-espd', destinations, now: () => clock.ms });
  const linesOf = (name: string): string[] =>
    destinations.lines.filter(({ destination }) => destination === name).map(({ line }) => line);
  return { vlog, clock, linesOf };
}

describe('a log line', () => {
  it('has the form of OVS, with milliseconds in the file and without on the console', () => {
    const { vlog, linesOf } = memoryLog();
    const log = vlog.logger('ike');
    for (let n = 0; n < 6; n++) log.info('before');
    log.warn('no reply');
    expect(linesOf('file').at(-1)).toBe('2026-11-23T13:45:00.123Z|00007|ike|WARN|no reply');
    expect(linesOf('console').at(-1)).toBe('2026-11-23T13:45:00Z|00007|ike|WARN|no reply');
    expect(linesOf('syslog').at(-1)).toBe('ovs|00007|ike|WARN|no reply');
  });

  it('stays one line whatever the message holds', () => {
    const { vlog, linesOf } = memoryLog();
    vlog
      .logger('ike')
      .info('peer says "x\n2026-01-01T00:00:00.000Z|00001|ike|INFO|forged\r\u001b[2J\u0085\u2028\u202e\t"');
    expect(linesOf('file')).toEqual([
      '2026-11-23T13:45:00.123Z|00001|ike|INFO|peer says "x\\n2026-01-01T00:00:00.000Z|00001|ike|INFO|forged\\x0d\\x1b[2J\\x85\\u2028\\u202e\\t"',
    ]);
    expect(escapeControls('Grüße, 世界 %m')).toBe('Grüße, 世界 %m');
  });

  it('does not take a message for a pattern', () => {
    const { vlog, linesOf } = memoryLog();
    vlog.logger('ike').info('100%m %p $& $1');
    expect(linesOf('file')[0]).toContain('|100%m %p $& $1');
  });

  it('goes only where the level of its module lets it', () => {
    const { vlog, linesOf } = memoryLog();
    const log = vlog.logger('ike');
    expect(vlog.set('ike:file:dbg')).toBeUndefined();
    expect(vlog.set('console:off')).toBeUndefined();
    log.dbg('detail');
    log.emer('end');
    expect(linesOf('file')).toHaveLength(2);
    expect(linesOf('syslog')).toHaveLength(1);
    expect(linesOf('console')).toHaveLength(0);
    expect(log.isEnabled('dbg')).toBe(true);
    expect(vlog.logger('sa').isEnabled('dbg')).toBe(false);
  });

  it('follows a pattern that was set', () => {
    const { vlog, linesOf } = memoryLog();
    const log = vlog.logger('ike');
    vlog.set('PATTERN:file:%D{%H:%M:%S.###} %-6p[%8c] %A %% %5N %m');
    log.warn('x');
    expect(linesOf('file')[0]).toBe('13:45:00.123 WARN  [     ike] ovs-espd %     1 x');
  });
});

describe('vlog/set', () => {
  it.each(['ike:file:dbg', 'dbg:file:ike', 'file,dbg,ike', 'IKE File DBG'])('takes %j in any order', (spec) => {
    const { vlog } = memoryLog();
    vlog.logger('ike');
    vlog.logger('sa');
    expect(vlog.set(spec)).toBeUndefined();
    expect(vlog.list()).toContain('ike                INFO       INFO        DBG\n');
    expect(vlog.list()).toContain('sa                 INFO       INFO       INFO\n');
  });

  it('takes what is left out as any module, any destination and dbg', () => {
    const { vlog } = memoryLog();
    vlog.logger('ike');
    vlog.logger('sa');
    vlog.set('ANY:ANY:err');
    vlog.set('sa');
    expect(vlog.list()).toContain('ike                 ERR        ERR        ERR\n');
    expect(vlog.list()).toContain('sa                  DBG        DBG        DBG\n');
    vlog.set('');
    vlog.logger('later');
    expect(vlog.list()).toContain('later               DBG        DBG        DBG\n');
  });

  it.each([
    ['foo', 'no destination, level, or module "foo"'],
    ['ike:sa', 'cannot specify multiple modules'],
    ['file:console', 'cannot specify multiple destinations'],
    ['dbg:info', 'cannot specify multiple levels'],
    ['PATTERN:x:y', 'unknown destination "x"'],
    ['PATTERN:file', 'missing pattern'],
    ['FACILITY:foo', 'invalid facility'],
    ['FACILITY:constructor', 'invalid facility'],
  ])('refuses %j in the words of OVS and changes nothing', (spec, sentence) => {
    const { vlog } = memoryLog();
    vlog.logger('ike');
    vlog.logger('sa');
    const before = vlog.list() + vlog.listPatterns();
    expect(vlog.set(spec)).toBe(sentence);
    expect(vlog.list() + vlog.listPatterns()).toBe(before);
  });

  it('is there as a command, beside the others of every OVS daemon', async () => {
    const { vlog } = memoryLog();
    vlog.logger('ike');
    const commands = new Map(vlogCommands(vlog).map((command) => [command.name, command]));
    const run = (name: string, ...args: string[]) => commands.get(name)!.run(args, { format: 'text' });
    expect(run('vlog/set', 'ike:dbg')).toBe('');
    expect(run('vlog/list')).toContain('ike                 DBG        DBG        DBG');
    expect(() => run('vlog/set', 'nope')).toThrow('no destination, level, or module "nope"');
    expect(() => run('vlog/disable-rate-limit', 'nope')).toThrow('unknown module');
    expect(run('vlog/list-pattern')).toContain(
      'FILE     none                              %D{%Y-%m-%dT%H:%M:%S.###Z}|%05N|%c|%p|%m',
    );
    expect([...commands.keys()].sort()).toEqual([
      'vlog/close',
      'vlog/disable-rate-limit',
      'vlog/enable-rate-limit',
      'vlog/list',
      'vlog/list-pattern',
      'vlog/reopen',
      'vlog/set',
    ]);
  });
});

describe('limited messages', () => {
  it('pass five at once, then are dropped and counted until a token is gained', () => {
    const { vlog, clock, linesOf } = memoryLog();
    const log = vlog.logger('ike');
    for (let n = 0; n < 20; n++) log.limited('bad', 'warn', `bad ${n}`);
    expect(linesOf('file')).toHaveLength(5);
    log.limited('other', 'warn', 'another kind');
    expect(linesOf('file')).toHaveLength(6);
    clock.ms += 12_000;
    log.limited('bad', 'warn', 'again');
    expect(
      linesOf('file')
        .slice(6)
        .map((line) => line.split('|').at(-1)),
    ).toEqual([
      'Dropped 15 log messages in last 12 seconds (most recently, 12 seconds ago) due to excessive rate',
      'again',
    ]);
    log.limited('bad', 'warn', 'and again');
    expect(linesOf('file')).toHaveLength(8);
  });

  it('all pass when limiting is disabled for the module', () => {
    const { vlog, linesOf } = memoryLog();
    const log = vlog.logger('ike');
    vlog.setRateLimit(['ike'], false);
    for (let n = 0; n < 20; n++) log.limited('bad', 'warn', 'bad');
    expect(linesOf('file')).toHaveLength(20);
    expect(vlog.list()).toContain('(rate limiting disabled)');
  });
});

describe('the destinations of the system', () => {
  let directory = '';
  let listener: ChildProcess | undefined;

  afterEach(() => {
    listener?.kill();
    listener = undefined;
    if (directory !== '') rmSync(directory, { recursive: true, force: true });
  });

  function fileLog(syslogSocket = '/nonexistent/log') {
    directory = mkdtempSync(join(tmpdir(), 'espd-log-'));
    const logFile = join(directory, 'sub', 'ovs-espd.log');
    const destinations = new SystemDestinations({ program: 'ovs-espd', logFile, console: false, syslogSocket });
    const vlog = new Vlog({ program: 'ovs-espd', destinations, now: () => AT });
    return { vlog, logFile, destinations };
  }

  it('make the log file, and open it anew after logrotate moved it', () => {
    const { vlog, logFile } = fileLog();
    const log = vlog.logger('ike');
    log.info('one');
    renameSync(logFile, `${logFile}.1`);
    log.info('two');
    vlog.reopen();
    log.info('three');
    vlog.close();
    log.info('nowhere');
    expect(readFileSync(`${logFile}.1`, 'utf8')).toMatch(/\|one\n.*\|two\n$/);
    expect(readFileSync(logFile, 'utf8')).toMatch(/^[^\n]*\|three\n$/);
  });

  it('gather the lines of one event and write them when it is over', async () => {
    const { vlog, logFile } = fileLog();
    const log = vlog.logger('ike');
    for (const word of ['one', 'two', 'three']) log.info(word);
    expect(readFileSync(logFile, 'utf8')).toBe('');
    await new Promise((resolve) => setImmediate(resolve));
    expect(readFileSync(logFile, 'utf8')).toMatch(/\|one\n.*\|two\n.*\|three\n$/);
    vlog.close();
  });

  it.each(['err', 'emer'] as const)('write a line of level %s at once, behind all that was said before it', (level) => {
    const { vlog, logFile } = fileLog();
    const log = vlog.logger('ike');
    log.info('before');
    log[level]('bad');
    expect(readFileSync(logFile, 'utf8')).toMatch(/\|before\n[^\n]*\|bad\n$/);
    vlog.close();
  });

  it('do not gather more than 64 KB', () => {
    const { vlog, logFile } = fileLog();
    const log = vlog.logger('ike');
    let said = 0;
    for (; readFileSync(logFile, 'utf8') === '' && said < 100; said++) log.info('x'.repeat(1000));
    expect(said).toBeGreaterThan(50);
    expect(said).toBeLessThan(65);
    vlog.close();
  });

  // How a process may end that can still tell; what it said last is in the same turn of the event loop.
  const ENDS = {
    'process.exit': 'say(); process.exit(0);',
    'an exception that nobody catches': 'say(); throw new Error("a bug");',
    'a promise that nobody awaits': 'say(); Promise.reject(new Error("a bug"));',
    SIGTERM:
      'process.once("SIGTERM", () => { say(); process.exit(0); }); process.kill(process.pid, "SIGTERM"); setTimeout(() => {}, 10_000);',
    'the end of its work': 'say();',
  };
  const vlogModule = join(import.meta.dirname, '../../dist/control/vlog.js');

  it.skipIf(!existsSync(vlogModule)).each(Object.entries(ENDS))(
    'lose no line when the process ends by %s, and both destinations have all in order',
    (_, end) => {
      directory = mkdtempSync(join(tmpdir(), 'espd-log-'));
      const logFile = join(directory, 'ovs-espd.log');
      const destinationsModule = join(import.meta.dirname, '../../dist/control/vlog-destinations.js');
      const script = `
      import { Vlog } from ${JSON.stringify(vlogModule)};
      import { SystemDestinations } from ${JSON.stringify(destinationsModule)};
      const options = { program: 'p', logFile: ${JSON.stringify(logFile)}, console: true, syslogSocket: '/nonexistent/log' };
      const log = new Vlog({ program: 'p', destinations: new SystemDestinations(options), now: () => 0 }).logger('ike');
      const say = () => { for (let line = 0; line < 200; line++) log.info('line ' + line); };
      ${end}`;
      const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
      const numbersOf = (text: string): number[] =>
        [...text.matchAll(/\|line (\d+)$/gm)].map((match) => Number(match[1]));
      const all = Array.from({ length: 200 }, (_line, number) => number);
      expect(numbersOf(readFileSync(logFile, 'utf8'))).toEqual(all);
      expect(numbersOf(stderr)).toEqual(all);
    },
  );

  it('say in vlog/list that there is no syslog', () => {
    const { vlog } = fileLog();
    vlog.logger('ike').info('x');
    expect(vlog.list()).toContain('(syslog: no /nonexistent/log here, nothing is sent)');
  });

  it('refuse a log file that can not be opened, in one line', () => {
    const make = () => new SystemDestinations({ program: 'p', logFile: '/proc/nope/x.log', console: false });
    expect(make).toThrow(
      /^cannot open log file \/proc\/nope\/x\.log \(\w+\); give a writable one with --log-file=FILE$/,
    );
  });

  it.skipIf(!existsSync('/dev/full'))('go on when the disk is full, and vlog/list says so', () => {
    const destinations = new SystemDestinations({ program: 'p', logFile: '/dev/full', console: false });
    const vlog = new Vlog({ program: 'p', destinations, now: () => AT });
    vlog.logger('ike').info('one');
    expect(vlog.list()).toContain('(file: writing failed (ENOSPC))');
    destinations.close();
  });

  const missing = ['/usr/bin/logger', '/usr/bin/python3'].find((path) => !existsSync(path));

  it.skipIf(missing !== undefined)(
    `send to the syslog socket with priority${missing === undefined ? '' : ` (skipped: ${missing} is missing)`}`,
    async () => {
      const place = mkdtempSync(join(tmpdir(), 'espd-syslog-'));
      const socket = join(place, 'log');
      const script = `import socket;s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);s.bind(${JSON.stringify(socket)});print('ready');print(s.recv(4096).decode())`;
      listener = spawn('/usr/bin/python3', ['-u', '-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
      const lines = createInterface({ input: listener.stdout! });
      await once(lines, 'line');
      const { vlog, destinations } = fileLog(socket);
      const datagram = once(lines, 'line');
      vlog.logger('ike').warn('no reply');
      expect(String((await datagram)[0])).toMatch(/^<28>.*ovs-espd.*: ovs\|00001\|ike\|WARN\|no reply/);
      destinations.close();
      rmSync(place, { recursive: true, force: true });
    },
  );
});
