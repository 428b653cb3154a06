// The rig cleans up after itself: after close, after an exception, after SIGINT, and what SIGKILL left is swept.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createLan, createNamespace } from '../rig/namespace.ts';
import { start, until } from '../rig/process.ts';
import { canMakeNamespaces, createRig, sweep } from '../rig/rig.ts';
import { ROOT } from '../rig/root.ts';

const able = canMakeNamespaces();
const title = able ? 'A rig' : 'A rig (skipped: needs root and ip)';

const namespaces = () => (existsSync('/run/netns') ? readdirSync('/run/netns') : []);
const isAlive = (pid: number) => existsSync(`/proc/${pid}`);

const left: (() => void)[] = [];
afterEach(() => {
  for (const undo of left.splice(0)) undo();
});

let folder = '';
let serial = 0;
beforeAll(() => {
  if (!able) return;
  // In the repository, because the compiled rig looks upwards for its root.
  folder = mkdtempSync(join(ROOT, 'node_modules/.cache-rig-'));
  const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
  const options = ['--outDir', folder, '--rootDir', ROOT, '--noEmit', 'false', '--rewriteRelativeImportExtensions'];
  const shape = ['--module', 'nodenext', '--target', 'es2023', '--types', 'node', '--skipLibCheck', '--strict'];
  const words = ['--ignoreConfig', join(ROOT, 'test/rig/namespace.ts'), ...options, ...shape];
  const compiled = spawnSync(process.execPath, [compiler, ...words], { encoding: 'utf8' });
  expect(compiled.stdout + compiled.stderr).toBe('');
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
});
afterAll(() => {
  if (folder !== '') rmSync(folder, { recursive: true, force: true });
});

type Made = { namespace: string; pid: number; directory: string };

/** Runs `body` with a rig in a process of its own, which prints what it made as one JSON line. */
async function inOwnProcess(body: string): Promise<{ child: ChildProcess; made: Made }> {
  const script = join(folder, `main-${++serial}.mjs`);
  writeFileSync(
    script,
    `import { createRig } from './test/rig/rig.js';
     import { createNamespace } from './test/rig/namespace.js';
     import { start } from './test/rig/process.js';
     const rig = createRig();
     const namespace = await createNamespace(rig, 'x');
     const { pid } = start(rig, { command: 'sleep', args: ['1000'], namespace });
     console.log(JSON.stringify({ namespace, pid, directory: rig.directory }));
     ${body}`,
  );
  const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'ignore'] });
  left.push(() => child.kill('SIGKILL'));
  let output = '';
  child.stdout?.on('data', (text) => {
    output += text;
  });
  const made = await until('what the process made', () => /^\{.*\}$/m.exec(output)?.[0]);
  return { child, made: JSON.parse(made) };
}

describe.skipIf(!able)(title, () => {
  it('leaves no namespace, no process and no directory behind when it is closed', async () => {
    const rig = createRig();
    const lan = await createLan(rig);
    // A program that ignores TERM, with a child that would outlive it.
    const stubborn = start(rig, {
      command: 'sh',
      args: ['-c', 'trap "" TERM; sleep 1000 & echo child $!; wait'],
      namespace: lan.a.namespace,
    });
    const child = Number((await stubborn.waitForOutput(/child (\d+)/))[1]);
    expect(namespaces()).toEqual(expect.arrayContaining([lan.a.namespace, lan.b.namespace]));
    const stopping = stubborn.stop(100);
    await stopping;
    await rig.close();
    expect(namespaces()).not.toContain(lan.a.namespace);
    expect(namespaces()).not.toContain(lan.b.namespace);
    await until('the end of both processes', () => !isAlive(stubborn.pid) && !isAlive(child));
    expect(existsSync(rig.directory)).toBe(false);
  });

  it('undoes the rest although one part cannot be undone, and says which', async () => {
    const rig = createRig();
    const namespace = await createNamespace(rig, 'a');
    rig.defer('the impossible', () => {
      throw new Error('no');
    });
    await expect(rig.close()).rejects.toThrow('cannot undo the impossible: no');
    expect(namespaces()).not.toContain(namespace);
  });

  it('shows the end of the output of a program that ends while it is waited for', async () => {
    const rig = createRig();
    const running = start(rig, { name: 'victim', command: 'sh', args: ['-c', 'echo last words; exit 3'] });
    await expect(running.waitForOutput(/never/)).rejects.toThrow(/victim ended with status 3\nlast words/);
    // A condition that throws as long as the program does not answer must not hide its end.
    const before = performance.now();
    const asking = running.waitUntil('an answer', () => Promise.reject(new Error('no socket')), 60_000);
    await expect(asking).rejects.toThrow(/victim ended with status 3\nlast words/);
    expect(performance.now() - before).toBeLessThan(5_000);
    await rig.close();
  });

  it.each([
    ['an exception nobody caught', 'throw new Error("lost");', undefined],
    ['SIGINT', 'setInterval(() => {}, 1000);', 'SIGINT'],
  ] as const)('cleans up at once after %s', async (_what, body, signal) => {
    const { child, made } = await inOwnProcess(body);
    if (signal !== undefined) child.kill(signal);
    await until('the end of the process', () => child.exitCode !== null || child.signalCode !== null);
    expect(namespaces()).not.toContain(made.namespace);
    expect(existsSync(made.directory)).toBe(false);
    await until('the end of its program', () => !isAlive(made.pid));
  });

  it('sweeps what a process killed with SIGKILL has left, and nothing else', async () => {
    const rig = createRig();
    const mine = await createNamespace(rig, 'mine');
    const { child, made } = await inOwnProcess('setInterval(() => {}, 1000);');
    child.kill('SIGKILL');
    await until('the end of the process', () => child.signalCode !== null);
    // A rig of another process may have swept already: what counts is that nothing is left.
    sweep();
    expect(existsSync(made.directory)).toBe(false);
    expect(namespaces()).not.toContain(made.namespace);
    expect(namespaces()).toContain(mine);
    await until('the end of its program', () => !isAlive(made.pid));
    await rig.close();
  });
});
