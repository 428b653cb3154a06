/** The date, which certificates are judged by. */
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Check, ok, warn } from '../check.ts';

const DAY_MS = 86_400_000;

export const clockCheck: Check = {
  name: 'clock',
  about: 'whether the date can be right',
  run({ nowMs }) {
    const installedMs = statSync(fileURLToPath(import.meta.url)).mtimeMs;
    const date = new Date(nowMs).toISOString();
    // A host without a battery wakes up in the past.
    if (nowMs > installedMs - DAY_MS) return [ok(`it is ${date}`)];
    return [
      warn(
        `it is ${date}, before this program was installed: certificates may seem not to be valid yet`,
        'set the clock, and keep it with NTP: timedatectl set-ntp true',
      ),
    ];
  },
};
