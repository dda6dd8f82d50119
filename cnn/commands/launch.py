"""From a command line to an exit code: every mistake becomes a line, never a traceback."""

import importlib
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cnn import config, rundir
from cnn.commands import COMMANDS
from cnn.commands.flags import DEFAULT_CONFIG, Invocation
from cnn.config import ConfigError, Values
from cnn.data import DataError

DONE, WRONG, DIVERGED, IO_ERROR, PREEMPTED = 0, 2, 3, 74, 75

ReadConfig = Callable[[str], Mapping[str, Any]]


def launch(invocation: Invocation, read_config: ReadConfig) -> int:
    """Runs a command.

    Args:
      invocation: what was typed.
      read_config: executes a config file and returns its sections.

    Returns:
      The exit code: 0 done, 2 wrong config or data, 3 diverged, 74 unreadable or unwritable file, 75 preempted.
    """
    try:
        values, workdir = _prepare(invocation, read_config)
        module = importlib.import_module(f"cnn.commands.{invocation.command}")
        return module.run(values, workdir, invocation.flags)
    except ConfigError as error:
        return _fail(error.problems)
    except DataError as error:
        return _fail([str(error)])
    except OSError as error:
        print(f"{error.filename or 'input or output'}: {error.strerror or error}", file=sys.stderr)
        return IO_ERROR


def _fail(problems: list[str]) -> int:
    for problem in problems:
        print(problem, file=sys.stderr)
    return WRONG


def _prepare(invocation: Invocation, read_config: ReadConfig) -> tuple[Values, Path]:
    problems = list(invocation.problems)
    try:
        if COMMANDS[invocation.command].takes_config:
            values, workdir = _from_file(invocation, read_config)
        else:
            values, workdir = _from_run(invocation)
    except ConfigError as error:
        raise ConfigError(problems + error.problems) from None
    if problems:
        raise ConfigError(problems)
    return values, workdir


def _from_file(invocation: Invocation, read_config: ReadConfig) -> tuple[Values, Path]:
    path = invocation.flags.get("config", str(DEFAULT_CONFIG))
    name = Path(path.partition(":")[0])
    values = config.resolve(_execute(path, name, read_config), invocation.overrides)
    return values, Path(invocation.flags.get("workdir") or f"runs/{name.stem}")


def _execute(path: str, name: Path, read_config: ReadConfig) -> Mapping[str, Any]:
    if not name.is_file():
        near = DEFAULT_CONFIG.parent / f"{name.stem}.py"
        remedy = f"Did you mean {near}?" if near.is_file() else f"Those that exist are in {DEFAULT_CONFIG.parent}"
        raise ConfigError([f"--config: no such file, got {path}. {remedy}"])
    try:
        return read_config(path)
    except Exception as error:  # A config file is a person's code and may raise anything.
        frames = traceback.extract_tb(error.__traceback__)
        line = next((f" line {frame.lineno}" for frame in reversed(frames) if frame.filename.endswith(name.name)), "")
        if isinstance(error, SyntaxError) and error.lineno:
            line = f" line {error.lineno}"
        reason = str(error).splitlines()[0] if str(error) else ""
        message = f"--config: {name}{line}: {type(error).__name__}: {reason}. It must define get_config()"
        raise ConfigError([message]) from None


def _from_run(invocation: Invocation) -> tuple[Values, Path]:
    if "workdir" not in invocation.flags:
        raise ConfigError([f"--workdir: {invocation.command} needs a run's directory. Write --workdir=runs/NAME"])
    workdir = Path(invocation.flags["workdir"])
    return read_run(workdir), workdir


def read_run(workdir: Path) -> Values:
    """Returns the config of a run, from its `config.json`; no config file is executed.

    Raises:
      ConfigError: the directory holds no run, or its config is not valid.
    """
    try:
        saved = rundir.read_json(workdir / rundir.CONFIG)
    except ValueError as error:
        raise ConfigError([str(error)]) from None
    if not isinstance(saved, dict):
        raise ConfigError([f"--workdir: {workdir} holds no run (no {rundir.CONFIG}). Train one there first"])
    try:
        return config.resolve(saved)
    except ConfigError as error:
        raise ConfigError([f"{workdir / rundir.CONFIG}: {problem}" for problem in error.problems]) from None
