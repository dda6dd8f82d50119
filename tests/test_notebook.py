"""The notebook of the lesson: committed without outputs, and every cell runs, in order, in a fresh process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "lesson.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]

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


def test_it_is_committed_without_outputs():
    for cell in CELLS:
        assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)


@pytest.mark.slow
def test_every_cell_runs_in_order_and_shows_what_it_says():
    done = subprocess.run(
        [sys.executable, "-c", RUNNER], cwd=NOTEBOOK.parent, input=json.dumps(CODE), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *printed, last = done.stdout.splitlines()
    shown = json.loads(last)
    assert printed[0].endswith(" = 577")
    by_source = dict(zip(CODE, shown, strict=True))

    def of(start):
        return next(value for source, value in by_source.items() if source.startswith(start))

    assert "243,786 parameters" in of('cnn.summary("fashion_mnist")')[1]
    assert of("from cnn.report import hand_convolution")[0] == "array([[192, 144],\n       [255, 168]])"
    assert "6 trials, 6 finished" in of("space = ")[0]
    assert of("changes = ")[1].count("<img") == 3
    accuracy, written = float(of("learning = ")[0].split()[2]), of("own.save_data")[0]
    assert accuracy > 0.9 and written == "'shapes.npz'"
    assert of("own.predict")[1].count("<img") == 6
    pictures = [html for _, html in shown if "<img" in html]
    assert len(pictures) >= 8 and all("alt=" in html for html in pictures)
