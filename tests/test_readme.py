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
from PIL import Image

import cnn
import processes
from cnn import expression, fields, registry
from cnn.cli import parser
from cnn.cli.commands import COMMANDS
from cnn.config import files, resolve
from cnn.layers import activation
from cnn.layers.base import OnnxGraph
from cnn.model import summary
from cnn.registry import LAYERS

REPOSITORY = Path(__file__).resolve().parents[1]
README = REPOSITORY / "README.md"
DOCS = REPOSITORY / "docs"
PAGES = {path: path.read_text() for path in (README, *sorted(DOCS.glob("*.md")))}
"""What people read, by file."""
WIDEST, LONGEST = 130, 220
"""So many characters a line of the README may have, and so many lines the README."""


def blocks(page, language):
    """Returns the blocks of a page that are in this language."""
    every = re.findall(r"(?m)^```(\w*)\n((?:.*\n)*?)```$", PAGES[page])
    return [block for name, block in every if name == language]


def lines(page):
    """Returns what a page says to write in a shell; a line that goes on in the next is one."""
    return [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]


def commands(page):
    """Returns the arguments of each of a page's commands of `main.py`."""
    return [shlex.split(line)[2:] for line in lines(page) if line.startswith("python main.py")]


TOUR = {page: commands(page) for page in PAGES if commands(page)}
FILES = {
    block.split()[1]: block for page in PAGES for block in blocks(page, "python") if re.match(r"# my_\w+\.py\n", block)
}
"""What a reader writes before the commands of a page."""
NEEDS_DATA = ("fashion_mnist", "mnist", "dense_baseline", "one_conv", "lenet5", "cifar10")


def offline(arguments):
    """Tells whether a command runs without a data set from elsewhere."""
    return "summary" in arguments or not any(name in word for name in NEEDS_DATA for word in arguments)


def _layers(arguments):
    """Returns the layers that a command names; the default's, which name `width`, where it names none."""
    prefix = "--config.model.layers="
    return [text for text in arguments if text.startswith(prefix)] or ["width"]


def exit_code(arguments):
    """Returns how a command of the pages ends: with 2 where they say that it is refused."""
    text = " ".join(arguments)
    unused = "--config.model.width=8" in text and not any("width" in layers for layers in _layers(arguments))
    looked = arguments[0] == "data" and "data.name=folder" in text and "data.classes" not in text
    return 2 if "=adma" in text or "learning_rate=-1" in text or unused or looked else 0


def drawn(folder):
    """Draws the pictures that the README takes for the reader's own, of two classes and many sizes."""
    rng = np.random.default_rng(0)
    for split, count in {"train": 60, "test": 5}.items():
        for kind, name in enumerate(("cats", "dogs")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 120, (*rng.integers(40, 90, 2), 3)) + 100 * (np.arange(3) == 2 * kind)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{number}.jpg")


def test_the_readme_is_short():
    assert len(PAGES[README].splitlines()) <= LONGEST
    assert not [line for line in PAGES[README].splitlines() if len(line) > WIDEST]


def test_every_page_is_in_the_readmes_list_of_pages():
    table = PAGES[README].split("\n## All pages, by question\n")[1].split("\n\n[")[0]
    for path in (*DOCS.glob("*.md"), *DOCS.glob("*.ipynb")):
        assert f"(docs/{path.name})" in table, path.name


def test_what_the_readme_gives_as_proof_is_there():
    table = PAGES[README].split("\n## What sets it apart\n")[1].split("\n## ")[0]
    rows = table.splitlines()[3:]
    proofs = [REPOSITORY / path for path in re.findall(r"`(tests/\w+\.py)`", table)]
    assert len(proofs) == len([row for row in rows if row.startswith("|")]) >= 8
    assert all(path.is_file() for path in proofs)


def test_the_two_opening_lines_do_all_the_set_up():
    opening = [line for page in PAGES for line in lines(page) if line.startswith("python3 -m venv ")]
    assert len(opening) == 2
    assert opening[0].endswith("&& .venv/bin/python main.py")
    assert opening[1].endswith('&& .venv/bin/python -m pytest -n auto -m "not slow"')
    for line in opening:
        requirements = re.search(r"-r (\S+)", line)
        assert requirements
        assert (REPOSITORY / requirements[1]).is_file()


@pytest.mark.thorough(6)
@pytest.mark.slow(seconds=8)
@pytest.mark.parametrize("page", TOUR, ids=lambda page: page.name)
def test_the_commands_of_a_page_run_as_they_stand(page, tmp_path):
    for folder in ("configs", "docs"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    if any("data_dir=pictures" in word for arguments in TOUR[page] for word in arguments):
        drawn(tmp_path / "pictures")
    for arguments in TOUR[page]:
        if offline(arguments):
            done = processes.start(*arguments, cwd=tmp_path)
            assert done.code == exit_code(arguments), (arguments, done.err)
            assert "Traceback" not in done.err


def test_most_commands_run_without_a_data_set_from_elsewhere():
    assert len([arguments for page in TOUR.values() for arguments in page if offline(arguments)]) >= 40


@pytest.mark.parametrize("page", TOUR, ids=lambda page: page.name)
def test_every_command_line_is_understood_and_its_config_is_there(page, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    for arguments in TOUR[page]:
        invocation = parser.parse(arguments)
        assert invocation.problems == []
        path = Path(invocation.flags.get("config", "configs/digits.py"))
        assert path.is_file() or path.parts[0] == "runs"


def test_every_command_on_data_of_ones_own_is_understood_and_its_config_valid(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    shown = [block for page in PAGES for block in blocks(page, "") if block.startswith("python main.py ")]
    own = [shlex.split(line)[2:] for block in shown for line in block.splitlines()]
    assert len(own) >= 7
    for arguments in own:
        invocation = parser.parse(arguments)
        assert invocation.problems == []
        if not invocation.flags.get("config", "").startswith("runs/"):
            resolve.resolve(files.sections(invocation.flags.get("config", "digits")), invocation.overrides)


def test_the_table_of_own_data_has_every_source_with_flags_that_are_valid():
    section = PAGES[DOCS / "data.md"].split("\n## Which source\n")[1].split("\n### ")[0]
    rows = re.findall(r"(?m)^\| .* \| `(--config\.data\.name=[^`]*)`.* \|$", section)
    named = {"arrays"} if "data=cnn.Arrays(" in section else set()
    for row in rows:
        invocation = parser.parse(["data", *shlex.split(row)])
        assert invocation.problems == []
        values = resolve.resolve(files.sections("digits"), invocation.overrides)
        named.add(str(values.data.name).partition("(")[0])
    assert named == {*registry.of_package(registry.SOURCES), "fashion_mnist"} - {"digits", "lines"}


def test_the_table_of_kinds_has_every_decorator_and_what_its_function_is_given():
    rows = {
        line.split("`")[1]: line for line in PAGES[DOCS / "extensions.md"].splitlines() if line.startswith("| `@cnn.")
    }
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
    assert annotations and all(f"cnn.{name}" in PAGES[DOCS / "extensions.md"] for name in annotations)


@pytest.mark.parametrize(("page", "part"), [("README.md", "learning_rate=-1"), ("docs/train.md", "=adma")])
def test_a_refused_command_prints_what_the_page_shows(page, part):
    page = REPOSITORY / page
    (arguments,) = (arguments for arguments in TOUR[page] if part in " ".join(arguments))
    (shown,) = (block for block in blocks(page, "") if block.startswith("config."))
    done = subprocess.run([sys.executable, "main.py", *arguments], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stderr == shown


def test_the_whole_config_of_the_docs_is_valid():
    (source,) = blocks(DOCS / "configs.md", "python")
    scope = {}
    exec(source, scope)
    values = resolve.resolve(scope["get_config"]().to_dict())
    assert values.rows[-1].output == (10,)
    assert [type(kind).__name__ for kind in values.data.augment] == ["RandomCrop", "Erase"]


def test_the_layer_of_the_docs_can_be_parsed_traced_and_computed(monkeypatch):
    (source,) = (block for block in blocks(DOCS / "extensions.md", "python") if "class HardTanh" in block)
    monkeypatch.setattr(registry, "LAYERS", registry.Table(LAYERS))
    scope = {"__name__": activation.__name__, **vars(activation), "Positive": fields.Positive}
    exec(source, scope)
    (layer,) = expression.build("hard_tanh(0.5)", registry.LAYERS).items
    assert summary.trace([layer], (4, 4, 1))[0].output == (4, 4, 1)
    numbers = np.array([-2.0, 3.0], np.float32)
    assert layer.apply(numbers, {}, "NHWC").tolist() == layer.reference(numbers, {}).right.tolist() == [-0.5, 0.5]
    graph = OnnxGraph()
    assert layer.onnx(graph, "x", {}, (2,), "hard_tanh1") == graph.nodes[-1].name == "hard_tanh1"


def test_every_config_is_described_in_the_docs():
    for path in (REPOSITORY / "configs").glob("*.py"):
        assert f"`configs/{path.name}`" in PAGES[DOCS / "configs.md"]


def test_every_command_is_shown_somewhere():
    for name in COMMANDS:
        assert any(f"main.py {name}" in text for text in PAGES.values()) or name == "train"


@pytest.mark.slow
def test_the_python_of_the_docs_answers_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (source,) = (block for block in blocks(DOCS / "python.md", "python") if ">>> import cnn" in block)
    example = doctest.DocTestParser().get_doctest(source, {}, "python.md", "python.md", 0)
    assert len(example.examples) >= 8
    assert doctest.DocTestRunner().run(example).failed == 0


def leads_somewhere(page, target):
    """Tells whether a link of a page names a file, and a heading in it, that are there."""
    file, _, heading = target.partition("#")
    path = page.parent / file if file else page
    if not path.exists():
        return False
    headings = [] if not heading else re.findall(r"(?m)^#+ (.*)$", path.read_text())
    return not heading or heading in [re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page):
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]) if "://" not in target]
    assert not [target for target in targets if not leads_somewhere(page, target)]


def test_the_extras_of_jax_in_the_docs_exist():
    named = set(re.findall(r'"jax\[([\w-]+)\]"', PAGES[DOCS / "devices.md"]))
    assert {"cuda13", "tpu"} <= named <= set(importlib.metadata.metadata("jax").get_all("Provides-Extra"))


def test_the_citation_names_the_same_everywhere():
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    bibtex = re.sub("[{}]", "", blocks(DOCS / "results.md", "bibtex")[0])
    assert cited["title"] in bibtex
    assert all(author["name"] in bibtex for author in cited["authors"])


def test_what_contributing_names_is_there():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:cnn|tests|configs)/[\w/.]*|\.ci/run)`", text)
    assert len(named) > 15
    assert not [path for path in named if not (REPOSITORY / path).exists()]
    assert all(line in text for line in lines(README) if line.startswith("python3 -m venv "))
