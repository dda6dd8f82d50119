"""Every example of a split, once, whatever the batch."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import networks
import picture_files
import runs
from cnn import evaluate
from cnn.evaluate import EvalConfig, predict_logits
from cnn.model.network import init
from cnn.train import checkpointer, experiment, preflight


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    """A run whose last, best and averaged weights differ."""
    workdir = tmp_path_factory.mktemp("evaluate") / "run"
    experiment.run(runs.tiny(*AVERAGED), workdir)
    return workdir


AVERAGED = ("train.average=ema(0.9)", "optimizer.learning_rate=0.5", "eval.weights=best", "train.epochs=4")


@pytest.fixture
def copied(averaged, tmp_path):
    return Path(shutil.copytree(averaged, tmp_path / "run"))


@pytest.fixture(scope="module")
def network():
    values = runs.tiny()
    variables = init(values.layers, (8, 8, 1), jax.random.key(0))
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), dtype=np.uint8)
    return networks.make_classifier(values, variables), jnp.asarray(images)


@pytest.mark.few(2)
@pytest.mark.parametrize("batch_size", [1, 7, 49, 50, 51, 10_000])
def test_logits_do_not_depend_on_the_batch(network, batch_size):
    alone = np.concatenate([predict_logits(network[0], network[1][row : row + 1], EvalConfig(1)) for row in range(50)])
    logits = predict_logits(*network, EvalConfig(batch_size))
    assert logits.shape == (50, 10)
    np.testing.assert_allclose(logits, alone, rtol=1e-5, atol=1e-5)


def test_logits_that_are_not_finite_are_refused(network):
    classifier, images = network
    broken = classifier._replace(params=jax.tree.map(lambda array: array.at[0].set(jnp.nan), classifier.params))
    with pytest.raises(FloatingPointError, match=r"^logits: not finite, first for image 0\. The run has diverged"):
        predict_logits(broken, images, EvalConfig(7))


@pytest.mark.few(1)
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_every_example_of_a_split_counts_once_whatever_the_batch(averaged, tmp_path, split):
    found = []
    for batch_size in (7, 128, 10_000):
        values = runs.tiny(*AVERAGED, f"eval.batch_size={batch_size}")
        step, classifier = checkpointer.restore_classifier(values, averaged, "last")
        dataset = preflight.load_data(values.data)
        found.append(evaluate.evaluate_split(values, tmp_path, classifier, dataset, split, step=step, weights="best"))
    assert [record["count"] for record in found] == [runs.EXAMPLES[split]] * 3
    assert found[0]["confusion"] == found[1]["confusion"] == found[2]["confusion"]
    assert sum(map(sum, found[0]["confusion"])) == runs.EXAMPLES[split]


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_predictions_hold_index_label_and_logits_of_every_example(copied, split):
    assert runs.start("eval", f"--workdir={copied}", f"--split={split}") == 0
    record = runs.saved(copied, f"evaluation-{split}.json")
    with np.load(copied / f"predictions-{split}.npz") as predictions:
        assert sorted(predictions) == ["index", "label", "logits"]
        index, label, logits = (predictions[name] for name in ("index", "label", "logits"))
    count = runs.EXAMPLES[split]
    assert record["count"] == count
    assert index.tolist() == list(range(count))
    assert logits.shape == (count, 10)
    assert logits.dtype == np.float32
    assert int((logits.argmax(1) == label).sum()) == record["correct"]
    assert label.tolist() == getattr(preflight.load_data(runs.tiny().data), split).labels.tolist()


def test_the_chosen_weights_are_the_ones_evaluated(averaged):
    values = runs.tiny(*AVERAGED)
    found = {weights: checkpointer.restore_classifier(values, averaged, weights) for weights in ("last", "best", "ema")}
    kernels = {weights: np.asarray(one.params["dense1"]["kernel"]) for weights, (_, one) in found.items()}
    result = runs.saved(averaged, "result.json")
    assert found["last"][0] == found["ema"][0] == 48
    assert found["best"][0] == result["best"]["step"]
    assert not np.array_equal(kernels["last"], kernels["ema"])
    accuracies = {record["step"]: record["valid"]["accuracy"] for record in runs.records(averaged, "epoch")}
    assert result["best"]["valid_accuracy"] == max(accuracies.values()) == accuracies[result["best"]["step"]]
    assert result["valid"]["accuracy"] == result["best"]["valid_accuracy"]


@pytest.mark.slow
def test_the_best_is_evaluated_also_where_it_is_long_past(tmp_path):
    # Nothing is ever learned, so the first evaluation stays the best.
    experiment.run(runs.tiny("optimizer.learning_rate=1e-12", "eval.weights=best"), tmp_path / "run")
    assert runs.saved(tmp_path / "run", "result.json")["best"]["step"] == 12
    for split in ("valid", "test"):
        record = runs.saved(tmp_path / "run", f"evaluation-{split}.json")
        assert (record["step"], record["weights"]) == (12, "best")


def test_other_weights_do_not_replace_the_runs_own_evaluation(copied, capsys):
    before = (copied / "evaluation-test.json").read_bytes()
    for weights in ("ema", "last"):
        assert runs.start("eval", f"--workdir={copied}", f"--weights={weights}") == 0
        assert capsys.readouterr().out.startswith(f"{copied} at step 48, {weights} weights\ntest accuracy 0.")
        assert runs.saved(copied, f"evaluation-test-{weights}.json")["weights"] == weights
    assert (copied / "evaluation-test.json").read_bytes() == before


def test_eval_repeats_the_runs_own_evaluation(copied):
    before = (copied / "evaluation-test.json").read_bytes()
    (copied / "evaluation-test.json").unlink()
    assert runs.start("eval", f"--workdir={copied}") == 0
    assert (copied / "evaluation-test.json").read_bytes() == before


@pytest.mark.slow
def test_an_average_that_was_not_kept_is_refused(tmp_path, capsys):
    assert runs.train(tmp_path / "run") == 0
    capsys.readouterr()
    assert runs.start("eval", f"--workdir={tmp_path / 'run'}", "--weights=ema") == 2
    assert capsys.readouterr().err == '--weights: "ema" but the run kept no average. Use last or best.\n'


@pytest.mark.slow
def test_what_needs_a_validation_split_is_refused_without_one(tmp_path, capsys):
    assert runs.train(tmp_path / "run", "data.valid_fraction=0") == 0
    capsys.readouterr()
    for flag, message in (
        ("--weights=best", '--weights: "best" but the run had no validation split to choose it. Use last or ema.\n'),
        ("--split=valid", "--split: valid is empty, config.data.valid_fraction is 0. Use train or test\n"),
    ):
        assert runs.start("eval", f"--workdir={tmp_path / 'run'}", flag) == 2
        assert capsys.readouterr().err == message


@pytest.mark.parametrize("command", ["eval", "explain", "verify"])
def test_a_folder_of_data_that_is_not_there_is_refused_before_anything_is_fetched_into_it(command, copied, capsys):
    typo = copied / "typo"
    assert runs.start(command, f"--workdir={copied}", f"--data_dir={typo}") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"--data_dir: must be the folder where the data are now, got {str(typo)!r}, which is none"
    assert not typo.exists()


def test_other_data_than_those_of_the_run_are_pointed_out(copied, capsys):
    assert runs.start("eval", f"--workdir={copied}", "--split=train") == 0
    seen = "training saw the train split: this is no estimate for new pictures"
    assert capsys.readouterr().out.splitlines()[1] == seen
    made = runs.saved(copied, "run.json")
    made["data"]["identity"] = "another"
    (copied / "run.json").write_text(json.dumps(made))
    assert runs.start("eval", f"--workdir={copied}", "--split=train") == 0
    (written,) = copied.glob("evaluation-train-*.json")
    identity = json.loads(written.read_text())["data"]
    assert written.name == f"evaluation-train-{identity[:12]}.json"
    said = capsys.readouterr().out
    assert said.splitlines()[1] == f"these are other data than the run was trained with; written to {written.name}"
    assert seen not in said


@pytest.mark.parametrize("cut", ["data.test_fraction=0.25", "data.valid=own"])
def test_other_data_are_split_as_they_are_whatever_the_run_cut_from_its_own(cut, tmp_path, capsys):
    own = {"train": 12} | ({"valid": 4, "test": 4} if cut.endswith("own") else {})
    picture_files.write_folder(tmp_path / "own", picture_files.made(own))
    picture_files.write_folder(tmp_path / "other", picture_files.made({"train": 4, "test": 3}, seed=1))
    data = ("data.name=folder", f"data.data_dir={tmp_path / 'own'}", "data.classes=3", cut, "train.batch_size=9")
    assert runs.train(tmp_path / "run", *data, "train.epochs=1", "eval.weights=last") == 0
    for split, examples in (("test", 9), ("train", 12)):
        told = ("eval", f"--workdir={tmp_path / 'run'}", f"--data_dir={tmp_path / 'other'}", f"--split={split}")
        assert runs.start(*told) == 0
        (written,) = (tmp_path / "run").glob(f"evaluation-{split}-*.json")
        assert json.loads(written.read_text())["count"] == examples
    if cut.endswith("own"):
        capsys.readouterr()
        assert runs.start(*told[:-1], "--split=valid") == 2
        assert capsys.readouterr().err.endswith("--split: valid is empty, the data have none. Use train or test\n")


def test_a_run_without_a_checkpoint_is_not_evaluated(copied, capsys):
    shutil.rmtree(copied / "checkpoints")
    assert runs.start("eval", f"--workdir={copied}") == 2
    assert capsys.readouterr().err == f"--workdir: {copied} has no checkpoint yet. Train it first.\n"
