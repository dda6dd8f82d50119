"""Schedules over the run and over epochs, the plateau, and the length of a run, against closed forms and PyTorch."""

import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import runs
from cnn import hyperparams, registry
from cnn.config import files
from cnn.config.config import ConfigError, Override
from cnn.config.resolve import resolve
from cnn.optim import schedules
from cnn.runs import run_dir
from cnn.train import multi_step
from tests import tiny

EPOCH = 4
TOTAL = 40
STEPS = np.arange(TOTAL)


def factors(schedule, total_steps=TOTAL):
    """Returns the factor of each step of a run, computed for all at once and for one at a time."""
    factor = schedule.make_factor(total_steps=total_steps, steps_per_epoch=EPOCH)
    together = np.broadcast_to(np.asarray(factor(jnp.arange(64))), 64)[:total_steps]
    for step in (0, 13, total_steps - 1):
        np.testing.assert_allclose(factor(jnp.int32(step)), together[step], rtol=1e-5, atol=1e-6)
    return together


def cosine(length, step):
    """Returns the factor in a cycle; of the last one, which the run's end cuts to 12 steps, it is 32 long."""
    return 0.5 * (1 + math.cos(math.pi * step / (32 if length == 12 else length)))


CLOSED = [
    (schedules.Polynomial(power=3.0, final=0.1), 0.1 + 0.9 * (1 - STEPS / TOTAL) ** 3),
    (schedules.Exponential(rate=0.5), 0.5 ** (STEPS / EPOCH)),
    (schedules.Exponential(rate=0.5, smooth=False), 0.5 ** (STEPS // EPOCH)),
    (schedules.Exponential(rate=0.0), np.where(STEPS == 0, 1.0, 0.0)),
    (schedules.Piecewise(at_epochs=(2, 5), factor=0.1), np.select([STEPS < 8, STEPS < 20], [1, 0.1], 0.01)),
    (
        schedules.OneCycle(peak_at=0.25, start=0.2, final=0.1, shape="linear"),
        np.where(STEPS < 10, 0.2 + 0.8 * STEPS / 10, 1 - 0.9 * (STEPS - 10) / 30),
    ),
    (schedules.OneCycle(peak_at=0.0, final=0.0), 0.5 * (1 + np.cos(np.pi * STEPS / TOTAL))),
    (schedules.OneCycle(peak_at=1.0, start=0.0, shape="linear"), STEPS / TOTAL),
    (schedules.Restarts(cycle_epochs=3, final=0.2), 0.2 + 0.8 * 0.5 * (1 + np.cos(np.pi * (STEPS % 12) / 12))),
    (
        schedules.Restarts(cycle_epochs=1, longer=2),
        [cosine(length, step) for length in (4, 8, 16, 12) for step in range(length)],
    ),
    # A cooldown from where the next cycle begins, whether or not cycles grow.
    *(
        (
            schedules.Restarts(cycle_epochs=1, longer=longer, cooldown_steps=TOTAL - steps),
            [cosine(length, step) for length in (4, steps - 4) for step in range(length)]
            + [(TOTAL - step) / (TOTAL - steps + 1) for step in range(steps, TOTAL)],
        )
        for longer, steps in ((1, 8), (2, 12))
    ),
    (schedules.Plateau(), np.ones(TOTAL)),
]


@pytest.mark.parametrize(("schedule", "expected"), CLOSED, ids=lambda one: str(one)[:40])
def test_a_schedule_has_its_closed_form(schedule, expected):
    np.testing.assert_allclose(factors(schedule), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.slow
def test_a_warmup_comes_before_and_a_cooldown_after_each():
    for schedule, _ in CLOSED:
        kind = type(schedule)
        found = factors(kind(warmup_steps=5, cooldown_steps=7))
        alone = factors(kind(), 28)
        # Those that take the whole run take what is left of it.
        np.testing.assert_allclose(found[5:33], alone, rtol=1e-5)
        np.testing.assert_allclose(found[:5], alone[0] * np.arange(1, 6) / 5, rtol=1e-5)
        assert found[-1] <= 1 / 8 + 1e-6 and (np.diff(found[33:]) <= 1e-6).all()


def test_schedules_are_pytorchs():
    torch = pytest.importorskip("torch")
    rates = torch.optim.lr_scheduler

    def theirs(make, every=1):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = make(optimizer)
        found = []
        for step in range(TOTAL):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if (step + 1) % every == 0:
                scheduler.step()
        return found

    pairs = [
        (schedules.Polynomial(power=1.5), theirs(lambda o: rates.PolynomialLR(o, TOTAL, power=1.5))),
        (schedules.Exponential(0, 0, 0.7, smooth=False), theirs(lambda o: rates.ExponentialLR(o, 0.7), EPOCH)),
        (schedules.Piecewise(at_epochs=(2, 5)), theirs(lambda o: rates.MultiStepLR(o, [2, 5], gamma=0.1), EPOCH)),
        (
            # PyTorch counts the last step to each way.
            schedules.OneCycle(),
            theirs(lambda o: rates.OneCycleLR(o, 1.0, TOTAL + 1, pct_start=(0.3 * TOTAL + 1) / (TOTAL + 1))),
        ),
        (
            schedules.Restarts(cycle_epochs=2, longer=3, final=0.1),
            theirs(lambda o: rates.CosineAnnealingWarmRestarts(o, 2 * EPOCH, 3, eta_min=0.1)),
        ),
    ]
    for ours, expected in pairs:
        np.testing.assert_allclose(factors(ours), expected, rtol=1e-4, atol=1e-6)


VALUES = [0.5, 0.6, 0.6, 0.605, 0.55, 0.7, 0.7, 0.69, 0.7, 0.7, 0.7, 0.7, 0.9]


def plateau(schedule, values, better):
    state, found = schedule.init_state(), []
    for value in values:
        state = schedule.observe(jax.device_get(state), value, better)
        found.append(float(schedule.scale(state)))
    return found


def test_a_plateau_lowers_the_rate_after_so_many_evaluations_that_are_not_better():
    schedule = schedules.Plateau(evaluations=3, factor=0.5)
    expected = [1, 1, 1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert plateau(schedule, VALUES, "higher") == expected
    assert plateau(schedule, [-value for value in VALUES], "lower") == expected
    strict = schedules.Plateau(evaluations=3, factor=0.5, threshold=0.05)
    assert plateau(strict, VALUES, "higher") == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125]
    assert min(plateau(schedules.Plateau(evaluations=1, final=0.3), VALUES, "higher")) == pytest.approx(0.3)


def test_a_plateau_is_pytorchs():
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=1, threshold=0.02, threshold_mode="abs", min_lr=0.2
    )
    expected = []
    for value in VALUES:
        theirs.step(value)
        expected.append(optimizer.param_groups[0]["lr"])
    ours = plateau(schedules.Plateau(evaluations=2, factor=0.5, threshold=0.02, final=0.2), VALUES, "higher")
    assert ours == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "traced", "structural"),
    [
        ("polynomial", {"power": 1.0, "final": 0.5}, {}),
        ("exponential", {"rate": 0.5}, {"smooth": False}),
        ("piecewise", {"factor": 0.5}, {"at_epochs": (3,)}),
        ("one_cycle", {"peak_at": 0.5, "start": 0.5, "final": 0.5}, {"shape": "linear"}),
        ("restarts", {"final": 0.5}, {"cycle_epochs": 2}),
        ("plateau", {"factor": 0.5, "final": 0.5, "threshold": 0.5}, {"evaluations": 2}),
    ],
)
def test_real_numbers_of_a_schedule_are_traced_and_the_rest_is_structure(name, traced, structural):
    def structure(**options):
        return hyperparams.structure(
            tiny.resolve(schedule__name=name, **{f"schedule__{o}": v for o, v in options.items()})
        )

    assert all(structure(**{option: value}) == structure() for option, value in traced.items())
    assert all(structure(**{option: value}) != structure() for option, value in structural.items())


def test_a_schedule_says_whether_it_follows_from_the_length_of_the_run():
    knows = {name: kind().knows_length for name, kind in registry.SCHEDULES.items()}
    assert sorted(name for name in knows if knows[name]) == ["cosine", "linear", "one_cycle", "polynomial"]
    assert all(kind(cooldown_steps=1).knows_length for kind in registry.SCHEDULES.values())
    for name, known in knows.items():
        same = np.array_equal(factors(registry.SCHEDULES[name](), 20), factors(registry.SCHEDULES[name](), 40)[:20])
        assert same != known


PLATEAU = ("schedule.name=plateau", "schedule.evaluations=1", "schedule.factor=0.5", "schedule.threshold=0.1")
ONE = "model.layers=flatten | dense(classes)"
ALTERNATING = "data.augment=alternating_flip"


@pytest.mark.slow(seconds=6)
def test_a_run_with_a_plateau_records_its_rates_and_resumes_to_the_bit(tmp_path, fault):
    given = (
        ONE,
        *PLATEAU,
        ALTERNATING,
        "optimizer.learning_rate=0.3",
        "train.epochs=4",
        "train.log_every_steps=12",
        "checkpoint.every=steps(5)",
    )
    fault("step:kill:1000000")
    assert runs.train(tmp_path / "straight", *given) == 0
    fault("step:term:40")
    assert runs.train(tmp_path / "resumed", *given) == 75
    fault("")
    assert runs.train(tmp_path / "resumed", *given) == 0
    assert runs.outcome(tmp_path / "straight") == runs.outcome(tmp_path / "resumed")
    rates = [record["learning_rate"] for record in runs.records(tmp_path / "straight", "train")]
    accuracies = [record["valid"]["accuracy"] for record in runs.records(tmp_path / "straight", "epoch")]
    expected = plateau(schedules.Plateau(evaluations=1, factor=0.5, threshold=0.1), accuracies, "higher")
    np.testing.assert_allclose(rates, [0.3 * factor for factor in [1.0, *expected[:-1]]], rtol=1e-6)
    assert min(expected) < 1


@pytest.mark.slow(seconds=10)
def test_plateaus_and_alternating_flips_are_side_by_side_in_a_vmapped_sweep_what_they_are_alone(tmp_path):
    given = [
        f"--config.{text}"
        for text in (
            ONE,
            *PLATEAU[:-1],
            ALTERNATING,
            "schedule.threshold=0.3",
            "train.epochs=3",
            "train.log_every_steps=12",
        )
    ]
    grid = "--grid=(optimizer.learning_rate,seed)=(0.3,0),(0.3,1),(0.001,0)"
    for engine in ("vmap", "map"):
        assert runs.start("sweep", grid, *given, f"--workdir={tmp_path / engine}", f"--sweep.engine={engine}") == 0

    def recorded(engine, name):
        folders = [tmp_path / engine / "trials" / f"000{number}" for number in range(3)]
        return [[record[name] for record in runs.records(folder, "train")] for folder in folders]

    rates = recorded("vmap", "learning_rate")
    assert rates == recorded("map", "learning_rate")
    assert any(one[-1] < one[0] for one in rates)
    np.testing.assert_allclose(recorded("vmap", "loss"), recorded("map", "loss"), rtol=1e-4)


def test_a_plateau_needs_a_validation_split():
    with pytest.raises(
        ConfigError, match=r"config\.schedule\.name: plateau needs a validation split: data\.valid_frac"
    ):
        runs.tiny(*PLATEAU, "data.valid_fraction=0")
    runs.tiny(*PLATEAU)


def lengths(raw=None, **flags):
    """Returns `train.epochs` and `train.steps` of a config with flags, as `config.json` has them."""
    base = {**runs.SECTIONS, "train": {"batch_size": 100, **(raw or {})}}
    plain = json.loads(resolve(base, [Override(f"train.{name}", str(value)) for name, value in flags.items()]).json)
    return plain["train"]["epochs"], plain["train"]["steps"]


def test_a_length_in_steps_takes_the_place_of_epochs():
    assert lengths() == (5, None)
    assert lengths(steps=500) == lengths({"epochs": 3}, steps=500) == lengths({"steps": 500}) == (None, 500)
    assert lengths({"steps": 500}, epochs=3) == lengths({"epochs": None, "steps": 7}, epochs=3) == (3, None)
    assert lengths({"epochs": None, "steps": 500}) == (None, 500)
    assert lengths({"epochs": 3}, steps=None) == lengths({"epochs": 3, "steps": None}) == (3, None)
    assert runs.tiny("train.steps=7").train.total_steps(12) == 7
    assert runs.tiny("train.epochs=7").train.total_steps(12) == 84
    config = files.configure("digits", **{"train.steps": 7})
    assert (config.train.epochs, config.train.steps) == (None, 7)
    assert files.resolved(config).train.total_steps(12) == 7
    again = files.configure(config, **{"train.epochs": 2})
    assert (again.train.epochs, again.train.steps) == (2, None)


@pytest.mark.parametrize(
    ("raw", "flags", "message"),
    [
        ({"epochs": 3, "steps": 4}, {}, "is set beside config.train.epochs, got 4. Set one of them to None."),
        ({}, {"epochs": 3, "steps": 4}, "is set beside config.train.epochs, got 4. Set one of them to None."),
        ({"epochs": None}, {}, "is not set, nor is config.train.epochs, got None. Set one of them."),
        ({}, {"epochs": None}, "is not set, nor is config.train.epochs, got None. Set one of them."),
        ({}, {"steps": 0}, "must be an integer of at least 1 or None, got 0."),
    ],
)
def test_both_lengths_or_none_are_refused(raw, flags, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(f'config.train.steps: {message}')}$"):
        lengths(raw, **flags)


@pytest.mark.slow(seconds=12)
def test_a_run_of_so_many_steps_ends_within_an_epoch_is_evaluated_there_and_resumes_to_the_bit(tmp_path, fault):
    given = (ONE, "train.steps=30", "schedule.name=cosine", "eval.every_epochs=2")
    straight, resumed = runs.stopped_and_resumed(tmp_path, fault, *given)
    assert runs.outcome(straight) == runs.outcome(resumed)
    result = runs.saved(straight, "result.json")
    assert (result["step"], result["epochs"], result["status"]) == (30, 2.5, "finished")
    epochs = runs.records(straight, "epoch")
    assert [(record["step"], record["epoch"]) for record in epochs] == [(12, 1), (24, 2), (30, 3)]
    assert ["valid" in record for record in epochs] == [False, True, True]
    assert runs.steps(straight)[-1] == 30
    last = runs.records(straight, "train")[-1]
    assert last["step"] == 30
    assert last["learning_rate"] == pytest.approx(0.01 * 0.5 * (1 + math.cos(math.pi * 29 / 30)), rel=1e-4)
    short = tmp_path / "short"
    assert runs.train(short, ONE, "train.steps=5") == 0
    assert runs.saved(short, "result.json")["epochs"] == 5 / 12


@pytest.mark.slow(seconds=12)
@pytest.mark.parametrize(("unit", "short", "long"), [("steps", 17, 40), ("epochs", 1, 2)])
def test_a_finished_run_is_trained_longer_to_the_bits_of_one_that_was_so_from_the_start(unit, short, long, tmp_path):
    given = (ONE, "train.average=ema(0.9)")
    assert runs.train(tmp_path / "run", *given, f"train.{unit}={short}") == 0
    assert runs.train(tmp_path / "run", *given, f"train.{unit}={long}") == 0
    assert runs.train(tmp_path / "straight", *given, f"train.{unit}={long}") == 0
    found, expected = (runs.saved(tmp_path / name, "result.json") for name in ("run", "straight"))
    assert (found["fingerprint"], found["step"]) == (expected["fingerprint"], expected["step"])
    assert found["test"] == expected["test"]
    # Also where the first run ended, and evaluated, in the middle of an epoch.
    assert found["train"] == expected["train"] and found["best"] == expected["best"]
    assert runs.outcome(tmp_path / "run") == runs.outcome(tmp_path / "straight")
    history = (tmp_path / "run" / "config_history.jsonl").read_text()
    assert json.loads(history) == {"field": f"config.train.{unit}", "before": short, "now": long}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("schedule.name=cosine", "config.schedule.name=cosine"),
        ("schedule.cooldown_steps=2", "config.schedule.cooldown_steps=2"),
        ("train.average=lookahead(5, 1, 0.25)", "config.train.average=lookahead(rate=1, final=0.25)"),
    ],
)
def test_of_a_run_that_cannot_be_made_longer_it_is_said_what_follows_from_its_length(given, shown, tmp_path):
    (tmp_path / "config.json").write_text(runs.tiny(ONE, "train.steps=5", given).json)
    with pytest.raises(ConfigError) as refused:
        run_dir.check_same_config(runs.tiny(ONE, "train.steps=9", given), tmp_path)
    _, field, reason = str(refused.value).splitlines()
    assert field == "    config.train.steps: 5 there, 9 here"
    assert f"; here {shown} does. " in reason and reason.endswith(f"add --config.init_from={tmp_path}")
    with pytest.raises(ConfigError) as refused:
        run_dir.check_same_config(runs.tiny(ONE, "train.steps=4", given), tmp_path)
    assert "init_from" not in str(refused.value)


@pytest.mark.slow(seconds=12)
def test_an_evaluation_that_only_a_shorter_run_makes_leaves_no_trace_or_is_refused(tmp_path):
    seldom = (ONE, "eval.every_epochs=2")
    for epochs in (1, 3):
        assert runs.train(tmp_path / "run", *seldom, f"train.epochs={epochs}") == 0
    assert runs.train(tmp_path / "straight", *seldom, "train.epochs=3") == 0
    assert runs.outcome(tmp_path / "run") == runs.outcome(tmp_path / "straight")
    for field in ("eval.weights=best", "schedule.name=plateau"):
        folder = tmp_path / field
        assert runs.train(folder, *seldom, field, "train.epochs=1") == 0
        with pytest.raises(ConfigError, match=f"here what config.{field} takes from the evaluation at its end does"):
            run_dir.check_same_config(runs.tiny(*seldom, field, "train.epochs=3"), folder)


@pytest.mark.slow(seconds=4)
def test_a_run_is_made_neither_shorter_nor_longer_where_its_schedule_follows_from_its_length(tmp_path, capsys):
    assert runs.train(tmp_path / "run", ONE, "train.steps=5", "schedule.name=cosine") == 0
    assert runs.train(tmp_path / "run", ONE, "train.steps=9", "schedule.name=cosine") == 2
    assert "config.train.steps: 5 there, 9 here" in capsys.readouterr().err
    assert runs.train(tmp_path / "other", ONE, "train.steps=5") == 0
    for length in ("train.steps=4", "train.epochs=9"):
        assert runs.train(tmp_path / "other", ONE, length) == 2
    assert runs.saved(tmp_path / "other", "result.json")["step"] == 5


@pytest.mark.slow(seconds=4)
def test_the_factor_of_a_plateau_compiles_nothing():
    values = tiny.resolve(schedule__name="plateau", train__monitor="loss")
    state, step_config = tiny.start(values)
    images = tiny.split()
    state, metrics = multi_step.run_step(state, images, tiny.rows(0), step_config=step_config)
    count = multi_step.run_step._cache_size()
    seen = values.schedule.observe(jax.device_get(state.observed), 1.0, "lower")
    for _ in range(5):
        seen = values.schedule.observe(seen, 2.0, "lower")
    state = state._replace(observed=jax.tree.map(jnp.asarray, seen))
    state, later = multi_step.run_step(state, images, tiny.rows(1), step_config=step_config)
    assert multi_step.run_step._cache_size() == count
    assert float(later["learning_rate"]) == pytest.approx(0.1 * float(metrics["learning_rate"]))
