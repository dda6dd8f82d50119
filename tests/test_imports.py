"""Dependencies point down, and modules stay small: read from the source, not by running it."""

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

RANKS = {
    # A module, or a package whose modules may import one another, imports only what has a lower rank.
    "cnn": 0,
    "cnn.compilation": 0,
    "cnn.faults": 0,
    "cnn.fields": 0,
    "cnn.freezing": 0,
    "cnn.fingerprint": 0,
    "cnn.hosts": 1,
    "cnn.interruption": 0,
    "cnn.lock": 1,
    "cnn.secrecy": 0,
    "cnn.memory": 0,
    "cnn.muon": 0,
    "cnn.nadam": 0,
    "cnn.colours": 0,
    "cnn.ops": 1,
    "cnn.pagesize": 0,
    "cnn.patterns": 0,
    "cnn.pieces": 0,
    "cnn.reporter": 0,
    "cnn.runtime": 0,
    "cnn.tables": 0,
    "cnn.data": 1,
    "cnn.devices": 0,
    "cnn.examples": 1,
    "cnn.expression": 1,
    "cnn.filters": 1,
    "cnn.metrics": 1,
    "cnn.watch": 1,
    "cnn.provenance": 1,
    "cnn.layers": 2,
    "cnn.blocks": 2,
    "cnn.settings": 2,
    "cnn.strip": 2,
    "cnn.config": 3,
    "cnn.optim": 3,
    "cnn.plan": 3,
    "cnn.remarks": 4,
    "cnn.progress": 3,
    "cnn.terminal": 3,
    "cnn.compute": 4,
    "cnn.cores": 4,
    "cnn.hyper": 4,
    "cnn.rundir": 4,
    "cnn.arithmetic": 5,
    "cnn.badlist": 6,
    "cnn.origin": 5,
    "cnn.checkpoint": 5,
    "cnn.compare": 5,
    "cnn.journal": 5,
    "cnn.footprint": 5,
    "cnn.model": 5,
    "cnn.checks": 6,
    "cnn.stages": 5,
    "cnn.report": 6,
    "cnn.gradient": 6,
    "cnn.train": 7,
    "cnn.dispatch": 8,
    "cnn.feed": 8,
    "cnn.first_layer": 8,
    "cnn.donor": 5,
    "cnn.keeper": 8,
    "cnn.pages": 8,
    "cnn.starting": 8,
    "cnn.evaluate": 9,
    "cnn.transfer": 9,
    "cnn.chosen": 10,
    "cnn.journey": 10,
    "cnn.predict": 10,
    "cnn.trainer": 10,
    "cnn.export": 11,
    "cnn.look": 11,
    "cnn.experiment": 12,
    "cnn.sweep": 13,
    "cnn.api": 14,
    "cnn.commands": 15,
    "main": 16,
}
WITHOUT_JAX = (
    "arithmetic",
    "fields",
    "filters",
    "blocks",
    "strip",
    "expression",
    "layers",
    "settings",
    "compare",
    "config",
    "donor",
    "footprint",
    "pieces",
    "plan",
    "tables",
    "terminal",
    "metrics",
    "progress",
    "rundir",
    "report",
    "stages",
    "examples",
    "pages",
)
OF_JAX = {"jax", "jaxlib", "flax", "optax", "orbax", "chex"}

MODULE_LINES, FUNCTION_LINES = 210, 42


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


def ours(module):
    return {name for name in imported(module) if name.split(".")[0] in ("cnn", "main")}


def unit(module):
    """Returns what holds the rank: a package of `cnn` as a whole, or the module."""
    return ".".join(module.split(".")[:2])


def test_every_module_has_a_rank():
    assert {unit(module) for module in SOURCES} == set(RANKS), "give a new module its rank in this table"


@pytest.mark.parametrize("module", SOURCES)
def test_imports_only_lower_ranks(module):
    above = {
        name: RANKS[unit(name)]
        for name in ours(module)
        if unit(name) != unit(module) and RANKS[unit(name)] >= RANKS[unit(module)]
    }
    assert not above, f"{module} has rank {RANKS[unit(module)]}"


def test_nothing_imports_in_a_circle():
    graph = {module: ours(module) - {module} for module in SOURCES}
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(order) == set(SOURCES)


def test_only_the_model_imports_linen():
    users = {module for module in SOURCES if any(name.startswith("flax") for name in imported(module))}
    assert users == {"cnn.model"}


@pytest.mark.parametrize("module", [module for module in SOURCES if unit(module).removeprefix("cnn.") in WITHOUT_JAX])
def test_needs_no_jax(module):
    assert not {name.split(".")[0] for name in imported(module)} & OF_JAX


def test_nothing_imports_tensorflow():
    assert not [module for module in SOURCES if any(name.split(".")[0] == "tensorflow" for name in imported(module))]


def test_no_module_is_a_drawer():
    drawers = {"utils", "util", "common", "helpers", "helper", "misc", "tools"}
    assert not [module for module in SOURCES if drawers & set(module.split("."))]


@pytest.mark.parametrize("module", SOURCES)
def test_is_short_and_so_are_its_functions(module):
    lines = len(SOURCES[module].read_text().splitlines())
    assert lines <= MODULE_LINES
    functions = [node for node in ast.walk(tree(module)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    assert not {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno - f.lineno + 1 > FUNCTION_LINES}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").rglob("*.py")), ids=lambda path: path.stem)
def test_config_files_are_data_only(path):
    parsed = ast.parse(path.read_text())
    imports = [node for node in ast.walk(parsed) if isinstance(node, (ast.Import, ast.ImportFrom))]
    # A sweep is nested dicts and lists.
    allowed = [] if path.parent.name == "sweeps" else ["ml_collections"]
    assert [getattr(node, "module", None) for node in imports] == allowed
    assert ast.get_docstring(parsed)


def loaded_after(code):
    """Returns which packages of JAX a fresh interpreter has loaded after running `code`."""
    check = f"{code}\nimport sys\nprint('LOADED', *sorted({OF_JAX | {'tensorflow'}!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


def test_importing_the_jax_free_modules_loads_no_jax():
    assert loaded_after("\n".join(f"import cnn.{name}" for name in WITHOUT_JAX)) == []


def test_summary_loads_no_jax():
    code = (
        "import main, sys\n"
        "invocation = main.parse_flags(['main.py', 'summary', '--config=configs/fashion_mnist.py'])\n"
        "assert main.main(invocation) == 0"
    )
    assert loaded_after(code) == []
