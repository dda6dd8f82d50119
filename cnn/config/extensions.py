"""A user's own files, named by `config.extensions`: found, hashed, and executed as they were hashed. Imports no JAX.

An extension is a file (`my_lab.py`) or a module that Python finds (`my_lab`, `lab.layers`), with the files beside it
that it imports. Its identity is the hash of their content, wherever they lie. Each is executed once in a process, from
the bytes that were hashed, as a module of its own.
"""

import ast
import contextlib
import dataclasses
import functools
import hashlib
import importlib.abc
import importlib.machinery
import os
import signal
import sys
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn import registry
from cnn.registry import ExtensionError, said, where_raised

MOST_FILES = 200
"""Of an extension: more are a library, which is installed and not copied beside every run."""
NEVER_BESIDE = {*sys.stdlib_module_names, "cnn", "jax", "flax", "optax", "numpy"}
"""What is never taken for a file beside an extension."""
SETTINGS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl", "jax_threefry_partitionable")
"""Of JAX, on which every number depends: importing an extension must not change them."""

DIRECTORY, SIGNALS = "the working directory", "what a signal does"
HANDLED = (signal.SIGINT, signal.SIGTERM)


class Source(NamedTuple):
    """The name that a file is imported by, the file, and its content."""

    name: str
    path: Path
    content: bytes


@dataclasses.dataclass(frozen=True)
class Extension:
    """An extension as it was read, not yet executed.

    Attributes:
      given: how the config names it.
      sources: its file first, then what it imports from beside it.
    """

    given: str
    sources: tuple[Source, ...]

    @property
    def path(self) -> Path:
        """Its file, or that of the package's `__init__`."""
        return self.sources[0].path

    @functools.cached_property
    def sha256(self) -> str:
        """The hash of its content, whatever its name and place, and of the files beside it with their names."""
        total = hashlib.sha256()
        for source in self.sources:
            name = "" if source is self.sources[0] else source.name
            total.update(f"{name} {len(source.content)}\n".encode() + source.content)
        return total.hexdigest()

    @property
    def origin(self) -> str:
        """Whose its entries are in the tables; also the name of the module as which its file is executed."""
        return f"{self.sources[0].name}@{self.sha256[:12]}"


def find(given: str) -> Extension:
    """Reads an extension and what it imports from beside it; executes nothing.

    Args:
      given: a file, or the name of a module.

    Raises:
      ExtensionError: there is none, it cannot be read, or it is no Python.
    """
    if given.endswith(".py") or os.sep in given:
        path = Path(given)
        if not path.is_file():
            raise ExtensionError(
                f"config.extensions: no such file, got {given!r}. "
                "Name a Python file, from the folder where the program is started, or a module that is installed."
            )
        name, folder = _module_of(path.resolve())
        return _collected(given, name, path.resolve(), folder)
    root, *inner = given.split(".")
    spec = None
    if all(part.isidentifier() for part in (root, *inner)) and root not in NEVER_BESIDE:
        spec = importlib.machinery.PathFinder.find_spec(root, [os.getcwd(), *sys.path])
    if spec is None or not spec.origin:
        raise ExtensionError(
            f"config.extensions: no module of this name is found, got {given!r}. "
            "Name a Python file, such as my_lab.py, or a module that is installed."
        )
    top = Path(spec.origin).resolve()
    folder = top.parent.parent if spec.submodule_search_locations else top.parent
    file = _file_of(given, folder)
    if file is None:
        raise ExtensionError(f"config.extensions: {root} has no module {'.'.join(inner)}, got {given!r}.")
    return _collected(given, given, file, folder)


def _module_of(file: Path) -> tuple[str, Path]:
    """Returns the name by which a file is imported, with the packages that it lies in, and the folder above these."""
    parts = [] if file.name == "__init__.py" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts), folder


def in_a_run(given: str) -> bool:
    """Tells whether an extension, or a file that it imports, lies in the directory of a run, which may be anybody's.

    Raises:
      ExtensionError: there is no such extension.
    """
    folders = {folder for source in find(given).sources for folder in source.path.resolve().parents}
    return any((folder / "config.json").is_file() and (folder / "run.json").is_file() for folder in folders)


def _file_of(name: str, folder: Path) -> Path | None:
    """Returns the file of a module in a folder, `None` where there is none."""
    at = folder.joinpath(*name.split("."))
    return next((path for path in (at.with_suffix(".py"), at / "__init__.py") if path.is_file()), None)


def _collected(given: str, name: str, file: Path, folder: Path) -> Extension:
    sources = {name: _read(given, name, file)}
    waiting = [sources[name]]
    while waiting:
        source = waiting.pop()
        parts = source.name.split(".")
        for wanted in (*(".".join(parts[:end]) for end in range(1, len(parts))), *_imported(given, source)):
            found = _file_of(wanted, folder)
            if wanted in sources or found is None or found == file:
                continue
            if len(sources) >= MOST_FILES:
                raise ExtensionError(
                    f"config.extensions: {given} imports more than {MOST_FILES} files from beside it. "
                    "Install what is a library, and keep what is yours in few files."
                )
            sources[wanted] = _read(given, wanted, found)
            waiting.append(sources[wanted])
    first, *others = sources.values()
    return Extension(given, (first, *sorted(others)))


def _read(given: str, name: str, path: Path) -> Source:
    try:
        return Source(name, path, path.read_bytes())
    except OSError as error:
        raise ExtensionError(f"config.extensions: {path} cannot be read: {error.strerror}, got {given!r}.") from None


def _imported(given: str, source: Source) -> Iterator[str]:
    """Yields the names of modules that a file imports anywhere in it, with the packages that they lie in."""
    try:
        tree = ast.parse(source.content)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ExtensionError(f"config.extensions: {source.path}{line}: {said(error)}. Mend it.") from None
    package = source.name if source.path.name == "__init__.py" else source.name.rpartition(".")[0]
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".") if node.level else []
            base = base[: len(base) - node.level + 1] if node.level else base
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)] if module else []
        for name in names:
            parts = name.split(".")
            if parts[0] not in NEVER_BESIDE:
                yield from (".".join(parts[: end + 1]) for end in range(len(parts)))


_executed: dict[str, types.ModuleType] = {}
"""The modules of the extensions that this process has executed, by origin."""


class _Beside(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the files beside the extensions in use, from the bytes that were hashed."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        del path, target
        source = self.sources.get(name)
        if source is None:
            # A folder without a file of its own, in which files beside an extension lie.
            is_folder = any(each.startswith(f"{name}.") for each in self.sources)
            return importlib.machinery.ModuleSpec(name, None, is_package=True) if is_folder else None
        is_package = source.path.name == "__init__.py"
        spec = importlib.machinery.ModuleSpec(name, self, origin=str(source.path), is_package=is_package)
        spec.has_location = True
        return spec

    def exec_module(self, module: types.ModuleType) -> None:
        source = self.sources[module.__name__]
        module.__dict__["_content"] = source.content
        exec(compile(source.content, str(source.path), "exec"), module.__dict__)


_beside = _Beside()


def use(extensions: Sequence[Extension]) -> None:
    """Executes the extensions that this process has not executed yet; the tables then have the entries of no others.

    Raises:
      ExtensionError: one cannot be executed, or two enter one name; the message says where.
    """
    origins = [extension.origin for extension in extensions]
    for table in registry.TABLES.values():
        table.use([origin for origin in origins if origin in _executed])
    _beside.sources = _shared(extensions)
    for extension in extensions:
        if extension.origin not in _executed:
            _executed[extension.origin] = _execute(extension)
        _executed[extension.origin].__file__ = str(extension.path)  # where it was executed there may be a copy of it


def _shared(extensions: Sequence[Extension]) -> dict[str, Source]:
    """Returns the files beside the extensions by the names that they are imported by; forgets other content of these.

    Raises:
      ExtensionError: two of them, or one and a module that is there, have one name.
    """
    shared: dict[str, Source] = {}
    for source in (source for extension in extensions for source in extension.sources[1:]):
        if shared.setdefault(source.name, source).content != source.content:
            raise ExtensionError(
                f"config.extensions: {shared[source.name].path} and {source.path} are imported by one name. Rename one."
            )
        there = sys.modules.get(source.name)
        if there is not None and "_content" not in vars(there):
            raise ExtensionError(
                f"config.extensions: {source.path} has the name of a module that is imported already, "
                f"{getattr(there, '__file__', None) or source.name}. Rename it."
            )
        if there is not None and vars(there)["_content"] != source.content:
            del sys.modules[source.name]
    return shared


def _execute(extension: Extension) -> types.ModuleType:
    # Anew, as each may import another that has changed, and what they enter is this extension's.
    for source in extension.sources[1:]:
        sys.modules.pop(source.name, None)
    if _beside not in sys.meta_path:
        sys.meta_path.insert(0, _beside)
    if any(library in source.content for source in extension.sources for library in (b"jax", b"flax", b"optax")):
        importlib.import_module("jax")  # so that a setting of it that changes is seen
    name, path, content = extension.sources[0]
    module = types.ModuleType(extension.origin)
    module.__file__ = str(path)
    module.__dict__["_content"] = content
    module.__package__ = name if path.name == "__init__.py" else name.rpartition(".")[0]
    sys.modules[extension.origin] = module
    # So that what lies beside it may import it in turn; it never hides a module that is there.
    alias = name not in sys.modules and name.split(".")[0] not in NEVER_BESIDE
    if alias:
        sys.modules[name] = module
    before = _surroundings()
    try:
        # What it prints would stand among what a command prints for programs.
        with registry.entering(extension.origin), contextlib.redirect_stdout(sys.stderr):
            exec(compile(content, str(path), "exec"), module.__dict__)
        if changed := _restored(before):
            raise ExtensionError(
                f"config.extensions: {extension.path} changes {changed[0]} when it is imported, on which every run of "
                "this process depends. Leave that to whoever starts the program."
            )
    except BaseException as error:
        _restored(before)
        del sys.modules[extension.origin]
        if alias:
            sys.modules.pop(name, None)
        for table in registry.TABLES.values():
            table.forget(extension.origin)
        if isinstance(error, ExtensionError):
            message = str(error)
            raise ExtensionError(
                message if message.startswith("config.") else f"config.extensions: {message}"
            ) from None
        if not isinstance(error, Exception | SystemExit):
            raise
        where = where_raised(error) or f" in {extension.path}"
        raise ExtensionError(
            f"config.extensions: importing {extension.given} failed{where}: {said(error)}. Mend it."
        ) from error
    return module


def _surroundings() -> dict[str, Any]:
    """Returns what of the process an extension must leave as it is."""
    values: dict[str, Any] = {DIRECTORY: os.getcwd(), SIGNALS: tuple(map(signal.getsignal, HANDLED))}
    if "jax" in sys.modules:
        values |= {name: getattr(sys.modules["jax"].config, name) for name in SETTINGS}
    return values


def _restored(before: Mapping[str, Any]) -> list[str]:
    """Brings back what an extension changed of the process; returns the names of that."""
    now = _surroundings()
    changed = [name for name in now if name in before and before[name] != now[name]]
    for name in changed:
        if name == DIRECTORY:
            os.chdir(before[name])
        elif name == SIGNALS:
            for number, handler in zip(HANDLED, before[name], strict=True):
                signal.signal(number, handler)
        else:
            sys.modules["jax"].config.update(name, before[name])
    return changed


def read(paths: Iterable[str]) -> tuple[Extension, ...]:
    """Returns the extensions that a config names.

    Raises:
      ExtensionError: one is missing or no Python, or one is named twice.
    """
    found = tuple(find(path) for path in paths)
    for index, extension in enumerate(found):
        if extension.sha256 in (other.sha256 for other in found[:index]):
            raise ExtensionError(f"config.extensions: names {extension.given!r} twice, or a copy of it. Keep one.")
    return found
