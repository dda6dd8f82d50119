"""`docs/coming-from.md`: its snippets run, its fields exist, its numbers are those of the packages named."""

import dataclasses
import inspect
import re
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from flax import linen

from cnn.config import sections
from cnn.expression import build_one
from cnn.layers import initialisers
from cnn.optim import OPTIMIZERS
from cnn.registry import AUGMENTATIONS, LAYERS

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "coming-from.md").read_text()
SNIPPETS = {name: code for code, name in re.findall(r"```python\n(# (\w+)\n.*?)```", PAGE, re.DOTALL)}
OURS = {
    "train": sections.Train,
    "data": sections.Data,
    "eval": sections.Eval,
    "checkpoint": sections.Checkpoint,
    "optimizer": OPTIMIZERS["adamw"],
}
FREE = {"seed", "model.layers", "model.init", "schedule.name"}


def row(start):
    """Returns the numbers or words of a line of the last table: Keras, PyTorch, Flax, ours."""
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def default(function, name):
    return inspect.signature(function).parameters[name].default


def numbers(column):
    names = ("batch norm epsilon", "batch norm momentum", "layer norm epsilon", "Adam epsilon", "AdamW weight decay")
    return [float(row(name)[column]) for name in names]


def test_every_field_of_ours_in_the_tables_exists():
    table = PAGE[PAGE.index("## What is called what") : PAGE.index("## What differs")]
    cells = [line.strip("|").split("|")[-1] for line in table.splitlines() if line.startswith("|")]
    named = {name for cell in cells for name in re.findall(r"`config\.([\w.]+)`", cell)}
    assert len(named) > 15
    for name in named - FREE:
        section, field = name.split(".")
        assert field in {each.name for each in dataclasses.fields(OURS[section])}, name


def test_the_numbers_of_ours_are_those_of_the_code():
    norm, layer_norm, adam, adamw = LAYERS["batch_norm"], LAYERS["layer_norm"], OPTIMIZERS["adam"], OPTIMIZERS["adamw"]
    assert numbers(3) == [norm.epsilon, norm.momentum, layer_norm.epsilon, adam.eps, adamw.weight_decay]
    assert row("padding of a convolution")[3] == default(LAYERS["conv"], "padding") == "valid"
    assert initialisers.Default.declared == "glorot_uniform"
    assert adamw.decayed == "kernels"


def test_the_numbers_of_flax_and_optax_are_theirs():
    norm = linen.BatchNorm
    assert numbers(2) == [
        norm.epsilon,
        norm.momentum,
        linen.LayerNorm.epsilon,
        default(optax.adam, "eps"),
        default(optax.adamw, "weight_decay"),
    ]
    assert row("padding of a convolution")[2] == linen.Conv.padding
    assert default(linen.max_pool, "strides") is None and default(linen.avg_pool, "count_include_pad") is True


def test_the_numbers_of_pytorch_are_theirs():
    torch = pytest.importorskip("torch")
    norm, layer_norm = torch.nn.BatchNorm2d(2), torch.nn.LayerNorm(2)
    adam, adamw = torch.optim.Adam, torch.optim.AdamW
    assert numbers(1) == [norm.eps, norm.momentum, layer_norm.eps, default(adam, "eps"), default(adamw, "weight_decay")]
    assert torch.nn.Conv2d(1, 1, 1).padding == (0, 0)
    assert torch.nn.AvgPool2d(2).count_include_pad and torch.nn.MaxPool2d(2).stride == 2


def test_the_numbers_of_keras_are_theirs():
    keras = pytest.importorskip("keras")
    norm, layer_norm = keras.layers.BatchNormalization(), keras.layers.LayerNormalization()
    adam, adamw = keras.optimizers.Adam(), keras.optimizers.AdamW()
    assert numbers(0) == [norm.epsilon, norm.momentum, layer_norm.epsilon, adam.epsilon, adamw.weight_decay]
    assert keras.layers.Conv2D(1, 1).padding == "valid"
    ones = np.ones((1, 3, 3, 1), np.float32)  # padded at the end; counted zeros would make means below 1
    assert np.all(keras.ops.convert_to_numpy(keras.layers.AveragePooling2D(2, padding="same")(ones)) == 1)


def test_the_augmentations_of_ours_in_the_table_exist():
    table = PAGE[PAGE.index("## Augmentation") : PAGE.index("## What is called what")]
    cells = [line.strip("|").split("|")[-1] for line in table.splitlines() if line.startswith("| ")][1:]
    assert [len(re.findall("`[^`]*`", cell)) for cell in cells] == [1, 1, 1, 1, 1, 1, 2]
    for text in re.findall("`([^`]*)`", "".join(cells)):
        build_one(text, AUGMENTATIONS)


LOGITS, TARGETS = np.array([[0, 0], [1, 0], [2, 0]], np.float32), np.array([0, 0, 1])
LOSSES = optax.softmax_cross_entropy_with_integer_labels(LOGITS, TARGETS)
WEIGHTS = np.array([1.0, 3.0], np.float32)
FOUR = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1)


def test_losses_statistics_padding_and_first_weights_of_pytorch_are_as_said():
    torch = pytest.importorskip("torch")
    loss, logits, targets = torch.nn.functional.cross_entropy, torch.tensor(LOGITS), torch.tensor(TARGETS)
    of_each = WEIGHTS[TARGETS]
    weighted = loss(logits, targets, weight=torch.tensor(WEIGHTS)).item()
    assert weighted == pytest.approx(float((LOSSES * of_each).sum() / of_each.sum()))
    smoothed = optax.softmax_cross_entropy(LOGITS, optax.smooth_labels(np.eye(2)[TARGETS], 0.3)).mean()
    assert loss(logits, targets, label_smoothing=0.3).item() == pytest.approx(float(smoothed))
    norm = torch.nn.BatchNorm2d(1)
    norm(torch.tensor(FOUR))
    assert norm.running_var.item() == pytest.approx(0.9 + 0.1 * FOUR.var(ddof=1))
    with pytest.raises(ValueError, match=r"same.*strided"):
        torch.nn.Conv2d(1, 1, 3, stride=2, padding="same")
    first = torch.nn.Linear(300, 300)
    for numbers in (first.weight, first.bias):
        assert numbers.abs().max().item() == pytest.approx(300**-0.5, rel=0.02)
    assert numbers.std().item() == pytest.approx((3 * 300) ** -0.5, rel=0.1)


def test_losses_and_statistics_of_keras_are_as_said():
    keras = pytest.importorskip("keras")
    dense = keras.layers.Dense(2, use_bias=False, kernel_initializer="identity")
    network = keras.Sequential([keras.Input((2,)), dense])
    network.compile(keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    told = network.fit(LOGITS, TARGETS, class_weight=dict(enumerate(WEIGHTS.tolist())), batch_size=3, verbose=0)
    assert told.history["loss"][0] == pytest.approx(float((LOSSES * WEIGHTS[TARGETS]).mean()))
    smoothed = optax.softmax_cross_entropy(LOGITS, optax.smooth_labels(np.eye(2)[TARGETS], 0.3)).mean()
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.3)
    assert float(loss(np.eye(2, dtype=np.float32)[TARGETS], LOGITS)) == pytest.approx(float(smoothed))
    norm = keras.layers.BatchNormalization(momentum=0.9)
    norm(FOUR, training=True)
    assert norm.moving_variance.numpy()[0] == pytest.approx(0.9 + 0.1 * FOUR.var())
    decayed = keras.Variable(np.ones(2, np.float32), name="bias")
    keras.optimizers.SGD(0.5, weight_decay=0.1).apply_gradients([(np.zeros(2, np.float32), decayed)])
    assert decayed.numpy().tolist() == pytest.approx([0.95, 0.95])


@pytest.mark.slow(seconds=5)
@pytest.mark.parametrize("name", ["keras", "torch", "flax"])
def test_each_snippet_trains_and_what_it_saved_is_the_same(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip(name)
    rng = np.random.default_rng(0)
    labels = np.arange(320) % 10
    images = rng.random((320, 8, 8, 1), np.float32) * 0.1
    images[np.arange(320), labels % 5 + 1, labels // 5 * 4 + 2, 0] = 1
    scope = {"images": images, "labels": labels}
    exec(SNIPPETS[name], scope)
    assert scope["accuracy"] > 0.3
    exec(SNIPPETS[f"{name}_resume"], scope)
    network, restored = scope["network"], scope["restored"]
    if name == "keras":
        pairs = [(network.predict(images, verbose=0), restored.predict(images, verbose=0))]
    elif name == "torch":
        assert restored["epoch"] == 4
        pairs = [(array, restored["network"][name]) for name, array in network.state_dict().items()]
    else:
        pairs = list(zip(*map(jax.tree.leaves, (scope["state"], restored)), strict=True))
    assert pairs and all(np.array_equal(*pair) for pair in pairs)
