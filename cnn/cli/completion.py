"""What bash completes behind `main.py`: the commands, their flags, the fields of a config. Imports no JAX."""

from collections.abc import Iterator

from cnn import fields
from cnn.cli import fields as fields_command
from cnn.cli.commands import COMMANDS, SWITCHES
from cnn.config import config

SCRIPT = """\
# Completes python main.py in bash; for this shell: source <(python main.py --completion)
_main_py() {{
    local line=${{COMP_LINE:0:COMP_POINT}} words
    [[ $line == *main.py\\ * ]] || return
    case "$line" in
{cases}
    esac
    [[ $2 == *= ]] || COMPREPLY=($(compgen -W "$words" -- "$2"))
    [[ ${{COMPREPLY[0]}} != *= ]] || compopt -o nospace
}}
complete -o bashdefault -o default -F _main_py python python3
"""


def text() -> str:
    """Returns a script for bash, which offers the flags of the command that stands in the line, of `train` if none."""
    cases = [
        f'        *main.py\\ {name}\\ *) words="{" ".join(_offered(name))}" ;;' for name in COMMANDS if name != "train"
    ]
    cases.append(f'        *) words="{" ".join([*COMMANDS, *_flags("train")])} --help --version" ;;')
    return SCRIPT.format(cases="\n".join(cases))


def _offered(name: str) -> Iterator[str]:
    yield from fields_command.names() if name == "fields" else ()
    yield from _flags(name)


def _flags(name: str) -> Iterator[str]:
    command = COMMANDS[name]
    for flag in (*(["config"] if command.takes_config else []), *command.flags):
        yield f"--{flag}" if flag in SWITCHES else f"--{flag}="
    if command.takes_config:
        yield from (f"--config.{path}=" for path in _fields())


def _fields() -> Iterator[str]:
    yield from config.SCALARS
    yield "model.layers"
    for section, kind in config.SECTIONS.items():
        yield from (f"{section}.{name}" for name in fields.options(kind))
    for section, kinds in config.NAMED.items():
        names = dict.fromkeys(name for kind in kinds.values() for name in fields.options(kind))
        yield from (f"{section}.{name}" for name in ("name", *names))
