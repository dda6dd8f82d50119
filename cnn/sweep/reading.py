"""What was asked of a sweep: its file, its flags, the grid of the command line."""

import json
import runpy
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn import fields
from cnn.config.config import Override
from cnn.config.problems import Problems, Section, Typed
from cnn.sweep import grid
from cnn.sweep.options import Options

COPIES = "Use --sweep.workers=N, which starts N copies of the command"


class Asked(NamedTuple):
    """A sweep as a person declared it, read but not checked."""

    config: str
    """The config file as typed, empty for the default."""
    overrides: Sequence[Override]
    space: Any
    options: Mapping[str, Any]
    problems: list[str]

    def plain(self, options: Options) -> dict[str, Any]:
        """Returns the options as JSON, expressions as they were written."""
        plain = fields.to_json(fields.defaults(Options))
        given = {name: value.text if isinstance(value, Typed) else value for name, value in self.options.items()}
        texts = {name: given.get(name, plain[name]) for name in ("sampler", "pruner")}
        return {**fields.to_json(options), **texts}


class _Noted(Problems):
    def note(self, path: str, message: str) -> None:
        self.append(f"--{path}: {message}")


def ask(config: str, overrides: Sequence[Override], flags: Mapping[str, str]) -> Asked:
    """Reads the sweep's file and flags; what is wrong is in the answer's `problems`.

    Args:
      config: the config file as typed, empty for the default.
      overrides: of the config.
      flags: `sweep` is a file and `grid` a space in one line, one of them; `sweep.<option>` is an option.
    """
    problems: list[str] = []
    space: Any = None
    options: dict[str, Any] = {}
    if ("sweep" in flags) == ("grid" in flags):
        problems.append("--sweep: needs a space. Give one of --sweep=FILE and --grid='seed=0,1,2'")
    elif "grid" in flags:
        space = grid.read(flags["grid"], problems)
    else:
        space, options = _file(Path(flags["sweep"]), problems)
    typed = {name.removeprefix("sweep."): value for name, value in flags.items() if name.startswith("sweep.")}
    given = {name: Typed(value) for name, value in typed.items() if name != "print"}
    return Asked(config, overrides, space, {**options, **given}, problems)


def _file(path: Path, problems: list[str]) -> tuple[Any, dict[str, Any]]:
    """Returns the space and the options that a file declares: JSON, or Python with a function `get_sweep`."""
    if not path.is_file():
        problems.append(f"--sweep: no such file, got {path}. Those that exist are in configs/sweeps")
        return None, {}
    try:
        declared = json.loads(path.read_text()) if path.suffix == ".json" else runpy.run_path(str(path))["get_sweep"]()
    except (Exception, SystemExit) as error:  # A sweep file is a person's code and may raise anything.
        problems.append(f"--sweep: {path}{_reason(error, path)}. Mend it or use another file")
        return None, {}
    if not isinstance(declared, Mapping) or "space" not in declared:
        problems.append(f'--sweep: {path} must declare {{"space": {{...}}}} and options, got {str(declared)[:80]}.')
        return None, {}
    return declared["space"], {name: value for name, value in declared.items() if name != "space"}


def _reason(error: BaseException, path: Path) -> str:
    if isinstance(error, KeyError) and error.args == ("get_sweep",):
        return " defines no get_sweep()"
    frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = f" line {frames[-1]}" if frames else ""
    return f"{line}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"


def read_options(given: Mapping[str, Any], problems: list[str]) -> Options | None:
    """Returns the checked options; on a problem notes it and returns `None`."""
    noted = _Noted()
    options = Section("sweep", given, noted).record(Options)
    problems += [f"{problem} {COPIES}" if "got 'process'" in problem else problem for problem in noted]
    return options
