/** Writes a report: samples as JSON, Markdown, web page; all three under one name in one folder. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { ROOT } from '../../test/rig/root.ts';
import { toHtml } from './html.ts';
import { toMarkdown } from './markdown.ts';
import type { Page } from './page.ts';

/** Where results go unless --out says otherwise: not kept in the repository. */
export const RESULTS = join(ROOT, 'bench/results');

/** Saves the samples alone: after each block of a long run. */
export function saveJson(folder: string, name: string, data: unknown): string {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${name}.json`);
  writeFileSync(file, `${JSON.stringify(data, null, 1)}\n`);
  return file;
}

/** Writes NAME.json, NAME.md and NAME.html, and says where they are, from the working directory. */
export function writeReport(folder: string, name: string, data: unknown, page: Page): string[] {
  const files = [saveJson(folder, name, data), join(folder, `${name}.md`), join(folder, `${name}.html`)];
  writeFileSync(files[1]!, toMarkdown(page));
  writeFileSync(files[2]!, toHtml(page));
  return files.map((file) => relative(process.cwd(), file));
}
