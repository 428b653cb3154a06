/**
 * Somebody on the way who has the keys (of a key log): opens protected messages, changes their payloads, seals them
 * again. So a test can have a peer say whatever it wants, and the engine under test sees authentic messages.
 */

import type { SkKeys } from '../../../ike/crypto/sk-keys.ts';
import { openMessage, parseMessage, sealMessage } from '../../../ike/wire/message.ts';
import type { Payload } from '../../../ike/wire/payloads.ts';
import type { Host, Sent } from '../simulation/world.ts';

/** The keys with which the sender of this message seals, out of a host's key log. */
function keysOf(host: Host, data: Uint8Array): SkKeys {
  const parsed = parseMessage(data);
  if (!parsed.ok) throw new Error(parsed.reason);
  const { initiatorSpi, initiatorFlag, exchange, messageId } = parsed.message.header;
  const generations = host.actions.flatMap((action) =>
    action.action === 'ike-keys' && action.keys.initiatorSpi === initiatorSpi ? [action.keys] : [],
  );
  // Each IKE_INTERMEDIATE makes new keys, which what follows it is under.
  const keys = exchange === 'IKE_INTERMEDIATE' ? generations[messageId - 1] : generations.at(-1);
  if (keys === undefined) throw new Error(`no keys of IKE SA ${initiatorSpi} in the log`);
  const { encryption, integrity, skEi, skEr, skAi, skAr } = keys;
  return { encryption, integrity, skE: initiatorFlag ? skEi : skEr, skA: initiatorFlag ? skAi : skAr };
}

/** What is in a protected message. */
export function contentsOf(logger: Host, data: Uint8Array): readonly Payload[] {
  const parsed = parseMessage(data);
  if (!parsed.ok) throw new Error(parsed.reason);
  if (parsed.message.encrypted === undefined) return parsed.message.payloads;
  const opened = openMessage(data, parsed.message, keysOf(logger, data));
  if (!opened.ok) throw new Error(opened.reason);
  return opened.payloads;
}

let nextIv = 0;

/** The message with other payloads. */
export function rewritten(logger: Host, sent: Sent, payloads: readonly Payload[]): Uint8Array {
  const parsed = parseMessage(sent.data);
  if (!parsed.ok) throw new Error(parsed.reason);
  return sealMessage(parsed.message.header, payloads, keysOf(logger, sent.data), (bytes) => {
    nextIv += 1;
    const iv = new Uint8Array(bytes).fill(0xee);
    new DataView(iv.buffer).setUint32(0, nextIv);
    return iv;
  });
}

/** From now on messages of `sender` go through `change`; undefined leaves a message as it is. */
export function tamper(
  sender: Host,
  logger: Host,
  change: (payloads: readonly Payload[], sent: Sent) => readonly Payload[] | undefined,
): void {
  const { world } = sender;
  world.pass = (sent) => {
    if (sent.local.address !== sender.address) return true;
    const parsed = parseMessage(sent.data);
    if (!parsed.ok || parsed.message.encrypted === undefined) return true;
    const changed = change(contentsOf(logger, sent.data), sent);
    if (changed === undefined) return true;
    world.deliver(sent, rewritten(logger, sent, changed));
    return false;
  };
}
