/** A TCP transfer through a tunnel whose every byte is checked (transfer.mjs). */
import { join } from 'node:path';
import { run, start } from './process.ts';
import type { Rig } from './rig.ts';
import { ROOT } from './root.ts';

const SCRIPT = join(ROOT, 'test/rig/transfer.mjs');
const PORT = '5201';

export interface TransferEnds {
  /** Namespace of the sender. */
  readonly from: string;
  readonly to: { readonly namespace: string; readonly address: string };
}

/** Sends `bytes` and gives what both ends counted and hashed; `seed` makes the content. Both ends are gone afterwards. */
export async function transfer(
  rig: Rig,
  { from, to }: TransferEnds,
  bytes: number,
  seed: string,
): Promise<{ readonly sent: string; readonly received: string }> {
  const receiver = start(rig, {
    command: process.execPath,
    args: [SCRIPT, 'receive', to.address, PORT],
    namespace: to.namespace,
  });
  try {
    await receiver.waitForOutput(/^ready$/m);
    const sender = { command: process.execPath, args: [SCRIPT, 'send', to.address, PORT, String(bytes), seed] };
    const { stdout } = await run({ ...sender, namespace: from }, { ms: 60_000 });
    await receiver.waitForOutput(/^\d+ [0-9a-f]{64}$/m);
    return { sent: stdout.trim(), received: receiver.stdout().trim().split('\n').pop() ?? '' };
  } finally {
    await receiver.stop();
  }
}
