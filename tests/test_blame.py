"""The layer that made the first number that is not finite, in the step that ended a training."""

import jax.numpy as jnp
import pytest

import cnn
import runs

pytestmark = pytest.mark.slow(seconds=3)  # they train runs


class BareRoot(cnn.Layer):
    def apply(self, x, arrays, layout):
        return jnp.sqrt(jnp.maximum(x, 0))


def darkened(image):
    return (image - 0.5) ** 0.3


def unlabelled(image, label):
    return image, label / 0.0


def never_a_rate(step, total_steps):
    return jnp.log(jnp.float32(-1.0))


def never_finite(logits, labels):
    return (logits * labels).sum(-1) / 0.0


def nowhere(key, shape):
    return jnp.full(shape, jnp.nan)


@pytest.fixture(autouse=True, scope="module")
def _entered():
    """Enters what is written here, until the file's last test."""
    cnn.layer(BareRoot)
    cnn.initialiser(nowhere)
    cnn.loss(never_finite)
    cnn.schedule(never_a_rate)
    cnn.augmentation(darkened)
    cnn.augmentation(unlabelled)


def cause(workdir, *overrides):
    assert runs.train(workdir, "train.epochs=1", *overrides) == 3
    result = runs.saved(workdir, "result.json")
    assert result["status"] == "diverged"
    return result["cause"]


def test_a_layer_whose_output_is_not_finite_is_named_with_the_ranges_before_it(tmp_path, capsys):
    layers = "model.layers=conv(2, 3) | relu | scale(1e30) | scale(1e30) | flatten | dense(classes)"
    found = cause(tmp_path / "run", layers)
    assert (found["layer"], found["what"]) == ("scale2", "output")
    assert list(found["ranges"]) == ["conv1", "relu1", "scale1"]
    low, high = found["ranges"]["relu1"]
    assert low == 0 < high < 10
    said = "step 0: the first number that is not finite is what scale2 makes; before it: conv1 "
    told = capsys.readouterr().out
    assert said in told
    assert "Mend scale2 of config.model.layers, as nothing was updated yet, and choose another --workdir" in told


def test_a_layer_whose_gradient_is_not_finite_is_named(tmp_path):
    found = cause(tmp_path / "run", "model.layers=conv(2, 3) | bare_root | flatten | dense(classes)")
    assert (found["layer"], found["what"]) == ("bare_root1", "gradient")
    assert "bare_root1 hands back to conv1" in found["said"]
    assert list(found["ranges"]) == ["conv1", "bare_root1", "flatten1", "dense1"]


def test_a_loss_that_is_not_finite_is_no_layers(tmp_path, capsys):
    found = cause(tmp_path / "run", "train.loss=never_finite", "train.accumulate_steps=2")
    assert (found["layer"], found["what"]) == (None, "loss")
    assert "Mend config.train.loss, as nothing was updated yet, " in capsys.readouterr().out


def test_a_parameter_that_begins_so_is_named_and_no_layer_is_to_blame(tmp_path, capsys):
    found = cause(tmp_path / "run", "model.layers=flatten | dense(4) | dense(classes)", "model.init=nowhere")
    assert (found["layer"], found["what"]) == ("dense1", "start")
    assert found["said"] == "dense1/kernel is not finite as it begins"
    assert "Mend config.model.init, or what config.init_from names, and" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["darkened", "unlabelled"])
def test_an_augmentation_that_is_not_finite_is_named_and_no_layer(tmp_path, capsys, name):
    found = cause(tmp_path / "run", f"data.augment=flip | {name} | flip")
    assert (found["layer"], found["what"], found["ranges"]) == (None, "input", {})
    assert found["said"] == f"the first number that is not finite is in what {name} of config.data.augment makes"
    assert "Mend config.data.augment, and choose another --workdir" in capsys.readouterr().out


def test_a_learning_rate_that_is_not_finite_is_the_schedules_and_no_layers(tmp_path, capsys):
    found = cause(tmp_path / "run", "schedule.name=never_a_rate")
    assert (found["layer"], found["what"]) == (None, "rate")
    assert "the learning rate, by the factor of config.schedule never_a_rate, is not" in found["said"]
    assert "Mend config.schedule, and choose another --workdir" in capsys.readouterr().out


def test_the_ranges_say_what_a_rate_did_that_is_too_high(tmp_path):
    found = cause(tmp_path / "run", "optimizer.name=sgd", "optimizer.learning_rate=1e38")
    assert found["what"] in ("loss", "update", "output")
    assert max(map(abs, found["ranges"].get("dense1", (1e37,)))) > 1e36


@pytest.mark.parametrize("split", ["valid", "test"])
def test_an_evaluation_that_is_not_finite_names_the_layer_too(tmp_path, split):
    steps = ("optimizer.learning_rate=1e38", "train.batch_size=1200", f"data.valid_fraction={0.1 * (split == 'valid')}")
    found = cause(tmp_path / "run", *steps)
    assert (found["layer"], found["what"], list(found["ranges"])) == ("dense1", "output", ["flatten1"])
    assert found["said"].startswith(f"in the evaluation of {split} the first number that is not finite is what dense1 ")
