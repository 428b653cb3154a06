import { writeFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { loadNative } from '../../native-shims/index.ts';
import { type Compiled, compileShims, runProcess } from './compiled.ts';

let compiled: Compiled | undefined;

afterEach(() => {
  compiled?.remove();
  compiled = undefined;
});

describe('the loaded addon', () => {
  it('runs on the OpenSSL of Node itself', () => {
    expect(loadNative().opensslVersion).toBe(process.versions.openssl);
  });

  it('is loaded once', () => {
    expect(loadNative()).toBe(loadNative());
  });

  it('is found from the compiled tree too', () => {
    compiled = compileShims(true);
    const run = runProcess(compiled, 'console.log(loadNative().opensslVersion)');
    expect(run).toMatchObject({ status: 0, stdout: `${process.versions.openssl}\n`, stderr: '' });
  });

  it('says in one line that it is not built and how to build it', () => {
    compiled = compileShims(false);
    const run = runProcess(compiled, 'try { loadNative() } catch (error) { console.log(error.message) }');
    expect(run.stdout).toMatch(
      /^native addon not found \(looked at \S+\.node and \S+\.node\): .*build it with `npm run build`\n$/,
    );
  });

  it('says in one line that it does not load and why', () => {
    compiled = compileShims(false);
    writeFileSync(compiled.addonPath, 'no shared object');
    const run = runProcess(compiled, 'try { loadNative() } catch (error) { console.log(error.message) }');
    expect(run.stdout).toMatch(/^native addon \S+\.node does not load: .+; build it anew with `npm run build`\n$/);
  });
});
