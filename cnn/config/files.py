"""What the user may mean by a config: a name, a file, a `ConfigDict`; read, changed and checked. Imports no JAX."""

import json
import os
import runpy
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ml_collections import ConfigDict

from cnn.config import extensions, resolve
from cnn.config.config import LENGTHS, RENAMED, SCALARS, Config, ConfigError, Override, renamed
from cnn.data import sources
from cnn.data.sources.arrays import Arrays
from cnn.data.types import DataError
from cnn.fields import did_you_mean, to_text
from cnn.registry import ExtensionError, message_of

_PACKAGE = Path(__file__).resolve().parents[1]
FOLDER = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.with_name("configs")
"""The configs that come with this software: inside the package where it is installed, beside it in the repository."""
DEFAULT = FOLDER / "digits.py"

ConfigLike: TypeAlias = str | os.PathLike[str] | ConfigDict | Mapping[str, Any]
"""The name of a config (`"digits"`), a file (`.py`, or `.json` as a run's), or the sections themselves."""


def configure(base: ConfigLike = "digits", /, **changes: Any) -> ConfigDict:
    """Returns a config with some fields changed, checked as a whole.

    >>> config = configure("digits", **{"optimizer.learning_rate": 3e-3, "train.epochs": 2})
    >>> config.train.epochs
    2

    Args:
      base: a config; the name of one of `configs/` (`"fashion/two_conv"`), a file, or a `ConfigDict`, which is copied.
      changes: values by the path of their field, as after `--config.`; `model={"layers": ...}` is `model.layers`.

    Raises:
      ConfigError: lists everything that is wrong with it.
    """
    given = renamed(sections(base, names_extensions="extensions" not in changes))
    changes = {RENAMED.get(path, path): value for path, value in _paths(changes)}
    plain = json.loads(_resolved(given, changes).json)
    copied = {name: dict(value) if isinstance(value, Mapping) else value for name, value in given.items()}
    for name in plain:
        copied.setdefault(name, plain[name] if name in SCALARS else {})
    lengths = LENGTHS if not changes.keys().isdisjoint(LENGTHS) else ()
    for path in (*changes, *lengths):
        section, _, field = path.partition(".")
        if field and section != "model":  # other layers may leave names without use
            copied[section][field] = plain[section][field]
        else:
            copied[section] = plain[section]
    return ConfigDict(copied)


def _paths(changes: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in changes.items():
        if isinstance(value, (Mapping, ConfigDict)):
            yield from _paths(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def resolved(config: ConfigLike, data: Arrays | None = None) -> Config:
    """Returns the checked values of a config.

    Args:
      config: the config.
      data: arrays that are its data, see `with_arrays`.

    Raises:
      ConfigError: lists everything that is wrong with it.
      DataError: the arrays are no pictures and labels.
    """
    raw = sections(config)
    return _resolved(raw if data is None else with_arrays(raw, data), {})


def with_arrays(raw: Mapping[str, Any], arrays: Arrays) -> Mapping[str, Any]:
    """Returns the sections of a config whose data are arrays at hand: `data.name` is "arrays", and carries them.

    Where there is no section `data`, the shape and the number of classes are those of the arrays.

    Raises:
      DataError: they are no `cnn.Arrays`; or there is no such section, and they are no pictures and labels.
    """
    if not isinstance(arrays, Arrays):
        raise DataError(f"data: must be cnn.Arrays(train=(images, labels), ...), got {type(arrays).__name__}.")
    section = raw.get("data") or arrays.shape_and_classes("cnn.Arrays")
    if not isinstance(section, Mapping):
        return dict(raw)
    return {**raw, "data": {**section, "name": sources.handed_over(arrays)}}


def _resolved(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> Config:
    return resolve.resolve(raw, [Override(path, to_text(_plain(value))) for path, value in changes.items()])


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value  # NumPy's numbers print their type


def sections(config: ConfigLike, *, names_extensions: bool = True) -> Mapping[str, Any]:
    """Returns the sections of a config as nested dicts; see `read`.

    Raises:
      ConfigError: there is no such config, or its file is wrong.
    """
    if isinstance(config, ConfigDict):
        return config.to_dict()
    if isinstance(config, Mapping):
        return config
    if not isinstance(config, (str, os.PathLike)):
        raise ConfigError([f"config: must be a name, a file or a ConfigDict, got {config!r:.80}"])
    return read(path_of(config), names_extensions=names_extensions)


def named(given: str) -> str:
    """Returns the file of a config that is given by its name, such as `lenet5`; anything else as it is."""
    return str(FOLDER / f"{given}.py") if given in names() else given


def names() -> list[str]:
    """Returns the names of the configs that come with this software."""
    files = (path.relative_to(FOLDER).with_suffix("") for path in FOLDER.rglob("*.py"))
    return sorted(path.as_posix() for path in files if path.parts[0] != "sweeps")


def path_of(config: str | os.PathLike[str]) -> str:
    """Returns the file of a config that is given as one, or by its name.

    Raises:
      ConfigError: no config has this name.
    """
    given = os.fspath(config)
    if not given.endswith((".py", ".json")) and given not in names():
        raise ConfigError([f"config: unknown name {given!r}. {did_you_mean(given, names())}"])
    return named(given)


def file_of(path: str) -> Path:
    """Returns the file of `file.py:argument`; a folder or a file may have a colon in its name."""
    parts = path.split(":")
    begins = [":".join(parts[:end]) for end in range(len(parts), 0, -1)]
    # Of a file that is missing, the longest that looks like one.
    looks = [begin for begin in begins if begin.endswith((".py", ".json"))]
    return Path(next((begin for begin in begins if Path(begin).is_file()), looks[0] if looks else path))


def read(path: str, *, names_extensions: bool = True) -> Mapping[str, Any]:
    """Returns the sections of a config file as nested dicts: what `get_config` of a Python file returns.

    Args:
      path: the file, perhaps with an argument for `get_config` after a colon; JSON, such as a run's `config.json`, is
        not executed.
      names_extensions: whether the file says which extensions there are; else whoever asks does.

    Raises:
      ConfigError: there is no such file, or it fails.
    """
    name = file_of(path)
    if not name.is_file():
        raise ConfigError([f"--config: no such file, got {path}. {did_you_mean(name.stem, names())}"])
    if name.suffix == ".json":
        try:
            content = json.loads(name.read_text())
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                [f"--config: {name}: is not valid JSON ({error}). Restore it or use another file"]
            ) from None
        if not isinstance(content, dict):
            raise ConfigError([f"--config: {name}: must hold a JSON object, got {type(content).__name__}"])
        if names_extensions:
            _refuse_code_of_a_run(content.get("extensions") or ())
        return content
    try:
        returned = _executed(name, path)
    except (Exception, SystemExit) as error:  # a config file is the user's code and may raise anything
        raise ConfigError([f"--config: {name}{_reason(error, name)}. Mend it or use another file"]) from None
    if not isinstance(returned, Mapping):
        raise ConfigError([f"--config: {name}: get_config() must return a ConfigDict, got {returned!r}"])
    return returned


def _refuse_code_of_a_run(paths: Any) -> None:
    """Refuses extensions that a JSON file names and that lie in the directory of a run, which may be anybody's."""
    for path in paths if isinstance(paths, list) else ():
        try:
            of_a_run = isinstance(path, str) and extensions.in_a_run(path)
        except ExtensionError as error:
            raise ConfigError([str(error)]) from None
        if of_a_run:
            raise ConfigError(
                [
                    f"config.extensions: {path} lies in the directory of a run, whose code is not executed unless it "
                    f"is named. Name it: --config.extensions={path}"
                ]
            )


def _executed(name: Path, path: str) -> Any:
    # In a module of its own: config_flags runs every file in the module of the one before, whose names it then sees,
    # and takes for the argument what follows the first colon, also where that stands in the name of a folder.
    scope = runpy.run_path(str(name))
    if "get_config" not in scope:
        raise AttributeError("no attribute 'get_config'")
    returned = scope["get_config"](*([path[len(str(name)) + 1 :]] if len(path) > len(str(name)) else []))
    return returned.to_dict() if hasattr(returned, "to_dict") else returned


def _reason(error: BaseException, name: Path) -> str:
    """Returns where and how a config file failed, in one line."""
    if isinstance(error, AttributeError) and "no attribute 'get_config'" in str(error):
        return ": defines no get_config()"
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    else:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in reversed(frames) if frame.filename.endswith(name.name)]
    line = f" line {lines[0]}" if lines and lines[0] else ""
    message = " ".join(message_of(error).split())[:300]
    return f"{line}: {type(error).__name__}{': ' if message else ''}{message}"
