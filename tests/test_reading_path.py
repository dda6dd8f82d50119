"""How far a reader goes from a command to the gradient, and to the convolution."""

import traceback
from pathlib import Path

import jax
import pytest

import runs
from cnn.ops import conv
from cnn.train import experiment

REPOSITORY = Path(__file__).parents[1]
LAYERS = "model.layers=conv(2, 3) | relu | flatten | dense(classes)"


def frames():
    """Returns the file and the function of every call of ours that is under way, outermost first."""
    found = [(Path(frame.filename), frame.name) for frame in traceback.extract_stack()]
    ours = [(path.relative_to(REPOSITORY), name) for path, name in found if path.is_relative_to(REPOSITORY)]
    return [(str(path), name) for path, name in ours if path.parts[0] == "cnn" or path == Path("main.py")]


@pytest.mark.parametrize("dispatch", ["step", "loop", "scan"])
@pytest.mark.slow(seconds=3)
def test_few_calls_lie_between_a_run_and_its_gradient(dispatch, tmp_path, monkeypatch):
    value_and_grad, seen = jax.value_and_grad, []

    def watched(*arguments, **options):
        seen.append(frames())
        return value_and_grad(*arguments, **options)

    monkeypatch.setattr(jax, "value_and_grad", watched)
    # A batch of a size of its own, so that the step is traced here.
    values = runs.tiny(LAYERS, f"train.dispatch={dispatch}", "train.batch_size=431", "train.epochs=1")
    experiment.run(values, tmp_path / "run")
    assert seen
    for calls in seen:
        assert calls[0] == ("cnn/train/experiment.py", "run")
        assert len(calls) <= 6, calls


@pytest.mark.slow(seconds=3)
def test_few_files_lead_from_the_command_to_the_convolution(tmp_path, monkeypatch):
    chosen, seen = conv.conv, []

    def watched(*arguments, **options):
        seen.append({path for path, _ in frames()})
        return chosen(*arguments, **options)

    monkeypatch.setattr(conv, "conv", watched)
    assert runs.train(tmp_path / "run", LAYERS, "train.batch_size=430", "train.epochs=1") == 0
    trained = [files for files in seen if "cnn/train/step.py" in files]
    assert trained
    for files in trained:
        assert len(files | {"main.py", "cnn/__main__.py", "cnn/ops/conv.py"}) <= 12, "\n".join(sorted(files))
