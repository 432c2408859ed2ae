"""Scripts by which shells complete the command. They hold all words, so that completing starts no process."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SHELLS = ("bash", "zsh", "fish")
#: What a word of a script may be made of: the scripts are read by a shell, and names of others may be anything.
_PLAIN = re.compile(r"[A-Za-z0-9._=+:-]+")
#: Lines of the scripts: what follows a command that has parts, and the words that follow a word.
_BASH_PART = '        {0}) [[ $COMP_CWORD -gt 2 ]] && command+=" ${{COMP_WORDS[2]}}" ;;'
_BASH_WORDS = '        {0}) words="{1}" ;;'
_ZSH_PART = '        {0}) (( CURRENT > 3 )) && command+=" ${{words[3]}}" ;;'
_ZSH_WORDS = "        {0}) compadd -- {1}"


@dataclass(frozen=True)
class Words:
    """What can be completed.

    Attributes:
        commands: of `hwnas` with a line each; a part of a command is `devices list`.
        options: by command.
        values: by option, of those whose values are names.
    """

    commands: Mapping[str, str]
    options: Mapping[str, Sequence[str]]
    values: Mapping[str, Sequence[str]]

    def parts(self) -> dict[str, list[str]]:
        """The first words, under "", and the words of commands that have parts."""
        found: dict[str, list[str]] = {"": []}
        for command in self.commands:
            head, _, part = command.partition(" ")
            if part:
                found.setdefault(head, []).append(part)
            else:
                found[""].append(command)
        return found


def words_of(tree: Any, values: Mapping[str, Sequence[str]]) -> Words:
    """The words of a tree of commands, as click has it.

    Args:
        tree: of the commands.
        values: by option.
    """
    commands: dict[str, str] = {}
    options: dict[str, list[str]] = {}

    def visit(name: str, command: Any) -> None:
        if name:
            commands[name] = command.get_short_help_str(limit=70)
        given = (option for one in command.params if one.param_type_name == "option" for option in one.opts)
        options[name] = [option for option in (*given, "--help") if option.startswith("--")]
        for part, inner in getattr(command, "commands", {}).items():
            visit(f"{name} {part}".strip(), inner)

    visit("", tree)
    return Words(commands, options, {option: _plain(names) for option, names in values.items()})


def script(shell: str, words: Words) -> str:
    """The script of one of `SHELLS`."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](words)


def _plain(names: Sequence[str]) -> list[str]:
    return [name for name in names if _PLAIN.fullmatch(name)]


def _bash(words: Words) -> str:
    return f"""# hwnas completion bash
_hwnas() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
    local command="${{COMP_WORDS[1]}}" words=""
    [[ $COMP_CWORD -eq 1 ]] && command=""
    case "$command" in
{_cases(words, _BASH_PART)}
    esac
    case "$before" in
{_values(words, _BASH_WORDS.format("{0}", "{1}"))}
    esac
    [[ -z "$words" ]] && case "$command" in
{_options(words, _BASH_WORDS.format('"{0}"', "{1}"))}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _hwnas hwnas"""


def _zsh(words: Words) -> str:
    return f"""#compdef hwnas
# hwnas completion zsh
_hwnas() {{
    local command="${{words[2]}}"
    (( CURRENT == 2 )) && command=""
    case "$command" in
{_cases(words, _ZSH_PART)}
    esac
    case "${{words[CURRENT-1]}}" in
{_values(words, _ZSH_WORDS.format("{0}", "{1}") + "; return ;;")}
    esac
    case "$command" in
{_options(words, _ZSH_WORDS.format('"{0}"', "{1}") + " ;;")}
    esac
    [[ -n "$command" ]] && (( compstate[nmatches] == 0 )) && _files
}}
if [[ "$funcstack[1]" == "_hwnas" ]]; then _hwnas "$@"; else compdef _hwnas hwnas; fi"""


def _fish(words: Words) -> str:
    lines = ["# hwnas completion fish"]
    for command, text in words.commands.items():
        head, _, part = command.partition(" ")
        where = f"__fish_seen_subcommand_from {head}" if part else "__fish_use_subcommand"
        said = re.sub(r"[^A-Za-z0-9 .,:;-]", "", text)
        lines.append(f'complete -c hwnas -f -n "{where}" -a {part or head} -d "{said}"')
    for command, options in words.options.items():
        seen = " ".join(f"; and __fish_seen_subcommand_from {word}" for word in command.split())
        where = f' -n "{seen.removeprefix("; and ")}"' if seen else ""
        for option in options:
            names = words.values.get(option)
            values = f' -x -a "{" ".join(names)}"' if names else ""
            lines.append(f"complete -c hwnas{where} -l {option[2:]}{values}")
    return "\n".join(lines)


def _cases(words: Words, line: str) -> str:
    """A line for each command that has parts."""
    return "\n".join(line.format(head) for head in words.parts() if head)


def _values(words: Words, line: str) -> str:
    """A line for each option whose values are names."""
    return "\n".join(line.format(option, " ".join(names)) for option, names in words.values.items() if names)


def _options(words: Words, line: str) -> str:
    """A line for each command: its parts, and its options."""
    parts = words.parts()
    return "\n".join(
        line.format(command, " ".join([*parts.get(command, []), *options]))
        for command, options in words.options.items()
    )
