"""The commands of the README and of `docs/`, run with the interpreter at hand, and what these say about the code."""

import doctest
import importlib.metadata
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import cnn
import processes
from cnn import expression, fields, registry
from cnn.cli import parser
from cnn.cli.commands import COMMANDS
from cnn.config import config, files, resolve
from cnn.data.augment import AUGMENTATIONS
from cnn.layers import activation
from cnn.layers.base import OnnxGraph
from cnn.model import summary
from cnn.optim import OPTIMIZERS, SCHEDULES
from cnn.registry import LAYERS

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text()
PAGES = {path: path.read_text() for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))}
SHELL = [
    line
    for text in PAGES.values()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines()
]
TOUR = [shlex.split(line)[1:] for line in SHELL if line.startswith("python main.py")]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
EXTENSIONS = (REPOSITORY / "docs" / "extensions.md").read_text()
FILES = {name: code for code, name in re.findall(r"```python\n(# ([\w/]+\.py)\n.*?)```", EXTENSIONS, re.DOTALL)}
"""What a reader writes before the commands of that page."""
NEEDS_DATA = ("fashion_mnist", "mnist", "dense_baseline", "one_conv", "lenet5", "cifar10")


def offline(arguments):
    """Tells whether a command runs without a data set from elsewhere."""
    return "summary" in arguments or not any(name in word for name in NEEDS_DATA for word in arguments)


def test_the_two_opening_lines_do_all_the_set_up():
    opening = [line for line in SHELL if line.startswith("python3 -m venv ")]
    assert len(opening) == 2
    assert opening[0].endswith("&& .venv/bin/python main.py")
    assert opening[1].endswith('&& .venv/bin/python -m pytest -n auto -m "not slow"')
    for line in opening:
        requirements = re.search(r"-r (\S+)", line)
        assert requirements
        assert (REPOSITORY / requirements[1]).is_file()


@pytest.mark.slow(seconds=80)
def test_the_tour_runs_as_it_stands(tmp_path):
    for folder in ("configs", "docs"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    commands = [arguments for arguments in TOUR if offline(arguments)]
    assert len(commands) >= 6
    for arguments in commands:
        done = processes.start(*arguments[1:], cwd=tmp_path)
        refused = "adma" in " ".join(arguments) or "--config.model.width=8" in arguments
        assert done.code == (2 if refused else 0), (arguments, done.err)
        assert "Traceback" not in done.err
    assert (tmp_path / "runs" / "a" / "evaluation-valid.json").is_file()


def test_every_command_line_is_understood_and_its_config_valid(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert TOUR
    for arguments in TOUR:
        invocation = parser.parse(arguments[1:])
        assert invocation.problems == []
        path = Path(invocation.flags.get("config", "configs/digits.py"))
        assert path.is_file()


def test_every_command_on_data_of_ones_own_is_understood_and_its_config_valid(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    blocks = [
        block for text in PAGES.values() for block in re.findall(r"(?m)^```\n((?:python main.py .*\n)+)```", text)
    ]
    own = [shlex.split(line)[2:] for block in blocks for line in block.splitlines()]
    assert len(own) >= 7
    for arguments in own:
        invocation = parser.parse(arguments)
        assert invocation.problems == []
        if not invocation.flags.get("config", "").startswith("runs/"):
            resolve.resolve(files.sections(invocation.flags.get("config", "digits")), invocation.overrides)


def test_the_table_of_own_data_has_every_source_with_flags_that_are_valid():
    section = README.split("\n## Your own data\n")[1].split("\n## ")[0]
    rows = re.findall(r"(?m)^\| .* \| `(--config\.data\.name=.*)` \|$", section)
    named = {"arrays"} if "data=cnn.Arrays(" in section else set()
    for row in rows:
        invocation = parser.parse(["data", *shlex.split(row)])
        assert invocation.problems == []
        values = resolve.resolve(files.sections("digits"), invocation.overrides)
        named.add(str(values.data.name).partition("(")[0])
    assert named == {*registry.of_package(registry.SOURCES), "fashion_mnist"} - {"digits", "lines"}


def test_the_table_of_kinds_has_every_decorator_and_what_its_function_is_given():
    rows = {line.split("`")[1]: line for line in EXTENSIONS.splitlines() if line.startswith("| `@cnn.")}
    assert set(rows) == {f"@cnn.{name}" for name in registry.TABLES if hasattr(cnn, name)}
    for name, row in rows.items():
        table = registry.TABLES[name.removeprefix("@cnn.")]
        form = table.function
        for given in () if form is None else (*form.given, *form.optional):
            assert f"`{given}`" in row, (name, given)
        for need in table.needs:
            assert f"`{need}" in row, (name, need)


def test_the_table_of_annotations_has_every_public_one():
    annotations = {name for name, module in cnn._MODULES.items() if module == "cnn.fields"}
    assert annotations and all(f"cnn.{name}" in EXTENSIONS for name in annotations)


def test_the_refused_command_prints_what_the_readme_shows():
    arguments = next(arguments for arguments in TOUR if "adma" in " ".join(arguments))
    shown = re.search(r"```\n(config\.optimizer\.name.*?)```", README, re.DOTALL)
    assert shown
    done = subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stderr == shown[1]


def test_the_config_in_the_readme_is_valid():
    source = next(block for block in PYTHON if "def get_config" in block)
    scope = {}
    exec(source, scope)
    values = resolve.resolve(scope["get_config"]().to_dict())
    assert values.rows[-1].output == (10,)
    assert [type(kind).__name__ for kind in values.data.augment] == ["RandomCrop", "Erase"]


def test_the_layer_in_the_readme_can_be_parsed_traced_and_computed(monkeypatch):
    (source,) = (block for block in PYTHON if "class HardTanh" in block)
    monkeypatch.setattr(registry, "LAYERS", registry.Table(LAYERS))
    scope = {"__name__": activation.__name__, **vars(activation), "Positive": fields.Positive}
    exec(source, scope)
    (layer,) = expression.build("hard_tanh(0.5)", registry.LAYERS).items
    assert summary.trace([layer], (4, 4, 1))[0].output == (4, 4, 1)
    numbers = np.array([-2.0, 3.0], np.float32)
    assert layer.apply(numbers, {}, "NHWC").tolist() == layer.reference(numbers, {}).right.tolist() == [-0.5, 0.5]
    graph = OnnxGraph()
    assert layer.onnx(graph, "x", {}, (2,), "hard_tanh1") == graph.nodes[-1].name == "hard_tanh1"


def test_every_kind_command_section_and_config_is_in_the_readme():
    for table in (LAYERS, registry.INITIALISERS, AUGMENTATIONS):
        for name, kind in table.items():
            assert f"`{expression.signature(name, kind)}`" in README, name
    for name in (*OPTIMIZERS, *SCHEDULES):
        assert re.search(rf"\b{name}\b", README), name
    for section in (*config.SECTIONS, *config.NAMED, "model", "seed"):
        assert f"| `{section}` |" in README
    for path in (REPOSITORY / "configs").glob("*.py"):
        assert f"`configs/{path.name}`" in README
    for name in COMMANDS:
        assert f"main.py {name}" in README or name == "train"


@pytest.mark.slow
def test_the_python_in_the_readme_answers_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = next(block for block in PYTHON if ">>> import cnn" in block)
    example = doctest.DocTestParser().get_doctest(source, {}, "README.md", "README.md", 0)
    assert len(example.examples) >= 8
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_within_the_repository_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[path]):
        file, _, heading = target.partition("#")
        if "://" in target:
            continue
        assert (path.parent / file).exists(), target
        if heading:
            headings = re.findall(r"(?m)^#+ (.*)$", (path.parent / file).read_text() if file else PAGES[path])
            assert heading in [re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings], target


def test_the_extras_of_jax_in_the_readme_exist():
    named = set(re.findall(r'"jax\[([\w-]+)\]"', README))
    assert {"cuda13", "tpu"} <= named <= set(importlib.metadata.metadata("jax").get_all("Provides-Extra"))


def test_the_citation_names_the_same_everywhere():
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    bibtex = re.search(r"```bibtex\n(.*?)```", README, re.DOTALL)[1].replace("{", "").replace("}", "")
    assert cited["title"] in bibtex
    assert all(author["name"] in bibtex for author in cited["authors"])


def test_what_contributing_names_is_there():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:cnn|tests|configs)/[\w/.]*|\.ci/run)`", text)
    assert len(named) > 15
    assert not [path for path in named if not (REPOSITORY / path).exists()]
    assert all(line in text for line in SHELL if line.startswith("python3 -m venv "))
