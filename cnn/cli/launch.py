"""From a command line to an exit code: every mistake becomes a line, never a traceback."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn.api import reading
from cnn.cli.commands import COMMANDS
from cnn.cli.parser import Invocation
from cnn.config import config, files, resolve
from cnn.config.config import Config, ConfigError, Override
from cnn.config.files import DEFAULT as DEFAULT_CONFIG
from cnn.data.types import DataError
from cnn.layers.base import LayerError
from cnn.registry import ExtensionError
from cnn.report import run_files
from cnn.runs import lock, run_dir, sweep_record
from cnn.runs.records import OnRecordError
from cnn.system import environment, multihost, preemption, redaction
from cnn.system.exit_codes import DIVERGED, HELD, IO_ERROR, PREEMPTED, WRONG
from cnn.system.text import output_is_lost, plain

if TYPE_CHECKING:
    from cnn.sweep.plan import Plan

TRAINING = ("train", "find-rate", "sweep")
"""The commands that train."""


def launch(invocation: Invocation, start_again: Callable[[], None] = lambda: None) -> int:
    """Runs the command that was typed.

    Args:
      invocation: what was typed.
      start_again: called before anything is done, where training takes so much memory that it gains by huge pages; may
        start the program again with them.

    Returns:
      The exit code, see `cnn.system.exit_codes`.

    Raises:
      BrokenPipeError: nobody reads what is printed any more.
    """
    return multihost.leave(_run(invocation, start_again))


def _run(invocation: Invocation, start_again: Callable[[], None]) -> int:
    try:
        prepared = _prepare(invocation)
        if _is_large(invocation, prepared):
            start_again()
        module = importlib.import_module(f"cnn.cli.{invocation.command.replace('-', '_')}")
        words = {"words": invocation.words} if COMMANDS[invocation.command].words else {}
        code: int = module.run(*prepared, invocation.flags, **words)
        sys.stdout.flush()
        return code
    except ConfigError as error:
        return _fail(error.problems, WRONG)
    except (DataError, ExtensionError, LayerError, OnRecordError, run_dir.BrokenFile, multihost.Unlike) as error:
        return _fail([str(error)], WRONG)
    except lock.Held as error:
        return _fail([str(error)], HELD)
    except preemption.Preempted:
        return _fail(["interrupted. The same command continues from what is saved"], PREEMPTED)
    except multihost.Elsewhere as error:
        return _fail([str(error)], IO_ERROR)
    except FloatingPointError as error:
        return _fail([str(error)], DIVERGED)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _fail([_said(error, invocation.flags.get("workdir", ""))], IO_ERROR)
    except KeyboardInterrupt:
        return _fail(["interrupted. The same command starts it again, from what is saved"], PREEMPTED)


def _said(error: OSError, workdir: str) -> str:
    """Returns what the system refused, and the flag where it is that directory, or one above it, which it lacks."""
    if not error.filename:
        # What this program raises itself has no number.
        where = "standard output: " if error.errno is not None and output_is_lost() else ""
        return f"{where}{error.strerror or error}"
    place = Path(str(error.filename)).absolute()
    flag = "--workdir: " if workdir and Path(workdir).absolute().is_relative_to(place) else ""
    return f"{flag}{error.filename}: {error.strerror or error}"


def _fail(problems: list[str], code: int) -> int:
    for problem in problems:
        # Names of files and classes stand in them, which may hold what steers a terminal.
        print("\n".join(plain(line) for line in redaction.hide(problem).split("\n")), file=sys.stderr)
    return code


def _prepare(invocation: Invocation) -> tuple[Any, ...]:
    """Returns what a command's `run` is called with before the flags.

    That is the checked config, or a sweep's plan, and the directory; what `fields` and `data` take in place of them;
    nothing for a command that needs neither.
    """
    problems = [*invocation.problems, *environment.problems()]
    command = COMMANDS[invocation.command]
    prepared: tuple[Any, ...] = ()
    try:
        if invocation.command == "sweep":
            prepared = _sweep(invocation)
        elif invocation.command == "fields":
            prepared = (invocation.overrides,)
        elif invocation.command == "data":
            prepared = (resolve.resolve_data(_read_file(invocation)[1], invocation.overrides),)
        elif command.takes_config:
            prepared = _from_file(invocation)
        elif command.takes_run:
            prepared = _from_run(invocation)
    except ConfigError as error:
        raise ConfigError(problems + error.problems) from None
    if problems:
        raise ConfigError(problems)
    return prepared


def _is_large(invocation: Invocation, prepared: tuple[Any, ...]) -> bool:
    """Tells whether a command trains what gains by huge pages."""
    if invocation.command not in TRAINING or "smoke" in invocation.flags:
        return False
    from cnn.train import memory_estimate  # what no other command needs

    work = prepared[0]
    configs = [work] if isinstance(work, Config) else [trial.values for trial in work.checked]
    return any(map(memory_estimate.gains_by_huge_pages, configs))


def _from_file(invocation: Invocation) -> tuple[Config, Path]:
    path, raw = _read_file(invocation)
    checked = resolve.resolve(raw, invocation.overrides)
    folder = f"{files.file_of(path).stem}{COMMANDS[invocation.command].folder}"
    return checked, Path(invocation.flags.get("workdir") or f"runs/{folder}")


def _read_file(invocation: Invocation) -> tuple[str, Mapping[str, Any]]:
    """Returns the path and the sections of the config's file."""
    path = files.named(invocation.flags.get("config", str(DEFAULT_CONFIG)))
    raw = _sections(invocation, path)
    _tell_old_names(path, raw, invocation.overrides)
    return path, raw


def _sections(invocation: Invocation, path: str) -> Mapping[str, Any]:
    if invocation.sections is not None:
        return invocation.sections
    return files.read(path, names_extensions=all(each.path != "extensions" for each in invocation.overrides))


def _tell_old_names(path: str, raw: Mapping[str, Any], overrides: Sequence[Override]) -> None:
    """Says on stderr which fields have another name now, unless a run's own file gives them."""
    written = {} if path.endswith(".json") else raw
    for old in config.old_names(written, overrides):
        print(f"config.{old}: is called config.{config.RENAMED[old]} now; read as that", file=sys.stderr)


def _sweep(invocation: Invocation) -> tuple["Plan", Path]:
    from cnn.sweep import local_workers, recall  # what no other command reads
    from cnn.sweep.plan import ask, make, typed_options

    flags = invocation.flags
    if not flags.keys() & {"sweep", "grid"} and "workdir" in flags and sweep_record.is_sweep(Path(flags["workdir"])):
        folder = Path(flags["workdir"])
        given = ["--config"] if "config" in flags else []
        given += [f"--config.{path}" for path, _ in invocation.overrides]
        if given:
            raise ConfigError([f"{name}: {folder} declares its config. Leave it out" for name in given])
        base, asked = recall.recalled(folder, typed_options(flags))
        return make(base, recall.extended(asked, base, folder, copy=local_workers.is_copy())), folder
    typed = flags.get("config", "")
    path = files.named(typed) if typed else str(DEFAULT_CONFIG)
    asked = ask(typed, invocation.overrides, flags)
    try:
        base = _sections(invocation, path)
    except ConfigError as error:
        raise ConfigError(error.problems + asked.problems) from None
    _tell_old_names(path, base, invocation.overrides)
    space = Path(flags["sweep"]).stem if "sweep" in flags else "grid"
    folder = Path(flags.get("workdir") or f"runs/{files.file_of(path).stem}-{space}")
    return make(base, recall.extended(asked, base, folder, copy=local_workers.is_copy())), folder


def _from_run(invocation: Invocation) -> tuple[Config | None, Path]:
    if "workdir" not in invocation.flags:
        raise ConfigError([f"--workdir: {invocation.command} needs a run's directory. Write --workdir=runs/NAME"])
    workdir = Path(invocation.flags["workdir"])
    if invocation.command == "report":
        return (None if sweep_record.is_sweep(workdir) else run_files.read(workdir).config), workdir
    if invocation.flags.keys() & {"ensemble", "average"}:
        return None, workdir
    if "members" in invocation.flags:
        raise ConfigError(["--members: is for several runs. Give --ensemble or --average with it, or leave it out"])
    if "out" in invocation.flags and invocation.command == "eval":
        raise ConfigError(
            ["--out: is for several runs; one run writes files of its own. Leave it out, or add --ensemble"]
        )
    if sweep_record.is_sweep(workdir):
        workdir, said = sweep_record.best(workdir)
        print(plain(said), file=sys.stderr)
    return reading.read_run(workdir, reading.listed(invocation.flags.get("extensions", ""))), workdir
