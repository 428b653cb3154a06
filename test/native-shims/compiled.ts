/**
 * native-shims compiled to JavaScript in a directory of its own, laid out as after `npm run build`, for what needs a
 * thread or process of its own. The addon itself is linked in, unless `addon` is false.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ts from 'typescript';

const SOURCE = fileURLToPath(new URL('../../native-shims/', import.meta.url));
const BUILT = 'build/Release/ovs_espd_native.node';

export interface Compiled {
  /** URL of the compiled index.js. */
  readonly url: string;
  /** Where the loader looks for the addon. */
  readonly addonPath: string;
  remove(): void;
}

export function compileShims(addon: boolean): Compiled {
  const root = mkdtempSync(join(tmpdir(), 'native-shims-'));
  const compiled = join(root, 'dist/native-shims');
  mkdirSync(compiled, { recursive: true });
  writeFileSync(join(root, 'package.json'), '{"type":"module"}');
  for (const name of ['index', 'face', 'native-error', 'types']) {
    const output = ts.transpileModule(readFileSync(join(SOURCE, `${name}.ts`), 'utf8'), {
      compilerOptions: {
        module: ts.ModuleKind.ES2022,
        target: ts.ScriptTarget.ES2023,
        rewriteRelativeImportExtensions: true,
      },
    });
    writeFileSync(join(compiled, `${name}.js`), output.outputText);
  }
  const addonPath = join(root, 'native-shims', BUILT);
  mkdirSync(join(addonPath, '..'), { recursive: true });
  if (addon) symlinkSync(join(SOURCE, BUILT), addonPath);
  return {
    url: pathToFileURL(join(compiled, 'index.js')).href,
    addonPath,
    remove: () => rmSync(root, { recursive: true }),
  };
}

/** Runs a module in a process of its own, with `native` and `NativeError` at hand. */
export function runProcess(
  compiled: Compiled,
  body: string,
): { status: number | null; stdout: string; stderr: string } {
  const code = `import { loadNative, NativeError } from ${JSON.stringify(compiled.url)};\n${body}`;
  return spawnSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8', timeout: 15_000 });
}
