"""What a run keeps of code that is not this package's: each extension's hash and a copy, and what its layers are.

A run names its extensions by path. Whoever uses it again imports the file where it was, if its content is the same; the
copy in the run's `code/` is for reading, and is imported only where a user names it.
"""

import hashlib
import inspect
import json
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from cnn import registry
from cnn.config import extensions, resolve
from cnn.config.config import Config, ConfigError
from cnn.expression import written
from cnn.layers import base
from cnn.registry import PACKAGE, ExtensionError
from cnn.runs import run_dir


class FileRecord(TypedDict):
    """A file of an extension: where it was, its hash, and where in the run's directory its copy is."""

    path: str
    sha256: str
    copy: str


class ExtensionRecord(TypedDict):
    """An extension as the config names it, the hash of all its files, and these, its own first."""

    given: str
    sha256: str
    files: list[FileRecord]


class CodeRecord(TypedDict, total=False):
    """What `run.json` says of code that is not this package's, as far as there is any.

    Attributes:
      extensions: the files that were executed.
      python: the hash of the source of each class and function that no file of the config has.
      layers: by path, what the layers of either, or of a library, make of their inputs.
      better: which way the metrics among them are better.
      written: how the config names these, and how the records do.
    """

    extensions: list[ExtensionRecord]
    python: dict[str, str]
    layers: dict[str, base.LayerRecord]
    better: dict[str, str]
    written: dict[str, str]


def record(config: Config, workdir: Path) -> CodeRecord:
    """Copies a config's extensions into a run's directory; returns what `run.json` says of them, mostly nothing."""
    code: CodeRecord = {}
    before: Any = {entry["sha256"]: entry for entry in run_dir.recorded_code(workdir).get("extensions", [])}
    taken: set[str] = set()
    for extension in config.code:
        if extension.sha256 in before:  # where it was when the run began, wherever it lies now
            code.setdefault("extensions", []).append(before[extension.sha256])
            continue
        names = [_within(source) for source in extension.sources]
        folder = Path(run_dir.CODE) if taken.isdisjoint(names) else Path(run_dir.CODE, extension.sha256[:8])
        taken |= set(names)
        files: list[FileRecord] = []
        for source, name in zip(extension.sources, names, strict=True):
            (workdir / folder / name).parent.mkdir(parents=True, exist_ok=True)
            run_dir.write(workdir / folder / name, source.content)
            copy = (folder / name).as_posix()
            files.append({"path": str(source.path), "sha256": _sha256(source.content), "copy": copy})
        entry: ExtensionRecord = {"given": extension.given, "sha256": extension.sha256, "files": files}
        code.setdefault("extensions", []).append(entry)
    if defined := python_code(config):
        code["python"] = defined
    if recorded := layers(config):
        code["layers"] = recorded
    metrics = [each for each in config.metrics.values() if registry.origin_of(each) != PACKAGE]
    if metrics:
        code["better"] = {each.kind: each.better for each in metrics}
        code["written"] = _written(config, code)
    return code


def _within(source: extensions.Source) -> str:
    """Returns the path of a file's copy below the folder of copies: so that what it imports lies where it looks."""
    of_package = source.path.name == "__init__.py"
    return Path(*source.name.split("."), *(["__init__"] if of_package else [])).with_suffix(".py").as_posix()


def _written(config: Config, code: CodeRecord) -> dict[str, str]:
    """Returns the names of the metrics in the records by what the config says, which may be shorter."""
    read = resolve.resolve(json.loads(config.json), recorded=True, code=code)
    said = [read.train.monitor, *read.eval.metrics]
    meant = [config.train.monitor, *config.eval.metrics]
    return {written(one): written(other) for one, other in zip(said, meant, strict=True)}


def layers(config: Config) -> dict[str, base.LayerRecord]:
    """Returns what the layers that are not this package's make of their inputs, by path; see `base.to_record`."""
    own = [row for row in config.rows if registry.origin_of(row.layer) != PACKAGE]
    return {row.path: base.to_record(row.layer, row.input) for row in own}


def python_code(config: Config) -> dict[str, str]:
    """Returns the hash of the source of each class and function that a config uses and no file of it has.

    They were entered by Python code, such as the cell of a notebook; by module and name.
    """
    return _hashes(config.foreign)


def _hashes(kinds: Iterable[type]) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind in sorted(set(kinds), key=lambda kind: kind.__qualname__):
        if registry.origin_of(kind) != "":
            continue
        found[f"{kind.__module__}.{kind.__qualname__}"] = _sha256(_source(registry.written_as(kind)).encode())
    return found


def _source(thing: Any) -> str:
    """Returns the source of a class or a function; its code where nothing keeps that, as of a notebook's classes."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        parts = vars(thing).items() if isinstance(thing, type) else [("", thing)]
        codes = [f"{name} {_code(inspect.unwrap(part).__code__)}" for name, part in parts if inspect.isfunction(part)]
        values = [f"{name} {value!r}" for name, value in parts if isinstance(value, (int, float, str, tuple))]
        return "\n".join([*codes, *values, repr(getattr(thing, "__annotations__", {}))])


def _code(code: types.CodeType) -> str:
    constants = [_code(each) if isinstance(each, types.CodeType) else repr(each) for each in code.co_consts]
    return f"{code.co_code.hex()} {constants} {code.co_names} {code.co_varnames}"


def check_same(config: Config, workdir: Path) -> list[tuple[str, Any, Any]]:
    """Refuses a directory that holds another run: of another config, or whose code has changed.

    Returns:
      The harmless changes of the config, see `run_dir.check_same_config`.

    Raises:
      ConfigError: the config differs; or it names the file that does, and both ways on.
    """
    changed = run_dir.check_same_config(config, workdir)
    if not (workdir / run_dir.RUN).is_file():
        return changed
    about: Any = run_dir.recorded_code(workdir)
    before = {entry["sha256"]: entry for entry in about.get("extensions", [])}
    now = {extension.sha256: extension for extension in config.code}
    free = f"or use --workdir={run_dir.free(workdir)}"
    for sha256, entry in before.items():
        if sha256 not in now:
            raise ConfigError([f"{_changed(entry, workdir, f'--config.extensions={_copied(entry, workdir)}')}, {free}"])
    for sha256, extension in now.items():
        if sha256 not in before:
            raise ConfigError(
                [f"config.extensions: {workdir} was begun without {extension.given}. Leave it out, {free}"]
            )
    defined, recorded = python_code(config), about.get("python", {})
    for name in sorted({*defined, *recorded}):
        if defined.get(name) != recorded.get(name):
            raise ConfigError([f"{name}: has changed since {workdir} was begun with it. Define it as it was, {free}"])
    return changed


def to_import(workdir: Path, saved: Mapping[str, Any], named: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the files to import for the use of a run: those it was made with, wherever they lie now.

    Args:
      workdir: the run's directory.
      saved: its config.
      named: files that the user names instead; they must hold the same.

    Raises:
      ConfigError: one is gone or has changed, lies in a directory of a run and nobody named it, or was never a file.
    """
    about: Any = run_dir.recorded_code(workdir)
    entries = about.get("extensions", [])
    defined: dict[str, str] = about.get("python", {})
    here = {} if named else _defined_here()
    if not named and (changed := [name for name in defined if here.get(name, defined[name]) != defined[name]]):
        raise ConfigError([f"{workdir}: was made with {', '.join(changed)} as it was before. Define it so again"])
    if not named and not defined.items() <= here.items():
        raise ConfigError(
            [
                f"{workdir}: was made with {', '.join(defined)}, which no file holds. "
                "Write that into a file, and name it: --extensions=FILE"
            ]
        )
    if not named and len(entries) != len(saved.get("extensions", ())):
        raise ConfigError([f"{workdir}: does not say what its extensions held. Name them: --extensions=FILE"])
    given = [_given(path) for path in named]
    held = {entry["sha256"] for entry in entries}
    if entries and (others := [path for path in given if _hash(path) not in held]):
        was = ", ".join(entry["files"][0]["path"] for entry in entries)
        copies = ",".join(_copied(entry, workdir) for entry in entries)
        raise ConfigError(
            [
                f"--extensions: {others[0]} does not hold what {workdir} was made with, which was in {was}. "
                f"Name the run's own copy: --extensions={copies}"
            ]
        )
    found = []
    for entry in entries:
        recorded = [path for path in (entry["given"], entry["files"][0]["path"]) if may_be_imported(path)]
        same = next((path for path in (*given, *recorded) if _hash(path) == entry["sha256"]), None)
        if same is None:
            raise ConfigError([_changed(entry, workdir, f"--extensions={_copied(entry, workdir)}")])
        found.append(same)
    return tuple(found) if entries else tuple(given)


def may_be_imported(path: str) -> bool:
    """Tells whether there is such an extension, and it lies in no run's directory."""
    try:
        return not extensions.in_a_run(path)
    except ExtensionError:
        return False


def _defined_here() -> dict[str, str]:
    """Returns the hash of each class and function that Python code of this process has entered."""
    return _hashes(kind for table in registry.TABLES.values() for kind in table.values())


def _given(path: str) -> str:
    try:
        extensions.find(path)
    except ExtensionError as error:
        raise ConfigError([str(error).replace("config.extensions", "--extensions")]) from None
    return path


def _hash(path: str) -> str:
    try:
        return extensions.find(path).sha256
    except ExtensionError:
        return ""


def _changed(entry: ExtensionRecord, workdir: Path, flag: str) -> str:
    """Says which file of an extension is not what it was, and both ways on."""
    since = f" since {workdir} was made with it"
    path, what = entry["files"][0]["path"], f"has changed{since}"
    if Path(path).is_file() and extensions.in_a_run(path):
        what = "lies in the directory of a run, whose code is not executed unless it is named"
    for file in entry["files"]:
        here = Path(file["path"])
        if not here.is_file():
            path, what = file["path"], f"is gone{since}"
        elif _sha256(here.read_bytes()) != file["sha256"]:
            path = file["path"]
    return f"config.extensions: {path} {what}. Restore it, or name the run's own copy: {flag}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _copied(entry: ExtensionRecord, workdir: Path) -> str:
    return str(workdir / entry["files"][0]["copy"])
