/** What the demonstration writes on the terminal: headings, indented text, a progress bar. Plain text where it is no terminal. */
import { stripVTControlCharacters, styleText } from 'node:util';

const BAR_WIDTH = 40;
const interactive = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;

type Style = Parameters<typeof styleText>[0];

function styled(style: Style, text: string): string {
  return interactive ? styleText(style, text) : text;
}

export function heading(text: string): void {
  process.stdout.write(
    `\n${styled(['bold', 'cyan'], `── ${text} `)}${styled('cyan', '─'.repeat(Math.max(0, 90 - text.length)))}\n`,
  );
}

export function command(text: string): void {
  process.stdout.write(`${styled('green', '$')} ${styled('bold', text)}\n`);
}

export function print(text: string, indent = '  '): void {
  for (const line of stripVTControlCharacters(text).trimEnd().split('\n')) process.stdout.write(`${indent}${line}\n`);
}

export function good(text: string): void {
  process.stdout.write(`${styled(['bold', 'green'], '✓')} ${text}\n`);
}

export function bad(text: string): void {
  process.stdout.write(`${styled(['bold', 'red'], '✗')} ${text}\n`);
}

/** Redraws one line while `work` runs; `seconds` is how long that is expected to take. */
export async function withProgress<T>(label: string, seconds: number, work: Promise<T>): Promise<T> {
  if (process.stdout.isTTY !== true) {
    process.stdout.write(`  ${label} (${seconds} s) …\n`);
    return work;
  }
  const began = performance.now();
  const draw = () => {
    const share = Math.min(1, (performance.now() - began) / 1000 / seconds);
    const filled = Math.round(share * BAR_WIDTH);
    process.stdout.write(
      `\r  ${label} [${'█'.repeat(filled)}${' '.repeat(BAR_WIDTH - filled)}] ${Math.round(share * 100)} %`,
    );
  };
  const timer = setInterval(draw, 100);
  try {
    return await work;
  } finally {
    clearInterval(timer);
    process.stdout.write(`\r${' '.repeat(label.length + BAR_WIDTH + 12)}\r`);
  }
}
