"""The functions of `cnn`: what the commands do, to the bit, with the same errors, and nothing left behind."""

import ast
import doctest
import importlib
import json
import pkgutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

import cnn
import runs
from cnn import api
from cnn.api import notebook_html, results, run
from cnn.config import files
from cnn.report import hand_convolution
from cnn.system.preemption import Preempted, Preemption

REPOSITORY = Path(__file__).resolve().parents[1]
HOSTILE = "<script>alert('x')</script>\u202e\x1b[31m"
CONVOLUTION = {
    **runs.SECTIONS,
    "model": {"layers": "conv(3, 3) | relu | max_pool(2) | flatten | dense(classes) | softmax"},
    "train": {"epochs": 1, "batch_size": 200, "log_every_steps": 2},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of a small convolution."""
    return cnn.run(ConfigDict(CONVOLUTION), tmp_path_factory.mktemp("api") / "run")


def modules():
    return ["cnn", *(f"cnn.api.{found.name}" for found in pkgutil.iter_modules(api.__path__))]


@pytest.mark.parametrize("name", modules())
def test_the_examples_in_the_docstrings_are_true(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.slow
def test_importing_it_imports_nothing_and_looking_needs_no_jax():
    code = (
        "import sys, cnn\n"
        "print([name for name in sys.modules if name.startswith('cnn.')])\n"
        "cnn.summary(cnn.configure('digits')), cnn.convolve(pool='none').map\n"
        "print(sorted({'jax', 'flax', 'matplotlib', 'optuna'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]


def test_every_name_is_found_and_documented_and_hides_no_module():
    names = list(cnn._MODULES)
    assert set(names) <= set(dir(cnn))
    for name in names:
        assert getattr(cnn, name).__doc__
    assert not set(names) & {found.name for found in pkgutil.iter_modules(cnn.__path__)}
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = cnn.trian


# Configs.


def test_a_config_is_changed_by_the_paths_of_its_fields():
    changed = cnn.configure("digits", **{"optimizer.learning_rate": np.float32(0.25), "seed": 3, "eval.test": False})
    assert (changed.optimizer.learning_rate, changed.seed, changed.eval.test) == (0.25, 3, False)
    changed.train.label_smoothing = 0.1  # a field that the file does not mention
    assert files.resolved(changed).train.label_smoothing == 0.1
    again = cnn.configure(changed, **{"train.epochs": 1})
    assert again.train.epochs == 1 and changed.train.epochs == 20


def test_other_layers_leave_no_names_without_use_and_may_bring_their_own():
    assert "width" in cnn.configure("digits").model
    changed = cnn.configure("digits", **{"model.layers": "flatten | dense(classes)"})
    assert changed.model.to_dict() == {"layers": "flatten | dense(classes)"}
    assert "dense1" in repr(cnn.summary(changed))
    given = {"layers": "flatten | block | dense(classes)", "block": "dense(4) | relu"}
    for model in (given, ConfigDict(given)):
        assert cnn.configure("digits", model=model).model.to_dict() == given
    assert cnn.configure("digits", train={"epochs": 2}).train.epochs == 2
    with pytest.raises(cnn.ConfigError, match=r"^config.model.blok: is not used .* Did you mean 'block'"):
        cnn.configure("digits", model={**given, "blok": 1})


@pytest.mark.slow
def test_every_config_is_found_by_its_name_and_by_its_file():
    folder = REPOSITORY / "configs"
    named = [path for path in folder.rglob("*.py") if path.parent.name != "sweeps"]
    assert len(named) > 10
    for path in named:
        assert files.resolved(path.relative_to(folder).with_suffix("").as_posix()) == files.resolved(path)


@pytest.mark.parametrize(
    "changes",
    [{"optim.learning_rate": 1}, {"optimizer.name": "adma", "train.epochs": True}, {"model.layers": "conv(3) | dens"}],
)
def test_a_mistake_is_the_error_that_the_command_prints(changes, capsys):
    typed = [f"--config.{path}={value}" for path, value in changes.items()]
    with pytest.raises(ValueError, match=r"config.") as raised:
        cnn.configure(runs.SECTIONS, **changes)
    assert runs.start("summary", *typed) == 2
    assert capsys.readouterr().err == f"{raised.value}\n"


def test_a_config_that_is_none_is_one_line(tmp_path):
    with pytest.raises(cnn.ConfigError, match=r"^config: unknown name 'digit'. Did you mean 'digits'\?.*$"):
        cnn.configure("digit")
    with pytest.raises(cnn.ConfigError, match=r"^config: must be a name, a file or a ConfigDict, got 3$"):
        cnn.summary(3)
    with pytest.raises(cnn.ConfigError, match=r"^--config: no such file, got no/such.py. Known: "):
        cnn.summary("no/such.py")
    (tmp_path / "empty.py").touch()
    with pytest.raises(cnn.ConfigError, match=r"empty.py: defines no get_config\(\)"):
        cnn.summary(tmp_path / "empty.py")
    with pytest.raises(cnn.ConfigError, match=r"^workdir: a config without a name needs a directory, got None"):
        cnn.run(ConfigDict(runs.SECTIONS))
    with pytest.raises(cnn.ConfigError, match=r"^--workdir: .* holds no run \(no config.json\)"):
        cnn.load(tmp_path)


@pytest.mark.slow(seconds=2)
def test_the_command_takes_a_runs_config_as_its_file(finished, tmp_path):
    assert runs.start("train", f"--config={finished / 'config.json'}", f"--workdir={tmp_path / 'run'}") == 0
    assert runs.outcome(tmp_path / "run") == runs.outcome(finished)


# Runs.


@pytest.mark.slow
def test_a_run_is_that_of_the_command_to_the_bit_and_so_is_the_next(finished, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for name in ("first", "second"):
        made = cnn.run(runs.SECTIONS, tmp_path / name)
        assert runs.outcome(made.workdir) == runs.outcome(finished)
        assert (made.workdir / "config.json").read_bytes() == (finished / "config.json").read_bytes()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_finished_run_is_only_read_and_another_config_is_refused(finished):
    stamp = (finished / "result.json").stat().st_mtime_ns
    again = cnn.run(cnn.load(finished).config, finished)
    assert again.result["status"] == "finished"
    assert (finished / "result.json").stat().st_mtime_ns == stamp
    with pytest.raises(ValueError, match=r"holds a run of another config(.|\n)*config.seed: 0 there, 1 here"):
        cnn.run(cnn.configure(again.config, seed=1), finished)


@pytest.mark.slow
def test_in_another_thread_it_does_not_crash(finished, tmp_path):
    made = []
    thread = threading.Thread(target=lambda: made.append(cnn.run(runs.SECTIONS, tmp_path / "run")))
    thread.start()
    thread.join()
    assert runs.outcome(made[0].workdir) == runs.outcome(finished)


@pytest.mark.slow
def test_an_interruption_leaves_a_run_that_the_same_call_continues(finished, tmp_path, fault):
    before = signal.getsignal(signal.SIGINT)
    fault("step:int:20")
    with pytest.raises(KeyboardInterrupt, match="the same call continues"):
        cnn.run(runs.SECTIONS, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before
    assert cnn.load(tmp_path / "run").result is None
    assert 0 < runs.steps(tmp_path / "run")[-1] < 36
    fault("step:int:0")
    assert runs.outcome(cnn.run(runs.SECTIONS, tmp_path / "run").workdir) == runs.outcome(finished)


def test_a_second_signal_does_not_end_the_process():
    with Preemption(leaves=False):
        with pytest.raises(Preempted):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_wrong_surroundings_are_one_line(monkeypatch, tmp_path):
    with pytest.raises(cnn.ConfigError, match=r"^--devices: there are \d+, got 99. Use at most those$"):
        cnn.run(runs.SECTIONS, tmp_path / "run", devices=99)
    monkeypatch.setenv("NPROC", "many")
    with pytest.raises(cnn.ConfigError, match=r"^NPROC: must be the number of CPU threads, 1 to 1024, got 'many'"):
        cnn.run(runs.SECTIONS, tmp_path / "run")


# What is in a run.


@pytest.mark.slow
def test_evaluation_and_predictions_agree_with_what_the_run_wrote(trained):
    record = runs.saved(trained.workdir, "evaluation-test.json")
    made = trained.evaluate()
    assert made.record == record == trained.evaluations["test"].record
    assert made.confusion.sum() == record["count"] == runs.EXAMPLES["test"]
    stored = np.load(trained.workdir / "predictions-test.npz")
    seen = trained.predict(trained.data.test.images)
    np.testing.assert_allclose(seen.logits, stored["logits"], atol=1e-5)
    assert (seen.labels == stored["label"]).mean() == pytest.approx(made.accuracy)
    np.testing.assert_allclose(seen.probabilities.sum(1), 1)


@pytest.mark.slow
def test_curves_and_parameters_are_the_runs_own(trained):
    records_of = runs.records(trained.workdir, "train")
    assert trained.curves["train loss"].steps.tolist() == [record["step"] for record in records_of]
    assert trained.curves["train loss"].values.tolist() == [record["loss"] for record in records_of]
    assert trained.params["conv1"]["kernel"].shape == (3, 3, 1, 3)
    assert trained.filters.numbers.shape == (3, 3, 3)
    assert trained.summary() == run.summary(trained.config)


@pytest.mark.slow(seconds=2)
def test_the_journey_of_an_image_ends_in_its_prediction(trained):
    image = trained.data.test.images[5]
    followed = trained.journey(image)
    shapes = {row.path: tuple(row.output) for row in trained.summary().rows}
    assert {name: output.shape for name, output in followed.outputs.items()} == {"input": (8, 8, 1), **shapes}
    np.testing.assert_allclose(followed.outputs["softmax1"], trained.predict(image).probabilities[0], atol=1e-5)
    pooled = followed.outputs["relu1"].reshape(3, 2, 3, 2, 3).max((1, 3))
    np.testing.assert_array_equal(followed.outputs["max_pool1"], pooled)


@pytest.mark.slow(seconds=2)
def test_pictures_from_files_are_read_as_the_command_reads_them(trained, tmp_path, capsys):
    from PIL import Image

    Image.fromarray(trained.data.test.images[7][..., 0]).save(tmp_path / "a.png")
    seen = trained.predict(tmp_path / "a.png")
    np.testing.assert_array_equal(seen.images[0], trained.data.test.images[7])
    assert runs.start("predict", f"--workdir={trained.workdir}", "--json", str(tmp_path / "a.png")) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["class"] == seen.classes[seen.labels[0]]
    assert said["probability"] == pytest.approx(seen.probabilities[0].max())
    (tmp_path / "b.png").write_bytes(b"none")
    with pytest.raises(cnn.DataError, match=r"^picture '.*b.png': cannot be read, got: "):
        trained.predict([tmp_path / "a.png", tmp_path / "b.png"])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((8, 8), np.uint8), r"must be 8x8x1, .* got 8x8. Add the channel axis, images\[..., None\]"),
        (np.zeros((3, 8, 8), np.uint8), r"got 3x8x8. Add the channel axis"),
        (
            np.zeros((8, 8, 1)),
            r"must be uint8, .* got float64. Of shares .* np.rint\(255 \* images\)",
        ),
        (np.full((8, 8, 1), 7.5), "must be uint8, intensities 0 to 255, got float64. Convert them"),
        (np.zeros((0, 8, 8, 1), np.uint8), "must be 8x8x1, one or many"),
        (np.zeros((9, 8, 1), np.uint8), "got 9x8x1. Resize them"),
        (3, "must be uint8"),
    ],
)
def test_arrays_that_are_no_images_are_refused(trained, images, message):
    with pytest.raises(cnn.ConfigError, match=message):
        trained.predict(images)


def test_what_is_asked_of_a_run_is_checked(trained):
    with pytest.raises(cnn.ConfigError, match=r"^--split: must be one of train, valid, test, got 'tset'$"):
        trained.evaluate("tset")
    with pytest.raises(cnn.ConfigError, match=r"^--weights: must be one of last, best, ema, got 'first'$"):
        trained.variables("first")
    with pytest.raises(cnn.ConfigError, match=r'^--weights: "ema" but the run kept no average'):
        trained.evaluate(weights="ema")


# A notebook.


@pytest.mark.slow(seconds=2)
def test_everything_shows_itself_without_script(trained):
    image = trained.data.test.images[0]
    shown = [trained, trained.summary(), trained.curves, trained.evaluate("valid"), trained.predict(image)]
    shown += [trained.journey(image), trained.filters, cnn.convolve([[0, 9], [9, 0]], [[1, 2]])]
    for each in shown:
        text = each._repr_html_()
        assert type(text) is not bytes and text.startswith("<") and "<script" not in text
        assert len(repr(each)) > 10
    assert trained.curves._repr_html_().count("<img") == 3
    assert repr(trained).startswith(f"{trained.workdir}: finished. ")


def test_hostile_names_stay_text():
    record = {
        "split": "test",
        "accuracy": 0.5,
        "interval": (0, 1),
        "correct": 1,
        "count": 2,
        "confusion": [[1, 0], [1, 0]],
    }
    evaluation = results.SplitEvaluation({**record, "classes": [{"name": HOSTILE}, {"name": "b"}]})
    logits = np.array([[2.0, 1.0]], np.float32)
    seen = results.Predictions(np.zeros((1, 2, 2, 1), np.uint8), logits, (HOSTILE, "b"), (HOSTILE,), ((HOSTILE,),))
    followed = results.ImageJourney(np.zeros((2, 2, 1), np.uint8), {"input": np.zeros((2, 2, 1))}, HOSTILE, 1)
    table = notebook_html.table((HOSTILE,), [(HOSTILE,)], HOSTILE)
    for text in (evaluation._repr_html_(), seen._repr_html_(), followed._repr_html_(), table):
        assert "<script" not in text and "&lt;script" in text
        assert "\x1b" not in text
    assert "\x1b" not in repr(seen)


def test_a_chart_holds_every_number_within_its_frame():
    drawn = notebook_html.chart({"a": ((1, 2, 4), (-3.0, 0.0, 5.0)), "none": ((), ())}, "loss")
    assert "data:image/svg+xml" in drawn and "loss: a" in drawn
    assert notebook_html.chart({}, "loss") == ""


# Sweeps.


@pytest.mark.slow
def test_a_sweep_of_functions_is_that_of_the_command(tmp_path, capsys):
    space, sections = {"seed": [0, 1]}, {**runs.SECTIONS, "train": {"epochs": 1, "batch_size": 200}}
    made = cnn.run_sweep(ConfigDict(sections), space, tmp_path / "ours", engine="map")
    assert len(made) == 2 and made.record["counts"] == {"finished": 2}
    typed = ("--grid=seed=0,1", "--sweep.engine=map")
    assert runs.start("sweep", f"--workdir={tmp_path / 'theirs'}", *typed, sections=sections) == 0
    for number in range(2):
        theirs = tmp_path / "theirs" / made.record["trials"][number]["folder"]
        assert runs.outcome(made.trial(number).workdir) == runs.outcome(theirs)
    assert made.best.result["valid"]["accuracy"] == max(made.trial(n).result["valid"]["accuracy"] for n in range(2))
    assert "seed" not in made._repr_html_() and "2 trials, 2 finished" in repr(made)
    again = cnn.run_sweep(ConfigDict(sections), "seed=0,1", tmp_path / "ours", engine="map")
    assert again.record["groups"] == made.record["groups"]


@pytest.mark.slow
def test_the_command_of_a_trial_makes_its_config_again(tmp_path):
    sections = {**runs.SECTIONS, "train": {"epochs": 1, "batch_size": 200}}
    made = cnn.run_sweep(sections, "optimizer.learning_rate=1e-2", tmp_path / "sweep", engine="map")
    words = made.record["trials"][0]["command"].split()
    path = next(word.removeprefix("--config=") for word in words if word.startswith("--config="))
    assert files.sections(path)["train"] == {"epochs": 1, "batch_size": 200}


def test_a_wrong_space_is_one_error_with_all_that_is_wrong(tmp_path):
    with pytest.raises(cnn.ConfigError, match=r"--sweep.engine: must be one of .*, got 'wmap'") as raised:
        cnn.run_sweep("digits", {"seed": []}, tmp_path / "sweep", engine="wmap")
    assert len(raised.value.problems) == 2
    with pytest.raises(cnn.ConfigError, match=r"^config.optimizer.learning_rat: unknown"):
        cnn.run_sweep("digits", {"optimizer.learning_rat": [1]}, tmp_path / "sweep")
    with pytest.raises(cnn.ConfigError, match=r"^--sweep.workers: are copies of a command. Leave it out, or "):
        cnn.run_sweep("digits", {"seed": [0]}, tmp_path / "sweep", workers=2)
    assert not (tmp_path / "sweep").exists()


def test_the_lessons_pixel_is_577_and_a_wrong_filter_one_line():
    window = ast.literal_eval(str(hand_convolution.WINDOW))
    assert cnn.convolve(window, "lesson").map.tolist() == [[577]]
    assert cnn.convolve(window, [[1, 1], [1, 1]], weighted=True, pool="none").map.shape == (2, 2)
    for wrong, message in (("vertcal", "Did you mean 'vertical'"), ([[1, 2], [3]], "every row|inhomogeneous")):
        with pytest.raises(ValueError, match=message):
            cnn.convolve(window, wrong)
    with pytest.raises(cnn.DataError, match=r"must hold numbers from 0 to 255, got -1 to 3. They are intensities"):
        cnn.convolve([[-1, 3]])
    with pytest.raises(cnn.DataError, match=r"got shape \(2, 2, 3\). Give one channel"):
        cnn.convolve(np.zeros((2, 2, 3)))


def test_the_command_takes_a_configs_name(capsys):
    from cnn.cli import launch, parser

    invocation = parser.parse(["summary", "--config=lenet5"])
    assert launch.launch(invocation) == 0
    assert "61,706 parameters" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_exports_itself_as_the_command_does(trained, tmp_path):
    exported = trained.export("onnx")
    assert exported.path == trained.workdir / "exports" / "model.onnx" and exported.size == exported.path.stat().st_size
    assert json.loads(exported.description.read_text())["weights"] == "last"
    elsewhere = trained.export("safetensors", tmp_path / "mine.safetensors")
    assert elsewhere.path.is_file() and elsewhere.description.is_file()


def test_an_export_of_unknown_words_is_refused(trained):
    with pytest.raises(cnn.ConfigError, match="unknown name 'onxn'"):
        trained.export("onxn")
    with pytest.raises(cnn.ConfigError, match="weights: must be one of last, best, ema, got 'frist'"):
        trained.export("onnx", weights="frist")
    with pytest.raises(cnn.ConfigError, match="input: must be one of uint8, float32, got 'int8'"):
        trained.export("onnx", input="int8")
