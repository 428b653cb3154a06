import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { JsonStream } from '../../../control/ovsdb/json-stream.ts';
import { Pidfile } from '../../../control/pidfile.ts';
import { callUnixctl } from '../../../control/unixctl/client.ts';
import { type Command, CommandError, CommandTable } from '../../../control/unixctl/command.ts';
import { UnixctlServer } from '../../../control/unixctl/server.ts';
import { loadNative, type Native } from '../../../native-shims/index.ts';

let slowBegins: () => void = () => {};

const COMMANDS: readonly Command[] = [
  { name: 'echo', usage: 'WORD...', min: 1, max: 3, run: (args) => args.join(' ') },
  {
    name: 'slow',
    usage: '',
    min: 0,
    max: 0,
    run: () => {
      slowBegins();
      return new Promise((resolve) => setTimeout(() => resolve('slow'), 30));
    },
  },
  {
    name: 'fail',
    usage: '',
    min: 0,
    max: 0,
    run: () => {
      throw new CommandError('it can not be done');
    },
  },
  {
    name: 'bug',
    usage: '',
    min: 0,
    max: 0,
    run: () => {
      throw new TypeError('secret detail');
    },
  },
  {
    name: 'data',
    usage: '',
    min: 0,
    max: 0,
    run: (_, { format }) => (format === 'json' ? { json: { a: 1 } } : 'a: 1'),
  },
];

let directory: string;
let path: string;
let server: UnixctlServer;
const bugs: string[] = [];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'espd-ctl-'));
  path = join(directory, `ovs-espd.${process.pid}.ctl`);
  server = new UnixctlServer({
    path,
    version: 'ovs-espd (Open vSwitch) 9.9.9',
    commands: COMMANDS,
    onBug: (name) => bugs.push(name),
  });
  bugs.length = 0;
  await server.listen();
});

afterEach(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function appctl(...args: readonly string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const env = { ...process.env, OVS_RUNDIR: directory };
    execFile('ovs-appctl', [...args], { env, encoding: 'utf8' }, (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }),
    );
  });
}

/** Sends raw text and collects values until the server closes or `count` have come. */
function exchange(text: string, count: number): Promise<{ readonly values: unknown[]; readonly closed: boolean }> {
  return new Promise((resolve) => {
    const json = new JsonStream({ maxBytes: 1 << 20, maxDepth: 32 });
    const values: unknown[] = [];
    const socket = connect(path, () => socket.write(text));
    socket.on('data', (chunk) => {
      values.push(...json.push(chunk));
      if (values.length >= count) {
        resolve({ values, closed: false });
        socket.destroy();
      }
    });
    socket.on('close', () => resolve({ values, closed: true }));
    // A server that hangs up before all was written resets the connection; `close` follows.
    socket.on('error', () => {});
  });
}

describe('the control socket', () => {
  it('lies at its path for owner and group only', () => {
    expect(statSync(path).mode & 0o777).toBe(0o660);
  });

  it('answers a command with its text', async () => {
    expect(await callUnixctl(path, 'echo', ['a', 'b'])).toEqual({ ok: true, text: 'a b\n' });
  });

  it.each([
    ['nope', [], '"nope" is not a valid command (use "list-commands" to see a list of valid commands)'],
    ['echo', [], '"echo" command requires at least 1 arguments'],
    ['echo', ['1', '2', '3', '4'], '"echo" command takes at most 3 arguments'],
    ['fail', [], 'it can not be done'],
    ['set-options', ['--format', 'xml'], "option '--format' has invalid value 'xml'"],
    ['set-options', ['--x', 'y'], "unrecognized option '--x'"],
  ])('answers %s %j with the error sentence of OVS', async (command, args, text) => {
    expect(await callUnixctl(path, command, args)).toEqual({ ok: false, text });
  });

  it('says that an argument is no text', async () => {
    const { values } = await exchange('{"id":1,"method":"echo","params":[1]}', 1);
    expect(values).toEqual([{ id: 1, result: null, error: '"echo" command has non-string argument' }]);
  });

  it('survives a bug in a command, tells its owner and no detail to the caller', async () => {
    const reply = await callUnixctl(path, 'bug');
    expect(reply).toEqual({ ok: false, text: '"bug" failed: internal error, see the log' });
    expect(bugs).toEqual(['bug']);
    expect((await callUnixctl(path, 'echo', ['x'])).ok).toBe(true);
  });

  it('lists its commands as OVS does, under help too', async () => {
    const { text } = await callUnixctl(path, 'list-commands');
    expect(text.split('\n').slice(0, 3)).toEqual([
      'The available commands are:',
      '  bug                     ',
      '  data                    ',
    ]);
    expect(text).toContain('  echo                    WORD...\n');
    expect(await callUnixctl(path, 'help')).toEqual({ ok: true, text });
  });

  it('answers the requests of one connection in order, one after the other', async () => {
    const { values } = await exchange('{"id":1,"method":"slow","params":[]}{"id":2,"method":"echo","params":["x"]}', 2);
    expect(values.map((value) => (value as { id: number }).id)).toEqual([1, 2]);
  });

  it('wraps text and hands over data after set-options --format json', async () => {
    const { values } = await exchange(
      '{"id":1,"method":"set-options","params":["--format","json"]}{"id":2,"method":"echo","params":["x"]}{"id":3,"method":"data","params":[]}',
      3,
    );
    expect(values.map((value) => (value as { result: unknown }).result)).toEqual([
      { 'reply-format': 'plain', reply: '' },
      { 'reply-format': 'plain', reply: 'x\n' },
      { a: 1 },
    ]);
    expect((await callUnixctl(path, 'data')).text).toBe('a: 1\n');
  });

  it.each([
    ['a reply', '{"id":1,"result":"x","error":null}'],
    ['a notification', '{"id":null,"method":"echo","params":["x"]}'],
    ['an array', '[]'],
    ['no JSON', 'GET / HTTP/1.0\r\n\r\n'],
    ['more than a request may have', `{"id":1,"method":"echo","params":["${'x'.repeat(300_000)}"]}`],
    ['what is nested too deep', '[[[[[[[[[['],
  ])('ends a connection that sends %s', async (_, text) => {
    expect(await exchange(text, 1)).toEqual({ values: [], closed: true });
    expect((await callUnixctl(path, 'echo', ['alive'])).text).toBe('alive\n');
  });

  it('answers the request at work before it closes', async () => {
    const begun = new Promise<void>((resolve) => {
      slowBegins = resolve;
    });
    const answer = callUnixctl(path, 'slow', []);
    await begun;
    await server.close();
    expect(await answer).toEqual({ ok: true, text: 'slow\n' });
  });

  it('is removed when the server closes, and a left-over one is replaced', async () => {
    await server.close();
    expect(existsSync(path)).toBe(false);
    writeFileSync(path, '');
    server = new UnixctlServer({ path, version: 'v', commands: [], onBug: () => {} });
    await server.listen();
    expect((await callUnixctl(path, 'version')).text).toBe('v\n');
  });

  it.each([
    [
      '/nonexistent/x.ctl',
      /cannot listen \(EACCES\); check that its directory exists and that you may write there, or set OVS_RUNDIR/,
    ],
    [`/tmp/${'x'.repeat(120)}.ctl`, /longer than 107 bytes; give a shorter one with --unixctl=SOCK or OVS_RUNDIR/],
  ])('that can not be made says so in one line: %s', async (bad, message) => {
    const other = new UnixctlServer({ path: bad, version: 'v', commands: [], onBug: () => {} });
    await expect(other.listen()).rejects.toThrow(message);
  });
});

describe('the command table', () => {
  it('refuses a name twice, also one of those that every server has', () => {
    expect(() => new CommandTable([...COMMANDS, COMMANDS[0]!])).toThrow('unixctl command echo is registered twice');
    const commands = [{ ...COMMANDS[0]!, name: 'version' }];
    expect(() => new UnixctlServer({ path, version: 'v', commands, onBug: () => {} })).toThrow('registered twice');
  });
});

function addonIfBuilt(): Native | undefined {
  try {
    return loadNative();
  } catch {
    return undefined;
  }
}

const addon = addonIfBuilt();
const noAddon = addon === undefined ? ' (skipped: the native addon is not built)' : '';
const noAppctl = existsSync('/usr/bin/ovs-appctl') ? '' : ' (skipped: ovs-appctl is missing)';

describe.skipIf(noAppctl !== '')(`the real ovs-appctl${noAppctl}`, () => {
  it('talks to the socket by its path, with exit status 2 for an error', async () => {
    expect(await appctl('-t', path, 'echo', 'hello', 'there')).toMatchObject({ code: 0, stdout: 'hello there\n' });
    expect((await appctl('-t', path, 'version')).stdout).toBe('ovs-espd (Open vSwitch) 9.9.9\n');
    const failed = await appctl('-t', path, 'nope');
    expect(failed.code).toBe(2);
    expect(failed.stderr).toContain('"nope" is not a valid command');
  });

  it.skipIf(noAddon !== '')(`finds the daemon by name through its locked pidfile${noAddon}`, async () => {
    const pidfile = Pidfile.take(join(directory, 'ovs-espd.pid'), addon!, false);
    expect(await appctl('-t', 'ovs-espd', 'echo', 'by name')).toMatchObject({ code: 0, stdout: 'by name\n' });
    pidfile.remove();
    expect((await appctl('-t', 'ovs-espd', 'version')).code).toBe(1);
  });
});
