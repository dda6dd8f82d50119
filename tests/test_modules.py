"""Flax modules as layers: what they are asked, how they are told to train, and that all of a run works with them."""

import dataclasses
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import many_devices
import networks
import runs
import sweeps
import tiny
from cnn import fields
from cnn.config import config
from cnn.fields import Count, Positive, Rate
from cnn.layers.base import NOT_KNOWN, LayerError, OnnxGraph, Shard, written
from cnn.layers.module import ModuleLayer, is_module, module_layer
from cnn.model import fusion, network, summary
from cnn.registry import LAYERS
from cnn.runs import checkpoint_format
from cnn.train import memory_estimate, multi_step, preflight

SHAPE = (8, 8, 1)


class Small(nn.Module):
    """Convolution, batch normalisation, dropout and a dense layer; returns logits."""

    features: Count = 4
    classes: int = 3
    rate: float = 0.25

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        x = nn.Conv(self.features, (3, 3))(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.avg_pool(nn.relu(x), (2, 2), (2, 2))
        x = nn.Dropout(self.rate, deterministic=not train)(x)
        return nn.Dense(self.classes)(x.reshape((x.shape[0], -1)))


class SmallNnx(nnx.Module):
    """The same as an NNX module, with its layers in a list."""

    def __init__(self, features: Count = 4, classes: int = 3, rate: float = 0.25, *, rngs: nnx.Rngs):
        self.blocks = nnx.List(
            [nnx.Conv(1, features, (3, 3), rngs=rngs), nnx.BatchNorm(features, momentum=0.9, rngs=rngs)]
        )
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.dense = nnx.Linear(16 * features, classes, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        x = self.dropout(nnx.avg_pool(nnx.relu(x), (2, 2), (2, 2)))
        return self.dense(x.reshape((x.shape[0], -1)))


class Noisy(nn.Module):
    """A traced rate of noise between two layers, no rows mixed; counts its calls where it is told to."""

    scale: Rate = 0.5
    counts: bool = False
    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x, deterministic=True):
        x = nn.Conv(3, (1, 1), kernel_init=self.kernel_init)(x)
        calls = self.variable("calls", "count", lambda: jnp.zeros((), jnp.int32))
        if not deterministic:
            x = x + self.scale * jax.random.normal(self.make_rng("noise"), x.shape)
            if self.counts:
                calls.value += 1
        self.sow("losses", "size", jnp.abs(x).mean())
        return x


class Scaled(nn.Module):
    """Changes one row by the others in training, where nobody differentiates, behind a scale that begins at zero."""

    by: Literal["batch", "nothing"] = "batch"

    @nn.compact
    def __call__(self, x, train=False):
        scale = self.param("scale", nn.initializers.zeros, (x.shape[-1],))
        mean = jax.lax.stop_gradient(x.mean(0)) if train and self.by == "batch" else 1.0
        return x + scale * mean


KINDS = {
    name: module_layer(module, name)
    for name, module in (("small", Small), ("small_nnx", SmallNnx), ("noisy", Noisy), ("scaled", Scaled))
}
WHOLE = ("small", "small_nnx")


@pytest.fixture(autouse=True, scope="module")
def entered():
    """Enters the modules above among the layers, and takes them out again."""
    with pytest.MonkeyPatch.context() as patch:
        for name, kind in KINDS.items():
            patch.setitem(LAYERS, name, kind)
        yield


def values(layers, **overrides):
    return tiny.resolve({**tiny.RAW, "model": {"layers": layers}}, **overrides)


def paths(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def moved(before, after):
    old, new = paths(before), paths(after)
    return {path for path in old if old[path].tobytes() != new[path].tobytes()}


def test_a_class_of_modules_is_told_from_any_other():
    assert is_module(Small) and is_module(SmallNnx) and is_module(nn.Dense)
    assert (
        not is_module(Small()) and not is_module(int) and not is_module(module_layer(Small, "x")) and not is_module(3)
    )


class Options(nn.Module):
    width: int
    ratio: float = 0.5
    rate: Rate = 0.1
    both: fields.Static[Positive] = 1.0
    on: bool = True
    text: str = "a"
    choice: Literal["a", "b"] = "a"
    pair: tuple[int, int] = (3, 3)
    some: Sequence[int] = (1,)
    sizes: "int | Sequence[int]" = 2
    means: tuple[float, ...] = (0.5,)
    maybe: int | None = None
    dtype: Any = None
    init: Callable[..., Any] = nn.initializers.zeros
    listed: list[int] = dataclasses.field(default_factory=list)
    train: bool = False

    def __call__(self, x):
        return x


class OptionsNnx(nnx.Module):
    def __init__(self, width: int, rate: Rate = 0.1, bare=3, *, dtype: Any = None, depth: int = 2, rngs: nnx.Rngs):
        self.width = width

    def __call__(self, x):
        return x


def test_the_fields_of_a_module_with_plain_types_are_its_options():
    kind = module_layer(Options, "options")
    assert issubclass(kind, ModuleLayer) and kind.kind == "options"
    annotations = fields.options(kind)
    assert list(annotations) == [
        *("width", "ratio", "rate", "both", "on", "text", "choice", "pair", "some", "sizes", "means", "maybe")
    ]
    assert annotations["some"] == annotations["sizes"] == tuple[int, ...] and annotations["maybe"] is int
    assert fields.defaults(kind)["width"] is fields.REQUIRED and fields.defaults(kind)["maybe"] is None
    assert written(kind(3, maybe=2)) == "options(3, maybe=2)"


def test_the_parameters_of_an_nnx_module_are_its_options():
    kind = module_layer(OptionsNnx, "options")
    assert list(fields.options(kind)) == ["width", "rate", "depth"]


def test_a_plain_real_number_is_structure_and_one_with_a_range_is_traced():
    annotations = fields.options(module_layer(Options, "options"))
    assert [name for name in annotations if fields.is_real(annotations[name])] == ["rate"]


class Activated(nn.Module):
    activation: Callable[..., Any]

    def __call__(self, x):
        return self.activation(x)


class Bare(nnx.Module):
    def __init__(self, width, *, rngs):
        pass

    def __call__(self, x):
        return x


class TwoInputs(nn.Module):
    def __call__(self, x, mask, train=False):
        return x


class Silent(nn.Module):
    features: int = 3


class Clash(nn.Module):
    macs: int = 3

    def __call__(self, x):
        return x


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            Activated,
            r"Activated: its field activation has no default and cannot be an option, got .*Callable\[..., Any\]",
        ),
        (
            Bare,
            "Bare: its field width has no default and cannot be an option, got no annotation. Give it a default, or",
        ),
        (TwoInputs, "TwoInputs: its __call__ needs mask, which a layer is not given, got .*. Give them defaults"),
        (Silent, "Silent: its __call__ takes no images"),
        (Clash, "Clash: its field macs has a name that every layer uses. Rename it"),
    ],
)
def test_a_module_that_can_be_no_layer_is_refused_with_what_is_possible(module, message):
    with pytest.raises(TypeError, match=message):
        module_layer(module, "it")


def rows_of(text, shape=SHAPE):
    return summary.trace(networks.chain(text), shape)


@pytest.mark.parametrize(
    ("module", "ours"),
    [
        (lambda: nn.Conv, "conv(6, 3)"),
        (lambda: nn.Dense, "dense(7)"),
    ],
)
def test_multiply_accumulates_counted_in_the_program_are_those_of_the_closed_form(module, ours, monkeypatch):
    monkeypatch.setitem(LAYERS, "its", module_layer(module(), "its"))
    conv = ours.startswith("conv")
    text, shape = ("its(6, kernel_size=(3, 3))", (9, 7, 2)) if conv else ("its(7)", (12,))
    ours = "conv(6, 3, padding='same')" if conv else ours
    (row,), (expected,) = rows_of(text, shape), rows_of(ours, shape)
    assert (row.output, row.macs, row.count()) == (expected.output, expected.macs, expected.count())


@pytest.mark.parametrize("text", ["small(4)", "small_nnx(4)"])
def test_a_module_tells_its_output_its_arrays_and_its_cost(text):
    (row,) = rows_of(text)
    conv, dense = 8 * 8 * 9 * 4, 4 * 4 * 4 * 3
    assert row.output == (3,) and row.macs == conv + dense
    assert row.count() == (9 * 4 + 4) + 8 + (64 * 3 + 3) and row.count("batch_stats") == 8
    names = {parameter.name for parameter in row.parameters}
    assert {"Conv_0/kernel", "BatchNorm_0/mean"} <= names or {"blocks/0/kernel", "blocks/1/mean"} <= names


def test_what_a_module_sees_is_not_known_and_nor_is_what_follows():
    rows = rows_of("conv(2, 3) | noisy | conv(2, 3) | flatten | dense(3)")
    assert [row.field.sees for row in rows] == ["3x3", "?", "?", "?", "?"]
    assert rows[1].layer.reach(rows[1].input) == NOT_KNOWN
    joined = rows_of("residual(noisy | conv(1, 1)) | relu")
    assert [row.field.sees for row in joined] == ["?", "?", "?", "?"]


class Fails(nn.Module):
    how: Literal["raises", "tuple", "mean", "integers", "branches"] = "raises"
    rate: Rate = 0.5

    @nn.compact
    def __call__(self, x, train=False):
        if self.how == "raises":
            return self.helper(x)
        if self.how == "branches":
            return x if self.rate == 0 else 2 * x
        return {"tuple": (x, x), "mean": x.mean(), "integers": x.astype(jnp.int32)}[self.how]

    def helper(self, x):
        return nn.Dense(3)(x @ jnp.ones((5, 5)))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raises", r"fails with TypeError: dot_general requires .*test_modules.py:\d+, in helper\) \(after the image"),
        ("branches", r"fails with TracerBoolConversionError: .*test_modules.py:\d+, in __call__\)"),
        ("tuple", "makes of a batch of 2 what no layer can take, got tuple. Return one array of floats"),
        ("mean", "makes of a batch of 2 what no layer can take, got float32"),
        ("integers", "makes of a batch of 2 what no layer can take, got int32 2x8x8x1"),
    ],
)
def test_what_goes_wrong_within_a_module_is_an_error_of_the_config_that_says_where(how, message, monkeypatch):
    monkeypatch.setitem(LAYERS, "fails", module_layer(Fails, "fails"))
    with pytest.raises(config.ConfigError, match=r"config.model.layers: fails.* at position 1 " + message) as error:
        values(f'fails("{how}") | flatten | dense(classes)')
    assert len(error.value.problems) == 1 and error.value.problems[0].rstrip().endswith("^")


def test_a_network_that_is_a_module_must_return_logits():
    with pytest.raises(config.ConfigError, match="ends in 5, expected 3 logits"):
        values("small(classes=5)")


@pytest.mark.slow
@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("text", "mixes"),
    [
        ("small", True),
        ("small_nnx", True),
        ("noisy", False),
        ("noisy(counts=True)", True),
        ("scaled", True),
        ('scaled("nothing")', False),
        ("residual(noisy | conv(1, 1))", False),
        ("residual(scaled)", True),
    ],
)
def test_a_module_whose_rows_mix_is_known_by_trying_it(text, mixes):
    assert fusion.independent(networks.chain(text), SHAPE) is not mixes
    (*_, row) = rows_of(text)
    assert row.layer.mixes_rows(SHAPE) is mixes


@pytest.mark.slow
def test_several_devices_are_refused_a_module_that_needs_the_whole_batch():
    message = (
        "config.model.layers: scaled at position 2 of residual1 computes with the other images of its batch "
        r"\(its output for one changes with another\), which on several devices would be those of one device's share, "
        "got 2 devices. Use --devices=1, or cnn's batch_norm"
    )
    nested = values("residual(relu | scaled) | flatten | dense(classes)")
    with pytest.raises(config.ConfigError, match=message):
        preflight.check_rows(nested, 2)
    preflight.check_rows(nested, 1)
    preflight.check_rows(values("noisy | flatten | dense(classes)"), 2)
    with pytest.raises(config.ConfigError, match=r"small at position 3 .*\(batch statistics\)"):
        preflight.check_rows(values("relu | relu | small"), 2)
    preflight.check_rows(values("small | dense(classes)", train__freeze="small1"), 2)


def applied(text, train, *, platform, microbatch=None, count=8):
    layers = networks.chain(text)
    variables = network.init(layers, SHAPE, jax.random.key(0))
    images = networks.pictures(SHAPE, count)
    if not train:
        return variables, network.apply(layers, variables, images, platform=platform)
    return variables, *network.apply_train(
        layers, variables, images, jax.random.key(1), shard=Shard(microbatch=microbatch), platform=platform
    )


@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize("text", WHOLE)
def test_a_module_evaluates_as_it_does_by_itself(text):
    variables, found = applied(text, False, platform="cpu")
    images = networks.pictures(SHAPE, 8)
    own = {name: tree[f"{text}1"] for name, tree in variables.items()}
    if text == "small":
        expected = Small().apply(own, images)
    else:
        module = SmallNnx(rngs=nnx.Rngs(0))
        number = {"blocks": {int(name): tree for name, tree in own["params"].pop("blocks").items()}}
        nnx.update(module, number | own["params"])
        module.eval()
        expected = module(images)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize("text", WHOLE)
def test_training_measures_and_draws_and_evaluation_does_neither(text):
    variables, one, stats = applied(text, True, platform="cpu", microbatch=4)
    assert moved(variables["batch_stats"], stats) == set(paths(stats)) and paths(stats)
    _, again, _ = applied(text, True, platform="gpu")
    np.testing.assert_allclose(one, again, atol=1e-5)
    _, evaluated = applied(text, False, platform="cpu")
    assert not np.allclose(one, evaluated)


@pytest.mark.slow(seconds=2)
def test_other_collections_are_kept_with_the_statistics_whole_numbers_among_them():
    layers = networks.chain("noisy(counts=True) | flatten")
    variables = network.init(layers, SHAPE, jax.random.key(0))
    assert list(paths(variables["batch_stats"])) == ["noisy1/~calls/count"]
    _, stats = network.apply_train(layers, variables, networks.pictures(SHAPE), jax.random.key(1))
    count = stats["noisy1"]["~calls"]["count"]
    assert count.dtype == jnp.int32 and count == 1


@pytest.mark.slow(seconds=2)
def test_another_part_of_a_batch_draws_other_numbers():
    layers = networks.chain("noisy(0.9)")
    variables = network.init(layers, SHAPE, jax.random.key(0))
    images = jnp.zeros((2, *SHAPE))
    draw = functools.partial(network.apply_train, layers, variables, images, jax.random.key(1))
    first, _ = draw(shard=Shard(jnp.arange(2)))
    again, _ = draw(shard=Shard(jnp.arange(2)))
    second, _ = draw(shard=Shard(jnp.arange(2, 4)))
    assert np.array_equal(first, again) and not np.array_equal(first, second)


def same(one, other, tolerance):
    """Compares the parameters and statistics of two states; a bias before batch normalisation is nothing but noise."""
    found, expected = paths((one.params, one.batch_stats)), paths((other.params, other.batch_stats))
    assert set(found) == set(expected)
    for path, array in found.items():
        np.testing.assert_allclose(array, expected[path], rtol=0, atol=tolerance, err_msg=path)


def trained(layers, steps=3, **overrides):
    """Returns the state before the first update and that after some."""
    chosen = values(layers, **overrides)
    return tiny.start(chosen)[0], tiny.run(chosen, steps)[0]


@pytest.mark.slow(seconds=10)
@pytest.mark.parametrize("text", WHOLE)
def test_freezing_all_of_a_module_keeps_every_bit_of_it_and_part_of_it_that_part(text):
    conv = "Conv_0" if text == "small" else "blocks/0"
    before, after = trained(f"{text} | dense(classes)", train__freeze=f"{text}1")
    assert moved(before.params, after.params) == {"dense1/kernel", "dense1/bias"}
    assert not moved(before.batch_stats, after.batch_stats)
    before, after = trained(f"{text} | dense(classes)", train__freeze=f"{text}1/{conv}/* dense1")
    assert {path for path in moved(before.params, after.params) if conv in path or "dense1" in path} == set()
    assert moved(before.params, after.params) and moved(before.batch_stats, after.batch_stats)


@pytest.mark.slow(seconds=10)
@pytest.mark.parametrize("text", WHOLE)
def test_what_is_computed_again_trains_the_same(text):
    for remat in ("layers", "blocks"):
        _, plain = trained(f"conv(1, 1) | {text} | dense(classes)")
        _, again = trained(f"conv(1, 1) | {text} | dense(classes)", train__remat=remat)
        same(again, plain, 1e-5)


@pytest.mark.slow(seconds=10)
def test_the_parts_of_a_batch_give_the_gradient_of_the_whole_where_rows_do_not_mix():
    text = 'scaled("nothing") | flatten | dense(classes)'
    _, whole = trained(text)
    _, parts = trained(text, train__accumulate_steps=4)
    same(parts, whole, 1e-5)
    before, after = trained("small", train__accumulate_steps=4, train__average="ema(0.9)")
    assert moved(before.batch_stats, after.batch_stats) and moved(after.params, after.average)


@pytest.mark.slow(seconds=4)
def test_a_module_is_given_what_the_layers_before_it_are_in_bfloat16():
    _, wide = trained("conv(1, 1) | small")
    _, narrow = trained("conv(1, 1) | small", train__compute_dtype="bfloat16")
    assert all(array.dtype == np.float32 for array in paths((narrow.params, narrow.batch_stats)).values())
    same(narrow, wide, 0.05)


@pytest.mark.slow(seconds=4)
def test_another_value_of_a_traced_number_compiles_nothing():
    multi_step.run_step.clear_cache()
    for scale in (0.1, 0.9):
        tiny.run(values(f"noisy({scale}) | flatten | dense(classes)"), 1)
    assert multi_step.run_step._cache_size() == 1
    tiny.run(values("small(rate=0.1)"), 1)
    tiny.run(values("small(rate=0.2)"), 1)
    assert multi_step.run_step._cache_size() == 3


@pytest.mark.slow(seconds=6)
@pytest.mark.parametrize("text", [*WHOLE, "conv(8, 3) | noisy | noisy | small"])
def test_the_estimate_of_memory_is_near_what_the_compiler_says(text):
    chosen = values(text, train__batch_size=256)
    state, compiled = tiny.start(chosen)
    lowered = multi_step.run_step.lower(state, tiny.split(512), jnp.arange(256), step_config=compiled).compile()
    estimate = memory_estimate.need(chosen, "cpu")
    used = lowered.memory_analysis()
    assert estimate.total > 0.5 * (used.temp_size_in_bytes + used.argument_size_in_bytes)
    (*_, row) = chosen.rows
    assert row.layer.kept_numbers(row.input) > 2 * 8 * 8 * 4


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
RUN = {**runs.SECTIONS, "model": {"layers": "small_nnx(4, classes)"}}
RUN["train"] = {**RUN["train"], "epochs": 1, "average": "ema(0.9)"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Returns a run of one epoch."""
    workdir = tmp_path_factory.mktemp("modules") / "run"
    assert runs.train(workdir, "report.page=end", sections=RUN) == 0
    return workdir


@pytest.mark.slow(seconds=10)
def test_a_run_of_a_module_is_resumed_to_the_bit(tmp_path):
    workdir = tmp_path / "run"
    assert runs.train(workdir, "train.epochs=2", "report.page=never", sections=RUN) == 0
    whole, (*_, newest) = runs.outcome(workdir), runs.steps(workdir)
    shutil.rmtree(checkpoint_format.folder(workdir / "checkpoints", newest))
    (workdir / "result.json").unlink()
    assert runs.train(workdir, "train.epochs=2", "report.page=never", sections=RUN) == 0
    assert runs.outcome(workdir) == whole


class ToldByAField(nn.Module):
    training: bool = False
    rate: float = 0.5

    @nn.compact
    def __call__(self, x):
        return nn.Dropout(self.rate, deterministic=not self.training)(x)


class ToldByAnArgument(nn.Module):
    rate: float = 0.5

    @nn.compact
    def __call__(self, x, deterministic):
        return nn.Dropout(self.rate)(x, deterministic=deterministic)


@pytest.mark.few(2)
@pytest.mark.parametrize("module", [ToldByAField, ToldByAnArgument, nn.Dropout, nnx.Dropout])
def test_a_module_is_told_whether_it_trains(module, monkeypatch):
    monkeypatch.setitem(LAYERS, "told", module_layer(module, "told"))
    assert "rate" in fields.options(LAYERS["told"])
    layers = networks.chain("told(rate=0.5)")
    images = jnp.ones((2, *SHAPE))
    assert (network.apply(layers, {}, images) == images).all()
    drawn, _ = network.apply_train(layers, {}, images, jax.random.key(0))
    assert set(np.unique(drawn)) == {0, 2}


@pytest.mark.slow(seconds=20)
def test_a_run_of_a_module_is_evaluated_explained_and_exported(finished, capsys):
    assert runs.start("eval", f"--workdir={finished}", sections=RUN) == 0
    capsys.readouterr()
    assert runs.start("explain", f"--workdir={finished}", sections=RUN) == 0
    assert "not checked: small_nnx1" in capsys.readouterr().out
    page = (finished / "report.html").read_text()
    assert "Not checked: small_nnx1" in page and "<td>?</td>" in page
    assert runs.start("export", f"--workdir={finished}", "--format=safetensors", sections=RUN) == 0
    assert runs.start("export", f"--workdir={finished}", "--format=stablehlo", sections=RUN) == 0
    assert runs.start("export", f"--workdir={finished}", "--format=onnx", sections=RUN) == 2
    assert "onnx has no operators for the module small_nnx. Give its class SmallNnx a method onnx, or use" in (
        capsys.readouterr().err
    )


@pytest.mark.slow(seconds=10)
def test_a_run_begins_with_some_of_the_arrays_of_a_module(finished, tmp_path):
    workdir = tmp_path / "run"
    patterns = "init_layers=small_nnx1/blocks/*"
    assert runs.train(workdir, f"init_from={finished}", patterns, "report.page=never", sections=RUN) == 0
    loaded = runs.saved(workdir, "run.json")["init"]["loaded"]
    assert loaded == [
        f"small_nnx1/blocks/{name}" for name in ("1/mean", "1/var", "0/bias", "0/kernel", "1/bias", "1/scale")
    ]


@pytest.mark.slow(seconds=20)
def test_the_trials_of_a_sweep_train_a_module_side_by_side_as_alone(tmp_path):
    typed = ("config.report.page=never", "config.train.epochs=1", "sweep.engine=vmap", "sweep.lanes=2")
    assert sweeps.sweep(tmp_path / "sweep", sweeps.RATES, *typed, sections=RUN) == 0
    assert sweeps.record(tmp_path / "sweep")["engine"]["engine"] == "vmap"
    for row in sweeps.record(tmp_path / "sweep")["trials"]:
        alone = tmp_path / f"alone{row['number']}"
        rate = f"optimizer.learning_rate={row['fields']['optimizer.learning_rate']}"
        assert runs.train(alone, rate, "train.epochs=1", "report.page=never", sections=RUN) == 0
        np.testing.assert_allclose(sweeps.losses(tmp_path / "sweep" / row["folder"]), sweeps.losses(alone), rtol=1e-3)


def on_two_devices():
    """Trains in a process that has two devices a module that mixes no rows, on both of them and on one."""
    jax.config.update("jax_num_cpu_devices", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LAYERS, "noisy", KINDS["noisy"])
        for scale in (0, 0.5):
            chosen = values(f"noisy({scale}) | flatten | dense(classes)")
            states = [many_devices.steps(chosen, count)[0] for count in (1, 2)]
            if scale == 0:
                same(*states, 1e-5)
            assert bool(moved(states[0].params, states[1].params)) or scale == 0


@pytest.mark.slow(seconds=10)
def test_a_module_that_mixes_no_rows_trains_on_several_devices():
    code = "import test_modules; test_modules.on_two_devices()"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, env=ENVIRONMENT)


class WithOnnx(nn.Module):
    def __call__(self, x):
        return 2 * x

    @nn.nowrap
    def onnx(self, graph, x, arrays, shape, path):
        return graph.node("Add", [x, x], path)


def test_a_module_may_say_what_it_is_in_onnx():
    kind, graph = module_layer(WithOnnx, "with_onnx"), OnnxGraph()
    assert kind().onnx(graph, "x", {}, (2,), "with_onnx1") == "with_onnx1"
    with pytest.raises(LayerError, match="onnx has no operators for the module small"):
        KINDS["small"]().onnx(graph, "x", {}, (8, 8, 1), "small1")


class FlaxMnist(nn.Module):
    """The convolutional network of Flax's MNIST example."""

    classes: int = 10

    @nn.compact
    def __call__(self, x):
        for features in (32, 64):
            x = nn.relu(nn.Conv(features, (3, 3))(x))
            x = nn.avg_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Dense(256)(x.reshape((x.shape[0], -1))))
        return nn.Dense(self.classes)(x)


class FlaxMnistNnx(nnx.Module):
    """The same as an NNX module."""

    def __init__(self, classes: int = 10, *, rngs: nnx.Rngs):
        self.conv1, self.conv2 = nnx.Conv(1, 32, (3, 3), rngs=rngs), nnx.Conv(32, 64, (3, 3), rngs=rngs)
        self.linear1, self.linear2 = nnx.Linear(2 * 2 * 64, 256, rngs=rngs), nnx.Linear(256, classes, rngs=rngs)

    def __call__(self, x):
        x = nnx.avg_pool(nnx.relu(self.conv1(x)), (2, 2), (2, 2))
        x = nnx.avg_pool(nnx.relu(self.conv2(x)), (2, 2), (2, 2))
        return self.linear2(nnx.relu(self.linear1(x.reshape((x.shape[0], -1)))))


def plain_loop(module, params, images, labels, steps):
    """Trains a module by Optax alone, a batch of `tiny.BATCH` rows a step; returns its parameters."""
    tx = optax.adam(1e-3)

    @networks.jit
    def update(params, opt_state, images, labels):
        def loss(params):
            if isinstance(module, nn.Module):
                logits = module.apply({"params": params}, images)
            else:
                merged = nnx.merge(module, params)
                logits = merged(images)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state)
        return optax.apply_updates(params, updates), opt_state

    opt_state = tx.init(params)
    for step in range(steps):
        chosen = np.asarray(tiny.rows(step))
        params, opt_state = update(params, opt_state, images[chosen], labels[chosen])
    return params


@pytest.mark.slow(seconds=20)
@pytest.mark.parametrize("module", [FlaxMnist, FlaxMnistNnx])
def test_the_network_of_flaxs_example_trains_as_in_a_loop_of_optax(module, monkeypatch):
    monkeypatch.setitem(LAYERS, "flax_mnist", module_layer(module, "flax_mnist"))
    raw = {**tiny.RAW, "model": {"layers": "flax_mnist(classes)"}, "optimizer": {"name": "adam", "learning_rate": 1e-3}}
    raw["data"] = {**tiny.RAW["data"], "mean": (0.5,), "std": (0.25,)}
    chosen, pictures = tiny.resolve(raw), tiny.split()
    begin, _ = tiny.start(chosen)
    begin = jax.tree.map(np.asarray, begin.params["flax_mnist1"])
    state, _ = tiny.run(chosen, 20, images=pictures)
    images = (np.asarray(pictures.images, np.float32) / 255 - 0.5) / 0.25
    own, params = FlaxMnist(3), begin
    if module is FlaxMnistNnx:
        own, given = nnx.split(FlaxMnistNnx(3, rngs=nnx.Rngs(0)))
        nnx.replace_by_pure_dict(given, begin)
        params = given
    found = plain_loop(own, params, images, np.asarray(pictures.labels), 20)
    if module is FlaxMnistNnx:
        found = nnx.to_pure_dict(found)
    networks.agree(state.params["flax_mnist1"], found, 1e-3)
    assert moved(begin, found) == set(paths(begin))
