"""Sweeps that grow: what is finished counts, what is new runs, and the table is that of the whole in one go."""

import json

import pytest

import runs
import sweeps
from cnn.config import config
from cnn.sweep import declaration, plan, programs, study
from cnn.sweep import run as sweep_run

SHORT = "config.train.epochs=1"
SMALL = f"{sweeps.RATES};seed=0,1"


def declared(folder):
    return json.loads((folder / "declaration.json").read_text())


def rows(folder):
    """Returns the fields of each trial by its number."""
    return {row["number"]: row["fields"] for row in sweeps.record(folder)["trials"]}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Returns a function that copies a finished sweep of two rates and two seeds into a folder."""
    import shutil

    folder = tmp_path_factory.mktemp("begun") / "s"
    assert sweeps.sweep(folder, SMALL, SHORT) == 0

    def copied(place):
        shutil.copytree(folder, place)
        return place

    return copied


def opened(folder, space):
    """Returns the queue of a sweep that is declared, as a worker has it."""
    made = plan.make(runs.SECTIONS, plan.ask("", [config.Override("train.epochs", "1")], {"grid": space}))
    token = declaration.declare(made, folder)
    made = declaration.joined(made, folder)
    connected = study.connect("", folder)
    return study.Queue(study.Study(made, folder, sweep_run._optuna_study(made, folder, connected, token)), "nobody")


@pytest.mark.slow(seconds=2)
def test_points_are_appended_to_a_plan_and_its_study_once_and_every_worker_hears_of_them(tmp_path):
    one, two = (opened(tmp_path / "s", SMALL) for _ in range(2))
    for queue in (one, two):
        queue.fill(programs.key)
    further = [{"optimizer.learning_rate": 0.03, "seed": seed} for seed in (1, 2, 7)]
    for queue in (one, two, one):
        queue.append(further, programs.key)
    assert [trial.fields["seed"] for trial in two.plan.trials] == [0, 1, 0, 1, 2, 7]
    assert [trial.user_attrs["number"] for trial in two.study.trials()] == list(range(6))
    claimed = [two.claim(lambda _: 1, programs.key)[0].trial for _ in range(6)]
    assert [trial.values.seed for trial in claimed] == [0, 1, 0, 1, 2, 7]
    assert claimed[5].fields == {"optimizer.learning_rate": 0.03, "seed": 7}
    with pytest.raises(ValueError, match=r"config.seed: must be an integer"):
        one.append([{"optimizer.learning_rate": 0.03, "seed": 0.5}], programs.key)
    assert len(declared(tmp_path / "s")["points"]) == 6


@pytest.mark.slow(seconds=4)
def test_what_is_appended_runs_with_the_command_that_does_not_name_it(begun, tmp_path, capsys):
    folder = begun(tmp_path / "s")
    before = sweeps.outcomes(folder)
    opened(folder, SMALL).append([{"optimizer.learning_rate": 0.03, "seed": 7}], programs.key)
    assert sweeps.sweep(folder, SMALL, SHORT) == 0
    assert "of its 5 trials this command names 4" in capsys.readouterr().err
    after = sweeps.outcomes(folder)
    assert after.items() >= before.items() and rows(folder)[4] == {"optimizer.learning_rate": 0.03, "seed": 7}
    assert [(group["n"], group["trials"]) for group in sweeps.record(folder)["groups"]] == [(3, [2, 3, 4]), (2, [0, 1])]
    assert sweeps.finishes(folder) == dict.fromkeys(range(5), 1)
