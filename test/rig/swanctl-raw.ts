/**
 * Parses what `swanctl --raw` prints: sections `name {…}`, values `key=value`, lists `key=[a b]`, on one line per
 * event: `list-sa event {tun {uniqueid=1 … child-sas {tun-1 {…}}}}`.
 */

/** A section: values are strings, lists of strings, or sections. */
export type RawSection = { [key: string]: string | string[] | RawSection };

/** The text of a value; '' if there is none. */
export function text(raw: RawSection, key: string): string {
  const value = raw[key];
  return typeof value === 'string' ? value : '';
}

/** A section within a section; an empty one if there is none. */
export function section(raw: RawSection, key: string): RawSection {
  const value = raw[key];
  return typeof value === 'object' && !Array.isArray(value) ? value : {};
}

/** Reads the content of a section from `at`, after its opening brace; gives where its closing brace was. */
function readSection(line: string, start: number): { value: RawSection; end: number } {
  const value: RawSection = {};
  let at = start;
  while (at < line.length && line[at] !== '}') {
    if (line[at] === ' ') {
      at += 1;
      continue;
    }
    // Items may carry brackets of their own: local-ts=[10.1.0.1/32[gre] 10.1.0.1/32[udp/6081]].
    const list = /^([^\s={}]+)=\[((?:[^[\]]|\[[^\]]*\])*)\]/.exec(line.slice(at));
    const inner = /^([^\s={}]+) \{/.exec(line.slice(at));
    // A value may hold spaces (charon does not quote): it ends before the next key, section or brace.
    const plain = /^([^\s={}]+)=(.*?)(?=\}| [^\s={}]+(?:=| \{))/.exec(line.slice(at));
    if (list !== null) {
      value[list[1]!] = list[2]!.split(' ').filter(Boolean);
      at += list[0].length;
    } else if (inner !== null) {
      const nested = readSection(line, at + inner[0].length);
      value[inner[1]!] = nested.value;
      at = nested.end + 1;
    } else if (plain !== null) {
      value[plain[1]!] = plain[2]!;
      at += plain[0].length;
    } else {
      throw new Error(`swanctl --raw: expected key=value or a section at '${line.slice(at, at + 40)}'`);
    }
  }
  return { value, end: at };
}

/** All events of the given name (`list-sa event`) in the output of swanctl. */
export function parseRawEvents(output: string, name: string): RawSection[] {
  return output
    .split('\n')
    .filter((line) => line.startsWith(`${name} {`))
    .map((line) => readSection(line, name.length + 2).value);
}
