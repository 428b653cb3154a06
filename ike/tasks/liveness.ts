/** Asking a silent peer whether it is there: an empty INFORMATIONAL exchange (RFC 7296 §2.4). */

import type { InitiatorTask, Outcome } from '../sa/task.ts';
import type { Payload } from '../wire/payloads.ts';

export class Liveness implements InitiatorTask {
  readonly exchange = 'INFORMATIONAL';
  readonly purpose = 'liveness check';

  build(): readonly Payload[] {
    return [];
  }

  /** That there is a response is all that counts; the IKE SA has noted when it came. */
  process(): Outcome {
    return 'done';
  }

  abandon(): void {}
}
