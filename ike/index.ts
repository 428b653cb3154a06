/** The public face of ike/: the engine, its types, and the proposals that are offered unless configured otherwise. */

export { authenticationChange } from './authentication-change.ts';
export { type Certificate, CertificateError, parseCertificate } from './certificates/certificate.ts';
export { type Trust, usageProblem } from './certificates/peer.ts';
export { parseRevocationList, type RevocationList } from './certificates/revocation.ts';
export { keyProblem, ownProblem } from './certificates/validity.ts';
export { COUNTER_MEANINGS } from './counters.ts';
export { buffersOf, type Job, type JobResult, perform, wipeJob, wipeResult } from './crypto/jobs.ts';
export { ProposalTextError, parseEspProposal, parseIkeProposal } from './crypto/proposal-text.ts';
export { DEFAULT_ENGINE_SETTINGS, DEFAULT_ESP_PROPOSALS, DEFAULT_IKE_PROPOSALS } from './defaults.ts';
export { createIkeEngine } from './engine.ts';
export type { ChildSnapshot, IkeSaSnapshot, InheritedIkeSa } from './hand-over.ts';
export type * from './types.ts';
export { transformName as transformText } from './wire/names.ts';
