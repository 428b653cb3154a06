import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ServiceManager } from '../../control/service-manager.ts';

let sent: string[];
let warnings: string[];
let pulse: number[];
let managers: ServiceManager[];

beforeEach(() => {
  vi.useFakeTimers();
  [sent, warnings, pulse, managers] = [[], [], [1, 1], []];
});
afterEach(() => {
  for (const manager of managers) manager.stopping();
  vi.useRealTimers();
});

function make(environment: Record<string, string>, status = () => '1 tunnel, 1 with an SA'): ServiceManager {
  const manager = new ServiceManager({
    native: { sendNotification: (path, text) => sent.push(`${path}|${text}`) },
    ...{ environment, pid: 42, pulse: () => [...pulse], status, warn: (message) => warnings.push(message) },
  });
  managers.push(manager);
  return manager;
}

const SYSTEMD = { NOTIFY_SOCKET: '/run/n', WATCHDOG_USEC: '30000000', WATCHDOG_PID: '42' };
const fed = () => sent.filter((text) => text.includes('WATCHDOG=1')).length;

describe('the service manager', () => {
  it('hears that the daemon is ready, how it is, and that it stops', () => {
    const manager = make(SYSTEMD);
    manager.ready();
    manager.stopping();
    expect(sent).toEqual(['/run/n|READY=1\nSTATUS=1 tunnel, 1 with an SA\n', '/run/n|STOPPING=1\n']);
    vi.advanceTimersByTime(100_000);
    expect(sent).toHaveLength(2);
  });

  it('hears of a status only when it has changed, and in one line', () => {
    let tunnels = 0;
    const manager = make({ NOTIFY_SOCKET: '@n' }, () => `${tunnels} tunnels\nX=1`);
    manager.ready();
    vi.advanceTimersByTime(60_000);
    tunnels = 2;
    vi.advanceTimersByTime(60_000);
    expect(sent.filter((text) => text.includes('|STATUS'))).toEqual([
      '@n|STATUS=0 tunnels X=1\n',
      '@n|STATUS=2 tunnels X=1\n',
    ]);
  });

  it('is fed while every worker makes progress, and no longer when one hangs', () => {
    make(SYSTEMD).ready();
    for (let i = 0; i < 3; i++) {
      pulse = pulse.map((count) => count + 1);
      vi.advanceTimersByTime(10_000);
    }
    expect(fed()).toBe(3);
    pulse[0]!++;
    vi.advanceTimersByTime(10_000);
    expect(fed()).toBe(3);
    expect(warnings).toEqual(['packet worker 1 makes no progress: the watchdog of systemd is not fed']);
  });

  it('is fed on the main thread alone', () => {
    pulse = [];
    make(SYSTEMD).ready();
    vi.advanceTimersByTime(30_000);
    expect(fed()).toBe(3);
  });

  it.each([{}, { NOTIFY_SOCKET: 'relative' }, { WATCHDOG_USEC: '1000' }])('is left alone with %j', (environment) => {
    const manager = make(environment);
    manager.ready();
    manager.stopping();
    vi.advanceTimersByTime(60_000);
    expect(sent).toEqual([]);
  });

  it('gets no watchdog that is meant for another process', () => {
    make({ ...SYSTEMD, WATCHDOG_PID: '41' }).ready();
    vi.advanceTimersByTime(60_000);
    expect(fed()).toBe(0);
  });
});
