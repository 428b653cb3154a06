/**
 * OpenFlow to one bridge of a real ovs-vswitchd through ovs-ofctl(8), over the bridge's management socket: bundles, a listing of
 * our own flows, and a monitor that tells when flows change and when ovs-vswitchd goes away.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { outputOf } from '../program.ts';
import { COOKIE } from './matches.ts';

const TIMEOUT_MS = 10_000;

/** What a flow keeper needs of a bridge. */
export interface FlowTable {
  /** Carries out commands in one transaction: all, or none. @throws Error with what ovs-ofctl said */
  commit(commands: readonly string[]): Promise<void>;
  /** Our flows as the bridge has them, in an order that depends on nothing else. @throws Error */
  listing(): Promise<string>;
  /** Calls back for each change of our flows, and once when the connection ends, or none comes about. Returns what ends it. */
  monitor(onChange: () => void, onEnd: () => void): () => void;
}

/** @param socket path of BRIDGE.mgmt in the run directory of ovs-vswitchd */
export function bridgeFlows(socket: string): FlowTable {
  const target = `unix:${socket}`;
  return {
    commit: async (commands) => {
      await outputOf('ovs-ofctl', ['--bundle', 'add-flows', target, '-'], {
        ...{ input: `${commands.join('\n')}\n`, timeout: TIMEOUT_MS },
      });
    },
    listing: async () => {
      const words = ['-O', 'OpenFlow14', '--no-stats', '--no-names', 'dump-flows', target, `cookie=${COOKIE}/-1`];
      const text = await outputOf('ovs-ofctl', words, { timeout: TIMEOUT_MS });
      return text
        .split('\n')
        .filter((line) => line.includes('cookie='))
        .sort()
        .join('\n');
    },
    monitor: (onChange, onEnd) => monitor(target, onChange, onEnd),
  };
}

/** Changes are told on stdout or stderr, by version of OVS. */
function monitor(target: string, onChange: () => void, onEnd: () => void): () => void {
  const child: ChildProcess = spawn('ovs-ofctl', ['monitor', target, 'watch:!initial'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stopped = false;
  const end = (): void => {
    if (!stopped) onEnd();
    stopped = true;
  };
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue;
    createInterface({ input: stream }).on('line', (line) => {
      if (!stopped && line.includes(`cookie=${COOKIE}`)) onChange();
    });
  }
  child.on('error', end);
  child.on('close', end);
  return () => {
    stopped = true;
    child.kill();
  };
}
