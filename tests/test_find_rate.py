"""`find-rate`: what its numbers allow one to say, and that its trainings are those of a run."""

import json
import math

import numpy as np
import pytest

import cnn
import runs
from cnn import registry
from cnn.config.config import ConfigError
from cnn.fields import Static
from cnn.sweep import rate_curve, rate_finder, vmapped
from cnn.sweep.rate_curve import RateCurve
from cnn.train import multi_step

NAN = float("nan")
RATES = (1e-3, 1e-2, 1e-1)
FEW = ("--rates=3e-4:3:4", "--steps=20", "--seeds=2")


def curve(*losses, untrained=2.3, rates=None):
    rates = rates or tuple(10.0 ** (power - len(losses)) for power in range(len(losses)))
    return RateCurve(rates, tuple(range(len(losses[0]))), np.asarray(losses), untrained, "validation loss", 100, 1000)


def test_the_lowest_is_suggested_where_the_noise_tells_all_others_from_it():
    found = curve((1.0, 1.01, 0.99), (0.5, 0.51, 0.5), (0.9, 0.91, 0.88))
    assert found.suggestion == found.rates[1] == 1e-2
    assert "lowest at 0.01 (0.5, the median of 3 seeds), and the noise between seeds" in found.suggested.reason
    assert "tells all other rates from it" in found.suggested.reason


def test_the_middle_of_what_the_noise_does_not_tell_apart_is_suggested():
    found = curve((2.0, 2.1, 1.9), (0.5, 0.4, 0.6), (0.44, 0.54, 0.49), (0.52, 0.42, 0.59), (1.9, 2.0, 1.8))
    assert found.as_good == (1, 3)
    assert found.suggestion == 1e-3
    assert "between 0.0001 and 0.01, of which 0.001 is the middle" in found.suggested.reason
    within = "as good, within the noise"
    assert [row["note"] for row in found.table] == ["learned little", within, "lowest", within, "learned little"]


def test_what_a_seed_changes_at_all_rates_alike_is_no_noise():
    shift = np.array([0.0, 1.0, 2.0])
    found = curve(1.0 + shift, 0.5 + shift, 0.9 + shift, untrained=9.0)
    assert found.noise == pytest.approx(0, abs=1e-12)
    assert found.as_good == (1, 1)


def test_a_rate_at_which_a_seed_diverged_is_never_suggested_and_is_named():
    found = curve((1.0, 1.0, 1.1), (0.8, 0.81, 0.8), (0.1, NAN, 0.1), (NAN, NAN, NAN))
    assert found.suggestion == found.rates[1]
    assert found.diverged == [0, 0, 1, 3]
    assert "diverged, with so many of 3 seeds: 0.01 (1), 0.1 (3)" in found.suggested.reason
    assert [row["note"] for row in found.table[2:]] == ["diverged with 1 of 3 seeds", "diverged"]
    assert found.table[3]["loss"] is None
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["losses"][2] == [0.1, None, 0.1]


def test_a_rate_at_which_a_seed_learned_little_is_not_as_good_and_is_no_measure_of_the_noise():
    found = curve((0.2, 0.19, 0.21), (0.108, 0.098, 0.118), (0.099, 0.09, 0.1), (0.1, 0.09, 2.29), (2.3, 2.3, 2.2))
    assert found.noise < 0.01
    assert found.as_good == (2, 2)
    assert [row["note"] for row in found.table[3:]] == ["learned little with 1 of 3 seeds", "learned little"]


def test_one_seed_suggests_the_lowest_and_says_that_it_knows_no_noise():
    found = curve((1.0,), (0.5,), (0.6,))
    assert found.suggestion == found.rates[1]
    assert "one seed says nothing of the noise" in found.suggested.reason
    assert found.table[0]["sd"] is None


def test_the_end_of_the_ladder_is_told():
    assert "lower ones may be better" in curve((0.5, 0.5), (1.0, 1.0)).suggested.reason
    assert "higher ones may be better" in curve((1.0, 1.0), (0.5, 0.5)).suggested.reason


def test_nothing_is_suggested_where_nothing_learned():
    assert curve((2.4, 2.5), (2.3, 2.4)).suggestion is None
    found = curve((NAN, 1.0), (NAN, NAN))
    assert found.suggestion is None
    assert "no rate learned: each diverged between 0.01 and 0.1" in found.suggested.reason
    assert "diverged, with so many of 2 seeds: 0.01 (1), 0.1 (2)" in found.suggested.reason


def test_a_ladder_has_equal_ratios_and_both_ends():
    assert rate_curve.ladder(1e-4, 1e-1) == pytest.approx(np.geomspace(1e-4, 1e-1, 10), rel=5e-3)
    assert rate_curve.ladder(0.3, 0.7, 2) == (0.3, 0.7)
    tried = rate_curve.around(2e-3)
    assert len(tried) == 13 and tried[6] == 2e-3
    assert tried[0] == pytest.approx(2e-5) and tried[-1] == pytest.approx(0.2)
    assert rate_curve.beyond(tried, above=True) == pytest.approx((0.431, 0.928, 2.0), rel=5e-3)
    assert rate_curve.beyond(tried, above=False) == pytest.approx((2e-6, 4.31e-6, 9.28e-6), rel=5e-3)


def test_more_rates_are_wanting_where_the_best_is_at_an_end():
    assert rate_finder._wanting(curve((1.0,), (0.5,), (0.6,))) is None
    assert rate_finder._wanting(curve((0.4,), (0.5,), (0.6,))) is False
    assert rate_finder._wanting(curve((1.0,), (0.5,), (0.4,))) is True
    assert rate_finder._wanting(curve((NAN,), (NAN,))) is False, "all are too high"
    assert rate_finder._wanting(curve((2.4,), (2.4,))) is True, "all are too low"


@pytest.mark.parametrize("schedule", ["cosine", "step", "one_cycle", "optax.cosine_decay_schedule"])
def test_a_schedule_is_gone_through_whole_in_fewer_steps(schedule):
    values = runs.tiny(f"schedule.name={schedule}", *(["schedule.every_epochs=2"] if schedule == "step" else []))
    whole = values.schedule.make_factor(total_steps=1000, steps_per_epoch=50)
    short = rate_finder.WithinSteps(values.schedule, 1000, 50, 100).make_factor(total_steps=100, steps_per_epoch=50)
    counts = np.arange(100)
    assert [float(short(count)) for count in counts] == [float(whole(10 * count)) for count in counts]
    same = rate_finder.WithinSteps(values.schedule, 1000, 50, 1000).make_factor(total_steps=0, steps_per_epoch=0)
    assert float(same(777)) == float(whole(777))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the command writes for the tiny config, the schedule and the seed being others than by default."""
    folder = tmp_path_factory.mktemp("rates") / "found"
    flags = ("--config.schedule.name=cosine", "--config.seed=5")
    assert runs.start("find-rate", *FEW, *flags, f"--workdir={folder}") == 0
    return folder


@pytest.mark.slow(seconds=3)
def test_the_command_writes_the_table_and_the_picture_and_suggests_a_rate_that_learns(found):
    record = runs.saved(found, "rates.json")
    assert record["rates"] == pytest.approx([3e-4, 6.46e-3, 0.139, 3.0], rel=5e-3)
    assert record["seeds"] == [5, 6]
    assert (record["steps"], record["steps_of_a_run"]) == (20, 36)
    assert 3e-4 < record["suggestion"] < 3.0
    assert record["untrained"] == pytest.approx(math.log(10), rel=0.2)
    assert min(row["loss"] for row in record["table"]) < record["untrained"]
    assert (found / "rates.svg").read_bytes().startswith(b"<svg")
    assert (found / "rates.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow(seconds=4)
def test_python_finds_what_the_command_found_to_the_bit_and_all_rates_are_one_program(found):
    before = multi_step.run_loop._cache_size()
    config = runs.SECTIONS | {"schedule": {"name": "cosine"}, "seed": 5}
    record = cnn.find_rate(config, rates=runs.saved(found, "rates.json")["rates"], steps=20, seeds=2)
    assert multi_step.run_loop._cache_size() - before <= 1
    assert record.losses.tolist() == runs.saved(found, "rates.json")["losses"]
    assert record.suggestion == runs.saved(found, "rates.json")["suggestion"]
    assert record.reason == runs.saved(found, "rates.json")["reason"]
    assert record.table[0]["rate"] == record.rates[0] == 3e-4
    assert "learning rate" in repr(record) and f"suggested learning rate {record.suggestion:.3g}" in repr(record)
    assert record._repr_html_().count("<tr>") == 5


@pytest.mark.parametrize("rates", ["x", [0.1, "y"], [0.1], [0.1, 0.1], [[0.1, 0.2]], [0.1, -1]])
def test_rates_from_python_that_are_none_are_one_line(rates):
    with pytest.raises(cnn.ConfigError, match=r"^rates: must be 2 to 200 different numbers above 0, got "):
        cnn.find_rate(runs.SECTIONS, rates=rates)


@pytest.mark.slow(seconds=4)
def test_a_training_of_the_whole_length_is_the_run_of_its_rate_and_seed(tmp_path):
    flags = ("schedule.name=cosine", "optimizer.learning_rate=0.02", "seed=1")
    assert runs.train(tmp_path, *flags) == 0
    curve = rate_finder.find(runs.tiny(*flags), [0.02, 0.03], steps=1000, seeds=1)
    assert curve.steps == curve.whole == 36
    assert curve.losses[0, 0] == runs.saved(tmp_path, "result.json")["valid"]["loss"]


@pytest.mark.slow(seconds=6)
def test_trainings_together_are_those_one_after_another():
    values = runs.tiny("train.dispatch=step")
    alone = rate_finder.find(values, RATES, steps=15, seeds=3, engine="map")
    before = vmapped.run_scan._cache_size()
    told = []
    together = rate_finder.find(
        values, RATES, steps=15, seeds=3, engine="vmap", progress=lambda done, of: told.append((done, of))
    )
    assert vmapped.run_scan._cache_size() - before == 1, "two groups, one program"
    assert together.losses == pytest.approx(alone.losses, rel=1e-4)
    assert together.untrained == alone.untrained
    assert told == [(done, 9) for done in range(10)]


@pytest.mark.slow(seconds=3)
def test_data_that_stream_give_the_same_losses(tmp_path):
    memory = rate_finder.find(runs.tiny(), RATES, steps=14, seeds=1)
    stream = rate_finder.find(runs.tiny("data.loading=stream", "data.workers=0"), RATES, steps=14, seeds=1)
    assert stream.losses.tolist() == memory.losses.tolist()
    with pytest.raises(ConfigError, match=r"engine: vmap needs data in memory, got data that stream. Use map"):
        rate_finder.find(runs.tiny("data.loading=stream"), RATES, steps=14, seeds=1, engine="vmap")


@pytest.mark.slow(seconds=3)
def test_rates_that_diverge_are_named_and_the_ladder_is_widened_where_nobody_gave_one():
    values = runs.tiny("optimizer.name=sgd", "optimizer.learning_rate=1e36")
    found = rate_finder.find(values, steps=4, seeds=1)
    assert found.widened and len(found.rates) == 13 + 2 * 3
    assert found.suggestion is None
    assert found.diverged[-1] == 1
    assert "diverged, with so many of 1 seed" in found.suggested.reason


@pytest.mark.slow(seconds=2)
def test_without_a_validation_split_the_training_loss_of_the_last_steps_is_measured():
    found = rate_finder.find(runs.tiny("data.valid_fraction=0"), RATES, steps=20, seeds=2)
    assert found.measured == "training loss"
    assert found.untrained == pytest.approx(math.log(10), rel=0.3)
    assert found.best is not None


@pytest.mark.slow(seconds=3)
def test_statistics_that_cannot_settle_leave_the_training_loss():
    layers = "flatten | dense(8) | batch_norm(momentum={}) | relu | dense(classes) | softmax"
    slow, quick = (runs.tiny(f"model.layers={layers.format(momentum)}") for momentum in (0.99, 0.5))
    assert rate_finder.find(slow, RATES[:2], steps=12, seeds=1).measured == "training loss"
    assert rate_finder.find(quick, RATES[:2], steps=12, seeds=1).measured == "validation loss"


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--rates=1e-1:1e-4", "--rates: must be FROM:TO, two learning rates with 0 < FROM < TO"),
        ("--rates=1e-4", "got '1e-4'. Write --rates=1e-4:1e-1"),
        ("--rates=0:1", "--rates: must be FROM:TO"),
        ("--rates=a:b", "--rates: must be FROM:TO"),
        ("--rates=1:nan", "--rates: must be FROM:TO"),
        ("--rates=1e-4:1e-1:1", "--rates: must be FROM:TO"),
        ("--rates=1e-4:1e-1:201", "with at most 200"),
        ("--rates=1:1.0001:9", "--rates: must be FROM:TO"),
        ("--steps=0", "--steps: must be a number above 0, got '0'. Write --steps=300"),
        ("--seeds=two", "--seeds: must be a number above 0, got 'two'. Write --seeds=3"),
    ],
)
def test_a_wrong_flag_is_one_line(tmp_path, capsys, flag, said):
    assert runs.start("find-rate", flag, f"--workdir={tmp_path / 'x'}") == 2
    problem = capsys.readouterr().err
    assert said in problem and problem.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_the_directory_of_a_run_or_a_sweep_is_refused(tmp_path, capsys):
    for name, what in (("config.json", "run"), ("declaration.json", "sweep")):
        folder = tmp_path / what
        folder.mkdir()
        (folder / name).write_text("{}")
        assert runs.start("find-rate", f"--workdir={folder}") == 2
        said = capsys.readouterr().err
        assert said == f"--workdir: {folder} is the directory of a {what}. Use {folder}-2\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rates": [0.1]}, "rates: must be 2 to 200 different numbers above 0"),
        ({"rates": [0.1, 0.1]}, "rates: must be 2 to 200 different numbers above 0"),
        ({"rates": [-1.0, 1.0]}, "rates: must be 2 to 200 different numbers above 0"),
        ({"steps": 0}, "steps: must be a whole number from 1 to 1,000,000, got 0"),
        ({"seeds": 1.5}, "seeds: must be a whole number from 1 to 1,000,000, got 1.5"),
    ],
)
def test_a_wrong_argument_of_python_is_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        cnn.find_rate(runs.SECTIONS, **given)


def test_a_learning_rate_that_is_compiled_in_is_refused():
    class StaticRate:
        learning_rate: Static[float] = 0.1

        def make_tx(self, learning_rate_fn):
            raise AssertionError

    made = cnn.optimizer(StaticRate, name="static_rate")
    try:
        with pytest.raises(ConfigError, match=r"got static_rate, whose learning rate is compiled in. Annotate it as"):
            rate_finder.find(runs.tiny("optimizer.name=static_rate", "optimizer.learning_rate=0.1"))
    finally:
        registry.OPTIMIZERS._entries.pop((made.origin, "static_rate"))
        registry.OPTIMIZERS.pop("static_rate")
