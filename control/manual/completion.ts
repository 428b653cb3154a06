/**
 * Completion of `ovs-espd` for bash, made of the table of options. That of `ovs-appctl -t ovs-espd` comes with Open
 * vSwitch, which asks the daemon for its commands.
 */
import { OPTIONS, type OptionRow } from '../options.ts';
import { PROGRAM } from '../version.ts';

export function completionText(): string {
  const words = OPTIONS.flatMap((row) =>
    row.short === undefined ? [longName(row)] : [longName(row), `-${row.short}`],
  );
  const values = OPTIONS.flatMap((row) =>
    row.values === undefined ? [] : [`    --${row.name}=*) choices="${row.values.join(' ')}" ;;`],
  );
  const files = OPTIONS.filter(
    (row) => row.argumentName === 'FILE' || row.argumentName === 'DIR' || row.argumentName === 'SOCKET',
  );
  return `# bash completion of ${PROGRAM}; made by control/manual/write.ts
_ovs_espd() {
  local word=\${COMP_LINE:0:COMP_POINT} choices= IFS=$' \\t\\n'
  word=\${word##* }
  case $word in
${values.join('\n')}
    ${files.map((row) => `--${row.name}=*`).join(' | ')})
      COMPREPLY=($(compgen -f -- "\${word#*=}"))
      compopt -o filenames 2>/dev/null
      return ;;
    file:*)
      COMPREPLY=($(compgen -f -- "\${word#file:}"))
      compopt -o filenames 2>/dev/null
      return ;;
    *)
      COMPREPLY=($(compgen -W '${words.join(' ')} unix: tcp: ssl: file:' -- "$word"))
      [[ \${COMPREPLY-} == *[=:] ]] && compopt -o nospace 2>/dev/null
      return ;;
  esac
  # bash breaks words at "=": what it completes is what stands behind it.
  COMPREPLY=($(compgen -W "$choices" -- "\${word#*=}"))
}
complete -F _ovs_espd ${PROGRAM}
`;
}

function longName({ name, argument }: OptionRow): string {
  return `--${name}${argument === 'required' ? '=' : ''}`;
}
