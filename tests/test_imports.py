"""Dependencies point down, and what needs no JAX imports none: read from the source, not by running it."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SOURCES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in [REPOSITORY / "main.py", *sorted((REPOSITORY / "cnn").rglob("*.py"))]
}

ORDER = (
    # Each imports only what stands before it; what lies in one folder may import one another, but not in a circle.
    "system",
    "fields",
    "registry",
    "expression",
    "patterns",
    "losses",
    "metrics",
    "ops",
    "layers",
    "model",
    "data",
    "optim",
    "config",
    "hyperparams",
    "runs",
    "report",
    "evaluate",
    "explain",
    "train",
    "ensembles",
    "export",
    "sweep",
    "api",
    "cli",
    "__main__",
    "main",
)
WITHOUT_JAX = (
    "registry",
    "fields",
    "expression",
    "patterns",
    "layers",
    "model.fusion",
    "model.microbatch",
    "model.summary",
    "data.augment",
    "data.sources",
    "metrics",
    "config",
    "optim",
    "losses",
    "runs.numerics",
    "runs.compare",
    "runs.run_dir",
    "report",
    "train.init_from",
    "train.loop_state",
    "train.memory_estimate",
    "ensembles.members",
    "ensembles.record",
    "train.pytorch_names",
    "cli.fields",
    "cli.parser",
    "cli.printing",
    "cli.tables",
)
"""Modules, and folders with all that is in them."""
OF_JAX = {"jax", "jaxlib", "flax", "optax", "orbax", "chex"}


def tree(module):
    return ast.parse(SOURCES[module].read_text())


def imported(module):
    """Returns the names that a module imports, anywhere in it, as deep as they are modules of ours."""
    names = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in SOURCES else node.module for name in inner}
    return names


def imported_at_once(module):
    """Returns what a module imports as it is imported: not in `lazy_imports`, nor for a type checker alone."""
    parsed = tree(module)
    later = [
        node
        for node in ast.walk(parsed)
        if (isinstance(node, ast.With) and "lazy_imports" in ast.unparse(node.items[0]))
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    skipped = {id(inner) for node in later for inner in ast.walk(node)}
    names = set()
    for node in ast.walk(parsed):
        if id(node) not in skipped and isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif id(node) not in skipped and isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return names


def ours(module):
    return {name for name in imported(module) if name.split(".")[0] in ("cnn", "main")}


def unit(module):
    """Returns what has a place in the order: a folder or a loose module of `cnn`."""
    return module.split(".")[:2][-1]


def test_every_folder_and_loose_module_has_its_place():
    assert {unit(module) for module in SOURCES} - {"cnn"} == set(ORDER), "give a new one its place in this list"


def test_few_modules_lie_loose():
    assert len(list((REPOSITORY / "cnn").glob("*.py"))) <= 10


@pytest.mark.parametrize("module", [module for module in SOURCES if module != "cnn"])
def test_imports_only_what_stands_before_it(module):
    allowed = ORDER[: ORDER.index(unit(module)) + 1]
    assert not {name for name in ours(module) if name != "cnn" and unit(name) not in allowed}


@pytest.mark.slow
def test_nothing_imports_in_a_circle():
    graph = {module: ours(module) - {module} for module in SOURCES}
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(order) == set(SOURCES)


@pytest.mark.slow
def test_only_the_model_and_the_layer_of_a_module_import_flax():
    users = {module for module in SOURCES if any(name.startswith("flax") for name in imported(module))}
    assert users == {"cnn.model.network", "cnn.layers.module"}


def needs_none(module):
    return any(f"{module}.".startswith(f"cnn.{name}.") for name in WITHOUT_JAX)


@pytest.mark.parametrize("module", [module for module in SOURCES if needs_none(module)])
def test_needs_no_jax(module):
    assert not {name.split(".")[0] for name in imported_at_once(module)} & OF_JAX


@pytest.mark.slow
def test_nothing_imports_tensorflow():
    assert not [module for module in SOURCES if any(name.split(".")[0] == "tensorflow" for name in imported(module))]


def test_no_module_is_a_drawer():
    drawers = {"utils", "util", "common", "helpers", "helper", "misc", "tools"}
    assert not [module for module in SOURCES if drawers & set(module.split("."))]


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").rglob("*.py")), ids=lambda path: path.stem)
def test_config_files_are_data_only(path):
    parsed = ast.parse(path.read_text())
    imports = [node for node in ast.walk(parsed) if isinstance(node, (ast.Import, ast.ImportFrom))]
    # A sweep is nested dicts and lists.
    allowed = [] if path.parent.name == "sweeps" else ["ml_collections"]
    assert [getattr(node, "module", None) for node in imports] == allowed
    assert ast.get_docstring(parsed)


def loaded_after(code, looked_for=frozenset(OF_JAX | {"tensorflow"})):
    """Returns which packages, those of JAX if no others are looked for, a fresh interpreter has loaded after `code`."""
    check = f"{code}\nimport sys\nprint('LOADED', *sorted({set(looked_for)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.slow(seconds=2)
def test_importing_the_jax_free_modules_loads_no_jax():
    assert loaded_after("\n".join(f"import {module}" for module in SOURCES if needs_none(module))) == []


def test_the_sources_are_known_without_what_reads_them():
    readers = {"PIL", "pyarrow", "tensorflow_datasets", "array_record", "google.protobuf"}
    assert loaded_after("import cnn.data.sources", readers) == []


@pytest.mark.slow
def test_summary_loads_no_jax():
    code = (
        "import main, sys\n"
        "invocation = main.parse_flags(['main.py', 'summary', '--config=configs/fashion_mnist.py'])\n"
        "assert main.main(invocation) == 0"
    )
    assert loaded_after(code) == []
