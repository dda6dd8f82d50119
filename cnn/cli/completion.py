"""What bash and zsh complete behind `main.py`: commands, flags, fields, and what these may name. Imports no JAX."""

import typing
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from cnn import fields, registry
from cnn.cli import fields as fields_command
from cnn.cli.commands import CHOICES, COMMANDS, SWITCHES, flags_of
from cnn.config import config, files

KNOWN = """\
_cnn_commands="{commands}"
_cnn_words() {{
    case "$1" in
{words}
    esac
}}
_cnn_values() {{
    case "$1" in
{values}
        *) offered="" ;;
    esac
}}
_cnn_is_meant() {{
    case "$1" in
        *main.py\\ *|*-m\\ cnn\\ *|cnn\\ *|*/cnn\\ *) ;;
        *) return 1 ;;
    esac
}}
"""
"""In the words that both shells understand: what there is, as the variable `offered`."""

BASH = """\
# Completes python main.py and cnn in bash; for this shell: source <(python main.py --completion)
{known}\
_cnn_complete() {{
    local line=${{COMP_LINE:0:COMP_POINT}} offered word command=train
    _cnn_is_meant "$line" || return
    local current=${{line##* }}
    local -a typed
    read -r -a typed <<< "${{line% *}}"
    for word in "${{typed[@]}}"; do
        [[ " $_cnn_commands " == *" $word "* ]] && command=$word && break
    done
    if [[ $current == -*=* ]]; then
        _cnn_values "${{current%%=*}}"
        # Where "=" ends no word, the word has the flag, too.
        [[ $2 == -*=* ]] && word="${{current%%=*}}=" || word=""
        COMPREPLY=($(compgen -P "$word" -W "$offered" -- "${{current#*=}}"))
    else
        _cnn_words "$command"
        COMPREPLY=($(compgen -W "$offered" -- "$2"))
        [[ ${{COMPREPLY[0]}} != *= ]] || compopt -o nospace
    fi
}}
complete -o bashdefault -o default -F _cnn_complete python python3 cnn
"""
ZSH = """\
# Completes python main.py and cnn in zsh; for this shell: source <(python main.py --completion=zsh)
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit -i }}
{known}\
_cnn_complete() {{
    local line="${{(j: :)words[1,CURRENT-1]}} " offered word command=train
    if ! _cnn_is_meant "$line"; then
        if (( $+functions[_python] )); then _python "$@"; else _default; fi
        return
    fi
    for word in "${{(@)words[1,CURRENT-1]}}"; do
        [[ " $_cnn_commands " == *" $word "* ]] && command=$word && break
    done
    if [[ $PREFIX == -*=* ]]; then
        _cnn_values "${{PREFIX%%=*}}"
        compset -P 1 '*='
        compadd -- ${{=offered}} || _files
    else
        _cnn_words "$command"
        compadd -S '' -- ${{(M)${{=offered}}:#*=}}
        local -i found=$?
        compadd -- ${{${{=offered}}:#*=}} || (( ! found )) || _files
    fi
}}
compdef _cnn_complete python python3 cnn
"""
SHELLS = {"bash": BASH, "zsh": ZSH}


def text(shell: str = "bash") -> str:
    """Returns a script that lets a shell, bash or zsh, complete what may follow in a line.

    It offers the flags of the command that stands in the line, of `train` if there is none; behind the `=` of a flag or
    a field the names that it may have, or files.
    """
    words = [_case(name, _words(name)) for name in COMMANDS]
    values = [_case(name, names) for name, names in sorted(_values().items()) if names]
    known = KNOWN.format(commands=" ".join(COMMANDS), words="\n".join(words), values="\n".join(values))
    return SHELLS[shell].format(known=known)


def _case(pattern: str, offered: Sequence[str]) -> str:
    return f'        {pattern}) offered="{" ".join(offered)}" ;;'


def _words(name: str) -> list[str]:
    """Returns the words that may follow a command; of `train`, which need not be named, the commands, too."""
    flags = [f"--{flag}" if flag in SWITCHES else f"--{flag}=" for flag in flags_of(name)]
    found = [*COMMANDS, "--help", "--version", "--completion"] if name == "train" else ["--help"]
    found += fields_command.names() if name == "fields" else []
    found += flags
    found += [f"--config.{path}=" for path in _fields()] if COMMANDS[name].takes_config else []
    if name == "sweep":
        found += ["--sweep.print", *(f"--sweep.{option}=" for option in fields.options(fields_command.SECTIONS[name]))]
    return found


def _fields() -> dict[str, Any]:
    """Returns the annotations of all fields of a config by their paths; of the same field of several records, one."""
    found = {name: annotation for name, (annotation, _) in config.SCALARS.items()}
    found["model.layers"] = found["model.init"] = str
    for section, kind in config.SECTIONS.items():
        found |= {f"{section}.{name}": annotation for name, annotation in fields.options(kind).items()}
    for section, kinds in config.NAMED.items():
        found[f"{section}.name"] = str
        for kind in kinds.values():
            found |= {f"{section}.{name}": annotation for name, annotation in fields.options(kind).items()}
    return found


def _values() -> dict[str, list[str]]:
    """Returns what each flag and each field may be, where that is one of some names."""
    found = {f"--{flag}": list(names) for flag, names in CHOICES.items()}
    found["--config"] = files.names()
    found["--completion"] = list(SHELLS)
    options = fields.options(fields_command.SECTIONS["sweep"])
    typed = {f"--config.{path}": annotation for path, annotation in _fields().items()}
    typed |= {f"--sweep.{name}": annotation for name, annotation in options.items()}
    found |= {flag: list(_names(annotation)) for flag, annotation in typed.items()}
    found |= {f"--config.{section}.name": list(kinds) for section, kinds in config.NAMED.items()}
    named = {"model.layers": registry.LAYERS, "model.init": registry.INITIALISERS, "data.name": registry.SOURCES}
    return found | {f"--config.{path}": list(table) for path, table in named.items()}


def _names(annotation: Any) -> Iterator[str]:
    """Yields the names that a field may have: choices, things of a table, or whether it is so."""
    base, _ = fields.split(annotation)
    if (language := fields.language(annotation)) is not None:
        yield from language.kinds
    elif typing.get_origin(base) is Literal:
        yield from typing.get_args(base)
    elif base is bool:
        yield from ("true", "false")
