/** The progress of a long run on the terminal: one line with a bar that is drawn again; where it is no terminal, a line for each step. */

const BAR_WIDTH = 24;

/** Something that goes on in `total` steps. */
export type Progress = {
  /** One more step is done; `text` says what it gave. */
  step(text: string): void;
  /** A line that stays, such as a warning. */
  note(text: string): void;
  /** Takes the bar away. */
  end(): void;
};

function minutes(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

/** The bar as text: share done, time left by the pace so far. */
export function progressLine(done: number, total: number, elapsedMs: number, text: string): string {
  const share = total === 0 ? 1 : Math.min(1, done / total);
  const filled = Math.round(share * BAR_WIDTH);
  const left = done === 0 ? '' : ` ${minutes((elapsedMs / done) * Math.max(0, total - done))} left`;
  const bar = `${'█'.repeat(filled)}${'·'.repeat(BAR_WIDTH - filled)}`;
  return `[${bar}] ${done}/${total}${left}  ${text}`;
}

/** Starts a progress of `total` steps on `stream`. */
export function startProgress(total: number, stream: NodeJS.WriteStream = process.stderr): Progress {
  const began = performance.now();
  const interactive = stream.isTTY === true;
  let done = 0;
  let last = '';
  const draw = () => {
    if (!interactive) return;
    const line = progressLine(done, total, performance.now() - began, last);
    stream.write(`\r\x1b[2K${line.slice(0, (stream.columns ?? 120) - 1)}`);
  };
  const write = (text: string) => {
    stream.write(interactive ? `\r\x1b[2K${text}\n` : `${text}\n`);
    draw();
  };
  return {
    step(text) {
      done += 1;
      last = text;
      if (interactive) draw();
      else stream.write(`${progressLine(done, total, performance.now() - began, text)}\n`);
    },
    note: write,
    end() {
      if (interactive) stream.write('\r\x1b[2K');
    },
  };
}
