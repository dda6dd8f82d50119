"""Reads the command line, and what it says of devices and processes; every problem is collected, none is fatal alone.

Imports no JAX.
"""

import dataclasses
import functools
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from cnn.api import trackers
from cnn.cli import completion, fields, version
from cnn.cli.commands import CHOICES, COMMANDS, FLAGS, SWITCHES, flags_of, meaning, shown
from cnn.config.config import RENAMED, Override
from cnn.config.files import DEFAULT as DEFAULT_CONFIG
from cnn.fields import did_you_mean
from cnn.runs.records import OnRecord
from cnn.system import multihost
from cnn.system.exit_codes import EXIT_CODES

REPOSITORY = DEFAULT_CONFIG.parents[1]
ANSWERS: dict[str, Callable[[], str]] = {
    "--version": version.text,
    "--completion": completion.text,
    **{f"--completion={shell}": functools.partial(completion.text, shell) for shell in completion.SHELLS},
}
"""Flags that print something and do nothing else."""
ALONE = {"profile": "times", "smoke": "tests", "overfit": "trains in"}
"""Flags of `train` in place of which nothing is trained, and what they do to one process."""
COUNTED = {"profile": "steps", "overfit": "examples"}
"""Flags that say how many there are of what."""
PRINT = "sweep.print"
"""The one flag that needs no value."""


@dataclasses.dataclass
class Invocation:
    """What was typed after `main.py`."""

    command: str = "train"
    flags: dict[str, str] = dataclasses.field(default_factory=dict)
    overrides: list[Override] = dataclasses.field(default_factory=list)
    words: list[str] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    help: bool = False
    asked: str = ""
    """One of `ANSWERS`, empty where none of them was typed."""
    named: bool = False
    """Whether the command was typed, not assumed."""
    sections: Mapping[str, Any] | None = None
    """Those of a config that no file holds; `None` for the file's."""


def parse(arguments: list[str]) -> Invocation:
    """Reads the arguments after the program's name; after `--` come no flags, only words."""
    invocation = Invocation()
    words: list[str] = []
    sections: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--" and words:
            words += waiting
            break
        if argument in ("-h", "-help", "--help", "--helpshort", "--helpfull"):
            invocation.help = True
        elif argument in ANSWERS:
            shell = f"{argument}={waiting[0]}" if waiting else ""
            invocation.asked = shell if shell in ANSWERS else argument
            del waiting[: shell in ANSWERS]
        elif (section := fields.asked(argument)) is not None:
            sections.append(section)
        elif argument.startswith("-") and argument.strip("-"):
            name, equals, value = argument.lstrip("-").partition("=")
            if name == PRINT and not equals:
                value, equals = "true", "="
            elif not equals and name not in SWITCHES and waiting and not waiting[0].startswith("--"):
                value, equals = waiting.pop(0), "="
            _flag(invocation, name, value if equals else None)
        else:
            words.append(argument)
    _words(invocation, words)
    _check_flags(invocation)
    answered = invocation.help or invocation.asked
    return _fields_of(invocation, sections) if sections and not answered else invocation


def _fields_of(invocation: Invocation, sections: list[str]) -> Invocation:
    """Returns the command `fields` in place of the one whose line asks for `--config.SECTION.help`."""
    return dataclasses.replace(
        invocation,
        command="fields",
        flags={name: value for name, value in invocation.flags.items() if name == "config" and value},
        words=list(filter(None, sections)),
        problems=list(filter(None, map(fields.problem, sections))),
    )


def _flag(invocation: Invocation, name: str, value: str | None) -> None:
    problems = invocation.problems
    if name in SWITCHES and value is not None:
        problems.append(f"--{name}: takes no value, got {value!r}. Write --{name}")
    elif name in SWITCHES:
        invocation.flags[name] = "on"
    elif value is None:
        problems.append(f"--{name}: has no value. Write --{name}=VALUE")
    elif name.startswith("config."):
        path = name.removeprefix("config.")
        now = RENAMED.get(path, path)
        if any(RENAMED.get(override.path, override.path) == now for override in invocation.overrides):
            problems.append(f"--{name}: is given twice. Keep one")
        invocation.overrides.append(Override(path, value))
    elif name in invocation.flags:
        problems.append(f"--{name}: is given twice. Keep one")
    else:
        invocation.flags[name] = value


def _words(invocation: Invocation, words: list[str]) -> None:
    if words and words[0] in COMMANDS:
        invocation.command, invocation.named = words.pop(0), True
    elif words:
        known = did_you_mean(words[0], COMMANDS)
        invocation.problems.append(f"{words.pop(0)!r}: unknown command. {known}")
    if COMMANDS[invocation.command].words:
        invocation.words = words
        return
    for word in words:
        invocation.problems.append(f"{word!r}: {invocation.command} takes no such argument. Flags begin with --")


def _check_flags(invocation: Invocation) -> None:
    command = COMMANDS[invocation.command]
    instead = "reads the run's own config" if command.takes_run else "takes no config"
    for name, value in invocation.flags.items():
        if name == "config" and not command.takes_config:
            invocation.problems.append(f"--config: {invocation.command} {instead}. Leave it out")
        elif f"--{name}" in ANSWERS:
            known = did_you_mean(value, completion.SHELLS)
            invocation.problems.append(f"--{name}: must be the name of a shell, got {value!r}. {known}")
        elif name not in FLAGS and name not in SWITCHES and not name.startswith("sweep."):
            flags = [f"--{flag}" for flag in flags_of(invocation.command)]
            known = did_you_mean(f"--{name.partition('.')[0]}", flags)
            invocation.problems.append(f"--{name}: is no flag. {known}")
        elif name != "config" and name.partition(".")[0] not in command.flags:
            invocation.problems.append(f"--{name}: is no flag of {invocation.command}. Leave it out")
        elif not value:
            invocation.problems.append(f"--{name}: is empty. Write --{name}=VALUE")
        elif name == PRINT and value not in ("true", "false"):
            invocation.problems.append(f"--{name}: must be true or false, got {value!r}")
        elif value not in CHOICES.get(name, (value,)):
            invocation.problems.append(f"--{name}: must be one of {', '.join(CHOICES[name])}, got {value!r}")
    invocation.problems += _placement_problems({name: value for name, value in invocation.flags.items() if value})
    if invocation.overrides and not command.takes_config:
        invocation.problems.append(
            f"--config.{invocation.overrides[0].path}: {invocation.command} {instead}. Leave it out"
        )


def answer(invocation: Invocation) -> str | None:
    """Returns what is to be printed, and nothing else done, where only help or the version was asked for."""
    if invocation.help:
        return usage(invocation)
    return ANSWERS[invocation.asked]() if invocation.asked else None


def usage(invocation: Invocation | None = None) -> str:
    """Returns the help, on one screen; where a command was typed, that command's."""
    if invocation is not None and invocation.named:
        return _usage_of(invocation.command)
    lines = ["python main.py [COMMAND] [--FLAG=VALUE ...]  (without a command: train; COMMAND --help tells its flags)"]
    lines += [f"  {name:<10}{command.help}" for name, command in COMMANDS.items()]
    lines += ["", *(f"  {what:<14}{line}" for what, line in WAY), ""]
    codes = [f"{code} {each.short}".replace(" ", _TOGETHER) for code, each in EXIT_CODES.items()]
    lines += textwrap.wrap(f"exit codes: {', '.join(codes)}", 118, subsequent_indent=" " * 12)
    return "\n".join(lines).replace(_TOGETHER, " ")


_TOGETHER = "\N{NO-BREAK SPACE}"


WAY = (
    ("a first run", "python main.py, then open runs/digits/report.html in a browser"),
    ("your own data", "python main.py data --config.data.name=folder --config.data.data_dir=pictures"),
    (
        "your network",
        "python main.py --config.model.layers='conv(width, 3) | relu | flatten | dense(classes)' --workdir=runs/a",
    ),
    ("a sweep", "python main.py sweep --grid='optimizer.learning_rate=log(1e-4,1e-2,8);seed=0,1' --workdir=runs/b"),
    (
        "everything",
        "python main.py fields, or docs/reference.md on one page; --version; --completion for bash, or =zsh",
    ),
)
"""What the help shows of the way from the first run to one's own."""


def _usage_of(name: str) -> str:
    command, flags = COMMANDS[name], flags_of(name)
    words = f" {command.words}" if command.words else ""
    lines = [f"python main.py {name}{words}{' [--FLAG=VALUE ...]' if flags else ''}", "", command.help]
    if flags:
        lines += ["", "flags:"]
    for flag in flags:
        lines += textwrap.wrap(
            meaning(name, flag), 118, initial_indent=f"  {shown(flag):<20} ", subsequent_indent=" " * 23
        )
    return "\n".join(lines)


def _placement_problems(flags: Mapping[str, str]) -> list[str]:
    """Returns what is wrong with `--devices` and `--distributed`."""
    found = []
    devices, distributed = flags.get("devices", "all"), flags.get("distributed", "off")
    if devices != "all" and not is_number(devices):
        found.append(f"--devices: must be all or a number of devices, got {devices!r}")
    try:
        many = multihost.parse(distributed) is not None
    except ValueError as error:
        return [*found, f"--distributed: {error}"]
    found += _alone_problems(flags, many)
    if many and devices != "all":
        found.append(f"--devices: many processes use all that they have, got {devices!r}. Leave it out")
    return found


def _alone_problems(flags: Mapping[str, str], many: bool) -> list[str]:
    """Returns what is wrong with the flags that ask for something else than the run."""
    found = []
    for name in (name for name in COUNTED if name in flags and not is_number(flags[name])):
        found.append(f"--{name}: must be a number of {COUNTED[name]}, got {flags[name]!r}. Write --{name}=20")
    asked = [name for name in ALONE if name in flags]
    if not asked:
        return found
    name, *others = asked
    if many:
        found.append(f"--{name}: {ALONE[name]} one process, got --distributed as well. Leave one of them out")
    if "tracker" in flags:
        found.append(f"--{name}: records nothing, got --tracker as well. Leave one of them out")
    return [*found, *(f"--{name}: is done alone, got --{other} as well. Leave one of them out" for other in others)]


def is_number(text: str, least: int = 1) -> bool:
    """Tells whether the text of a flag is a whole number of at most nine digits, and at least `least`."""
    return text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) >= least


def members(flags: Mapping[str, str]) -> multihost.Members | None:
    """Returns the processes of the run, `None` for one alone."""
    return multihost.parse(flags.get("distributed", "off"))


def devices(flags: Mapping[str, str]) -> int | None:
    """Returns how many devices share a batch, `None` where the flags leave it open."""
    given = flags.get("devices", "all")
    return None if given == "all" else int(given)


def tracker(flags: Mapping[str, str]) -> OnRecord | None:
    """Returns what records elsewhere, too, `None` where nobody asked for it.

    Raises:
      ConfigError: its package is missing.
    """
    return trackers.by_name(flags["tracker"]) if "tracker" in flags else None
