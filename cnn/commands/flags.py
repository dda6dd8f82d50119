"""Reads the command line: every problem is collected, none is fatal by itself."""

import dataclasses
from pathlib import Path

from cnn.commands import CHOICES, COMMANDS, FLAGS, placement
from cnn.config import Override
from cnn.fields import did_you_mean

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_CONFIG = REPOSITORY / "configs" / "digits.py"


@dataclasses.dataclass
class Invocation:
    """What was typed after `main.py`."""

    command: str = "train"
    flags: dict[str, str] = dataclasses.field(default_factory=dict)
    overrides: list[Override] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    help: bool = False


def parse(arguments: list[str]) -> Invocation:
    """Reads the arguments after the program's name."""
    invocation = Invocation()
    words: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument in ("-h", "-help", "--help", "--helpshort", "--helpfull"):
            invocation.help = True
        elif argument.startswith("-") and argument.strip("-"):
            name, equals, value = argument.lstrip("-").partition("=")
            if not equals and waiting and not waiting[0].startswith("--"):
                value, equals = waiting.pop(0), "="
            _flag(invocation, name, value if equals else None)
        else:
            words.append(argument)
    _words(invocation, words)
    _check_flags(invocation)
    return invocation


def _flag(invocation: Invocation, name: str, value: str | None) -> None:
    problems = invocation.problems
    if value is None:
        problems.append(f"--{name}: has no value. Write --{name}=VALUE")
    elif name.startswith("config."):
        path = name.removeprefix("config.")
        if any(override.path == path for override in invocation.overrides):
            problems.append(f"--{name}: is given twice. Keep one")
        invocation.overrides.append(Override(path, value))
    elif name not in FLAGS:
        problems.append(f"--{name}: unknown flag. {did_you_mean(name, FLAGS)}")
    elif name in invocation.flags:
        problems.append(f"--{name}: is given twice. Keep one")
    else:
        invocation.flags[name] = value


def _words(invocation: Invocation, words: list[str]) -> None:
    if words and words[0] in COMMANDS:
        invocation.command = words.pop(0)
    elif words:
        known = did_you_mean(words[0], COMMANDS)
        invocation.problems.append(f"{words.pop(0)!r}: unknown command. {known}")
    for word in words:
        invocation.problems.append(f"{word!r}: {invocation.command} takes no such argument. Flags begin with --")


def _check_flags(invocation: Invocation) -> None:
    command = COMMANDS[invocation.command]
    for name, value in invocation.flags.items():
        if name == "config" and not command.takes_config:
            invocation.problems.append(f"--config: {invocation.command} reads the run's own config. Leave it out")
        elif name != "config" and name not in command.flags:
            invocation.problems.append(f"--{name}: is no flag of {invocation.command}. Leave it out")
        elif not value:
            invocation.problems.append(f"--{name}: is empty. Write --{name}=VALUE")
        elif value not in CHOICES.get(name, (value,)):
            invocation.problems.append(f"--{name}: must be one of {', '.join(CHOICES[name])}, got {value!r}")
    invocation.problems += placement.problems({name: value for name, value in invocation.flags.items() if value})
    if invocation.overrides and not command.takes_config:
        invocation.problems.append(
            f"--config.{invocation.overrides[0].path}: {invocation.command} reads the run's own config. Leave it out"
        )


def usage() -> str:
    """Returns the help, on one screen."""
    lines = ["python main.py [COMMAND] [--FLAG=VALUE ...]", "", "commands (train if none is given):"]
    lines += [f"  {name:<9}{command.help}" for name, command in COMMANDS.items()]
    lines += ["", "flags:", *(f"  --{name}={text}" for name, text in FLAGS.items())]
    lines += [
        "",
        "examples:",
        "  python main.py",
        "  python main.py summary --config=configs/lenet5.py",
        "  python main.py --config=configs/fashion_mnist.py --config.optimizer.learning_rate=3e-4 --workdir=runs/a",
        "  python main.py eval --workdir=runs/a --split=test",
        "",
        "exit codes: 0 done, 2 wrong config or data, 3 diverged, 73 run held by another process,",
        "            74 input or output failed, 75 interrupted and saved, 143 interrupted twice",
    ]
    return "\n".join(lines)
