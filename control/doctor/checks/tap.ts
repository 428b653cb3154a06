/** Whether a TAP can be made: it is made, and gone again. */

import { messageOf } from '../../message-of.ts';
import { type Check, fail, ok } from '../check.ts';

export const tapCheck: Check = {
  name: 'tap',
  about: 'whether /dev/net/tun gives TAPs',
  run({ native }) {
    if ('problem' in native) return [];
    try {
      native.close(
        native.openTap(`espd${process.pid}`, { kind: 'tap', multiQueue: true, vnetHeader: false, persistent: false }),
      );
      return [ok('/dev/net/tun gives TAPs')];
    } catch (error) {
      const message = messageOf(error);
      return [fail(message, 'modprobe tun; in a container, give it /dev/net/tun and CAP_NET_ADMIN')];
    }
  },
};
