"""The user's own file of the documentation, `docs/my_lab.py`, and names of Flax and Optax, through all of the program.

What each decorator takes is in `test_extensions.py`, what a module is asked in `test_modules.py`; here, a layer, a
network, a loss, an optimizer, an augmentation, a metric and a schedule of one file are in one run.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import many_devices
import networks
import processes
import runs
import sweeps
import test_train
import tiny
from cnn import evaluate, losses
from cnn.cli import launch
from cnn.config import extensions, resolve
from cnn.model.classifier import flatten
from cnn.registry import TABLES
from cnn.sweep import run as sweep_run
from cnn.train import checkpointer, cpu_devices, preflight

TESTS = Path(__file__).parent
LAB = TESTS.parent / "docs" / "my_lab.py"
RESNET = "resnet20(width=4, blocks=1) | dense(classes)"
SQUEEZED = "conv(4, 3) | squeeze_excite(2) | conv(4, 3) | flatten | dense(classes)"
OWN = (
    "optimizer.name=adafactor",
    "optimizer.learning_rate=0.03",
    "optimizer.clip=2",
    "data.augment=random_gamma(0.3)",
    "train.monitor=mean_recall",
    "schedule.name=inverse_root",
    "schedule.start=0.2",
)
ALL = (
    *OWN,
    "train.loss=focal_loss(1.5)",
    "train.epochs=2",
    f"model.layers=conv(4, 3) | squeeze_excite(2) | {RESNET}",
    "eval.metrics=balanced_accuracy",
    "eval.weights=best",
    "checkpoint.every=steps(5)",
)


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """Compiles quickly, as the processes that this file starts do: the bits of both are compared."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(autouse=True)
def _as_before():
    yield
    extensions.use([])


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Path(shutil.copy(LAB, tmp_path_factory.mktemp("lab") / "my_lab.py"))


@pytest.fixture(scope="module")
def finished(lab, tmp_path_factory):
    """A run with everything that the file has, and its page."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    assert runs.train(workdir, f"extensions={lab}", *ALL, "report.page=end") == 0
    return workdir


def classifier_of(workdir, weights="best"):
    return checkpointer.restore_classifier(resolve.resolve(runs.saved(workdir, "config.json")), workdir, weights)[1]


def pictures(count):
    """Returns the first of the digits as their data set gives them, 0..255."""
    return preflight.load_data(runs.tiny().data).test.images[:count]


def lines_of(capsys):
    return capsys.readouterr().err.strip().splitlines()


@pytest.mark.slow(seconds=42)
def test_a_run_with_all_of_it_has_its_numbers_wherever_a_run_has_numbers(finished, capsys):
    epochs = runs.records(finished, "epoch")
    by_step = {record["step"]: record["valid"]["mean_recall"] for record in epochs}
    rates = [record["learning_rate"] for record in runs.records(finished, "train")]
    # The schedule's factor of a rate of 0.03, with the first 0.2 of the 24 steps at the full rate.
    np.testing.assert_allclose(rates, [0.03 * (4.8 / max(4.8, step)) ** 0.5 for step in (5, 10, 15, 20)], rtol=1e-5)
    result = runs.saved(finished, "result.json")
    best = max(by_step, key=by_step.__getitem__)
    assert result["best"] == {"step": best, "valid_mean_recall": by_step[best]}
    for split in ("valid", "test"):
        evaluation = runs.saved(finished, f"evaluation-{split}.json")
        assert (evaluation["step"], evaluation["weights"]) == (best, "best")
        assert evaluation["metrics"] == result[split]["metrics"]
        # Every class occurs, and the package has the same metric by another name.
        recall, balanced = (evaluation["metrics"][name] for name in ("mean_recall", "balanced_accuracy"))
        assert recall == pytest.approx(balanced, rel=1e-6) and recall > 0.15
    shown, _ = runs.scalars(finished)
    assert {step: shown["valid", "mean_recall", step][0] for step in by_step} == pytest.approx(by_step)
    page = (finished / "report.html").read_text()
    for said in ("resnet20", "squeeze_excite", "focal_loss", "adafactor", "random_gamma", "inverse_root", "my_lab.py"):
        assert said in page
    assert "valid mean_recall" in page and f"{result['test']['metrics']['mean_recall']:.4f}" in page
    assert runs.start("eval", f"--workdir={finished}") == 0
    assert f"mean_recall {result['test']['metrics']['mean_recall']:.4f}" in capsys.readouterr().out


def in_a_process(fault, workdir, *overrides):
    """Returns how a process ends that trains as `runs.train` does."""
    code = "import sys, runs; sys.exit(runs.train(*sys.argv[1:]))"
    # Here XLA has started already; a test compares the bits of both.
    here = {"XLA_FLAGS": os.environ.get("XLA_FLAGS", ""), "PYTHONPATH": str(TESTS.parent)}
    return subprocess.run(
        [sys.executable, "-c", code, str(workdir), *overrides],
        cwd=TESTS,
        env=processes.environment(fault, **here),
        capture_output=True,
        text=True,
    )


@pytest.mark.thorough(1)
@pytest.mark.slow(seconds=24)
@pytest.mark.parametrize("when", ["step:kill:7", "evaluate:kill:1"], ids=["within an epoch", "between two"])
def test_a_run_that_was_killed_ends_with_the_same_bytes(finished, lab, tmp_path, when):
    workdir, overrides = tmp_path / "run", (f"extensions={lab}", *ALL)
    done = in_a_process(when, workdir, *overrides)
    assert done.returncode == -signal.SIGKILL, done.stderr
    saved = runs.steps(workdir)
    assert 0 < saved[-1] <= 12 and not (workdir / "result.json").exists()
    assert runs.train(workdir, *overrides) == 0
    assert runs.outcome(workdir) == runs.outcome(finished)
    assert runs.saved(workdir, "evaluation-test.json") == runs.saved(finished, "evaluation-test.json")


@pytest.mark.thorough(1)
@pytest.mark.slow(seconds=9)
@pytest.mark.parametrize("steps", [3, 12, 17])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(finished, lab, tmp_path, fault, steps):
    workdir, overrides = tmp_path / "run", (f"extensions={lab}", *ALL)
    fault(f"step:term:{steps}")
    assert runs.train(workdir, *overrides) == launch.PREEMPTED
    fault("")
    assert runs.train(workdir, *overrides) == 0
    assert runs.outcome(workdir) == runs.outcome(finished)


GAMMAS = ("focal_loss(1)", "focal_loss(2)", "focal_loss(3)")
SHORT = (*OWN, f"model.layers={RESNET}", "train.epochs=1", "eval.test=False")


@pytest.fixture(scope="module")
def swept(lab, tmp_path_factory):
    """The folder of a sweep over gamma by each engine, and how many training programs each compiled."""
    folder, compiled = tmp_path_factory.mktemp("swept"), {}
    for engine in ("map", "vmap"):
        before = sweep_run.compilations()
        typed = (
            *(f"config.{text}" for text in (f"extensions={lab}", *SHORT)),
            f"sweep.engine={engine}",
            "sweep.lanes=3",
        )
        assert sweeps.sweep(folder / engine, f"train.loss={','.join(GAMMAS)}", *typed) == 0
        after = sweep_run.compilations()
        compiled[engine] = {name: after[name] - before[name] for name in after}
    return folder, compiled


@pytest.mark.thorough
@pytest.mark.slow(seconds=48)
def test_a_sweep_over_gamma_is_one_program_that_gives_what_each_run_alone_does(swept, lab, tmp_path):
    folder, compiled = swept
    assert compiled == {"map": {"map": 1, "vmap": 0}, "vmap": {"map": 0, "vmap": 1}}
    for number, loss in enumerate(GAMMAS):
        alone = tmp_path / str(number)
        assert runs.train(alone, f"extensions={lab}", *SHORT, f"train.loss={loss}") == 0
        by_map, by_vmap = (folder / engine / "trials" / f"{number:04}" for engine in ("map", "vmap"))
        assert runs.outcome(by_map) == runs.outcome(alone)
        assert sweeps.losses(by_vmap) == pytest.approx(sweeps.losses(alone), rel=1e-4)
    for engine in ("map", "vmap"):
        record = sweeps.record(folder / engine)
        assert record["counts"] == {"finished": 3} and record["objective"] == "valid.mean_recall"
        assert [row["fields"] for row in record["trials"]] == [{"train.loss": loss} for loss in GAMMAS]
        assert len({tuple(sweeps.losses(folder / engine / row["folder"])) for row in record["trials"]}) == 3


@pytest.mark.thorough
@pytest.mark.slow(seconds=2)
def test_two_runs_are_compared(swept, capsys):
    folder, _ = swept
    first, second = (str(folder / "map" / "trials" / name) for name in ("0000", "0001"))
    extensions.use([])
    assert runs.start("diff", first, second, "--split=valid") == 0
    said = capsys.readouterr().out
    assert re.search(r"train.loss +focal_loss\(1\) +focal_loss\(2\)\n", said) and "valid mean_recall" in said
    assert "focal_loss" not in TABLES["loss"]


@pytest.mark.slow(seconds=10)
def test_a_picture_is_predicted_as_the_exports_say_that_are_loaded_again(finished, tmp_path, capsys):
    images, classifier = pictures(7), classifier_of(finished)
    expected = losses.softmax(evaluate.predict_logits(classifier, images, evaluate.EvalConfig(7)))
    names = [str(tmp_path / f"{number}.png") for number in range(7)]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(np.asarray(image[..., 0])).save(name)
    assert runs.start("predict", f"--workdir={finished}", "--json", "--invert=no", *names) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["class"] for record in said] == [str(row.argmax()) for row in expected]
    np.testing.assert_allclose([record["probability"] for record in said], expected.max(axis=1), rtol=0, atol=1e-5)

    assert runs.start("export", f"--workdir={finished}", "--format=stablehlo", f"--out={tmp_path / 'a'}") == 0
    exported = jax.export.deserialize(bytearray((tmp_path / "a").read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    for size in (1, 7):
        np.testing.assert_allclose(networks.jit(exported.call)(images[:size]), expected[:size], rtol=0, atol=1e-5)

    assert runs.start("export", f"--workdir={finished}", "--format=safetensors", f"--out={tmp_path / 'b'}") == 0
    found, arrays = safetensors.numpy.load_file(tmp_path / "b"), flatten(classifier.variables)
    assert found.keys() == arrays.keys() and "resnet20_1/Block_0/Conv_0/kernel" in found
    assert all(found[name].tobytes() == np.asarray(array).tobytes() for name, array in arrays.items())


@pytest.mark.slow(seconds=2)
def test_onnx_has_no_operators_for_it_and_names_what_has(finished, capsys):
    assert runs.start("export", f"--workdir={finished}", "--format=onnx") == 2
    (line,) = lines_of(capsys)
    assert line == (
        "--format: onnx has no operators for the module squeeze_excite. "
        "Give its class SqueezeExcite a method onnx, or use --format=stablehlo"
    )
    assert not (finished / "exports" / "model.onnx").exists()


@pytest.mark.slow(seconds=7)
def test_its_images_are_followed_as_far_as_they_are_known(finished, capsys):
    assert runs.start("explain", f"--workdir={finished}", "--images=2") == 0
    said = capsys.readouterr().out
    assert "not checked: squeeze_excite1, resnet20_1" in said
    assert (finished / "journey.npz").is_file()


WITHOUT_IT = """
import sys, main
assert main.main(main.parse_flags(["main.py", "report", f"--workdir={sys.argv[1]}"])) == 0
loaded = [name for name in sys.modules if name.partition(".")[0] in ("jax", "flax", "optax") or "my_lab" in name]
assert not loaded, loaded
"""


def page_again(workdir):
    """Returns the page that a new process writes, which loads neither JAX nor anybody's own code."""
    (workdir / "report.html").unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_IT, str(workdir)],
        cwd=TESTS.parent,
        env=processes.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return (workdir / "report.html").read_text()


@pytest.mark.slow(seconds=8)
def test_a_page_is_written_again_without_the_file(finished, lab, tmp_path):
    workdir = Path(shutil.copytree(finished, tmp_path / "run"))
    before = page_again(workdir)
    hidden = lab.rename(lab.with_suffix(".away"))
    try:
        assert page_again(workdir) == before
    finally:
        hidden.rename(lab)
    assert "resnet20(width=4, blocks=1)" in before and "focal_loss" in before


def of_layers(layers, **overrides):
    return tiny.resolve({**tiny.RAW, "extensions": (str(LAB),), "model": {"layers": layers}}, **overrides)


@pytest.mark.slow(seconds=5)
def test_squeeze_and_excitation_is_the_same_in_batches_of_any_size():
    chosen = of_layers(SQUEEZED)
    classifier = networks.make_classifier(chosen, networks.variables(chosen.layers, tiny.SHAPE))
    images = np.asarray(tiny.split(100).images)
    whole, *others = (evaluate.predict_logits(classifier, images, evaluate.EvalConfig(size)) for size in (100, 1, 7))
    assert whole.shape == (100, 3) and whole.std(axis=0).min() > 1e-3
    for logits in others:
        np.testing.assert_allclose(logits, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.slow(seconds=10)
@pytest.mark.parametrize("count", [96, 67])
def test_its_gradients_by_microbatches_are_those_of_the_whole_batch(count, monkeypatch):
    monkeypatch.setitem(test_train.tiny.RAW, "extensions", (str(LAB),))
    ours, whole = test_train.gradients(SQUEEZED, count)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5), ours, whole)


@pytest.mark.slow(seconds=15)
def test_accumulating_parts_equals_one_batch_within_rounding():
    parted, whole = (tiny.run(of_layers(SQUEEZED, train__accumulate_steps=parts), 5) for parts in (4, 1))
    networks.agree(parted[0].params, whole[0].params, 1e-5)
    networks.agree(parted[1], whole[1], 1e-5)


def on_two_devices():
    """Trains in a process that has two devices, on both of them and on one."""
    jax.config.update("jax_num_cpu_devices", 2)
    chosen = of_layers(SQUEEZED, train__batch_size=many_devices.BATCH)
    one, two = (many_devices.steps(chosen, count)[:2] for count in (1, 2))
    assert many_devices.difference(two[0].params, one[0].params) < 1e-4
    assert many_devices.difference(two[1], one[1]) < 1e-5
    # Nor does the command train a network that needs the whole batch.
    sys.exit(
        runs.start("train", "--devices=2", f"--workdir={sys.argv[1]}", *(f"--config.{text}" for text in sys.argv[2:]))
    )


@pytest.mark.thorough
@pytest.mark.slow(seconds=16)
def test_two_devices_train_what_mixes_no_rows_and_refuse_what_does(tmp_path):
    code = "import test_my_lab; test_my_lab.on_two_devices()"
    overrides = (f"extensions={LAB}", f"model.layers={RESNET}", "train.epochs=1")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run"), *overrides],
        cwd=TESTS,
        env=processes.environment(PYTHONPATH=str(TESTS.parent)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == launch.WRONG, done.stderr
    assert done.stderr.strip() == (
        "config.model.layers: resnet20 at position 1 computes with the other images of its batch (batch statistics), "
        "which on several devices would be those of one device's share, got 2 devices. "
        "Use --devices=1, or cnn's batch_norm."
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow(seconds=2)
@pytest.mark.parametrize("layers", [RESNET, SQUEEZED])
def test_a_processor_is_not_made_two_devices_for_it(monkeypatch, layers):
    monkeypatch.setenv("NPROC", "2")
    assert cpu_devices._wanted(runs.tiny(f"extensions={LAB}", f"model.layers={layers}")) == 1


NOT_FINITE = """
import jax
import jax.numpy as jnp
import cnn

@cnn.loss
def brittle(logits, labels):
    loss = -(labels * jax.nn.log_softmax(logits)).sum(-1)
    return jnp.where(loss.mean() < 1.5, jnp.nan, loss)
"""


@pytest.mark.slow(seconds=10)
def test_a_loss_that_is_no_number_ends_the_run_with_the_step_and_keeps_the_state(tmp_path, capsys):
    (tmp_path / "brittle.py").write_text(NOT_FINITE)
    overrides = (f"extensions={tmp_path / 'brittle.py'}", "train.loss=brittle")
    assert runs.train(tmp_path / "run", *overrides) == launch.DIVERGED
    result = runs.saved(tmp_path / "run", "result.json")
    bad = result["bad_step"]
    assert (result["status"], result["step"]) == ("diverged", bad) and bad > 0
    assert f"the loss, a gradient or the update of step {bad} is not finite" in capsys.readouterr().out
    assert runs.steps(tmp_path / "run")[-1] == bad
    variables = classifier_of(tmp_path / "run", "last").variables
    assert all(np.isfinite(array).all() for array in jax.tree.leaves(jax.device_get(variables)))


LIBRARIES = (
    "model.layers=flatten | nn.LayerNorm() | nn.Dropout(rate=0.5) | dense(classes)",
    "optimizer.name=optax.adabelief",
    "schedule.name=optax.cosine_decay_schedule",
    "train.loss=optax.sigmoid_focal_loss(gamma=2.0)",
    "report.page=end",
)


@pytest.mark.slow(seconds=20)
def test_names_of_flax_and_optax_are_resumed_to_the_bit_and_their_page_needs_neither(tmp_path, fault):
    straight, stopped = runs.stopped_and_resumed(tmp_path, fault, *LIBRARIES)
    assert runs.outcome(stopped) == runs.outcome(straight)
    rates = [record["learning_rate"] for record in runs.records(straight, "train")]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.1 * rates[0]
    assert runs.saved(straight, "result.json")["test"]["accuracy"] > 0.5
    page = page_again(stopped)
    for name in ("nn.LayerNorm", "nn.Dropout(rate=0.5)", "optax.adabelief", "optax.sigmoid_focal_loss(gamma=2.0"):
        assert name in page
