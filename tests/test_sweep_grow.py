"""Sweeps that grow: what is finished counts, what is new runs, and the table is that of the whole in one go."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import cnn
import postgres
import processes
import runs
import sweeps
from cnn.cli import launch
from cnn.config import config, files
from cnn.sweep import declaration, plan, programs, recall, study, workers
from cnn.sweep import run as sweep_run
from fork_server import MAIN

RATE, SMOOTHING = "optimizer.learning_rate", "train.label_smoothing"
SMALL = f"{sweeps.RATES};seed=0,1"
SECTIONS = {**runs.SECTIONS, "train": {"epochs": 1, "batch_size": 200}}


def sweep(folder, space, *typed, sections=SECTIONS):
    return sweeps.sweep(folder, space, *typed, sections=sections)


def start(folder, *typed):
    """Returns the exit code of a command that names no space."""
    return runs.start("sweep", f"--workdir={folder}", *typed)


def declared(folder):
    return json.loads((folder / "declaration.json").read_text())


def fields(folder):
    """Returns the fields of each trial by its number."""
    return {row["number"]: row["fields"] for row in sweeps.record(folder)["trials"]}


def told(folder):
    """Returns what `sweep.json` says of configurations, which is the same however the sweep came to be."""
    record = sweeps.record(folder)
    groups = [{name: value for name, value in group.items() if name != "trials"} for group in record["groups"]]
    best = {name: value for name, value in record["best"].items() if name in ("fields", "diff")}
    about = {name: record[name] for name in ("objective", "size", "counts", "space", "options", "varying", "winner")}
    trials = sorted(
        (sorted(row["fields"].items()), row["status"], row["value"], row["epochs"], row["curves"])
        for row in record["trials"]
    )
    return about, sweeps.table(folder), groups, record["importance"], best, trials


def once(folder):
    """Checks that every trial was finished once, and that no two are of one config."""
    found = sweeps.record(folder)
    assert sweeps.finishes(folder) == dict.fromkeys(range(found["size"]), 1)
    configs = [(folder / row["folder"] / "config.json").read_text() for row in found["trials"]]
    assert len(set(configs)) == len(configs) == found["size"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished sweep of two rates and two seeds."""
    folder = tmp_path_factory.mktemp("finished") / "s"
    assert sweep(folder, SMALL) == 0
    return folder


@pytest.fixture
def begun(finished, tmp_path):
    """A copy of it, to grow."""
    return shutil.copytree(finished, tmp_path / "s")


def made(space, folder=None, *overrides, sections=SECTIONS, **options):
    """Returns the plan of a command."""
    asked = plan.SweepRequest("", [config.Override(*each) for each in overrides], space, options, [])
    return plan.make(sections, asked if folder is None else recall.extended(asked, sections, folder))


def opened(folder, space):
    """Returns the queue of a sweep that is declared, as a worker has it."""
    asked = made(space)
    token = declaration.declare(asked, folder)
    joined = declaration.joined(asked, folder)
    connected = study.connect("", folder)
    stored = study.Study(joined, folder, sweep_run._optuna_study(joined, folder, connected, token))
    return study.Queue(stored, "nobody", programs.program_of)


def append(queue, points):
    """Lets a sweep grow, as a worker whose turn it is."""
    with workers.alone(queue.folder):
        queue.append(points)


# What may be said of a sweep that is there; nothing is trained.


def grown(tmp_path, before, after):
    """Returns the fields of a sweep's trials that was declared by one plan and then by another."""
    for each in (before, after):
        declaration.declare(each, tmp_path / "s")
    return [dict(trial.fields) for trial in declaration.joined(after, tmp_path / "s").trials]


def test_what_is_new_comes_behind_what_is_there_and_keeps_its_place_for_ever(tmp_path):
    first = [{RATE: 0.1, "seed": 0}, {RATE: 0.1, "seed": 1}]
    second = [*first, {RATE: 0.1, "seed": 2}, {RATE: 0.2, "seed": 0}, {RATE: 0.2, "seed": 1}, {RATE: 0.2, "seed": 2}]
    two = {RATE: [0.2, 0.1], "seed": [0, 1, 2]}
    found = grown(tmp_path, made({RATE: [0.1], "seed": [0, 1]}), made({RATE: [0.1, 0.2], "seed": [0, 1, 2]}))
    assert found == second
    assert [trial.fields for trial in declaration.joined(made(two), tmp_path / "s").trials] == second
    third = grown(tmp_path, made(two), made({**two, SMOOTHING: [0, 0.1]}))
    assert third[:6] == [{**point, SMOOTHING: 0} for point in second]
    assert [point[SMOOTHING] for point in third[6:]] == [0.1] * 6
    assert len(declared(tmp_path / "s")["grown"]) == 2
    assert declared(tmp_path / "s")["points"] == third


def test_trials_of_one_config_are_one_however_they_are_said(tmp_path):
    typed = made({"seed": [0, 1]}, None, (RATE, "0.1"))
    zipped = {"zip": {RATE: [0.1, 0.1, 0.5], "seed": [0, 1, 0]}}
    assert grown(tmp_path, typed, made(zipped))[2:] == [{RATE: 0.5, "seed": 0}]
    layers = ["flatten | dense(classes) | softmax", "flatten|dense( classes ) | softmax"]
    first, again = (made({"model.layers": [text], "data.image_shape": [(8, 8, 1)]}) for text in layers)
    declaration.declare(first, tmp_path / "text")
    with pytest.raises(ValueError, match=r"space.model.layers"):  # another text is another config
        declaration.declare(again, tmp_path / "text")
    for after in ({"data.image_shape": [[8, 8, 1]], RATE: [1]}, {RATE: [1.0], "data.image_shape": [(8, 8, 1)]}):
        assert len(grown(tmp_path / "numbers", made({RATE: [1]}), made(after))) == 1


def test_a_path_may_be_absolute_and_harmless_fields_may_change(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "from.safetensors").touch()
    one, two = ({**SECTIONS, "init_from": text} for text in ("from.safetensors", str(tmp_path / "from.safetensors")))
    two = {**two, "report": {"page": "end"}, "checkpoint": {"every": "epochs(2)"}}
    declaration.declare(made({"seed": [0]}, sections=one), tmp_path / "s")
    declaration.declare(made({"seed": [0, 1]}, sections=two), tmp_path / "s")
    found = declaration.joined(made({"seed": [0, 1]}, sections=two), tmp_path / "s").trials
    assert [trial.values.init_from for trial in found] == ["from.safetensors"] * 2
    assert found[0].values.report.page == "end"


def test_arrays_of_python_and_a_file_with_the_same_numbers_are_one_sweep(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 8, 8, 1), np.uint8), np.arange(40) % 10
    np.savez(tmp_path / "data.npz", x_train=images, y_train=labels, x_test=images[:10], y_test=labels[:10])
    about = {"image_shape": (8, 8, 1), "classes": 10}
    file = {**SECTIONS, "data": {**about, "name": "npz", "file": str(tmp_path / "data.npz")}}
    given = [cnn.Arrays(train=(part, labels), test=(part[:10], labels[:10])) for part in (images, images // 2)]
    arrays, others = (files.with_arrays({**SECTIONS, "data": about}, each) for each in given)
    declaration.declare(made({"seed": [0]}, sections=arrays), tmp_path / "s")
    declaration.declare(made({"seed": [0, 1]}, sections=file), tmp_path / "s")
    assert declaration.joined(made({"seed": [0, 1]}, sections=arrays), tmp_path / "s").size == 2
    with pytest.raises(config.ConfigError, match=r"holds another sweep(.|\n)*data: '\w{64}' there, '\w{64}' here"):
        declaration.declare(made({"seed": [0, 1]}, sections=others), tmp_path / "s")


OTHERS = [
    ({"objective": "valid.loss"}, r"options.objective: 'valid.accuracy' there, 'valid.loss' here"),
    ({"pruner": "halving"}, r"options.pruner: 'none' there, 'halving' here"),
    ({"sampler": "random", "trials": 9}, r"options.sampler: 'grid' there, 'random' here"),
]


@pytest.mark.parametrize(("options", "said"), OTHERS, ids=["objective", "pruner", "sampler"])
def test_a_sweep_with_other_options_is_refused_with_the_difference(tmp_path, options, said):
    declaration.declare(made({RATE: [0.1, 0.2]}), tmp_path / "s")
    with pytest.raises(config.ConfigError, match=rf"holds another sweep. Use --workdir=.*-2(.|\n)*{said}"):
        declaration.declare(made({RATE: [0.1, 0.2, 0.3]}, **options), tmp_path / "s")


@pytest.mark.parametrize(
    ("space", "typed", "said"),
    [
        (
            {RATE: [0.1]},
            (),
            r"or let it grow: name all that is there, and more(.|\n)*space.*: \[0.1, 0.2\] there, \[0.1\]",
        ),
        (
            {RATE: [0.1, 0.2], SMOOTHING: [0.1]},
            (),
            r"space.train.label_smoothing: 0.0 in every trial there, \[0.1\] here",
        ),
        ({RATE: [0.1, 0.2, 0.3]}, ((SMOOTHING, "0.1"),), r"config.train.label_smoothing: 0.0 there, 0.1 here"),
        ({RATE: [0.1, 0.2, 0.3]}, (("train.epochs", "2"),), r"config.train.epochs: 1 there, 2 here"),
    ],
)
def test_what_lacks_a_value_or_changes_what_is_fixed_is_refused_with_the_difference(tmp_path, space, typed, said):
    declaration.declare(made({RATE: [0.1, 0.2]}), tmp_path / "s")
    before = declared(tmp_path / "s")
    with pytest.raises(config.ConfigError, match=rf"holds another sweep. Use --workdir=(.|\n)*{said}"):
        declaration.declare(made(space, None, *typed), tmp_path / "s")
    assert declared(tmp_path / "s") == before


def test_an_earlier_command_goes_on_with_the_whole_and_any_other_part_is_refused(tmp_path):
    small, large = made({RATE: [0.1], "seed": [0, 1]}), made({RATE: [0.1, 0.2], "seed": [0, 1]})
    assert len(grown(tmp_path, small, large)) == 4
    declaration.declare(small, tmp_path / "s")
    assert declaration.joined(small, tmp_path / "s").size == 4
    assert len(declared(tmp_path / "s")["grown"]) == 1
    with pytest.raises(config.ConfigError, match="holds another sweep"):
        declaration.declare(made({RATE: [0.1, 0.2], "seed": [0]}), tmp_path / "s")


RANDOM = {"sampler": "random", "trials": 3}
WIDE = {RATE: {"log": [0.001, 0.1]}, "train.batch_size": [50, 100]}


@pytest.mark.parametrize(
    ("space", "options", "said"),
    [
        (WIDE, {**RANDOM, "trials": 2}, r"options.trials: 3 there, 2 here"),
        ({**WIDE, RATE: {"log": [0.01, 0.1]}}, RANDOM, r"space.*log: \[0.001, 0.1\] there, \[0.01, 0.1\] here"),
        ({**WIDE, RATE: {"linear": [0.001, 0.1]}}, RANDOM, r"space.*linear: '\(not set\)' there"),
        ({**WIDE, "train.batch_size": [50]}, RANDOM, r"space.train.batch_size: \[50, 100\] there, \[50\] here"),
        (
            {**WIDE, SMOOTHING: {"linear": [0.1, 0.2]}},
            RANDOM,
            r"space.train.label_smoothing.linear: 0.0 in every trial there",
        ),
        (WIDE, {**RANDOM, "sampler": "random(seed=1)"}, r"options.sampler: 'random' there, 'random\(seed=1\)' here"),
    ],
)
def test_what_a_sampler_drew_must_still_be_drawable(tmp_path, space, options, said):
    declaration.declare(made(WIDE, **RANDOM), tmp_path / "s")
    with pytest.raises(config.ConfigError, match=rf"holds another sweep(.|\n)*{said}"):
        declaration.declare(made(space, **options), tmp_path / "s")


@pytest.mark.parametrize("sampler", ["qmc", "cmaes"])
def test_a_sampler_that_keeps_to_its_space_takes_more_trials_and_seeds_only(tmp_path, sampler):
    options = {"sampler": sampler, "trials": 3}
    declaration.declare(made({RATE: {"log": [0.01, 0.1]}}, **options), tmp_path / "s")
    with pytest.raises(
        config.ConfigError, match=rf"^space: {sampler} goes on with the space that it began in, got anoth"
    ):
        declaration.declare(made({RATE: {"log": [0.001, 0.1]}}, **options), tmp_path / "s")
    more = made({RATE: {"log": [0.01, 0.1]}, "seed": [0, 1]}, sampler=sampler, trials=5)
    declaration.declare(more, tmp_path / "s")
    assert declaration.joined(more, tmp_path / "s").size == 10


def seeds(folder, text, space=None):
    """Returns the seeds that a command with `--sweep.seeds` declares, and what it is told."""
    if space is None:
        base, asked = recall.recalled(folder, {"seeds": text})
    else:
        base, asked = SECTIONS, plan.SweepRequest("", [], space, {"seeds": text}, [])
    asked = recall.extended(asked, base, folder)
    declaration.declare(plan.make(base, asked), folder)
    return asked.space["seed"], asked.note


def test_seeds_are_added_or_counted_from_those_that_are_there(tmp_path):
    folder = tmp_path / "s"
    assert seeds(folder, "2", {RATE: [0.1]}) == ([0, 1], "")
    assert seeds(folder, "4") == ([0, 1, 2, 3], "")
    fewer = "--sweep.seeds: there are 4, and none is taken away, got 3. Write --sweep.seeds=+3 to add 3 to them"
    assert seeds(folder, "3") == ([0, 1, 2, 3], fewer)
    assert seeds(folder, "+2") == ([0, 1, 2, 3, 4, 5], "")
    assert seeds(folder, "8", {RATE: [0.1, 0.2]}) == ([*range(8)], "")
    assert len(declared(folder)["points"]) == 16
    other = tmp_path / "other"
    assert seeds(other, "2", {RATE: [0.1], "seed": [3, 7]}) == ([3, 7], "")
    assert seeds(other, "+1") == ([3, 7, 8], "")


def test_what_was_added_comes_first_where_the_same_words_are_repeated(tmp_path):
    folder = tmp_path / "s"
    seeds(folder, "2", {RATE: [0.1]})
    assert seeds(folder, "+2") == ([0, 1, 2, 3], "")
    listed, said = seeds(folder, "+2")
    assert listed == [0, 1, 2, 3]
    assert said == "what seeds=+2 added has not all been run: this comes first, and nothing is added now"
    assert seeds(folder, "+1") == ([0, 1, 2, 3, 4], "")


@pytest.mark.parametrize(
    ("text", "space", "said"),
    [
        ("x", None, r"--sweep.seeds: must be a number, or \+ and how many to add, got 'x'. Write --sweep.seeds=20"),
        ("0", None, r"--sweep.seeds: must be a number"),
        ("5", {"zip": {RATE: [0.1, 0.2], "seed": [0, 1]}}, r"--sweep.seeds: the space has seeds that go with other"),
        ("5", {"seed": [0, 0.5]}, r"config.seed: must be an integer"),
    ],
)
def test_wrong_seeds_are_one_line(tmp_path, text, space, said):
    seeds(tmp_path / "s", "2", {RATE: [0.1]})
    with pytest.raises(config.ConfigError, match=said):
        seeds(tmp_path / "s", text, space)


def test_a_command_without_a_space_takes_all_else_from_the_folder(tmp_path, capsys):
    folder = tmp_path / "s"
    declaration.declare(made({RATE: [0.1], "seed": [0]}), folder)
    assert start(folder, "--sweep.seeds=2", "--sweep.print") == 0
    assert "2 trials in" in capsys.readouterr().out
    assert len(declared(folder).get("grown", ())) == 0
    assert start(folder, "--config.train.epochs=2", "--config=digits") == launch.WRONG
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"{name}: {folder} declares its config. Leave it out" for name in ("--config", "--config.train.epochs")
    ]
    assert start(tmp_path / "none", "--sweep.seeds=+5") == launch.WRONG
    told = capsys.readouterr().err
    assert f"--sweep: needs a space, and {tmp_path / 'none'} does not exist." in told
    assert "or neither and the --workdir of a sweep that is there" in told
    assert "--sweep.seeds=+5: adds to a sweep, and" in told


def test_no_code_is_executed_that_the_sweep_was_not_declared_with(tmp_path, capsys):
    file = tmp_path / "lab.py"
    file.write_text(
        "import cnn\n\n\n@cnn.loss\ndef mine(logits, labels):\n    return ((logits - labels) ** 2).sum(-1)\n"
    )
    sections = {**SECTIONS, "extensions": (str(file),), "train": {**SECTIONS["train"], "loss": "mine"}}
    declaration.declare(made({"seed": [0]}, sections=sections), tmp_path / "s")
    assert start(tmp_path / "s", "--sweep.print") == 0
    file.write_text(file.read_text() + f"\nopen({str(tmp_path / 'executed')!r}, 'w')\n")
    assert start(tmp_path / "s", "--sweep.print") == launch.WRONG
    assert (
        f"config.extensions: {file} has changed since the sweep in {tmp_path / 's'} was declared"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "executed").exists()


def test_a_sweep_of_which_nothing_finished_has_no_best_trial(tmp_path, capsys):
    declaration.declare(made({"seed": [0]}), tmp_path / "s")
    assert runs.start("eval", f"--workdir={tmp_path / 's'}") == launch.WRONG
    assert (
        f"--workdir: no trial of the sweep in {tmp_path / 's'} has finished. Start its command"
        in capsys.readouterr().err
    )
    with pytest.raises(cnn.ConfigError, match=r"nothing is recorded yet. Start its command again"):
        cnn.load(tmp_path / "s")


# Growing while it runs.


@pytest.mark.slow(seconds=2)
def test_points_are_appended_to_a_plan_and_its_study_once_and_every_worker_hears_of_them(tmp_path):
    space = {RATE: [0.003, 0.03], "seed": [0, 1]}
    one, two = (opened(tmp_path / "s", space) for _ in range(2))
    for queue in (one, two):
        queue.fill()
    further = [{RATE: 0.03, "seed": seed} for seed in (1, 2, 7)]
    for queue in (one, two, one):
        append(queue, further)
    assert [trial.fields["seed"] for trial in two.plan.trials] == [0, 1, 0, 1, 2, 7]
    assert [trial.user_attrs["number"] for trial in two.study.trials()] == list(range(6))
    claimed = [two.claim(lambda _: 1)[0].trial for _ in range(6)]
    assert [trial.values.seed for trial in claimed] == [0, 1, 0, 1, 2, 7]
    assert claimed[5].fields == {RATE: 0.03, "seed": 7}
    with pytest.raises(ValueError, match=r"config.seed: must be an integer"):
        append(one, [{RATE: 0.03, "seed": 0.5}])
    assert len(declared(tmp_path / "s")["points"]) == 6


@pytest.mark.slow
def test_a_worker_that_cannot_see_the_new_declaration_yet_takes_the_trials_all_the_same(tmp_path):
    queue = opened(tmp_path / "s", {RATE: [0.003], "seed": [0]})
    queue.fill()
    old = (tmp_path / "s" / "declaration.json").read_bytes()
    opened(tmp_path / "s", {RATE: [0.003], "seed": [0, 1]}).fill()
    (tmp_path / "s" / "declaration.json").write_bytes(old)  # as a shared file system may show it for a while
    claimed = [queue.claim(lambda _: 1)[0].trial for _ in range(2)]
    assert [(trial.number, trial.values.seed) for trial in claimed] == [(0, 0), (1, 1)]


@pytest.mark.slow(seconds=2)
def test_a_worker_of_the_smaller_command_takes_what_a_larger_one_adds(tmp_path):
    space = {RATE: [0.003], "seed": [0]}
    early = opened(tmp_path / "s", space)
    early.fill()
    late = opened(tmp_path / "s", {RATE: [0.003, 0.03], "seed": [0, 1], SMOOTHING: [0.0, 0.1]})
    late.fill()
    with workers.present(tmp_path / "s") as name:
        early.worker = late.worker = name
        claimed = [(early, late)[n % 2].claim(lambda _: 1)[0].trial for n in range(8)]
        assert early.claim(lambda _: 1) == late.claim(lambda _: 1) == []
    assert sorted(trial.number for trial in claimed) == list(range(8))
    assert len({trial.values.json for trial in claimed}) == 8
    assert claimed[0].values.json == made({RATE: [0.003]}).trials[0].values.json


# Sweeps that are trained.


@pytest.mark.slow(seconds=4)
def test_what_is_appended_runs_with_the_command_that_does_not_name_it(begun, capsys):
    before = sweeps.outcomes(begun)
    append(opened(begun, {RATE: [0.003, 0.03], "seed": [0, 1]}), [{RATE: 0.03, "seed": 7}])
    assert sweep(begun, SMALL) == 0
    assert "of its 5 trials this command names 4" in capsys.readouterr().err
    assert sweeps.outcomes(begun).items() >= before.items()
    assert fields(begun)[4] == {RATE: 0.03, "seed": 7}
    assert [(group["n"], group["trials"]) for group in sweeps.record(begun)["groups"]] == [(3, [2, 3, 4]), (2, [0, 1])]
    once(begun)


@pytest.mark.thorough(1)
@pytest.mark.slow(seconds=12)
@pytest.mark.parametrize("engine", ["map", "vmap"])
def test_a_sweep_that_grew_in_three_ways_is_the_whole_in_one_go(begun, tmp_path, engine):
    whole = f"{RATE}=0.03,0.003,0.1;seed=0,1,2;{SMOOTHING}=0.0,0.1"
    typed = (f"sweep.engine={engine}", "sweep.lanes=3")
    before = sweeps.outcomes(begun)
    opened_again = cnn.load(begun)  # begun by a command
    assert max(row["objective"] for row in opened_again.trials) == opened_again.best.result["valid"]["accuracy"]
    opened_again.grow(space={SMOOTHING: [0.1]}, engine=engine, lanes=3)
    assert start(begun, "--sweep.seeds=+1", *(f"--{text}" for text in typed)) == 0
    assert sweep(begun, whole, *typed) == 0
    once(begun)
    assert {number: sweeps.outcomes(begun)[number] for number in before} == before
    cnn.run_sweep(SECTIONS, whole, tmp_path / "whole", engine=engine, lanes=3)
    if engine == "map":
        assert told(begun) == told(tmp_path / "whole")
    groups = [sweeps.record(folder)["groups"] for folder in (begun, tmp_path / "whole")]
    means = [{json.dumps(group["fields"]): group["mean"] for group in each} for each in groups]
    assert means[0] == pytest.approx(means[1], abs=0.03)  # a picture or two of 145, whoever trained together


@pytest.mark.slow(seconds=8)
@pytest.mark.parametrize("sampler", ["random", "tpe(startup=2)"])
def test_what_a_sampler_draws_grows_by_trials_values_seeds_and_fields(tmp_path, sampler):
    folder = tmp_path / "s"
    space = {RATE: {"log": [0.003, 0.03]}, "train.batch_size": [200]}
    swept = cnn.run_sweep(SECTIONS, space, folder, sampler=sampler, trials=2)
    drawn = [row["folder"] for row in swept.trials]
    before = sweeps.outcomes(folder)
    swept.grow(trials=1)
    assert [row["folder"] for row in swept.trials][:2] == drawn and len(swept) == 3
    swept.grow(space={RATE: {"log": [0.001, 0.1]}, "train.batch_size": [100], SMOOTHING: [0.1]}, trials=3)
    assert {row[SMOOTHING] for row in swept.trials[:3]} == {0.0} and len(swept) == 6
    assert {row["train.batch_size"] for row in swept.trials} <= {100, 200}
    swept.grow(seeds=1)
    assert len(swept) == 12 and [group["n"] for group in swept.record["groups"]] == [2] * 6
    assert {row["seed"] for row in swept.trials[:6]} == {0} and {row["seed"] for row in swept.trials[6:]} == {1}
    assert sweeps.outcomes(folder).items() >= before.items()
    once(folder)
    swept.grow()
    assert len(swept) == 12


@pytest.mark.slow(seconds=3)
def test_commands_on_a_sweep_take_its_best_trial_and_say_which(finished, capsys, tmp_path):
    record = sweeps.record(finished)
    row = record["trials"][record["best"]["trial"]]
    best = finished / row["folder"]
    line = f"{finished} is a sweep; its best trial is {best}, valid.accuracy {row['value']:.4f}"
    capsys.readouterr()
    for command, *typed in (
        ("eval", "--split=valid"),
        ("export", "--format=safetensors", f"--out={tmp_path / 'model.safetensors'}"),
        ("explain", "--images=1", "--choose=classes", "--split=valid"),
        ("verify", "--steps=2"),
    ):
        assert runs.start(command, f"--workdir={finished}", *typed) == 0
        said = capsys.readouterr()
        assert said.err.splitlines()[0] == line
    assert runs.start("predict", f"--workdir={finished}", str(tmp_path)) == launch.WRONG  # a folder without pictures
    assert line in capsys.readouterr().err


def test_of_a_sweep_whose_trials_all_diverged_it_is_said_that_they_did(begun, capsys):
    record = sweeps.record(begun)
    for counts, said in (
        ({"diverged": 3, "failed": 1}, f", all have ended: 3 diverged, 1 failed. Why is in {begun / 'sweep.json'}; st"),
        ({"diverged": 3, "waiting": 1}, ". Start its command again\n"),
    ):
        (begun / "sweep.json").write_text(json.dumps({**record, "counts": counts, "best": None}))
        assert runs.start("eval", f"--workdir={begun}") == launch.WRONG
        assert f"--workdir: no trial of the sweep in {begun} has finished{said}" in capsys.readouterr().err


@pytest.mark.slow(seconds=2)
def test_trials_are_a_table_for_pandas_and_the_page_is_that_of_the_ranking(begun):
    opened_again = cnn.load(begun)
    table = opened_again.trials
    assert isinstance(table, list) and [*table[2]] == ["number", RATE, "seed", "status", "objective", "folder"]
    assert table[2] | {"objective": 0} == {
        "number": 2, RATE: 0.03, "seed": 0, "status": "finished", "objective": 0, "folder": "trials/0002",
    }  # fmt: skip
    assert repr(table).splitlines()[0].split() == ["number", RATE, "seed", "status", "objective", "folder"]
    assert "<table" in table._repr_html_() and "trials/0003" in table._repr_html_()
    assert opened_again.trial(2).workdir == begun / "trials" / "0002"
    with pytest.raises(cnn.ConfigError, match="trial: must be one of 0 to 3, got 4"):
        opened_again.trial(4)
    with pytest.raises(cnn.ConfigError, match=r"extensions: .* holds a sweep"):
        cnn.load(begun, extensions="lab.py")
    page = opened_again.page
    assert page == begun / "report.html" and "2 of 2" not in page.read_text()
    changed = page.stat().st_mtime_ns
    assert opened_again.page.stat().st_mtime_ns == changed
    with pytest.raises(cnn.ConfigError, match=r"space.seed\+x: goes with|space.* unknown word|config.x: unknown"):
        opened_again.grow(space={"x": [1]})
    with pytest.raises(cnn.ConfigError, match="are copies of a command"):
        opened_again.grow(workers=2)


# Growing while workers are killed, in processes.

FLAGS = [*processes.flags(train__epochs="2")]
FIRST = f"--grid={RATE}=0.003,0.03;seed=0,1"
WHOLE = f"--grid={RATE}=0.003,0.03;seed=0,1,2;{SMOOTHING}=0.0,0.1"
KILLED = -9
GROW = "import cnn; cnn.load({!r}).grow(space={{{!r}: [0.1]}}, storage={!r})"

needs_postgres = pytest.mark.skipif(bool(postgres.missing()), reason=postgres.missing())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What is told of the whole in one go."""
    folder = tmp_path_factory.mktemp("whole") / "s"
    done = processes.start("sweep", *FLAGS, WHOLE, f"--workdir={folder}")
    assert done.code == 0, done.err
    return told(folder)


@pytest.mark.thorough
@pytest.mark.slow(seconds=20)
@needs_postgres
def test_a_sweep_grown_by_a_command_by_python_and_by_a_second_worker_and_killed_twice_is_the_whole(tmp_path, whole):
    folder = tmp_path / "s"
    with postgres.Server() as server:
        storage, place = f"--storage={server.url}", f"--workdir={folder}"
        code = GROW.format(str(folder), SMOOTHING, server.url)
        killed = processes.start("sweep", *FLAGS, FIRST, place, storage, fault="step:kill:90")
        assert killed.code == KILLED, killed.err
        half = sweeps.record(folder)["counts"]
        assert half.get("finished", 0) < 4

        def grow(fault):
            return subprocess.Popen([sys.executable, "-c", code], env=processes.environment(fault), cwd=MAIN.parent)

        assert grow("grown:kill:1").wait(processes.PATIENCE) == KILLED
        assert len(declared(folder)["points"]) == 8
        with grow("") as one, processes.Running("sweep", *FLAGS, WHOLE, place, storage) as two:
            done = two.wait()
            assert one.wait(processes.PATIENCE) == 0
        assert done.code == 0, done.err
        again = processes.start("sweep", *FLAGS, FIRST, place, storage)
        assert again.code == 0 and "of its 12 trials this command names 4" in again.err
        name = sweeps.record(folder)["study"]
        assert sweeps.finishes(server.url, name) == dict.fromkeys(range(12), 1)
    assert told(folder) == whole
    assert [fields(folder)[number][SMOOTHING] for number in range(4)] == [0.0] * 4
    missing = processes.start("sweep", *FLAGS, WHOLE, place)
    assert missing.code == 2 and "--storage: the study of the sweep in" in missing.err


@pytest.mark.thorough
@pytest.mark.slow(seconds=10)
def test_seeds_that_a_killed_command_added_are_not_added_again_when_it_is_repeated(tmp_path):
    place = f"--workdir={tmp_path / 's'}"
    assert processes.start("sweep", *FLAGS, FIRST, place).code == 0
    for fault in ("grown:kill:1", "step:kill:10"):
        assert processes.start("sweep", place, "--sweep.seeds=+2", fault=fault).code == KILLED
    done = processes.start("sweep", place, "--sweep.seeds=+2")
    assert done.code == 0 and "what seeds=+2 added has not all been run: this comes first" in done.err
    assert sorted({row["seed"] for row in fields(tmp_path / "s").values()}) == [0, 1, 2, 3]
    once(tmp_path / "s")
    done = processes.start("sweep", place, "--sweep.seeds=+2", "--sweep.workers=2", NPROC="2")
    assert done.code == 0, done.err
    assert sorted({row["seed"] for row in fields(tmp_path / "s").values()}) == [0, 1, 2, 3, 4, 5]
    once(tmp_path / "s")
