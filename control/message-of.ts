/** What somebody has thrown, as the one line for operators that it carries. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
