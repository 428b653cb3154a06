/** A real ovsdb-server on a Unix socket in a directory of its own, for tests; whoever starts one stops it. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema';

/** Undefined when this machine has Open vSwitch; else why the test is skipped. */
export function missingOvs(): string | undefined {
  const programs = ['/usr/sbin/ovsdb-server', '/usr/bin/ovsdb-tool', '/usr/bin/ovs-vsctl', SCHEMA];
  const missing = programs.find((path) => !existsSync(path));
  return missing === undefined ? undefined : `${missing} is missing`;
}

export class TestOvsdbServer {
  readonly directory = mkdtempSync(join(tmpdir(), 'espd-ovsdb-'));
  readonly socket = join(this.directory, 'db.sock');
  readonly remotes: readonly string[];
  readonly #extra: readonly string[];
  #process: ChildProcess | undefined;

  /** `remotes` beside the Unix socket, for instance `ptcp:0:127.0.0.1`. */
  constructor(remotes: readonly string[] = [], extra: readonly string[] = []) {
    this.#extra = extra;
    this.remotes = [`punix:${this.socket}`, ...remotes];
    execFileSync('ovsdb-tool', ['create', join(this.directory, 'conf.db'), SCHEMA], { env: this.#environment });
  }

  get #environment(): NodeJS.ProcessEnv {
    return { ...process.env, OVS_RUNDIR: this.directory, OVS_LOGDIR: this.directory };
  }

  get control(): string {
    return join(this.directory, 'server.ctl');
  }

  async start(): Promise<void> {
    const args = [
      join(this.directory, 'conf.db'),
      ...this.remotes.map((remote) => `--remote=${remote}`),
      `--unixctl=${this.control}`,
      ...this.#extra,
      '-vconsole:off',
    ];
    const child = spawn('ovsdb-server', args, { stdio: 'ignore', env: this.#environment });
    this.#process = child;
    const deadline = Date.now() + 10_000;
    while (!this.#answers()) {
      if (child.exitCode !== null || Date.now() > deadline) throw new Error('ovsdb-server did not start');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    this.vsctl('--no-wait', 'init');
  }

  #answers(): boolean {
    try {
      execFileSync('ovs-appctl', ['-t', this.control, 'version'], { stdio: 'ignore', env: this.#environment });
      return existsSync(this.socket);
    } catch {
      return false;
    }
  }

  /** SIGKILL, as in a crash: the socket stays behind. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  vsctl(...args: readonly string[]): string {
    return execFileSync('ovs-vsctl', [`--db=unix:${this.socket}`, '--timeout=10', ...args], {
      encoding: 'utf8',
      env: this.#environment,
    });
  }

  appctl(...args: readonly string[]): string {
    return execFileSync('ovs-appctl', ['-t', this.control, ...args], { encoding: 'utf8', env: this.#environment });
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
