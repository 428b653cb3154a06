/** Checks of the words on the command lines of the benchmarks; each failure is one line that says what was expected. */

/** A whole number from `least` on. */
export function wholeNumber(option: string, value: string, least = 1): number {
  const number = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(number) || number < least)
    throw new Error(`--${option}=${value}: expected a whole number from ${least} on`);
  return number;
}

/** A number above 0. */
export function positive(option: string, value: string): number {
  const number = Number(value);
  if (!(number > 0) || !Number.isFinite(number)) throw new Error(`--${option}=${value}: expected a number above 0`);
  return number;
}

/** The words of a comma-separated list; none for an empty one. */
export function list(value: string): string[] {
  return value
    .split(',')
    .map((word) => word.trim())
    .filter(Boolean);
}
