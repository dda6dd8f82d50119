"""Commands that leave out what the folder of a sweep declares already: its config, its space, which seeds it has.

`recalled` reads the declaration in place of a config and a space; `extended` makes of "five seeds more" or "twenty in
all" the space that says so, and `widened` of further values.
"""

import contextlib
import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn import fields
from cnn.config import config, extensions, resolve
from cnn.config.config import RENAMED, ConfigError, Override
from cnn.config.problems import Typed
from cnn.registry import ExtensionError
from cnn.runs import run_dir
from cnn.runs.sweep_record import ENDED, RECORD, SEED, TRIALS
from cnn.sweep import declaration, space_parser
from cnn.sweep.declaration import Declared
from cnn.sweep.options import Options
from cnn.sweep.plan import SweepRequest, seed_of
from cnn.sweep.space import Axis, Choices, axis_of, paths

EXTENSIONS = "extensions"
BASE = ".config.json"
"""In a sweep's folder the config that it began with, where no file holds it."""
_NUMBER = re.compile(r"\+?[1-9][0-9]{0,4}")
_REMEDY = "Write --sweep.seeds=20 for so many in all, or --sweep.seeds=+5 to add five"


def recalled(folder: Path, options: Mapping[str, Any]) -> tuple[Mapping[str, Any], SweepRequest]:
    """Returns the config of the sweep in a folder, and what was asked for, with some options as they are given now.

    Raises:
      ConfigError: the folder holds no sweep; or an extension is not what it was, or lies in the directory of a run.
    """
    declared = declaration.read(folder)
    if declared is None:
        raise ConfigError([f"--workdir: {folder} holds no sweep. Start one there first"])
    newest = declared.newest
    overrides = declaration.overrides(newest)
    named = _named_code(newest)
    found = tuple(_found_code(path, newest, folder) for path in named)
    if found != named:  # the command was typed in another folder
        overrides = [*(each for each in overrides if each.path != EXTENSIONS), Override(EXTENSIONS, ",".join(found))]
    known = {field.name for field in dataclasses.fields(Options)}
    before = {name: value for name, value in newest["options"].items() if name in known}
    request = SweepRequest(_config_of(declared, folder), overrides, newest["space"], {**before, **options}, [])
    return newest["base"], request


def _named_code(newest: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the files of a user's own code that a declaration names; none is executed."""
    annotation, default = config.SCALARS[EXTENSIONS]
    given = newest["base"].get(EXTENSIONS, default)
    for override in declaration.overrides(newest):
        given = fields.from_text(annotation, override.text) if override.path == EXTENSIONS else given
    paths: tuple[str, ...] = fields.parse(annotation, given)
    return paths


def _found_code(path: str, newest: Mapping[str, Any], folder: Path) -> str:
    """Returns where a file of a user's own code lies: as it was named, or where a trial read it.

    Raises:
      ConfigError: it is not what the sweep was declared with, lies in a run's directory, or is not there.
    """
    try:
        found = extensions.find(path)
    except ExtensionError as error:
        for where in _read_from(path, folder):
            with contextlib.suppress(ExtensionError):
                if extensions.find(where).sha256 in newest.get("code", []) and not extensions.in_a_run(where):
                    return where
        raise ConfigError([f"{error} The sweep in {folder} was declared with it"]) from None
    hidden = extensions.in_a_run(path)
    if found.sha256 not in newest.get("code", []) or hidden:
        what = "lies in the directory of a run" if hidden else f"has changed since the sweep in {folder} was declared"
        raise ConfigError([f"config.extensions: {path} {what}. Restore it, or type the whole command"])
    return path


def _read_from(path: str, folder: Path) -> list[str]:
    """Returns where the trials of a sweep read what its command named so."""
    trials = sorted((folder / TRIALS).glob("*"))
    records = [each for trial in trials for each in run_dir.recorded_code(trial).get("extensions", [])]
    return list(dict.fromkeys(record["files"][0]["path"] for record in records if record["given"] == path))


def _config_of(declared: Declared, folder: Path) -> str:
    """Returns the file that a trial's command names: that of the sweep's own command, where it is as it was."""
    known = declared.config
    if known is not None:
        path = declaration.config_file(known["path"])
        if path.is_file() and declaration.sha256(path) == known["sha256"]:
            return known["path"]
    write_base(folder, declared.newest["base"])
    return str(folder / BASE)


def write_base(folder: Path, base: Mapping[str, Any]) -> None:
    """Writes the config of a sweep that no file holds into its folder, for the commands of its trials to name.

    The file is hidden, since a sweep declares its folder before anything else is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run_dir.write(folder / BASE, json.dumps(base, indent=2).encode())


def extended(request: SweepRequest, base: Mapping[str, Any], folder: Path, *, copy: bool = False) -> SweepRequest:
    """Returns what was asked for with its `seeds` in the space, and `trials` as a number.

    `+5` adds to what the sweep in the folder has. Where the same words have added already, and what they added has not
    all been run, they add nothing: a command that was killed is repeated.

    Args:
      request: the options as they were given; what is wrong is added to its `problems`.
      base: the sections of the config.
      folder: the sweep's directory, which need not be there.
      copy: whether the process is one of several that a command started, which has added for all of them.
    """
    options = dict(request.options)
    said = {name: _text(options[name]) for name in ("seeds", "trials") if _text(options.get(name, "")).strip()}
    options.pop("seeds", None)
    words = " ".join(f"{name}={text}" for name, text in said.items() if text.startswith("+"))
    if "seeds" not in said and not words:
        return request._replace(options=options)
    declared = declaration.read(folder)
    wrong = [name for name, text in said.items() if (name == "seeds" or text[0] == "+") and not _NUMBER.fullmatch(text)]
    what = "must be a number, or + and how many to add"
    problems = [f"--sweep.{name}: {what}, got {said[name]!r}. {_REMEDY}" for name in wrong]
    if words and declared is None:
        problems.append(f"--sweep.{words}: adds to a sweep, and {folder} holds none. Say how many there are to be")
    if problems:
        return request._replace(options=options, problems=[*request.problems, *problems])
    begun = declared is not None and declared.added == words and _unfinished(folder, declared)
    again = bool(words) and (copy or begun)
    note = f"what {words} added has not all been run: this comes first, and nothing is added now" if again else ""
    if said.get("trials", "").startswith("+"):
        assert declared is not None
        options["trials"] = declared.newest["options"].get("trials", 0) + (0 if again else int(said["trials"]))
    request = request._replace(options=options, added="" if again else words, note=note)
    seeded = _seeded(request, base, declared, said["seeds"], again=again) if "seeds" in said else request
    return seeded._replace(note="") if copy else seeded


def _text(value: Any) -> str:
    return value.text if isinstance(value, Typed) else str(value)


def _seeded(
    request: SweepRequest, base: Mapping[str, Any], declared: Declared | None, text: str, *, again: bool
) -> SweepRequest:
    """Returns what was asked for with so many seeds, or so many more."""
    ours = _seeds(request.space, base, request.overrides, request.problems)
    theirs: list[Any] = []
    if declared is not None:
        newest = declared.newest
        theirs = _seeds(newest["space"], newest["base"], declaration.overrides(newest), []) or []
        theirs += [point[SEED] for point in declared.points or () if SEED in point]
    if ours is None or not all(isinstance(seed, int) for seed in (*theirs, *ours)):
        return request
    known = list(dict.fromkeys([*theirs, *ours]))
    count = 0 if again else int(text) if text.startswith("+") else int(text) - len(known)
    if count < 0:
        there = f"--sweep.seeds: there are {len(known)}, and none is taken away, got {text}"
        request = request._replace(note=f"{there}. Write --sweep.seeds=+{text} to add {text} to them")
    listed = [*known, *range(max(known) + 1, max(known) + 1 + count)]
    overrides = [each for each in request.overrides if each.path != SEED]
    return request._replace(space={**(request.space or {}), SEED: listed}, overrides=overrides)


def _seeds(space: Any, base: Mapping[str, Any], overrides: Any, problems: list[str]) -> list[Any] | None:
    """Returns the seeds of a space, or that of the config; `None`, and a note, where they are no list of their own."""
    found: list[str] = []
    parts = space_parser.read_space(space, found) if space is not None else ()
    if found:
        return None  # whoever makes the plan says what is wrong
    axis = axis_of(parts, SEED)
    if axis is None and SEED not in paths(parts):
        return [seed_of(base, overrides)]
    if axis is not None and not axis.when and isinstance(axis.values, Choices):
        return list(axis.values.values)
    if axis is not None and not axis.when and axis.values.scale == "int":  # type: ignore[union-attr]
        return list(axis.values.grid())  # type: ignore[union-attr]
    problems.append("--sweep.seeds: the space has seeds that go with other fields. Write them there")
    return None


def _unfinished(folder: Path, declared: Declared) -> bool:
    """Tells whether some trial of a sweep has not ended, by what was last recorded."""
    record = run_dir.read_json(folder / RECORD)
    if record is None or record.get("space") != declared.newest["space"]:
        return True
    if record.get("options", {}).get("trials", 0) != declared.newest["options"].get("trials", 0):
        return True
    total = record["size"] if declared.points is None else max(record["size"], len(declared.points))
    return sum(row["status"] in ENDED for row in record["trials"]) < total


def widened(request: SweepRequest, base: Mapping[str, Any], space: Mapping[str, Any]) -> SweepRequest:
    """Returns what was asked for with further values: of fields that are swept, and of others beside what they were.

    Args:
      request: as `recalled`.
      base: the sections of the config.
      space: values to add by field, or a range in place of another one.

    Raises:
      ConfigError: a field has no such values, or is swept together with others.
    """
    problems: list[str] = []
    parts = space_parser.read_space(space, problems)
    if problems:
        raise ConfigError(problems)
    try:
        frame = config.by_path(json.loads(resolve.resolve(base, request.overrides).json))
    except ConfigError:  # a field that must be set is swept
        frame = config.by_path(config.renamed(base))
    found: space_parser.SpaceJson = dict(request.space)
    inner = [path for part in space_parser.read_space(request.space, problems) for path in paths((part,))]
    for part in parts:
        if not isinstance(part, Axis) or (part.path in inner and part.path not in found):
            name = part.name if not isinstance(part, Axis) else part.path
            raise ConfigError([f"space.{name}: goes with other fields. Call run_sweep with the whole space"])
        now, given = RENAMED.get(part.path, part.path), space[part.path]
        before = found.get(part.path, [frame[now]] if now in frame else [])
        if isinstance(before, (list, tuple)) and isinstance(given, (list, tuple)):
            given = [*before, *(value for value in given if value not in before)]
        found[part.path] = given
    return request._replace(space=found, overrides=[each for each in request.overrides if each.path not in found])
