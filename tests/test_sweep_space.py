"""Declaring a sweep: what a space means, in a file and in one line, and everything that is refused before it starts."""

import json
import re
import shlex
from pathlib import Path

import pytest

import runs
from cnn.cli import launch, parser
from cnn.config import config, resolve
from cnn.sweep import space_parser
from cnn.sweep.plan import CHECKED, _corners, ask, make, read_options
from cnn.sweep.space import Choices, Range, paths, product, sample

REPOSITORY = Path(__file__).resolve().parents[1]
RATE = "optimizer.learning_rate"


def parts(declared):
    problems = []
    read = space_parser.read_space(declared, problems)
    assert problems == []
    return read


def fields(declared):
    return [point.fields for point in product(parts(declared))]


def refused(declared):
    problems = []
    space_parser.read_space(declared, problems)
    return "\n".join(problems)


def plan(space, *typed, sections=runs.SECTIONS, **options):
    asked = ask("", [config.Override(*text.split("=", 1)) for text in typed], {"grid": "seed=0"})
    return make(sections, asked._replace(space=space, options=options))


def problems(space, *typed, **options):
    with pytest.raises(config.ConfigError) as caught:
        plan(space, *typed, **options)
    return str(caught.value)


def test_a_grid_is_the_product_of_its_axes_the_last_one_fastest():
    assert fields({"a.b": [1, 2], "c": ["x", "y"]}) == [
        {"a.b": 1, "c": "x"},
        {"a.b": 1, "c": "y"},
        {"a.b": 2, "c": "x"},
        {"a.b": 2, "c": "y"},
    ]


def test_ranges_have_exact_ends_and_even_steps():
    assert Range("log", 1e-4, 1e-1, 4).grid() == [1e-4, 1e-3, 1e-2, 1e-1]
    assert Range("linear", 0.0, 0.3, 4).grid() == [0.0, 0.1, 0.2, 0.3]
    assert Range("int", 2, 9, step=3).grid() == [2, 5, 8]
    assert Range("log", 0.5, 2.0, 1).grid() == [0.5]


def test_zipped_fields_change_together():
    assert fields({"zip": {"a": [1, 2], "b": [3, 4]}, "seed": [0, 1]}) == [
        {"a": 1, "b": 3, "seed": 0},
        {"a": 1, "b": 3, "seed": 1},
        {"a": 2, "b": 4, "seed": 0},
        {"a": 2, "b": 4, "seed": 1},
    ]


def test_chained_spaces_come_one_after_another():
    assert fields({"chain": [{"a": [1, 2]}, {"b": [3]}], "seed": [0]}) == [
        {"a": 1, "seed": 0},
        {"a": 2, "seed": 0},
        {"b": 3, "seed": 0},
    ]


def test_a_condition_leaves_a_field_out_elsewhere():
    declared = {"name": ["p", "q"], "m": {"values": [1, 2], "when": {"name": ["q"]}}}
    assert fields(declared) == [{"name": "p"}, {"name": "q", "m": 1}, {"name": "q", "m": 2}]


def test_named_trials_set_what_they_name():
    assert fields({"trials": {"small": {"a": 1}, "large": {"a": 9, "b": 2}}}) == [{"a": 1}, {"a": 9, "b": 2}]


def test_a_sample_asks_only_for_what_counts():
    asked = []

    def draw(name, values):
        asked.append(name)
        return values.values[-1] if isinstance(values, Choices) else values.high

    space = parts(
        {"chain": [{"x": [1]}, {"y": {"log": [1, 10]}}], "n": ["p"], "m": {"values": [1], "when": {"n": "q"}}}
    )
    assert sample(space, draw) == {"y": 10.0, "n": "p"}
    assert asked == ["chain", "chain.1/y", "n"]


def test_one_line_says_the_same_as_json():
    problems = []
    text = f"{RATE}=log(1e-4,1e-2,3); seed=0,1 ;(model.width,train.batch_size)=(8,16),(16,32); a=int(1,7,2)"
    assert space_parser.read_grid(text, problems) == {
        RATE: {"log": [1e-4, 1e-2], "n": 3},
        "seed": [0, 1],
        "zip": [{"model.width": [8, 16], "train.batch_size": [16, 32]}],
        "a": {"int": [1, 7], "step": 2},
    }
    assert problems == []


def test_layer_expressions_are_choices():
    problems = []
    read = space_parser.read_grid(
        "model.layers=conv(8, 3) | flatten | dense(classes),flatten | dense(classes);seed=1", problems
    )
    assert read == {"model.layers": ["conv(8, 3) | flatten | dense(classes)", "flatten | dense(classes)"], "seed": [1]}
    assert problems == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a=lgo(1e-4, 1e-2, 3)", "--grid: a: unknown range 'lgo'. Did you mean 'log'? Known: log, linear, int."),
        ("seed", "'seed' is no FIELD=VALUES"),
        ("seed=0;seed=1", "seed is given twice"),
        ("a=log(1)", "a: log takes low, high and how many"),
        ("(a,b)=(1,2),3", "each value must be 2 in parentheses"),
    ],
)
def test_a_wrong_line_is_refused(text, message):
    problems = []
    space_parser.read_grid(text, problems)
    assert message in "\n".join(problems)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({}, "space: must hold fields and their values"),
        ({"a": 3}, "space.a: must be a list of values or a range, got 3"),
        ({"a": []}, "space.a: must be a list of at least one value"),
        ({"a": [1, 1]}, "space.a: holds a value twice"),
        ({"a": [float("nan")]}, "space.a: must hold finite numbers"),
        ({"a": {"log": [0, 1], "n": 3}}, "space.a: log must begin above 0"),
        ({"a": {"log": [2, 1], "n": 3}}, "space.a: log must go from a smaller to a larger"),
        ({"a": {"log": [1, 2], "n": 0}}, "space.a: n must be a number of points"),
        ({"a": {"int": [1.5, 2]}}, "space.a: int must be a pair of integers"),
        ({"a": {"lag": [1, 2]}}, "space.a: unknown word 'lag'. Did you mean 'log'?"),
        ({"a": {"log": [1, 2], "linear": [1, 2]}}, "space.a: must have exactly one of"),
        ({"a": {"values": [1], "when": {"b": [1]}}}, "when names 'b', which is not swept before it"),
        ({"zip": {"a": [1, 2], "b": [1]}}, "space.zip: must hold lists of equal length, got a 2, b 1"),
        ({"a": [1], "zip": {"a": [1]}}, "space.a: is swept twice"),
        ({"chain": []}, "space.chain: must be a list of spaces"),
        ({"trials": {"x": 3}}, "space.trials.x: must hold fields and one value each"),
    ],
)
def test_a_wrong_space_is_refused(declared, message):
    assert message in refused(declared)


def test_every_wrong_trial_is_named_with_all_that_is_wrong_at_once():
    told = problems({RATE: [0.1, -1], "train.batch_size": [10, 0], "optimizer.foo": [1]})
    assert "config.optimizer.learning_rate: must be a finite number above 0, got -1" in told
    assert "config.train.batch_size: must be an integer of at least 1, got 0" in told
    assert "config.optimizer.foo: unknown field" in told
    assert told.count("unknown field") == 1
    assert "and 3 more trials" in told


@pytest.mark.parametrize("path", ["model.layers.conv1.features", "model.conv1.features", "conv1.features"])
def test_an_option_inside_the_layers_is_refused_with_how_it_is_swept(path, capsys):
    remedy = "Write a name there, as in conv(width, 3), and set or sweep model.width."
    with pytest.raises(config.ConfigError, match=rf"^config\.{path}: .*{re.escape(remedy)}\n    in the trial "):
        plan({path: [8, 16]})
    with pytest.raises(config.ConfigError, match=rf"^config\.{path}: .*{re.escape(remedy)}$"):
        resolve.resolve(runs.SECTIONS, [config.Override(path, "8")])
    assert runs.start("sweep", "--grid=seed=0", f"--sweep.config.{path}=8,16") == launch.WRONG
    assert re.fullmatch(rf"--sweep\.config\.{path}: .*{re.escape(remedy)}\n", capsys.readouterr().err)


def test_a_swept_name_is_where_the_layers_say_it_a_real_number_too():
    layers = "model.layers=flatten | dense(width) | relu | dropout(rate) | dense(classes)"
    made = plan({"model.width": [8, 16], "model.rate": [0.1, 0.2]}, layers)
    assert [[row.layer for row in trial.values.rows][1].features for trial in made.trials] == [8, 8, 16, 16]
    assert [[row.layer for row in trial.values.rows][3].rate for trial in made.trials] == [0.1, 0.2, 0.1, 0.2]


def test_contradictions_between_options_are_refused():
    assert "a grid needs the number of points. Give a third number, as in log(" in problems({RATE: {"log": [0.1, 1]}})
    assert "--sweep.trials: is not set" in problems({RATE: [0.1]}, sampler="random")
    assert "--sweep.trials: a grid has its own" in problems({RATE: [0.1]}, trials=3)
    assert "--config.seed: is swept too" in problems({"seed": [1]}, "seed=3")
    assert "--sweep.engine: must be one of 'auto'" in problems({"seed": [1]}, engine="ray")
    told = problems({"seed": [1]}, engine="process")
    assert "got 'process'. Use --sweep.workers=N, which starts N copies of the command" in told
    assert "--sweep.workers: must be an integer of at least 1, got 0" in problems({"seed": [1]}, workers=0)
    assert "unknown name 'tpx'. Did you mean 'tpe'?" in problems({"seed": [1]}, sampler="tpx")
    assert "trials 0 and 1 are the same" in problems({"trials": {"a": {"seed": 1}, "b": {"seed": 1}}})
    assert "nothing but seeds" in problems({"seed": [1]}, sampler="random", trials=2)


def test_a_sampler_keeps_the_seeds_apart_and_checks_the_corners_of_its_space():
    made = plan({RATE: {"log": [1e-3, 1e-1]}, "seed": [5, 6]}, sampler="tpe", trials=4)
    assert (made.seeds, paths(made.space), made.size) == ((5, 6), [RATE], 8)
    told = problems({"train.label_smoothing": {"linear": [0.0, 1.5]}, "seed": [0]}, sampler="random", trials=4)
    assert "config.train.label_smoothing: must be a finite number in [0, 1), got 1.5" in told


def test_the_printed_commands_make_the_very_configs(capsys, tmp_path):
    layers = "flatten | dense(classes),dropout(0.5) | flatten | dense(classes)"
    space = f"{RATE}=log(1e-3,1e-1,3);seed=0,1;model.layers={layers}"
    code = runs.start(
        "sweep", f"--grid={space}", "--config.train.epochs=2", f"--workdir={tmp_path / 's'}", "--sweep.print"
    )
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("12 trials")
    commands = [shlex.split(line)[2:] for line in lines if "main.py" in line]
    assert len(commands) == 12
    made = plan(space_parser.read_grid(space, []), "train.epochs=2")
    for trial, arguments in zip(made.trials, commands, strict=True):
        invocation = parser.parse(arguments)
        assert invocation.problems == []
        assert resolve.resolve(runs.SECTIONS, invocation.overrides).json == trial.values.json
        assert invocation.flags["workdir"] == str(tmp_path / "s" / trial.folder)
    assert not (tmp_path / "s").exists()


def test_flags_of_a_sweep_are_checked_together(capsys, tmp_path):
    assert runs.start("sweep", "--grid=seed=0,-1", "--sweep.engin=map", "--storage=") == launch.WRONG
    told = capsys.readouterr().err
    assert "--storage: is empty" in told
    assert "--sweep.engin: unknown field. Did you mean 'engine'?" in told
    assert runs.start("sweep") == launch.WRONG
    assert "--sweep: needs a space" in capsys.readouterr().err
    assert runs.start("sweep", "--grid=seed=0", "--sweep.config.model.width=4,8") == launch.WRONG
    told = "is no option of a sweep but a field of the config. Write --grid='model.width=4,8'\n"
    assert capsys.readouterr().err == f"--sweep.config.model.width: {told}"
    assert runs.start("sweep", "--grid=seed=0", "--sweep.engine=process") == launch.WRONG
    assert capsys.readouterr().err.count("\n") == 1
    assert runs.start("sweep", "--grid=seed=0", "--sweep.workers=2", "--distributed=auto") == launch.WRONG
    assert "--distributed: is no flag of sweep" in capsys.readouterr().err
    assert runs.start("train", "--sweep.engine=map") == launch.WRONG
    assert "--sweep.engine: is no flag of train" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["grid", "sweep"])
def test_an_empty_space_is_told_once(name, capsys):
    assert runs.start("sweep", f"--{name}=") == 2
    assert capsys.readouterr().err == f"--{name}: is empty. Write --{name}=VALUE\n"


def test_a_field_of_the_config_among_the_options_of_a_file_is_no_option():
    problems = []
    assert read_options({"config.model.width": 4}, problems) is None
    assert problems[0].startswith("--sweep.config.model.width: unknown field.")


def test_a_sweep_file_may_be_json_and_a_broken_one_is_named(tmp_path):
    good, bad = tmp_path / "a.json", tmp_path / "b.py"
    good.write_text(json.dumps({"space": {"seed": [0, 1]}, "engine": "map"}))
    asked = ask("", [], {"sweep": str(good), "sweep.tries": "5"})
    assert make(runs.SECTIONS, asked).options.tries == 5
    colon = tmp_path / "c:d" / "e:f.json"
    colon.parent.mkdir()
    colon.write_text(good.read_text())
    assert ask("", [], {"sweep": str(colon)}).space == {"seed": [0, 1]}
    bad.write_text("def get_sweep():\n    return 1 / 0\n")
    assert "b.py line 2: ZeroDivisionError" in ask("", [], {"sweep": str(bad)}).problems[0]
    bad.write_text("x = 1\n")
    assert "defines no get_sweep()" in ask("", [], {"sweep": str(bad)}).problems[0]
    assert "no such file" in ask("", [], {"sweep": str(tmp_path / "c.py")}).problems[0]


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs" / "sweeps").glob("*.py")), ids=lambda path: path.stem)
def test_every_sweep_file_is_valid(path, capsys):
    scope = {}
    exec((REPOSITORY / "configs" / "digits.py").read_text(), scope)
    sections = scope["get_config"]().to_dict()
    assert runs.start("sweep", f"--sweep={path}", "--sweep.print", sections=sections) == 0
    assert "trials in runs/digits-" in capsys.readouterr().out


def test_of_a_space_with_too_many_corners_every_value_is_checked():
    space = parts({f"a.b{n}": [0, 1] for n in range(10)} | {"c": {"log": [1e-3, 1e-1]}, "d": {"int": [1, 64]}})
    corners = _corners(space, (7, 8))
    assert len(corners) == CHECKED < 2**13
    for path, ends in {"a.b0": {0, 1}, "a.b9": {0, 1}, "c": {1e-3, 1e-1}, "d": {1, 64}, "seed": {7, 8}}.items():
        assert {point.fields[path] for point in corners} == ends
    assert corners == _corners(space, (7, 8))


def test_an_empty_value_is_the_empty_text():
    problems = []
    assert space_parser.read_grid("data.augment=,flip;train.groups= , layerwise(0.5)", problems) == {
        "data.augment": ["", "flip"],
        "train.groups": ["", "layerwise(0.5)"],
    }
    assert problems == []


@pytest.mark.parametrize(
    ("folds", "got"),
    [
        (["", "1/2", "2/2"], "trials without a fold and folds of 2"),
        (["1/2", "2/2", "1/3"], "folds of 2 and folds of 3"),
    ],
)
def test_what_is_no_repeat_of_a_fold_is_not_swept_beside_it(folds, got):
    said = f"space.data.fold: must hold folds of one number, which repeat each other, got {got}. "
    assert problems({"data.fold": folds}).startswith(said)
