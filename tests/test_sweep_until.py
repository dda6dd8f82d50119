"""Sweeps that go on until their winner is real: the test, its error rate, and the rounds that it asks for."""

import importlib
import json
import math
import shutil

import numpy as np
import pytest
import scipy.stats

import cnn
import processes
import runs
import sweeps
from cnn.cli import parser
from cnn.config.config import ConfigError
from cnn.sweep import contest, plan, rounds
from cnn.sweep.contest import Out, Rule

NAN = float("nan")
RULE = Rule(0.05, 24)
UNTIL = ("sweep.until=real", "config.train.epochs=1")


@pytest.fixture(scope="module")
def simulation():
    """Returns `benchmarks/sequential_sweep.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(parser.REPOSITORY / "benchmarks"))
        return importlib.import_module("sequential_sweep")


# The test.


def test_one_look_has_the_level_of_a_test_and_all_looks_together_have_the_error_rate():
    assert contest.levels((7,), 0.025) == pytest.approx([0.025], rel=1e-6)
    looks = tuple(range(4, 25))
    nominal = contest.levels(looks, 0.025)
    limits = scipy.stats.norm.isf(nominal) * np.sqrt(looks)
    sums = np.random.default_rng(0).standard_normal((40_000, 24)).cumsum(1)
    above = sums[:, np.array(looks) - 1] > limits
    share = np.maximum.accumulate(above, axis=1).mean(0)
    assert share == pytest.approx(0.025 * np.array(looks) / 24, abs=0.003)


def test_two_looks_have_the_levels_that_a_bivariate_normal_gives():
    first, second = contest.levels((10, 20), 0.05)
    assert first == pytest.approx(0.025, rel=1e-6)
    low, high = scipy.stats.norm.isf([first, second])
    below = scipy.stats.multivariate_normal(cov=[[1, math.sqrt(0.5)], [math.sqrt(0.5), 1]]).cdf([low, high])
    assert 1 - below == pytest.approx(0.05, abs=1e-4)


def test_the_limit_is_students_with_one_degree_of_freedom_less_and_rises_with_the_contenders():
    two, eight = contest.critical(RULE, 2), contest.critical(RULE, 8)
    nominal = contest.levels(tuple(RULE.looks), 0.025)
    assert two == pytest.approx(scipy.stats.t.isf(nominal, np.array(RULE.looks) - 2))
    assert (eight > two).all() and (np.diff(two) < 0).all()
    assert RULE.looks[0] == contest.FIRST and RULE.looks[-1] == 24


def test_the_statistic_is_that_of_a_paired_t_test():
    values = np.random.default_rng(0).normal(size=(3, 6))
    found = contest.statistics(values, 9.0)
    for one in range(3):
        for other in set(range(3)) - {one}:
            expected = scipy.stats.ttest_rel(values[one], values[other]).statistic
            assert found[one, other] == pytest.approx(expected)


def test_differences_that_are_all_equal_count_only_where_so_many_equal_signs_are_rare():
    few, many = np.zeros((2, 4)), np.zeros((2, 12))
    few[0], many[0] = 1.0, 1.0
    limit = contest.critical(RULE, 2)[0]
    assert contest.statistics(few, limit)[0, 1] == 0
    assert contest.statistics(many, 3.0)[0, 1] == math.inf
    assert contest.statistics(many, 3.0)[1, 0] == 0
    assert contest.decide([[0.5] * 24, [0.5] * 24], RULE, maximize=True).state == "spent"


def test_a_clear_winner_is_real_at_the_first_look_and_for_losses_it_is_the_lowest():
    good, bad = [0.90, 0.91, 0.92, 0.90], [0.50, 0.52, 0.51, 0.49]
    found = contest.decide([bad, good], RULE, maximize=True)
    assert (found.state, found.left, found.seeds, found.wanted) == ("real", (1,), 4, 0)
    assert found.out == {0: Out(4, 1)}
    assert contest.decide([bad, good], RULE, maximize=False).left == (0,)


def test_what_is_not_there_yet_is_waited_for_and_what_lies_behind_it_is_not_looked_at():
    good, bad = [0.90, 0.91, None, 0.90, 0.9], [0.50, 0.52, 0.51, 0.49]
    found = contest.decide([good, bad], RULE, maximize=True)
    assert (found.state, found.seeds, found.wanted, found.left) == ("open", 0, 4, (0, 1))
    like = [0.6, 0.5, 0.7, 0.6]
    found = contest.decide([like, list(reversed(like))], RULE, maximize=True)
    assert (found.state, found.seeds, found.wanted) == ("open", 4, 5)


def test_one_that_is_ruled_out_gets_no_more_seeds_and_the_others_go_on():
    rng = np.random.default_rng(0)
    close = 0.9 + 0.01 * rng.standard_normal((2, 24))
    found = contest.decide([*close.tolist(), [0.5, 0.52, 0.51, 0.49]], RULE, maximize=True)
    assert found.out[2].seeds == 4
    assert found.state == "spent" and found.left == (0, 1) and found.seeds == 24


def test_one_without_a_value_is_out_but_nobody_has_beaten_it():
    good, broken = [0.90, 0.91, 0.92, 0.90], [0.5, NAN, 0.5, 0.5]
    found = contest.decide([good, broken], RULE, maximize=True)
    assert found.state == "alone" and found.out == {1: Out(4, None)}
    found = contest.decide([good, broken, [0.50, 0.52, 0.51, 0.49]], RULE, maximize=True)
    assert found.state == "real" and found.left == (0,)
    assert contest.decide([broken, broken], RULE, maximize=True).left == ()


@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize("noise", ["seeds of digits", "normal"])
@pytest.mark.parametrize("count", [2, 4])
def test_sweeps_of_equal_configurations_are_seldom_called_real(simulation, noise, count):
    rng = np.random.default_rng(0)
    decisions = simulation.simulate([0.0] * count, simulation.NOISES[noise], RULE, 400, rng)
    # Of 400 at a rate of 5 % at most 29 are false, but for one time in a hundred.
    assert 400 * simulation.false_share(decisions, True) <= 29


@pytest.mark.slow(seconds=2)
def test_a_difference_of_one_deviation_is_found_with_fewer_runs_than_a_fixed_plan_needs(simulation):
    assert (simulation.fixed_seeds(1.0, 0.8), simulation.fixed_seeds(1.0, 0.9)) == (17, 23)
    for noise in simulation.NOISES.values():
        decisions = simulation.simulate([1.0, 0.0], noise, RULE, 300, np.random.default_rng(1))
        assert np.median([simulation.runs_of(each) for each in decisions]) < 2 * 17
        assert np.mean([each.left == (0,) for each in decisions]) > 0.75
        assert simulation.false_share(decisions, False) < 0.01


# The rounds.


def made(space, *options, sections=runs.SECTIONS):
    given = dict(each.split("=", 1) for each in options)
    flags = {"grid": space, **{f"sweep.{name}": value for name, value in given.items()}}
    return plan.make(sections, plan.ask("", [], flags))


def ended(planned, value_of, points):
    """Returns rows of trials that ended with values by configuration and seed; `None` for one that diverged."""
    rows = []
    for number, fields in enumerate(points):
        value = value_of(fields["optimizer.learning_rate"], fields["seed"])
        rows.append({"number": number, "fields": fields, "value": value, "status": "finished"})
        if value is None:
            rows[-1]["status"] = "diverged"
    return rows


def points_of(planned):
    return [dict(trial.fields) for trial in planned.trials]


def test_seeds_that_nobody_names_are_those_of_the_first_look_from_the_configs_on():
    planned = made(sweeps.RATES, "until=real", sections={**runs.SECTIONS, "seed": 7})
    assert [trial.fields["seed"] for trial in planned.trials] == [7, 8, 9, 10] * 2
    assert planned.json["space"]["seed"] == [7, 8, 9, 10]
    assert planned.json["options"]["until"] == "real"
    assert not set(made(f"{sweeps.RATES};seed=0,1").json["options"]) & {"until", "most_seeds", "error"}


def test_a_round_gives_the_contenders_the_next_seed_and_the_same_one_to_all():
    planned = made(f"{sweeps.RATES};seed=3,1", "until=real", "most_seeds=6")
    key = lambda trial: "one"  # noqa: E731
    rows = ended(planned, lambda rate, seed: 0.9 if rate == 0.03 else 0.5, points_of(planned))
    following = rounds.following(planned, rows, lambda name: 1, key)
    assert [(point["optimizer.learning_rate"], point["seed"]) for point in following] == [
        (0.003, 4),
        (0.03, 4),
        (0.003, 5),
        (0.03, 5),
    ]
    more = rounds.following(planned, rows, lambda name: 12, key)
    assert sorted({point["seed"] for point in more}) == [4, 5, 6, 7], "as many as train together, and no more than most"


def test_what_is_decided_is_said_with_the_seeds_and_the_error_rate():
    planned = made(f"{sweeps.RATES},0.3", "until=real", "error=0.1")

    def value(rate, seed):
        return None if rate == 0.3 and seed == 2 else rate + 0.001 * (seed % 2) * (1 + rate)

    rows = ended(planned, value, points_of(planned))
    assert rounds.following(planned, rows, lambda name: 1, lambda trial: "one") == []
    groups = [{"fields": {"optimizer.learning_rate": rate}, "values": [rate], "n": 4} for rate in (0.3, 0.003, 0.03)]
    said, ranked = rounds.judged(planned, rows, groups, {"difference": 0.1})
    assert said["real"] and said["seeds"] == 4 and said["error"] == 0.1 and said["difference"] == 0.1
    assert said["text"] == (
        "yes, optimizer.learning_rate=0.03, decided after 4 seeds of at most 24, at an error rate of 10 % over all "
        "looks and configurations; ruled out: optimizer.learning_rate=0.003 after 4 seeds; without a value with some "
        "seed, so out of it: optimizer.learning_rate=0.3 after 4 seeds"
    )
    assert [group["fields"]["optimizer.learning_rate"] for group in ranked] == [0.03, 0.3, 0.003]
    by = {"optimizer.learning_rate": 0.03}
    assert [(one["fields"]["optimizer.learning_rate"], one["by"]) for one in said["ruled_out"]] == [
        (0.3, None),
        (0.003, by),
    ]


def test_a_budget_that_ends_and_a_sweep_under_way_say_so():
    planned = made(f"{sweeps.RATES};seed=0,1,2,3", "until=real", "most_seeds=4")
    points = points_of(planned)
    rows = ended(planned, lambda rate, seed: [0.5, 0.6, 0.7, 0.6][(seed + (rate > 0.01)) % 4], points)
    groups = [{"fields": {"optimizer.learning_rate": rate}, "values": [rate], "n": 4} for rate in (0.003, 0.03)]
    said, _ = rounds.judged(planned, rows, groups, {})
    assert not said["real"]
    assert said["text"].startswith("not decided with 4 seeds, all that there were to be, at an error rate of 5 %")
    assert "2 of 2 are left: optimizer.learning_rate=0.003, optimizer.learning_rate=0.03" in said["text"]
    said, _ = rounds.judged(planned, rows[:-1], groups, {})
    assert said["text"].startswith("not decided yet before 4 seeds, of at most 4")


@pytest.mark.parametrize(
    ("space", "options", "said"),
    [
        (sweeps.RATES, ("until=real", "sampler=random", "trials=3"), "--sweep.until: real compares configurations"),
        (sweeps.RATES, ("until=real", "pruner=halving"), "--sweep.until: real compares trials that ran to their ends"),
        (f"{sweeps.RATES};data.fold=1/5,2/5", ("until=real",), "--sweep.until: real adds seeds, and there are no more"),
        ("seed=0,1", ("until=real",), "--sweep.until: real compares configurations, and the space has one"),
        (
            f"{sweeps.RATES};seed=0,1,2,3,4",
            ("until=real", "most_seeds=4"),
            "must be at least the 5 of space.seed, got 4",
        ),
        ("(seed,optimizer.learning_rate)=(0,0.1),(1,0.2)", ("until=real",), "space.seed: must be a list of its own"),
        (sweeps.RATES, ("until=real", "most_seeds=3"), "--sweep.most_seeds: must be an integer of at least 4, got 3"),
        (sweeps.RATES, ("until=real", "error=0"), r"--sweep.error: must be a finite number in \(0, 0.5\), got 0"),
        (sweeps.RATES, ("error=0.1",), "--sweep.error: is of --sweep.until=real. Add that, or leave it out"),
        (sweeps.RATES, ("until=won",), "--sweep.until: must be one of"),
    ],
)
def test_what_makes_no_sense_is_refused(space, options, said):
    with pytest.raises(ConfigError, match=said):
        made(space, *options)


# Whole sweeps.


def decided(folder):
    """Returns what must be equal where two sweeps of one declaration are: the verdict, and every trial by number."""
    found = sweeps.record(folder)
    return found["winner"], [(row["number"], row["fields"], row["status"], row["value"]) for row in found["trials"]]


CLOSE = "optimizer.learning_rate=0.029,0.03,0.0001"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep in one go: one rate is ruled out at once, and two are too close for six seeds."""
    folder = tmp_path_factory.mktemp("until") / "whole"
    assert sweeps.sweep(folder, CLOSE, "sweep.most_seeds=6", *UNTIL) == 0
    return folder


@pytest.mark.slow(seconds=8)
def test_seeds_are_added_to_the_contenders_alone_until_the_budget_ends(whole, capsys):
    record = sweeps.record(whole)
    assert record["counts"] == {"finished": 16}
    assert [group["n"] for group in record["groups"]] == [6, 6, 4]
    assert record["groups"][2]["fields"] == {"optimizer.learning_rate": 0.0001}
    assert not record["winner"]["real"] and record["winner"]["seeds"] == 6
    assert "not decided with 6 seeds, all that there were to be, at an error rate of 5 %" in record["winner"]["text"]
    assert "ruled out: optimizer.learning_rate=0.0001 after 4 seeds" in record["winner"]["text"]
    assert sweeps.finishes(whole) == dict.fromkeys(range(16), 1)
    assert sweeps.sweep(whole, CLOSE, "sweep.most_seeds=6", *UNTIL) == 0, "nothing is left to do"
    assert "is the winner real? not decided with 6 seeds" in capsys.readouterr().out
    assert len(sweeps.record(whole)["trials"]) == 16


@pytest.mark.thorough
@pytest.mark.slow(seconds=6)
def test_one_that_is_stopped_twice_comes_to_the_same_end(whole, tmp_path, fault):
    flags = (CLOSE, "sweep.most_seeds=6", *UNTIL)
    for point in ("settled:term:5", "grown:term:1"):
        fault(point)
        assert sweeps.sweep(tmp_path / "s", *flags) == 75
    fault("")
    assert sweeps.sweep(tmp_path / "s", *flags) == 0
    assert decided(tmp_path / "s") == decided(whole)
    assert sweeps.finishes(tmp_path / "s") == dict.fromkeys(range(16), 1)


@pytest.mark.slow(seconds=6)
def test_trials_that_train_together_are_decided_by_the_same_looks(tmp_path):
    flags = ("sweep.most_seeds=6", "sweep.engine=vmap", "sweep.lanes=6", *UNTIL)
    assert sweeps.sweep(tmp_path / "s", CLOSE, *flags) == 0
    record = sweeps.record(tmp_path / "s")
    assert [group["n"] for group in record["groups"]] == [6, 6, 4]
    assert record["winner"]["seeds"] == 6 and record["engine"]["engine"] == "vmap"


@pytest.mark.thorough
@pytest.mark.slow(seconds=13)
def test_two_workers_share_the_rounds_and_come_to_the_same_end(whole, tmp_path):
    flags = [*processes.flags(train__epochs="1"), f"--grid={CLOSE}", "--sweep.until=real", "--sweep.most_seeds=6"]
    done = processes.start("sweep", *flags, "--sweep.workers=2", f"--workdir={tmp_path / 's'}", NPROC="2")
    assert done.code == 0, done.err
    record = sweeps.record(tmp_path / "s")
    assert len({row["worker"] for row in record["trials"]}) == 2
    assert [group["n"] for group in record["groups"]] == [6, 6, 4]
    assert record["winner"]["text"].startswith("not decided with 6 seeds")
    assert sweeps.finishes(tmp_path / "s") == dict.fromkeys(range(16), 1)


@pytest.mark.slow(seconds=4)
def test_python_declares_the_same_and_continues_what_a_command_began(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "s")
    config = {**runs.SECTIONS, "train": {**runs.SECTIONS["train"], "epochs": 1}}
    sweep = cnn.run_sweep(config, CLOSE, tmp_path / "s", until="real", most_seeds=6)
    assert decided(tmp_path / "s") == decided(whole)
    assert "not decided with 6 seeds" in repr(sweep)


@pytest.mark.slow(seconds=2)
def test_its_configurations_seeds_and_rule_stay_as_they_were_declared(whole, capsys):
    before = (whole / "declaration.json").read_bytes()
    for more in (
        [f"{CLOSE},0.1", "sweep.most_seeds=6"],
        [CLOSE, "sweep.most_seeds=9"],
        [CLOSE, "sweep.most_seeds=6", "sweep.error=0.2"],
        [f"{CLOSE};seed=0,1,2,3,5", "sweep.most_seeds=6"],
    ):
        assert sweeps.sweep(whole, *more, *UNTIL) == 2
        said = capsys.readouterr().err
        assert (
            "one that goes on until its winner is real keeps its configurations, its seeds and its error rate" in said
        )
    assert sweeps.sweep(whole, CLOSE, "sweep.most_seeds=6", "sweep.seeds=+5", *UNTIL) == 2
    assert "--sweep.most_seeds: must be at least the 11 of space.seed, got 6" in capsys.readouterr().err
    assert sweeps.sweep(whole, CLOSE, "config.train.epochs=1") == 2, "nor does it become one with a plan"
    assert (whole / "declaration.json").read_bytes() == before


def test_the_plan_says_that_seeds_will_follow(tmp_path, capsys):
    assert sweeps.sweep(tmp_path / "s", CLOSE, "sweep.print=true", *UNTIL) == 0
    said = capsys.readouterr().out
    assert "12 trials in" in said
    assert "and more seeds, at most 24 of each configuration that is not ruled out, until the winner is real" in said


@pytest.mark.slow
def test_a_page_says_what_was_decided(whole):
    text = (cnn.load(whole).page).read_text()
    assert "Not decided with 6 seeds, all that there were to be, at an error rate of 5 %" in text
    assert json.loads((whole / "sweep.json").read_text())["winner"]["ruled_out"][0]["seeds"] == 4
