"""`docs/coming-from.md`: its snippets run, its fields exist, its numbers are those of the packages named."""

import dataclasses
import inspect
import re
from pathlib import Path

import numpy as np
import optax
import pytest
from flax import linen

from cnn.config import sections
from cnn.layers import initialisers
from cnn.optim import OPTIMIZERS
from cnn.registry import LAYERS

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


@pytest.mark.slow(seconds=5)
@pytest.mark.parametrize("name", ["keras", "torch", "flax"])
def test_each_snippet_trains(name):
    pytest.importorskip(name)
    rng = np.random.default_rng(0)
    labels = np.arange(320) % 10
    images = rng.random((320, 8, 8, 1), np.float32) * 0.1
    images[np.arange(320), labels % 5 + 1, labels // 5 * 4 + 2, 0] = 1
    scope = {"images": images, "labels": labels}
    exec(SNIPPETS[name], scope)
    assert scope["accuracy"] > 0.3
