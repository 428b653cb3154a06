/**
 * What is wrong with a setting, as data, and the one line that says it: the key, what came, what was
 * expected, how to mend it. Whoever writes logs, tunnels/show or exit messages uses this line.
 */

export interface Issue {
  /** What is at fault: `interface tun`, `bridge br0`, `Open_vSwitch`, `--workers`. */
  readonly subject: string;
  /** As the user writes it, for instance `options:remote_ip`. */
  readonly key: string;
  /** What came; undefined when nothing did. Never a secret. */
  readonly value: string | undefined;
  /** A noun phrase: `an IPv4 address`. */
  readonly expected: string;
  /** An imperative: `set it with …`. */
  readonly mend: string;
}

/** Longest value that is quoted in full. */
const QUOTED = 80;

/** `options:ttl is "900", expected 1 to 255; set it with …` — one line, without the subject. */
export function issueReason(issue: Issue): string {
  const came = issue.value === undefined ? 'is not set' : `is ${quote(issue.value)}`;
  return `${issue.key} ${came}, expected ${issue.expected}; ${issue.mend}`;
}

/** The same with the subject in front. */
export function formatIssue(issue: Issue): string {
  return `${issue.subject}: ${issueReason(issue)}`;
}

/** A start that cannot work because of a setting. Its message is the one line. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
  readonly issue: Issue;

  constructor(issue: Issue) {
    super(formatIssue(issue));
    this.issue = issue;
  }
}

/** Quoted as JSON, so that nothing in it can break the line, and cut to a bearable length. */
export function quote(text: string): string {
  return JSON.stringify(text.length > QUOTED ? `${text.slice(0, QUOTED)}…` : text);
}
