"""The metric that a run follows and those measured beside it: in its files, on its page, in sweeps; and its loss."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest

import runs
import sweeps
from cnn.cli import fields, launch
from cnn.config.config import ConfigError
from cnn.fields import Positive
from cnn.metrics import METRICS, Accuracy
from cnn.registry import LOSSES, loss, metric
from cnn.report import curves, headline, run_files
from cnn.runs import checkpoints, run_dir
from cnn.sweep import run as sweep_run
from cnn.sweep.plan import ask, make
from cnn.train import experiment, preflight
from cnn.train.state import create_train_state

pytestmark = pytest.mark.slow  # they train runs

FOLLOWED = ("train.monitor=macro_f1", "eval.metrics=balanced_accuracy | auroc")
NAMES = ["macro_f1", "balanced_accuracy", "auroc"]


@pytest.fixture
def table():
    """Enters classes into a table until the test is over."""

    def enter(register, names, kind):
        registered = register(kind)
        entered.append((names, registered.kind))
        return registered

    entered: list[Any] = []
    yield enter
    for names, _ in entered:
        names.forget("")


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("followed") / "run"
    experiment.run(runs.tiny(*FOLLOWED, "report.page=end"), workdir)
    return workdir


def test_every_validation_and_evaluation_has_the_further_metrics(followed):
    for record in runs.records(followed, "epoch"):
        assert list(record["valid"]) == ["loss", "accuracy", *NAMES]
    result = runs.saved(followed, "result.json")
    for split in ("valid", "test"):
        evaluation = runs.saved(followed, f"evaluation-{split}.json")
        assert list(evaluation["metrics"]) == NAMES
        assert evaluation["metrics"]["macro_f1"] == evaluation["macro_f1"]
        assert result[split]["metrics"] == evaluation["metrics"]
    by_step = {record["step"]: record["valid"]["macro_f1"] for record in runs.records(followed, "epoch")}
    value = max(by_step.values())
    assert result["best"] == {"step": result["best"]["step"], "valid_macro_f1": value}
    assert by_step[result["best"]["step"]] == value
    shown, _ = runs.scalars(followed)
    assert {(run, tag) for run, tag, _ in shown} >= {("valid", name) for name in NAMES}


def test_by_default_an_evaluation_has_no_further_metrics(finished):
    assert "metrics" not in runs.saved(finished, "evaluation-test.json")
    result = runs.saved(finished, "result.json")
    assert "metrics" not in result["test"]
    assert list(result["best"]) == ["step", "valid_accuracy"]
    assert all(list(record["valid"]) == ["loss", "accuracy"] for record in runs.records(finished, "epoch"))


def test_they_are_printed_and_shown_on_the_page(followed, capsys):
    assert runs.start("eval", f"--workdir={followed}") == 0
    measured = runs.saved(followed, "evaluation-test.json")["metrics"]
    assert ", ".join(f"{name} {value:.4f}" for name, value in measured.items()) in capsys.readouterr().out
    run = run_files.read(followed)
    recorded = curves.read(run)
    assert list(recorded.further) == NAMES
    best = runs.saved(followed, "result.json")["best"]
    assert recorded.best == (best["step"], best["valid_macro_f1"])
    assert curves.sentence(recorded).startswith("Validation macro_f1 goes from ")
    tiles = {tile.label: (tile.value, tile.note) for tile in headline._tiles(run)}
    assert tiles["test auroc"] == (f"{measured['auroc']:.4f}", "curve: validation")
    assert tiles["best step"][1] == f"validation macro_f1 {best['valid_macro_f1']:.4f}"
    page = (followed / "report.html").read_text()
    assert "test balanced_accuracy" in page
    assert ">valid auroc</th>" in page
    assert "valid macro_f1" in curves.pointed(recorded)["names"]  # type: ignore[operator]


def test_the_line_of_an_epoch_has_the_monitored_metric_unless_it_stands_there_anyway(tmp_path, capsys):
    assert runs.train(tmp_path / "run", "train.epochs=1", "eval.metrics=auroc", "train.monitor=macro_f1") == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch"))
    value = runs.records(tmp_path / "run", "epoch")[0]["valid"]["macro_f1"]
    assert f" macro_f1 {value:.4g}  " in line
    assert line.count("macro_f1") == 1
    assert "auroc" not in line


def test_a_metric_with_an_argument_is_named_as_it_is_written_and_shown_once(tmp_path, table):
    class Share:
        """Accuracy, of which a part is taken."""

        part: Positive = 1.0
        better: ClassVar[str] = "higher"

        def __call__(self, logits, labels):
            return self.part * Accuracy()(logits, labels)

    table(metric, METRICS, Share)
    overrides = ("eval.metrics=share(0.5) | share", "checkpoint.every=steps(5)")
    assert runs.train(tmp_path / "run", *overrides) == 0
    for record in runs.records(tmp_path / "run", "epoch"):
        assert record["valid"]["share(part=0.5)"] == 0.5 * record["valid"]["share"] == record["valid"]["accuracy"] / 2
    (tmp_path / "run" / "result.json").unlink()
    assert runs.train(tmp_path / "run", *overrides) == 0
    shown, purged = runs.scalars(tmp_path / "run")
    assert len(shown["valid", "share_part_0.5_", 36]) == 1
    assert purged["valid"][-1] == 37  # nothing was missing that had to be written again


def test_less_of_a_metric_may_be_better(tmp_path, table):
    class Mistaken:
        """Accuracy, to be low."""

        better: ClassVar[str] = "lower"

        def __call__(self, logits, labels):
            return Accuracy()(logits, labels)

    table(metric, METRICS, Mistaken)
    values = runs.tiny("train.monitor=mistaken", "train.stop=patience(2)", "eval.weights=best", "train.epochs=9")
    result = experiment.run(values, tmp_path / "run").result
    followed = [record["valid"]["accuracy"] for record in runs.records(tmp_path / "run", "epoch")]
    assert followed[0] < min(followed[1:])
    assert result["best"] == {"step": 12, "valid_mistaken": followed[0]}
    assert (result["step"], result["stopped"]) == (36, "no better validation mistaken in 2 evaluations")
    assert runs.steps(tmp_path / "run") == [12, 24, 36]
    evaluation = runs.saved(tmp_path / "run", "evaluation-valid.json")
    assert (evaluation["step"], evaluation["accuracy"]) == (12, followed[0])


@pytest.mark.slow
def test_the_best_weights_are_those_that_the_monitor_says_where_the_classes_are_unlike(tmp_path):
    found = {}
    dataset = preflight.load_data(runs.tiny().data)
    labels = np.asarray(dataset.valid.labels)
    rows = np.flatnonzero((labels == 1) | (np.arange(len(labels)) < 40))
    unlike = dataclasses.replace(dataset, valid=dataset.valid.take(rows))
    for monitor in ("accuracy", "balanced_accuracy"):
        values = runs.tiny(
            f"train.monitor={monitor}",
            "eval.metrics=balanced_accuracy",
            "eval.weights=best",
            "train.epochs=6",
            "optimizer.learning_rate=0.1",
            "train.label_smoothing=0.3",
        )
        result = experiment.run(values, tmp_path / monitor, known=unlike).result
        evaluation = runs.saved(tmp_path / monitor, "evaluation-valid.json")
        curve = {r["step"]: {**r["valid"]}[monitor] for r in runs.records(tmp_path / monitor, "epoch")}
        best = min(step for step, value in curve.items() if value == max(curve.values()))
        assert (result["best"]["step"], result["best"][f"valid_{monitor}"]) == (best, curve[best])
        assert evaluation["step"] == best
        found[monitor] = evaluation["metrics"]["balanced_accuracy"]
    assert found["balanced_accuracy"] >= found["accuracy"]


@pytest.mark.slow
def test_a_run_that_continues_with_another_monitor_loss_and_weights_ends_with_the_same_bytes(tmp_path, fault):
    overrides = (
        *FOLLOWED,
        "train.loss=focal(1.5)",
        "train.class_weights=balanced",
        "train.stop=patience(5)",
        "checkpoint.every=steps(5)",
        "eval.weights=best",
    )
    straight, broken = runs.stopped_and_resumed(tmp_path, fault, *overrides)
    assert runs.outcome(broken) == runs.outcome(straight)
    for split in ("valid", "test"):
        assert runs.saved(broken, f"evaluation-{split}.json") == runs.saved(straight, f"evaluation-{split}.json")
    assert runs.saved(broken, "result.json")["best"] == runs.saved(straight, "result.json")["best"]


def test_balanced_weights_are_those_of_the_training_split(tmp_path):
    values = runs.tiny("train.class_weights=balanced", "train.epochs=1")
    experiment.run(values, tmp_path / "run")
    restored = checkpoints.read(tmp_path / "run" / run_dir.CHECKPOINTS, create_train_state(values))
    assert restored is not None
    counts = np.bincount(preflight.load_data(values.data).train.labels)
    np.testing.assert_allclose(restored.state.hyper.class_weights, counts.sum() / (10 * counts), rtol=1e-6)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("eval.metrics=accuracy", "config.eval.metrics: holds what is measured anyway, got accuracy. Leave it out."),
        ("eval.metrics=auroc | loss", "config.eval.metrics: holds what is measured anyway, got loss. Leave it out."),
        ("eval.metrics=auroc | auroc", "config.eval.metrics: holds a metric 2 times, got auroc. Write it once."),
        (
            "train.class_weights=weights((1, 2))",
            "config.train.class_weights: must have one number for each of 10 classes, got 2.",
        ),
        (
            "train.class_weights=weights(0)",
            "config.train.class_weights: must have one number for each of 10 classes, got 1.",
        ),
        (
            f"train.class_weights=weights({(0,) * 10})",
            f"config.train.class_weights: must hold a number above 0, got {(0.0,) * 10}.",
        ),
    ],
)
def test_what_contradicts_is_refused_with_one_line(override, message):
    with pytest.raises(ConfigError) as error:
        runs.tiny(override)
    assert error.value.problems == [message]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.monitor=auro", "config.train.monitor: unknown name 'auro'. Did you mean 'auroc'?"),
        ("train.loss=focal(-1)", "config.train.loss: focal: gamma must be a finite number of at least 0, got -1"),
        ("train.class_weights=weights((1, -2))", "must be a finite number of at least 0 or a list of"),
    ],
)
def test_what_is_no_metric_and_no_number_is_refused(override, message):
    with pytest.raises(ConfigError) as error:
        runs.tiny(override)
    (problem,) = error.value.problems
    assert message in problem


def test_a_metric_of_the_monitor_may_be_listed_too():
    assert list(runs.tiny("eval.metrics=auroc | macro_f1", "train.monitor=macro_f1").metrics) == ["macro_f1", "auroc"]
    assert runs.tiny("train.monitor=loss").metrics == {}


@pytest.mark.parametrize(
    ("override", "field"), [("train.monitor=odd", "train.monitor"), ("eval.metrics=odd", "eval.metrics")]
)
def test_a_metric_that_is_no_number_ends_the_run_and_is_named(tmp_path, capsys, table, override, field):
    class Odd:
        """Nothing."""

        better: ClassVar[str] = "higher"

        def __call__(self, logits, labels):
            return float("nan")

    table(metric, METRICS, Odd)
    assert runs.train(tmp_path / "run", override) == launch.WRONG
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"config.{field}: odd must return one finite number, got nan. Use another metric."


@pytest.mark.parametrize(
    ("result", "got"),
    [
        (lambda table: table, "float32 of (8, 10)"),
        (lambda table: table.sum(), "float32 of ()"),
        (lambda table: (table.sum(1), table), "(float32 of (8,), float32 of (8, 10))"),
        (lambda table: table.argmax(1), "int32 of (8,)"),
        (lambda table: table.sum(1) * 1j, "complex64 of (8,)"),
        (lambda table: None, "None"),
        (lambda table: "x", "'x'"),
    ],
)
def test_a_loss_that_is_not_one_number_an_example_is_refused_before_training(tmp_path, table, result, got):
    class Wrong:
        """Not one number an example."""

        def __call__(self, logits, labels):
            return result(logits * labels)

    table(loss, LOSSES, Wrong)
    with pytest.raises(ConfigError) as error:
        experiment.run(runs.tiny("train.loss=wrong"), tmp_path / "run")
    (problem,) = error.value.problems
    what = "wrong must return one number for each example, shape (8,) for a batch of 8"
    assert problem.startswith(f"config.train.loss: {what}, got {got} from {__file__}, line ")
    shapes = "Sum or average over the classes, not over the examples."
    assert problem.endswith(shapes if got in ("float32 of (8, 10)", "float32 of ()") else "Return one array of floats.")
    assert not (tmp_path / "run").exists()


def test_a_mean_over_the_examples_is_told_from_a_loss_also_where_there_are_8_classes(table):
    class Mean:
        """The mean over the examples."""

        def __call__(self, logits, labels):
            return (logits * labels).mean(0)

    table(loss, LOSSES, Mean)
    with pytest.raises(ConfigError, match=r"for a batch of 9, got float32 of \(8,\)"):
        preflight.check_loss(runs.tiny("train.loss=mean", "data.classes=8"))


def test_the_help_lists_losses_weights_and_metrics():
    said = " ".join(fields.text(["train"]).split())
    assert (
        'loss = "softmax_cross_entropy" one of softmax_cross_entropy, sigmoid_cross_entropy, focal(gamma=2.0).' in said
    )
    assert 'class_weights = "none" one of none, balanced, weights(numbers).' in said
    assert 'monitor = "accuracy" one of accuracy, top5_accuracy, loss, macro_f1, balanced_accuracy, auroc.' in said
    assert "a chain, a | b, of accuracy, " in " ".join(fields.text(["eval"]).split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("monitor", "direction", "engine"), [("macro_f1", "maximize", "vmap"), ("loss", "minimize", "map")]
)
def test_a_sweep_ranks_by_what_its_config_follows(tmp_path, monitor, direction, engine):
    typed = (f"config.train.monitor={monitor}", "config.train.epochs=2", f"sweep.engine={engine}")
    assert sweeps.sweep(tmp_path / "s", sweeps.RATES, *typed, "sweep.pruner=halving(1, 2)") == 0
    record = sweeps.record(tmp_path / "s")
    assert (record["objective"], record["direction"]) == (f"valid.{monitor}", direction)
    for trial in record["trials"]:
        epochs = runs.records(tmp_path / "s" / trial["folder"], "epoch")
        assert trial["value"] == pytest.approx(epochs[-1]["valid"][monitor], rel=1e-6)
        assert trial["curves"][f"valid.{monitor}"] == [[epoch["step"], epoch["valid"][monitor]] for epoch in epochs]
        assert trial["interval"] is None  # that of the accuracy is not one of another metric
    values = [group["mean"] for group in record["groups"] if group["mean"] is not None]
    assert values == sorted(values, reverse=direction == "maximize")


@pytest.mark.slow(seconds=10)
@pytest.mark.parametrize("engine", ["map", "vmap"])
def test_a_sweep_over_gamma_is_one_program(tmp_path, engine):
    before = sweep_run.compilations()
    short = ("config.train.epochs=1", "config.eval.test=False", f"sweep.engine={engine}", "sweep.lanes=3")
    assert sweeps.sweep(tmp_path / "s", "train.loss=focal(0.5),focal(1),focal(5)", *short) == 0
    after = sweep_run.compilations()
    assert after[engine] - before[engine] == 1
    assert len({row["value"] for row in sweeps.record(tmp_path / "s")["trials"]}) > 1
    first = [runs.records(tmp_path / "s" / f"trials/{n:04}", "epoch")[0]["train"]["loss"] for n in range(3)]
    assert len(set(first)) == 3


def test_an_objective_that_not_every_trial_measures_is_refused(tmp_path, capsys):
    for typed, known, got in (
        (["--sweep.objective=valid.auroc"], "'valid.accuracy', 'valid.loss'", "valid.auroc"),
        (["--sweep.objective=test.loss"], "'valid.accuracy', 'valid.loss'", "test.loss"),
        (
            ["--sweep.objective=valid.macro", "--config.eval.metrics=macro_f1"],
            "'valid.accuracy', 'valid.loss', 'valid.macro_f1'",
            "valid.macro",
        ),
    ):
        assert runs.start("sweep", "--grid=seed=0,1", f"--workdir={tmp_path / 's'}", *typed) == launch.WRONG
        assert capsys.readouterr().err == (
            f"--sweep.objective: must be one of {known}, which every trial measures, got {got!r}. "
            "Name other metrics in config.eval.metrics\n"
        )


def test_an_old_declaration_is_the_same_sweep_as_one_that_leaves_the_objective_out():
    plans = [
        make(runs.SECTIONS, ask("", [], {"grid": "seed=0,1", **flags}))
        for flags in ({}, {"sweep.objective": "valid.accuracy"})
    ]
    assert plans[0].json == plans[1].json
    assert plans[0].json["options"]["objective"] == "valid.accuracy"


def test_a_metric_that_a_split_cannot_have_is_refused_before_training(tmp_path, capsys):
    rng = np.random.default_rng(0)
    pictures, labels = rng.integers(0, 256, (12, 8, 8), dtype=np.uint8), np.arange(12) % 2
    file = tmp_path / "pictures.npz"
    np.savez(file, x_train=pictures, y_train=labels, x_test=pictures[::2], y_test=labels[::2])
    data = ("data.name=npz", f"data.file={file}", "data.classes=2", "data.valid_fraction=0.5")
    network = ("model.layers=flatten | dense(classes)", "train.batch_size=2")
    assert runs.train(tmp_path / "run", *data, *network, "eval.metrics=auroc") == 2
    said = (
        "config.eval.metrics: auroc needs pictures of 2 classes or more in test, got 1. Leave it out, or choose other"
    )
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert runs.train(tmp_path / "run", *data, *network, "train.monitor=auroc", "eval.test=False") == 0
