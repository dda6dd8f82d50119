"""From a command line to an exit code: every mistake becomes a line, never a traceback."""

import importlib
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cnn import config, hosts, interruption, lock, rundir, runtime, terminal
from cnn.commands import COMMANDS
from cnn.commands.flags import DEFAULT_CONFIG, Invocation
from cnn.config import ConfigError, Values
from cnn.data import DataError
from cnn.sweep import making, reading
from cnn.sweep.plan import Plan

DONE, WRONG, DIVERGED, HELD, IO_ERROR, PREEMPTED = 0, 2, 3, 73, 74, 75

ReadConfig = Callable[[str], Mapping[str, Any]]


def launch(invocation: Invocation, read_config: ReadConfig) -> int:
    """Runs a command.

    Args:
      invocation: what was typed.
      read_config: executes a config file and returns its sections.

    Returns:
      The exit code: 0 done, 2 wrong config or data, 3 diverged, 73 held, 74 input or output failed, 75 preempted.
    """
    return hosts.leave(_run(invocation, read_config))


def _run(invocation: Invocation, read_config: ReadConfig) -> int:
    try:
        prepared = _prepare(invocation, read_config)
        module = importlib.import_module(f"cnn.commands.{invocation.command}")
        words = {"words": invocation.words} if COMMANDS[invocation.command].words else {}
        return module.run(*prepared, invocation.flags, **words)
    except ConfigError as error:
        return _fail(error.problems, WRONG)
    except (DataError, rundir.BrokenFile, hosts.Unlike) as error:
        return _fail([str(error)], WRONG)
    except lock.Held as error:
        return _fail([str(error)], HELD)
    except interruption.Preempted:
        return _fail(["interrupted. The same command continues from what is saved"], PREEMPTED)
    except hosts.Elsewhere as error:
        return _fail([str(error)], IO_ERROR)
    except FloatingPointError as error:
        return _fail([str(error)], DIVERGED)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail([f"{place}{error.strerror or error}"], IO_ERROR)
    except KeyboardInterrupt:
        return _fail(["interrupted. The same command starts it again, from what is saved"], PREEMPTED)


def _fail(problems: list[str], code: int) -> int:
    for problem in problems:
        # Names of files and classes stand in them, which may hold what steers a terminal.
        print("\n".join(terminal.plain(line) for line in problem.split("\n")), file=sys.stderr)
    return code


def _prepare(invocation: Invocation, read_config: ReadConfig) -> tuple[Values | Plan | None, Path] | tuple[()]:
    """Returns the values and the run's directory; nothing for a command that needs neither."""
    problems = [*invocation.problems, *runtime.problems()]
    command = COMMANDS[invocation.command]
    prepared: tuple[Values | Plan | None, Path] | tuple[()] = ()
    try:
        if invocation.command == "sweep":
            prepared = _sweep(invocation, read_config)
        elif command.takes_config:
            prepared = _from_file(invocation, read_config)
        elif command.takes_run:
            prepared = _from_run(invocation)
    except ConfigError as error:
        raise ConfigError(problems + error.problems) from None
    if problems:
        raise ConfigError(problems)
    return prepared


def _from_file(invocation: Invocation, read_config: ReadConfig) -> tuple[Values, Path]:
    path = invocation.flags.get("config", str(DEFAULT_CONFIG))
    name = Path(path.partition(":")[0])
    values = config.resolve(_execute(path, name, read_config), invocation.overrides)
    return values, Path(invocation.flags.get("workdir") or f"runs/{name.stem}")


def _sweep(invocation: Invocation, read_config: ReadConfig) -> tuple[Plan, Path]:
    typed = invocation.flags.get("config", "")
    path = typed or str(DEFAULT_CONFIG)
    name = Path(path.partition(":")[0])
    asked = reading.ask(typed, invocation.overrides, invocation.flags)
    try:
        base = _execute(path, name, read_config)
    except ConfigError as error:
        raise ConfigError(error.problems + asked.problems) from None
    plan = making.make(base, asked)
    space = Path(invocation.flags["sweep"]).stem if "sweep" in invocation.flags else "grid"
    return plan, Path(invocation.flags.get("workdir") or f"runs/{name.stem}-{space}")


def _execute(path: str, name: Path, read_config: ReadConfig) -> Mapping[str, Any]:
    if not name.is_file():
        near = DEFAULT_CONFIG.parent / f"{name.stem}.py"
        remedy = f"Did you mean {near}?" if near.is_file() else f"Those that exist are in {DEFAULT_CONFIG.parent}"
        raise ConfigError([f"--config: no such file, got {path}. {remedy}"])
    try:
        sections = read_config(path)
    except (Exception, SystemExit) as error:  # A config file is a person's code and may raise anything.
        raise ConfigError([f"--config: {name}{_reason(error, name)}. Mend it or use another file"]) from None
    if not isinstance(sections, Mapping):
        raise ConfigError([f"--config: {name}: get_config() must return a ConfigDict, got {sections!r}"])
    return sections


def _reason(error: BaseException, name: Path) -> str:
    """Returns where and how a config file failed, in one line."""
    while error.__context__ is not None and "whilst parsing config file" in str(error):
        error = error.__context__  # config_flags wraps some errors, and their tracebacks, in others
    if isinstance(error, AttributeError) and "no attribute 'get_config'" in str(error):
        return ": defines no get_config()"
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    else:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in reversed(frames) if frame.filename.endswith(name.name)]
    line = f" line {lines[0]}" if lines and lines[0] else ""
    message = " ".join(str(error).split())[:300]
    return f"{line}: {type(error).__name__}{': ' if message else ''}{message}"


def _from_run(invocation: Invocation) -> tuple[Values | None, Path]:
    if "workdir" not in invocation.flags:
        raise ConfigError([f"--workdir: {invocation.command} needs a run's directory. Write --workdir=runs/NAME"])
    workdir = Path(invocation.flags["workdir"])
    return (None if invocation.command == "report" and _holds_sweep(workdir) else read_run(workdir)), workdir


def _holds_sweep(workdir: Path) -> bool:
    return not (workdir / rundir.CONFIG).is_file() and (workdir / rundir.DECLARATION).is_file()


def read_run(workdir: Path) -> Values:
    """Returns the config of a run, from its `config.json`; no config file is executed.

    Raises:
      ConfigError: the directory holds no run, or its config is not valid.
    """
    saved = rundir.read_json(workdir / rundir.CONFIG)
    if saved is None:
        raise ConfigError([f"--workdir: {workdir} holds no run (no {rundir.CONFIG}). Train one there first"])
    try:
        return config.resolve(saved)
    except ConfigError as error:
        raise ConfigError([f"{workdir / rundir.CONFIG}: {problem}" for problem in error.problems]) from None
