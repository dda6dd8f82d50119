"""What a sweep's numbers allow one to say."""

import numpy as np
import pytest
import scipy.stats

import runs
from cnn.config import config
from cnn.sweep import plan, ranking


def group(*values, of=None):
    return {"values": list(values), "n": len(values), "of": of or len(values)}


def test_one_seed_tells_nothing():
    assert "one seed each nobody can tell" in ranking.winner([group(0.9), group(0.8)])["text"]
    assert "nothing to compare" in ranking.winner([group(0.9, 0.8)])["text"]


def test_a_clear_winner_is_distinguishable_and_the_difference_is_in_units_of_noise():
    said = ranking.winner([group(0.90, 0.92), group(0.50, 0.52), group(0.10, 0.12)])
    assert said["real"]
    assert said["sd"] == pytest.approx(0.01 * np.sqrt(2))
    assert said["ratio"] == pytest.approx(0.4 / said["sd"])
    assert "distinguishable at 95%" in said["text"]


def test_configurations_that_learned_nothing_do_not_make_the_noise_of_others_small():
    rng = np.random.default_rng(0)
    collapsed = [group(*rng.normal(0.1, 0.004, 3)) for _ in range(8)]
    found = []
    for _ in range(400):  # of equals: the better one wins by chance
        pair = sorted((rng.normal(0.8, 0.08, 3) for _ in range(2)), key=np.mean, reverse=True)
        found.append(ranking.winner([*(group(*values) for values in pair), *collapsed])["real"])
    assert np.mean(found) < 0.08


def test_the_noise_is_that_of_the_two_that_are_compared_as_scipy_has_it():
    best, second = (0.91, 0.92, 0.915, 0.905), (0.80, 0.86, 0.89)
    said = ranking.winner([group(*best), group(*second), group(0.1, 0.1, 0.1)])
    assert said["real"] == (scipy.stats.ttest_ind(best, second, equal_var=False).pvalue < 0.05)
    for gap in np.linspace(0, 0.2, 41):
        moved = [value - gap for value in second]
        real = ranking.winner([group(*best), group(*moved)])["real"]
        assert real == (scipy.stats.ttest_ind(best, moved, equal_var=False).pvalue < 0.05)


def test_a_configuration_whose_seeds_diverged_is_not_what_the_best_is_compared_with():
    said = ranking.winner([group(0.21, 0.25), group(0.52, 0.53, of=6)])
    why = "of 1 other configuration some seeds diverged, failed or were pruned"
    assert said == {"text": f"there is nothing to compare the best with: {why}"}
    said = ranking.winner([group(0.21, 0.25), group(0.1, 0.12), group(0.52, 0.53, of=6)])
    assert said["difference"] == pytest.approx(0.12)
    assert ranking.winner([group(0.52, 0.53, of=6), group(0.1, 0.12, of=6)])["difference"] == pytest.approx(0.415)


def test_noise_is_called_noise_with_the_seeds_that_would_be_needed():
    said = ranking.winner([group(0.90, 0.80), group(0.91, 0.78)])
    assert not said["real"]
    assert said["seeds_needed"] == int(np.ceil(2 * (1.959963984540054 / said["ratio"]) ** 2))
    assert "not distinguishable; about" in said["text"] and said["text"].endswith(" more seeds each would be needed")
    said = ranking.winner([group(0.923, 0.943, 0.963, 0.983), group(0.89, 0.91, 0.93, 0.95)])
    assert said["text"].endswith("; about 1 more seed each would be needed")


def test_equal_seeds_and_equal_means_are_no_division_by_zero():
    assert "no difference at all" in ranking.winner([group(1, 1), group(0, 0)])["text"]
    assert "not distinguishable" in ranking.winner([group(0, 1), group(1, 0)])["text"]


def test_an_interval_holds_what_it_is_of_also_of_a_field_of_many_values_that_changes_nothing():
    rng = np.random.default_rng(0)
    rows = [{"rate": rate, "seed": seed} for rate in (0.1, 0.2) for seed in range(8)]
    for _ in range(5):
        values = [10 * row["rate"] + rng.normal(0, 0.3) for row in rows]
        for factor in ranking.importance(rows, values, grid=True)["factors"]:
            assert 0 <= factor["low"] <= factor["share"] <= factor["high"] <= 1


def test_the_variance_of_a_full_grid_is_shared_out_exactly():
    rows = [{"a": a, "b": b} for a in range(4) for b in range(3)]
    found = ranking.importance(rows, [2.0 * row["a"] for row in rows], grid=True)
    shares = {factor["path"]: factor["share"] for factor in found["factors"]}
    assert shares == {"a": pytest.approx(1), "b": pytest.approx(0)}
    assert found["factors"][0]["path"] == "a"
    assert found["factors"][0]["low"] <= 1 + 1e-9


@pytest.mark.slow
def test_ranks_count_where_points_were_drawn():
    rng = np.random.default_rng(0)
    rows = [{"a": float(a), "b": float(b), "c": "x"} for a, b in rng.random((40, 2))]
    found = ranking.importance(rows, [-(row["a"] ** 3) for row in rows], grid=False)
    assert found["factors"][0]["path"] == "a"
    assert found["factors"][0]["share"] == pytest.approx(1)
    assert {factor["path"] for factor in found["factors"]} == {"a", "b"}
    assert "not causal" in found["caveat"]


def test_the_time_of_a_sweep_leaves_out_its_pauses_and_counts_what_ran_together_once():
    def trial(started, ended):
        stamps = [None if second is None else f"2026-01-01T00:00:{second:06.3f}+00:00" for second in (started, ended)]
        return dict(zip(("started", "ended"), stamps, strict=True))

    assert ranking.busy_seconds([]) == 0
    assert ranking.busy_seconds([trial(2, 5), trial(0, 3), trial(50, 51.5), trial(55, None)]) == pytest.approx(6.5)


def test_what_a_trial_changed_is_known_where_the_base_is_no_config_by_itself():
    sections = {**runs.SECTIONS, "optimizer": {"name": "adam"}}
    swept = {"optimizer.learning_rate": [0.1], "train.batch_size": [7]}
    made = plan.make(sections, plan.SweepRequest("", [], swept, {}, []))
    best = made.trials[0].fields
    assert made.base_values() is None
    assert made.base_value("optimizer.learning_rate", best) == config.NOT_SET
    assert made.base_value("train.batch_size", best) == runs.SECTIONS["train"]["batch_size"]


def test_few_trials_say_nothing():
    assert ranking.importance([{"a": 1}] * 9, [1.0] * 9, grid=True)["factors"] == []


def test_long_curves_keep_their_ends_and_extremes():
    curve = [[float(step), 0.0] for step in range(5000)]
    curve[1234][1], curve[4321][1] = 9.0, -9.0
    short = ranking.shortened(curve)
    assert len(short) <= ranking.MOST_POINTS
    assert short[0] == curve[0]
    assert short[-1] == curve[-1]
    assert curve[1234] in short
    assert curve[4321] in short
    assert [point[0] for point in short] == sorted(point[0] for point in short)
