"""The notebooks: committed without outputs, and every cell runs, in order, in a fresh process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
CELLS = {path.stem: json.loads(path.read_text())["cells"] for path in sorted(DOCS.glob("*.ipynb"))}

# As Jupyter does: what stands last in a cell is shown, as HTML where it can be.
RUNNER = """
import ast, json, sys
scope, shown = {"__name__": "__main__"}, []
for source in json.load(sys.stdin):
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), scope)
    value = None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), scope)
    html = str(value._repr_html_()) if hasattr(value, "_repr_html_") else ""
    shown.append([None if value is None else repr(value), html])
print(json.dumps(shown))
"""


def ran(name):
    """Returns what a notebook printed, and what each cell showed by its source."""
    code = ["".join(cell["source"]) for cell in CELLS[name] if cell["cell_type"] == "code"]
    done = subprocess.run(
        [sys.executable, "-c", RUNNER], cwd=DOCS, input=json.dumps(code), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *printed, last = done.stdout.splitlines()
    return printed, Shown(zip(code, json.loads(last), strict=True))


class Shown(dict):
    """What the cells showed, as text and as HTML, found by how a cell starts."""

    def of(self, start):
        return next(value for source, value in self.items() if source.startswith(start))


def test_every_notebook_has_a_test_of_its_own():
    assert set(CELLS) == {"lesson", "own_arrays", "sweep"}


@pytest.mark.parametrize("name", CELLS)
def test_it_is_committed_without_outputs_and_begins_with_words(name):
    for cell in CELLS[name]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)
    assert len({cell["id"] for cell in CELLS[name]}) == len(CELLS[name])
    assert CELLS[name][0]["cell_type"] == "markdown"


@pytest.mark.slow(seconds=8)
def test_arrays_are_looked_at_trained_on_explained_and_used_without_this_project():
    _, shown = ran("own_arrays")
    assert shown.of("digits = ")[0].startswith("((1797, 8, 8, 1), dtype('uint8')")
    assert "1,260 train, 140 valid, 397 test" in shown.of("config = ")[0]
    accuracy = float(shown.of("test = ")[0].split()[2])
    assert accuracy > 0.8
    assert shown.of("predicted = ")[1] == "" and "image 0: " in shown.of("predicted = ")[0]
    assert "numbers checked" in shown.of("journey = ")[0] and "<img" in shown.of("journey = ")[1]
    assert shown.of("exported = ")[0] == "('model.onnx', 'model.onnx.json')"
    assert shown.of("session = ")[0] == "True"


@pytest.mark.slow(seconds=10)
def test_a_sweep_grows_by_seeds_and_values_and_its_best_is_exported():
    _, shown = ran("sweep")
    assert "4 trials, 4 finished" in shown.of("space = ")[0]
    assert shown.of("sweep.trials")[0].count("finished") == 4
    assert shown.of("sweep.grow(seeds")[0] == "8"
    assert "12 trials, 12 finished" in shown.of("sweep.grow(space")[0]
    assert "best and second differ by" in shown.of("sweep.record")[0]
    assert float(shown.of("best = ")[0].split()[2]) > 0.8
    assert shown.of("best.export")[0] == "'best.onnx'"


@pytest.mark.slow
def test_every_cell_of_the_lesson_runs_in_order_and_shows_what_it_says():
    printed, shown = ran("lesson")
    assert printed[0].endswith(" = 577")
    of = shown.of
    assert "243,786 parameters" in of('cnn.summary("fashion_mnist")')[1]
    assert of("from cnn.report import hand_convolution")[0] == "array([[192, 144],\n       [255, 168]])"
    assert "6 trials, 6 finished" in of("space = ")[0]
    assert of("changes = ")[1].count("<img") == 3
    accuracy, written = float(of("learning = ")[0].split()[2]), of("own.save_data")[0]
    assert accuracy > 0.9 and written == "'shapes.npz'"
    assert of("own.predict")[1].count("<img") == 6
    pictures = [html for _, html in shown.values() if "<img" in html]
    assert len(pictures) >= 8 and all("alt=" in html for html in pictures)
