"""Several runs together: the mean of their probabilities or of their weights, beside the best of them alone."""

import json

import jax
import numpy as np
import onnxruntime
import pytest
import safetensors.numpy
import scipy.stats
from PIL import Image

import cnn
import runs
import sweeps
from cnn import evaluate, losses, metrics
from cnn.data import datasets
from cnn.data.order import BatchOrder
from cnn.ensembles import members
from cnn.model.classifier import flatten

pytestmark = pytest.mark.slow(seconds=4)  # they train runs

NORMED = {**runs.SECTIONS, "model": {"layers": "conv(4, 3) | batch_norm(0.9) | relu | flatten | dense(classes)"}}
NORMED |= {"train": {"epochs": 1, "batch_size": 100}}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of two rates and three seeds; the lower rate is the worse one."""
    folder = tmp_path_factory.mktemp("ensemble") / "sweep"
    assert sweeps.sweep(folder, "optimizer.learning_rate=0.0003,0.01;seed=0,1,2", "sweep.engine=map") == 0
    return folder


@pytest.fixture(scope="module")
def normed(tmp_path_factory):
    """Two seeds of a network with batch normalisation, and a sweep that goes on from the first of them."""
    folder = tmp_path_factory.mktemp("normed")
    assert sweeps.sweep(folder / "apart", "seed=0,1", "sweep.engine=map", sections=NORMED) == 0
    started = {**NORMED, "init_from": str(folder / "apart/trials/0000")}
    assert sweeps.sweep(folder / "common", "seed=3,4", "sweep.engine=map", sections=started) == 0
    return folder


def start(command, workdir, *typed):
    return runs.start(command, f"--workdir={workdir}", *typed)


def arrays(classifier):
    return {path: np.asarray(array) for path, array in flatten(jax.device_get(classifier.variables)).items()}


def test_an_ensemble_is_the_mean_of_the_probabilities_of_the_best_configurations_seeds(swept, capsys):
    compiled = evaluate._forward._cache_size()
    assert start("eval", swept, "--ensemble") == 0
    said = capsys.readouterr().out
    assert evaluate._forward._cache_size() <= compiled + 1, "one program for all members"
    record = runs.saved(swept, "ensemble-test.json")
    folders = [swept / "trials" / f"{number:04}" for number in (3, 4, 5)]
    assert [each["run"] for each in record["members"]] == ["trials/0003", "trials/0004", "trials/0005"]
    assert [each["seed"] for each in record["members"]] == [0, 1, 2]
    stored = [np.load(folder / "predictions-test.npz") for folder in folders]
    mean = np.mean([losses.softmax(each["logits"]) for each in stored], axis=0)
    labels = stored[0]["label"]
    right = mean.argmax(1) == labels
    assert (record["made"], record["count"], record["correct"]) == ("mean of the probabilities", 359, right.sum())
    assert record["loss"] == pytest.approx(-np.log(mean[np.arange(359), labels]).mean(), rel=1e-9)
    assert tuple(record["interval"]) == metrics.wilson(int(right.sum()), 359)
    for each, folder in zip(record["members"], folders, strict=True):
        result = runs.saved(folder, "result.json")
        assert (each["value"], each["accuracy"]) == (result["valid"]["accuracy"], result["test"]["accuracy"])
        assert each["loss"] == pytest.approx(result["test"]["loss"], rel=1e-6)

    best = max(range(3), key=lambda place: record["members"][place]["value"])
    assert record["single"] == record["members"][best]
    alone = stored[best]["logits"].argmax(1) == labels
    only = int((alone & ~right).sum()), int((right & ~alone).sum())
    paired = record["paired"]
    assert (paired["only_single"], paired["only_together"]) == only
    assert paired["p"] == (scipy.stats.binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0)
    assert paired["difference"] == pytest.approx((only[1] - only[0]) / 359)
    low, high = record["interval"]
    assert f"test accuracy {record['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})" in said
    assert f"alone, the run that valid.accuracy chooses, {record['single']['run']}: accuracy " in said
    assert f"McNemar's exact p = {paired['p']:.2g}: " in said


def test_the_run_alone_is_chosen_by_validation_and_never_by_test(swept, tmp_path):
    validated = {0: 0.5, 1: 0.9, 2: 0.9}
    made = [members.Member(tmp_path, runs.tiny(), validated[number]) for number in range(3)]
    assert members.Members(tuple(made), "valid.accuracy", True, None).best == 1
    assert members.Members(tuple(made), "valid.loss", False, None).best == 0
    unknown = tuple(member._replace(value=None) for member in made)
    assert members.Members(unknown, "valid.loss", False, None).best is None


def test_all_trials_or_some_of_the_best_may_be_taken_and_what_is_said_of_them(swept, capsys):
    assert start("eval", swept, "--ensemble", "--members=all", "--split=valid") == 0
    assert "the runs were chosen on these very examples, which flatters them" in capsys.readouterr().out
    assert len(runs.saved(swept, "ensemble-valid-all.json")["members"]) == 6
    found = cnn.load(swept).ensemble(members=4)
    values = [member.value for member in found.members.runs]
    assert values == sorted((trial["value"] for trial in sweeps.record(swept)["trials"]), reverse=True)[:4]
    seen = cnn.ensemble(swept).evaluate("train")
    assert seen.record["note"] == "training saw the train split: this is no estimate for new pictures"
    assert repr(seen).startswith("mean of the probabilities of 3 runs: train accuracy 0.")
    assert "trials/0004" in seen._repr_html_() and seen.p == seen.record["paired"]["p"] and seen.single


def test_runs_that_are_named_are_taken_together_whatever_their_networks(swept, normed, tmp_path, capsys):
    first, second = swept / "trials/0003", normed / "apart/trials/0000"
    out = tmp_path / "new" / "both.json"
    assert start("eval", f"{first},{second}", "--ensemble", f"--out={out}") == 0
    record = json.loads(out.read_text())
    assert [each["run"] for each in record["members"]] == [str(first), str(second)]
    again = cnn.ensemble([cnn.load(first), second])
    assert again.evaluate().accuracy == record["accuracy"]
    assert "mean of the probabilities of 2 runs" in repr(again) and len(again.runs) == 2

    images = cnn.load(first).data.test.images[:9]
    shares = [run.predict(images).probabilities for run in again.runs]
    predicted = again.predict(images)
    np.testing.assert_allclose(predicted.probabilities, np.mean(shares, axis=0), rtol=1e-12)
    Image.fromarray(images[0][..., 0]).save(tmp_path / "one.png")
    of_file = again.predict(tmp_path / "one.png")
    np.testing.assert_allclose(of_file.probabilities[0], predicted.probabilities[0], rtol=1e-4)
    assert of_file.names == (str(tmp_path / "one.png"),)
    (tmp_path / "none.png").write_bytes(b"none")
    with pytest.raises(cnn.DataError, match=r"^picture '.*none.png': "):
        again.predict([tmp_path / "one.png", tmp_path / "none.png"])

    for name in ("onnx", "stablehlo"):
        written = again.export(name, tmp_path / f"both.{name}")
        about = json.loads(written.description.read_text())
        assert about["networks"] == 2 and len(about["models"]) == 2 and len(about["step"]) == 2
        if name == "onnx":
            found = onnxruntime.InferenceSession(written.path).run(None, {"images": images})[0]
        else:
            found = jax.export.deserialize(bytearray(written.path.read_bytes())).call(images)
        np.testing.assert_allclose(found, predicted.probabilities, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["onnx", "stablehlo"])
def test_a_sweeps_ensemble_is_one_file_that_computes_what_eval_computes(swept, capsys, name):
    assert start("export", swept, "--ensemble", f"--format={name}") == 0
    path = swept / "exports" / f"ensemble.{name}"
    said = capsys.readouterr().out
    assert said.startswith(f"{path}: {name}, {path.stat().st_size:,} bytes, mean of the probabilities, 3 runs\n")
    assert "probabilities differ from predict's in float32 by at most" in said
    test = cnn.load(swept / "trials/0003").data.test
    if name == "onnx":
        shares = onnxruntime.InferenceSession(path).run(None, {"images": test.images})[0]
    else:
        shares = np.asarray(jax.export.deserialize(bytearray(path.read_bytes())).call(test.images))
    evaluated = cnn.ensemble(swept).evaluate()
    assert (shares.argmax(1) == test.labels).sum() == evaluated.record["correct"]
    loss = -np.log(shares[np.arange(len(shares)), test.labels].astype(np.float64)).mean()
    assert loss == pytest.approx(evaluated.loss, abs=1e-5)


def test_an_average_is_the_mean_of_the_weights_with_statistics_of_its_own(normed, capsys):
    assert start("eval", normed / "common", "--average") == 0
    said = capsys.readouterr().out
    record = runs.saved(normed / "common", "average-test.json")
    assert record["made"] == "mean of the weights" and "usually useless" not in said and "note" not in record
    assert record["accuracy"] > 0.5
    together = cnn.ensemble(normed / "common").averaged()
    made = together._made(None, None)
    found, (one, two) = arrays(made.classifier), [arrays(each.classifier) for each in together._networks]
    for path in found:
        if path.startswith("batch_norm1/") and path.endswith(("mean", "var")):
            continue
        np.testing.assert_allclose(found[path], (one[path].astype(np.float64) + two[path]) / 2, rtol=1e-6, atol=1e-9)

    values = together.members.first.values
    train = datasets.load(values.data, 1e12).train
    rows = BatchOrder(len(train), seed=values.order_seed, batch_size=100).rows(0, len(train) // 100)
    kernel, bias = found["conv1/kernel"].astype(np.float64), found["conv1/bias"].astype(np.float64)
    images = np.asarray(train.images, np.float64) / 255
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    maps = np.einsum("nhwcij,ijcf->nhwf", windows, kernel) + bias
    np.testing.assert_allclose(found["batch_norm1/mean"], maps[rows].mean((1, 2, 3)).mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["batch_norm1/var"], maps[rows].var((1, 2, 3)).mean(0), rtol=1e-4)

    exported = together.export("safetensors")
    assert exported.path == normed / "common/exports/average.safetensors"
    stored = safetensors.numpy.load_file(exported.path)
    assert all(stored[path].tobytes() == found[path].tobytes() for path in found)
    assert len(together.predict(np.asarray(train.images[:5]))) == 5


def test_an_average_of_runs_that_began_apart_is_said_to_be_of_little_use(normed, capsys):
    assert start("eval", normed / "apart", "--average") == 0
    assert "the runs did not start from common trained weights (config.init_from)" in capsys.readouterr().out
    record = runs.saved(normed / "apart", "average-test.json")
    assert record["accuracy"] < record["single"]["accuracy"]


def test_other_weights_have_a_file_of_their_own(swept):
    assert start("eval", swept, "--ensemble", "--weights=best") == 0
    assert {each["weights"] for each in runs.saved(swept, "ensemble-test-best.json")["members"]} == {"best"}
    assert start("eval", swept, "--ensemble", "--weights=ema") == 2


def test_other_members_and_weights_do_not_replace_what_is_there_of_the_usual_ones(swept):
    usual = (swept / "ensemble-test.json").read_bytes()
    assert start("eval", swept, "--ensemble", "--members=2", "--weights=best") == 0
    assert len(runs.saved(swept, "ensemble-test-2-best.json")["members"]) == 2
    assert (swept / "ensemble-test.json").read_bytes() == usual
    assert start("export", swept, "--ensemble", "--members=2", "--format=stablehlo") == 0
    assert (swept / "exports" / "ensemble-2.stablehlo").is_file()


@pytest.mark.parametrize(
    ("command", "typed", "message"),
    [
        ("eval", ["--ensemble", "--average"], "--average: is given with --ensemble. Keep one"),
        ("eval", ["--members=all"], "--members: is for several runs. Give --ensemble or --average with it"),
        ("eval", ["--out=x.json"], "--out: is for several runs; one run writes files of its own. Leave it out, or add"),
        ("eval", ["--ensemble", "--members=1"], "--members: must be seeds, all or a number from 2 on, got '1'"),
        ("eval", ["--ensemble", "--members=some"], "--members: must be seeds, all or a number from 2 on, got 'some'"),
        ("export", ["--ensemble"], "--format: is missing. Write --format="),
        (
            "export",
            ["--ensemble", "--format=safetensors"],
            "--format: safetensors holds the arrays of one network, got 3. Use stablehlo or onnx, or --average in",
        ),
    ],
)
def test_a_mistake_is_one_line(swept, capsys, command, typed, message):
    assert start(command, swept, *typed) == 2
    said = capsys.readouterr().err
    assert said.startswith(message) and said.count("\n") == 1


def test_runs_that_do_not_go_together_are_refused_in_one_line(swept, normed, finished, tmp_path, capsys):
    def refused(workdir, *typed):
        assert start("eval", workdir, *(typed or ("--ensemble",))) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    assert refused(finished).startswith(f"--workdir: {finished} is one run. Name a sweep, or several runs: ")
    assert refused(f"{finished},{finished}") == f"--workdir: names {finished} twice. Keep one\n"
    assert refused(f"{finished},{tmp_path}").startswith(f"--workdir: {tmp_path} holds no run")
    assert "--members: is of a sweep" in refused(f"{finished},{swept}/trials/0003", "--ensemble", "--members=all")
    said = refused(f"{finished},{normed}/apart/trials/0000", "--average")
    assert (
        said.startswith("--average: the runs must have the same network, got ") and "dense1/kernel is 64x10 in" in said
    )

    assert runs.train(tmp_path / "resized", "data.image_shape=[9, 8, 1]", "data.resize=pad", "train.epochs=1") == 0
    capsys.readouterr()
    said = refused(f"{finished},{tmp_path}/resized")
    assert said.startswith("--workdir: the runs must have the same data.image_shape, got 8x8x1 in ")
    few = {**runs.SECTIONS, "data": {**runs.SECTIONS["data"], "class_names": list("abcdefghij")}}
    renamed = tmp_path / "renamed"
    assert runs.train(renamed, "train.epochs=1", sections=few) == 0
    about = runs.saved(renamed, "run.json")
    about["data"]["classes"] = list("abcdefghij")
    capsys.readouterr()
    (renamed / "run.json").write_text(json.dumps(about))
    assert "--workdir: the runs must have the same classes in the same order, got 0, 1" in refused(
        f"{finished},{renamed}"
    )

    assert sweeps.sweep(tmp_path / "alone", "optimizer.learning_rate=0.01,0.02", "config.train.epochs=1") == 0
    capsys.readouterr()
    said = refused(tmp_path / "alone")
    assert said.startswith("--members: must be at least 2 finished trials; the best configuration of ")
    assert said.endswith("alone has 1. Sweep more seeds, or use --members=all\n")
    with pytest.raises(cnn.ConfigError, match=r"^--out: runs that are named one by one have no folder in common"):
        cnn.ensemble([finished, swept / "trials/0003"]).export("onnx")
    with pytest.raises(cnn.ConfigError, match=r"^--workdir: at least 2 runs make an ensemble, got 1\. "):
        cnn.ensemble([finished])


def test_a_foreign_layers_statistics_cannot_be_averaged(tmp_path, capsys):
    layers = "model.layers=nn.BatchNorm() | flatten | dense(classes)"
    for seed in (0, 1):
        assert runs.train(tmp_path / str(seed), layers, "train.epochs=1", f"seed={seed}") == 0
    capsys.readouterr()
    assert start("eval", f"{tmp_path / '0'},{tmp_path / '1'}", "--average") == 2
    assert capsys.readouterr().err.startswith(
        "--average: cannot renew what batch_norm1 measures, which is no batch_norm"
    )
    assert start("eval", f"{tmp_path / '0'},{tmp_path / '1'}", "--ensemble") == 0


def test_of_folds_only_the_test_split_is_common(tmp_path, capsys):
    assert sweeps.sweep(tmp_path / "folds", "data.fold=1/2,2/2", "config.train.epochs=1", "sweep.engine=map") == 0
    assert start("eval", tmp_path / "folds", "--ensemble") == 0
    assert len(runs.saved(tmp_path / "folds", "ensemble-test.json")["members"]) == 2
    capsys.readouterr()
    assert start("eval", tmp_path / "folds", "--ensemble", "--split=valid") == 2
    assert capsys.readouterr().err.startswith("--split: the runs must have the same valid split, got ")
