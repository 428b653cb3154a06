/**
 * A child SA that was negotiated and that whoever runs the engine cannot install, for want of room on a disk for instance: the
 * peer has to delete it, and neither end may set it up again at once, or they would do nothing else.
 */
import type { ConnectionState } from './connection.ts';
import type { Child } from './sa/child-sa.ts';

/** `reason`: a sentence for operators. */
export function deleteNotInstalled(connection: ConnectionState, child: Child, reason: string): void {
  connection.context.count('failed: children');
  connection.noteFailure(reason);
  connection.deleteChild(child, reason);
  const config = connection.slots.configured(child);
  if (config !== undefined && !connection.isUp(config)) connection.slots.shut(config);
}
