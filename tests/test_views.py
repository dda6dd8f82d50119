"""Views at test time and renewed batch statistics, against NumPy and what runs record."""

import jax.numpy as jnp
import numpy as np
import pytest

import runs
from cnn import evaluate
from cnn.api import load as api
from cnn.config.config import ConfigError
from cnn.data import datasets, views
from cnn.data.order import BatchOrder
from cnn.runs import checkpoints
from cnn.train.state import create_train_state
from tests import tiny


def shifted(images, down, right):
    """Returns images moved by a pixel each way, mirrored at their edges."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    height, width = images.shape[1:3]
    return padded[:, 1 - down : 1 - down + height, 1 - right : 1 - right + width]


def test_views_are_flips_and_diagonal_shifts_with_their_shares():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 6, 2), dtype=np.uint8)
    shares, seen = views.of_all((views.Mirrored(), views.Moved(1)), jnp.asarray(images))
    assert shares.tolist() == [0.25, 0.125, 0.125] * 2
    flipped = images[:, :, ::-1]
    expected = [(shifted(one, 0, 0), shifted(one, -1, -1), shifted(one, 1, 1)) for one in (images, flipped)]
    np.testing.assert_array_equal(seen, np.concatenate(expected).reshape(6, 3, 5, 6, 2))
    shares, seen = views.of_all((), jnp.asarray(images))
    assert shares.tolist() == [1.0] and np.array_equal(seen[0], images)


@pytest.mark.slow(seconds=3)
def test_logits_are_the_mean_over_views():
    state, _ = tiny.start(tiny.resolve())
    images = np.asarray(tiny.split().images)
    config = evaluate.EvalConfig(12)

    def logits(images, *kinds):
        return evaluate.predict_logits(state.classifier(), jnp.asarray(images), config._replace(views=kinds))

    flipped = images[:, :, ::-1]
    np.testing.assert_allclose(logits(images, views.Mirrored()), (logits(images) + logits(flipped)) / 2, atol=1e-6)
    moved = (logits(shifted(images, 1, 1)) + logits(shifted(images, -1, -1))) / 4 + logits(images) / 2
    np.testing.assert_allclose(logits(images, views.Moved(1)), moved, atol=1e-6)


SEEN = "eval.views=flip | shift(1)"
ONE = "model.layers=flatten | dense(classes)"


@pytest.mark.slow(seconds=6)
def test_a_run_records_its_views_and_evaluates_and_predicts_by_them_but_validates_without(tmp_path):
    for name, given in (("seen", [SEEN]), ("plain", [])):
        assert runs.train(tmp_path / name, ONE, "train.epochs=1", *given) == 0
    seen, plain = (runs.saved(tmp_path / name, "result.json") for name in ("seen", "plain"))
    assert seen["views"] == "flip | shift" and "views" not in plain
    assert seen["fingerprint"] == plain["fingerprint"] and seen["test"]["loss"] != plain["test"]["loss"]
    assert runs.records(tmp_path / "seen", "epoch") == runs.records(tmp_path / "plain", "epoch")
    evaluation = runs.saved(tmp_path / "seen", "evaluation-test.json")
    assert evaluation["views"] == "flip | shift" and evaluation["loss"] == seen["test"]["loss"]
    assert runs.start("eval", f"--workdir={tmp_path / 'seen'}") == 0
    assert runs.saved(tmp_path / "seen", "evaluation-test.json")["loss"] == seen["test"]["loss"]
    run = api.load(tmp_path / "seen")
    images = run.data.test.images[:20]
    logits = np.load(tmp_path / "seen" / "predictions-test.npz")["logits"][:20]
    np.testing.assert_allclose(run.predict(images).logits, logits, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("eval.views=flip | flip", "config.eval.views: holds a view 2 times, got flip. Write it once."),
        ("eval.views=shift(8)", "config.eval.views: must move by less than the image's 8 pixels, got 8."),
        ("eval.views=turn", r"config.eval.views: unknown name 'turn'. Known: flip, shift."),
        ("train.renew_statistics=True", "renew_statistics: has no batch normalisation that is trained"),
    ],
)  # fmt: skip
def test_wrong_views_and_statistics_are_refused_in_a_line(given, message):
    with pytest.raises(ConfigError, match=message):
        runs.tiny(given)


NORMED = "model.layers=batch_norm | flatten | dense(classes) | batch_norm"
FROZEN = ("train.epochs=1", "train.freeze=batch_norm1")
RENEWED = (NORMED, "train.renew_statistics=True", "train.average=swa(12)", "eval.weights=ema", "data.std=0.5")


def test_statistics_of_the_best_weights_and_of_what_is_frozen_or_foreign_cannot_be_renewed():
    with pytest.raises(ConfigError, match=r"renew_statistics: renews .*, got eval\.weights = \"best\"\."):
        runs.tiny(*RENEWED, "eval.weights=best")
    with pytest.raises(ConfigError, match=r"renew_statistics: has no batch normalisation that is trained"):
        runs.tiny(*RENEWED, "train.freeze=batch_norm*")
    with pytest.raises(ConfigError, match=r"cannot renew what batch_norm1 measures, which is no batch_norm of cnn's"):
        runs.tiny(*RENEWED, "model.layers=nn.BatchNorm() | flatten | dense(classes)")
    assert runs.tiny(*RENEWED).train.renew_statistics


def stored(values, workdir):
    return checkpoints.read(workdir / "checkpoints", create_train_state(values)).state


@pytest.mark.slow(seconds=12)
def test_renewed_statistics_are_the_mean_over_the_batches_of_an_epoch_and_are_those_that_are_evaluated(tmp_path, fault):
    values = runs.tiny(*RENEWED)
    straight, resumed = runs.stopped_and_resumed(tmp_path, fault, *RENEWED)
    assert runs.outcome(straight) == runs.outcome(resumed)
    dataset = datasets.load(values.data, 1e12)
    images = np.asarray(dataset.train.images, np.float64) / 255 / 0.5
    rows = BatchOrder(len(images), seed=0, batch_size=100).rows(0, 12)
    state = stored(values, straight)
    stats = state.classifier(averaged=True).batch_stats["batch_norm1"]
    np.testing.assert_allclose(stats["mean"], images[rows].mean((1, 2, 3)).mean(0), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], images[rows].var((1, 2, 3)).mean(0), rtol=1e-5)
    trained = state.classifier(averaged=False).batch_stats
    assert not np.allclose(trained["batch_norm1"]["mean"], stats["mean"], rtol=1e-3)
    result = runs.saved(straight, "result.json")
    assert runs.start("eval", f"--workdir={straight}") == 0
    assert runs.saved(straight, "evaluation-test.json")["loss"] == result["test"]["loss"]
    assert runs.start("eval", f"--workdir={straight}", "--weights=last") == 0
    assert runs.train(tmp_path / "tuned", NORMED, f"init_from={straight}", *FROZEN) == 0
    tuned = stored(runs.tiny(NORMED, *FROZEN), tmp_path / "tuned")
    np.testing.assert_array_equal(tuned.batch_stats["batch_norm1"]["mean"], stats["mean"])


@pytest.mark.slow(seconds=10)
def test_statistics_are_renewed_again_where_a_run_is_made_longer(tmp_path):
    for workdir, epochs in (("run", 1), ("run", 2), ("straight", 2)):
        assert runs.train(tmp_path / workdir, *RENEWED, f"train.epochs={epochs}") == 0
    found, expected = (runs.saved(tmp_path / name, "result.json") for name in ("run", "straight"))
    assert found["fingerprint"] == expected["fingerprint"] and found["test"] == expected["test"]
