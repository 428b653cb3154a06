/** The responder's side of each protected exchange, by exchange type. IKE_SA_INIT, which is not protected, is half-open.ts. */

import type { IkeSa } from '../sa/ike-sa.ts';
import { find } from '../sa/notify.ts';
import type { Answer, Answering } from '../sa/task.ts';
import type { ExchangeName } from '../wire/names.ts';
import type { Payload } from '../wire/payloads.ts';
import { answerChildCreate } from './child-create.ts';
import { answerChildRekey, rekeyNotifyOf } from './child-rekey.ts';
import { answerInformational } from './delete.ts';
import { answerFollowUp } from './follow-up.ts';
import { answerIkeAuth, signatureOfAnswer } from './ike-auth.ts';
import { answerIkeIntermediate } from './ike-intermediate.ts';
import { answerIkeRekey } from './ike-rekey.ts';

/** CREATE_CHILD_SA is three exchanges in one (RFC 7296 §1.3): REKEY_SA and the protocol of the proposal tell which. */
function answerCreateChildSa(sa: IkeSa, payloads: readonly Payload[]): Answer {
  const rekey = rekeyNotifyOf(payloads);
  if (rekey !== undefined) return answerChildRekey(sa, payloads, rekey);
  const protocol = find(payloads, 'SA')?.proposals[0]?.protocol;
  return protocol === 'IKE' ? answerIkeRekey(sa, payloads) : answerChildCreate(sa, payloads);
}

export const ANSWERS: Readonly<Partial<Record<ExchangeName, Answering>>> = {
  IKE_INTERMEDIATE: { answer: answerIkeIntermediate },
  IKE_AUTH: { answer: answerIkeAuth, signature: signatureOfAnswer },
  CREATE_CHILD_SA: { answer: answerCreateChildSa },
  IKE_FOLLOWUP_KE: { answer: answerFollowUp },
  INFORMATIONAL: { answer: answerInformational },
};
