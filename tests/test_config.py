"""From sections and flags to checked values, or to the list of everything that is wrong."""

import copy
import dataclasses
import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runs
from cnn import fields
from cnn.config import config
from cnn.config.config import ConfigError, Override, differences
from cnn.config.resolve import resolve
from cnn.config.sections import Never


def problems(*overrides, **sections):
    """Returns what is wrong with the tiny config after whole sections and then flags are replaced."""
    pairs = [Override(*text.split("=", 1)) for text in overrides]
    with pytest.raises(ConfigError) as caught:
        resolve({**copy.deepcopy(runs.SECTIONS), **sections}, pairs)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_defaults_and_flags_are_resolved():
    values = runs.tiny("train.epochs=7", "optimizer.learning_rate=1", "eval.test=false", "data.mean=0.5", "seed=3")
    assert (values.train.epochs, values.seed, values.eval.test, values.data.mean) == (7, 3, False, (0.5,))
    assert values.optimizer.learning_rate == 1.0
    assert isinstance(values.optimizer.learning_rate, float)
    assert values.train.stop == Never()
    assert [row.path for row in values.rows] == ["flatten1", "dense1", "softmax1"]


def test_what_config_json_holds_resolves_to_equal_values():
    values = runs.tiny("train.stop=patience(3)", "data.augment=shift(1) | erase(0.3)", "train.clip=global_norm(1)")
    again = resolve(json.loads(values.json))
    assert again == values
    assert again.json == values.json


def test_a_flag_may_add_a_name_that_the_layers_use():
    values = runs.tiny("model.block=dense(4) | relu", "model.layers=flatten | block | block | dense(classes)")
    assert [row.path for row in values.rows] == ["flatten1", "dense1", "relu1", "dense2", "relu2", "dense3"]
    assert json.loads(values.json)["model"]["block"] == "dense(4) | relu"
    (problem,) = problems("model.widht=2", "model.width=3", "model.layers=flatten | dense(width) | dense(classes)")
    assert problem == (
        "config.model.widht: is not used by model.layers. Remove it or name it there. "
        "Did you mean 'width'? Known: layers, width."
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.learning_rat=1", "config.optimizer.learning_rat: unknown field of adam. Did you mean 'learning_ra"),
        ("optimizr.learning_rate=1", "config.optimizr.learning_rate: unknown field. Did you mean 'optimizer'? Known:"),
        ("train.epoch=1", "config.train.epoch: unknown field. Did you mean 'epochs'? Known: "),
        (
            "model.layer=1",
            "config.model.layer: is not used by model.layers. Remove it or name it there. Did you mean 'la",
        ),
        ("optimizer.lr=1", "config.optimizer.lr: unknown field of adam. Did you mean 'learning_rate'? Known: "),
        ("optimizer.momentum=1", "config.optimizer.momentum: unknown field of adam. Did you mean 'b1'? Known: "),
        ("train.bs=1", "config.train.bs: unknown field. Did you mean 'batch_size'? Known: "),
        (
            "epochs=1",
            "config.epochs: unknown field. Known: seed, init_from, init_layers, extensions, model, data, train, eval",
        ),
        ("train=1", "config.train: is a section, got '1'. Set one of its fields."),
        ("train.a.b=1", "config.train.a.b: unknown field. "),
        ("=1", "config.: unknown field. "),
        ("train.batch_size=True", "config.train.batch_size: must be an integer of at least 1, got True."),
        ("train.batch_size=2.5", "config.train.batch_size: must be an integer of at least 1, got 2.5."),
        ("train.batch_size='2'", "config.train.batch_size: must be an integer of at least 1, got '2'."),
        ("train.batch_size=many", "config.train.batch_size: must be an integer of at least 1, got 'many'."),
        ("train.batch_size=", "config.train.batch_size: must be an integer of at least 1, got ''."),
        ("train.batch_size=None", "config.train.batch_size: must be an integer of at least 1, got None."),
        ("train.epochs=-1", "config.train.epochs: must be an integer of at least 1 or None, got -1."),
        ("seed=-1", "config.seed: must be an integer in [0, 4294967295], got -1."),
        ("seed=4294967296", "config.seed: must be an integer in [0, 4294967295], got 4294967296."),
        ("optimizer.learning_rate=nan", "config.optimizer.learning_rate: must be a finite number above 0, got 'nan'."),
        ("optimizer.learning_rate=1e999", "config.optimizer.learning_rate: must be a finite number above 0, got inf."),
        ("optimizer.learning_rate=0", "config.optimizer.learning_rate: must be a finite number above 0, got 0."),
        ("optimizer.learning_rate=True", "config.optimizer.learning_rate: must be a finite number above 0, got True."),
        ("optimizer.b1=1", "config.optimizer.b1: must be a finite number in [0, 1), got 1."),
        ("optimizer.name=adma", "config.optimizer.name: unknown name 'adma'. Did you mean 'adam'? Known: sgd, "),
        ("schedule.name=cosin", "config.schedule.name: unknown name 'cosin'. Did you mean 'cosine'? Known: constant, "),
        ("eval.test=1", "config.eval.test: must be True or False, got 1."),
        ("eval.weights=emma", "config.eval.weights: must be one of 'last', 'best', 'ema', got 'emma'"),
        ("data.image_shape=(8,8)", "config.data.image_shape: must be 3 integers in [1, 16384], got (8, 8)."),
        ("data.image_shape=(8,8,0)", "config.data.image_shape: must be 3 integers in [1, 16384], got (8, 8, 0)."),
        ("data.mean=grey", "config.data.mean: must be a finite number or a list of numbers, got 'grey'."),
        (
            "data.name=fashion-mnist",
            "config.data.name: must be arrays, csv, digits, folder, idx, lines, npz, parquet, tar or a TFDS name, got "
            "'fashion-mnist'. "
            "Did you mean 'fashion_mnist'?",
        ),
        (
            "data.name=mnist.npz",
            "config.data.name: must be arrays, csv, digits, folder, idx, lines, npz, parquet, tar or a TFDS name, got "
            "'mnist.npz'. Set it to npz, and config.data.file to 'mnist.npz'.",
        ),
        (
            "data.name=./pictures",
            "config.data.name: must be arrays, csv, digits, folder, idx, lines, npz, parquet, tar or a TFDS name, got "
            "'./pictures'. For pictures in folders set it to folder, and config.data.data_dir to './pictures'.",
        ),
        (
            "data.file=mnist.npz",
            "config.data.file: is not read by digits, but by csv, idx, npz, parquet, tar, got 'mnist.npz'. "
            "Set config.data.name to one of these to read it.",
        ),
        ("data.mean=(0,0)", "config.data.mean: must have 1 number or one for each of 1 channels, got 2."),
        ("data.std=[0]", "config.data.std: must be a finite number above 0 or a list of numbers above 0, got [0]."),
        ("train.accumulate_steps=3", "config.train.accumulate_steps: must divide train.batch_size = 100, got 3."),
        ("train.epochs=2147483648", "config.train.epochs: must be at most 2147483647, got 2147483648."),
        ("data.augment=shift(8)", "config.data.augment: must move by less than the image's 8 pixels, got 8."),
        ("eval.weights=ema", 'config.eval.weights: is "ema" but none is kept. Set train.average = "ema(0.999)".'),
    ],
)
def test_a_wrong_field_is_named_with_what_would_be_right(override, message):
    (problem,) = problems(override)
    assert problem.startswith(message)
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "train.clip=global_norm(0)",
            "config.train.clip: global_norm: max_norm must be a finite number above 0, got 0",
        ),
        ("train.clip=global_nrom(1)", "config.train.clip: unknown name 'global_nrom'. Did you mean 'global_norm'?"),
        ("train.stop=patience", "config.train.stop: patience needs evaluations: patience(evaluations)"),
        ("data.augment=flip | blurry", "config.data.augment: unknown name 'blurry'. Known: random_crop, flip, "),
        ("data.augment=flip | jitter", "config.data.augment: unknown name 'jitter'. Did you mean 'color_jitter'?"),
        ("model.layers=flatten | dens(10)", "config.model.layers: unknown name 'dens'. Did you mean 'dense'? Known:"),
        ("model.layers=flatten | dense(9)", "config.model.layers: ends in 9, expected 10 logits. End with dense(cla"),
        ("model.layers=conv(2, 9) | flatten | dense(10)", "config.model.layers: conv(2, 9) at position 1 does not fit"),
        ("model.layers=flatten | (dense(10)", "config.model.layers: '(' was never closed"),
    ],
)
def test_a_wrong_expression_is_shown_with_a_caret(override, message):
    (problem,) = problems(override)
    first, shown, caret = problem.split("\n")
    assert first.startswith(message)
    assert shown.strip() == override.partition("=")[2]
    assert set(caret.strip()) == {"^"}


def test_each_wrong_layer_is_a_problem_of_its_own():
    first, second = problems("model.layers=rellu | flatten | dens(classes)")
    assert first.startswith("config.model.layers: unknown name 'rellu'. Did you mean 'relu'?")
    assert second.startswith("config.model.layers: unknown name 'dens'. Did you mean 'dense'?")


def test_all_problems_are_reported_together():
    found = problems(
        "seed=x",
        "optimizr.b1=1",
        "train.epochs=0",
        "train.clip=value(-1)",
        "data.std=[0]",
        "model.layers=flatten | dens(10)",
        schedule={"name": "step", "factor": float("nan")},
        trian={},
    )
    assert [problem.partition(":")[0] for problem in found] == [
        "config.optimizr.b1",
        "config.trian",
        "config.seed",
        "config.data.std",
        "config.train.epochs",
        "config.train.clip",
        "config.schedule.factor",
        "config.model.layers",
    ]


def test_what_several_fields_get_wrong_together_is_told_beside_what_is_wrong_elsewhere():
    found = problems(
        "optimizer.learning_rate=-1",
        "train.freeze=conv9",
        "train.accumulate_steps=7",
    )
    assert [problem.partition(":")[0] for problem in found] == [
        "config.optimizer.learning_rate",
        "config.train.accumulate_steps",
        "config.train.freeze",
    ]


def test_under_an_unknown_name_the_fields_that_are_wrong_for_all_kinds_are_still_named():
    optimizer = {"name": "adma", "learning_rat": 1, "learning_rate": -1, "momentum": 0.5, "b1": 2}
    name, misspelt, *values = problems(optimizer=optimizer)
    assert name.startswith("config.optimizer.name: unknown name 'adma'. Did you mean 'adam'? Known: sgd, ")
    assert misspelt.startswith("config.optimizer.learning_rat: unknown field. Did you mean 'learning_rate'? Known: ")
    assert values == [
        "config.optimizer.learning_rate: must be a finite number above 0, got -1.",
        "config.optimizer.b1: must be a finite number in [0, 1), got 2.",
    ]


@pytest.mark.parametrize("kinds", config.NAMED.values(), ids=config.NAMED)
def test_a_field_means_the_same_in_all_kinds_of_a_section(kinds):
    annotations = {}
    for kind in kinds.values():
        for name, annotation in fields.options(kind).items():
            assert annotations.setdefault(name, annotation) == annotation, name


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"train": 3}, "config.train: must be a section with fields, got 3"),
        ({"model": {"layers": None}}, "config.model.layers: must be a layer expression, got None."),
        (
            {"model": {"layers": "flatten | dense(classes)", "relu": 3}},
            "config.model.relu: is taken by the layer expres",
        ),
        (
            {"model": {"layers": "flatten | dense(classes)", "w": 3}},
            "config.model.w: is not used by model.layers. Remov",
        ),
        (
            {"model": {"layers": "flatten | dense(w)", "w": None}},
            "config.model.w: must be a finite number, True, False",
        ),
        ({"model": {"layers": "flatten | dense(w)", "w": float("nan")}}, "config.model.w: must be a finite number, "),
        (
            {"train": {"epochs": float("inf")}},
            "config.train.epochs: must be an integer of at least 1 or None, got inf.",
        ),
        ({"train": {"clip": None}}, "config.train.clip: must be a text, got None."),
        ({"model": {}}, 'config.model.layers: is not set. It must be a layer expression, such as "flatten | dense(cl'),
        ({"optimizer": {}}, "config.optimizer.name: is not set. Known: sgd, "),
        ({"optimizer": {"name": None}}, "config.optimizer.name: unknown name None. Known: sgd, "),
        ({"optimizer": {"name": "adam"}}, "config.optimizer.learning_rate: is not set. It must be a finite number abo"),
    ],
)
def test_a_wrong_file_is_refused(sections, message):
    found = problems(**sections)
    assert any(problem.startswith(message) for problem in found)


@pytest.mark.parametrize("name", config.KNOWN[len(config.SCALARS) :])
def test_of_a_section_that_is_none_no_field_is_asked_for(name):
    assert problems(**{name: 3}) == [f"config.{name}: must be a section with fields, got 3"]


@pytest.mark.parametrize(
    ("override", "path", "reason"),
    [
        ("eval.weights=best", "config.eval.weights", 'is "best" but nothing chooses it'),
        ("eval.test=False", "config.eval.test", "is False and there is nothing else to evaluate"),
        ("train.stop=patience(2)", "config.train.stop", "needs a validation split"),
        ("train.stop=target(0.9, 'valid')", "config.train.stop", "needs a validation split"),
    ],
)
@pytest.mark.parametrize("without", ["data.valid_fraction=0", "data.train_on=train+valid"])
def test_what_needs_a_validation_split_is_refused_without_one(override, path, reason, without):
    (problem,) = problems(override, without)
    assert problem.startswith(f"{path}: {reason}: data.")
    assert problem.endswith('Set data.valid_fraction above 0 and data.train_on = "train".')


def test_a_flag_that_replaces_the_layers_drops_the_names_only_the_file_used():
    sections = {**runs.SECTIONS, "model": {"width": 4, "layers": "flatten | dense(width) | dense(classes)"}}
    values = resolve(sections, [Override("model.layers", "flatten | dense(classes)")])
    assert json.loads(values.json)["model"] == {"layers": "flatten | dense(classes)"}
    with pytest.raises(ConfigError, match=r"^config\.model\.width: is not used by model\.layers"):
        resolve(sections, [Override("model.layers", "flatten | dense(classes)"), Override("model.width", "5")])


def test_resolving_changes_nothing_it_was_given():
    sections = copy.deepcopy(runs.SECTIONS)
    resolve(sections, [Override("train.epochs", "9"), Override("eval.batch_size", "9")])
    assert sections == runs.SECTIONS


def test_differences_name_the_fields():
    old, new = (json.loads(runs.tiny(*extra).json) for extra in ((), ("optimizer.name=sgd", "seed=2")))
    assert differences(old, old) == []
    assert ("seed", 0, 2) in differences(old, new)
    assert ("optimizer.b1", 0.9, "(not set)") in differences(old, new)
    assert ("optimizer.weight_decay", "(not set)", 0.0) in differences(old, new)


FIELDS = [
    *(f"{section}.{field.name}" for section, kind in config.SECTIONS.items() for field in dataclasses.fields(kind)),
    *("seed", "optimizer.name", "optimizer.learning_rate", "schedule.name", "model.layers"),
]


@pytest.mark.slow(seconds=4)
@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(FIELDS), st.text(max_size=12)), max_size=4))
def test_any_text_after_a_flag_is_taken_or_refused_by_name(pairs):
    try:
        values = resolve(runs.SECTIONS, [Override(path, text) for path, text in pairs])
    except ConfigError as error:
        found = error.problems
    else:
        assert resolve(json.loads(values.json)) == values
        found = []
    assert all(problem.startswith("config.") for problem in found)


@pytest.mark.slow
def test_no_config_needs_jax():
    code = (
        "import sys; from cnn.config import config; from cnn.model import fusion; from cnn.runs import run_dir\n"
        "from cnn.cli import launch, parser, summary, train\n"
        "assert not {'jax', 'flax', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


NORMED = {"layers": "flatten | dense(4) | residual(dense(4) | batch_norm) | dense(classes)"}


@pytest.mark.parametrize(
    ("overrides", "wrong"),
    [
        (["train.batch_size=1"], "config.train.batch_size: residual1/batch_norm1 would normalise over one value a"),
        (["train.batch_size=4", "train.accumulate_steps=4"], "config.train.accumulate_steps: residual1/batch_norm1 wo"),
        (["train.batch_size=4", "train.accumulate_steps=2"], ""),
        (["train.batch_size=1", "train.freeze=residual1"], ""),
        (["train.batch_size=1", "train.freeze=residual1/batch_norm1/bias"], "config.train.batch_size: residual1/batch"),
        (["train.batch_size=1", "model.layers=batch_norm | flatten | dense(classes)"], ""),
        (["train.batch_size=1", "model.layers=flatten | dense(4) | group_norm(2) | dense(classes)"], ""),
        (["train.batch_size=1", "model.layers=global_avg_pool | batch_norm | dense(classes)"], "config.train.batch_si"),
        (["train.batch_size=1", "model.layers=max_pool(8) | batch_norm | flatten | dense(classes)"], "config.train.b"),
    ],
)
def test_a_batch_normalisation_over_one_value_a_channel_is_refused_before_training(overrides, wrong):
    raw, pairs = {**copy.deepcopy(runs.SECTIONS), "model": NORMED}, [Override(*one.split("=", 1)) for one in overrides]
    assert resolve(raw, pairs, recorded=True).rows
    if not wrong:
        assert resolve(raw, pairs).rows
        return
    with pytest.raises(ConfigError) as caught:
        resolve(raw, pairs)
    assert len(caught.value.problems) == 1 and str(caught.value).startswith(wrong)


def test_what_a_batch_normalisation_would_see_is_said_as_a_sum():
    assert problems("train.batch_size=1", model=NORMED) == [
        "config.train.batch_size: residual1/batch_norm1 would normalise over one value a channel, 1 / 1 x 1 x 1 = 1 "
        "(batch_size / accumulate_steps x height x width), got 1. Use a batch_size of at least 2, or group_norm."
    ]


@pytest.mark.slow
def test_every_table_is_full_whatever_is_imported_first():
    code = (
        "from cnn.config import sections\n"
        "from cnn import fields, registry\n"
        "assert all(len(fields.language(each).kinds) > 1 for each in fields.options(sections.Train).values()\n"
        "           if fields.language(each)), fields.options(sections.Train)\n"
        "assert fields.language(fields.options(sections.Train)['average']).kinds is registry.AVERAGES\n"
        "assert registry.AUGMENTATIONS and registry.OPTIMIZERS\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_share_of_the_time_is_what_saving_may_take():
    every = resolve(runs.SECTIONS, [Override("checkpoint.every", "share(0.05)")]).checkpoint.every
    assert not every.due(7, 12, seconds=1.9, cost=0.1)
    assert every.due(7, 12, seconds=2.1, cost=0.1)
    with pytest.raises(ConfigError, match=r"most must be a finite number in \(0, 1\], got 0"):
        resolve(runs.SECTIONS, [Override("checkpoint.every", "share(0)")])
