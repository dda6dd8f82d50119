"""`train.watch`: the layers' norms and dead units, recorded beside a training whose bits stay what they are."""

import json
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import cnn
import processes
import runs
from cnn.cli import launch
from cnn.config.watches import QUANTITIES, Layers, Seen
from cnn.report import run_files, run_page, watched
from cnn.runs.records import scalars
from cnn.train import watching

LAYERS = "model.layers=conv(2, 3) | relu | flatten | dropout(0.2) | dense(classes) | softmax"
NORMED = "model.layers=conv(4, 3, use_bias=False) | batch_norm(0.5) | relu | flatten | dropout(0.2) | dense(classes)"
"""A bias before batch normalisation has no gradient but roundings, which Adam would make as large as any other's."""
WATCH = "train.watch=layers(5)"


class LargestOutput:
    """A watch of one's own."""

    every: cnn.Count = 6

    def measure(self, seen):
        return {f"largest/{path}": output.max() for path, output in seen.outputs.items()}


@pytest.fixture(autouse=True, scope="module")
def _entered():
    """Enters what is written here, until the file's last test."""
    cnn.watch(LargestOutput)


def test_norms_ratios_and_dead_units_are_those_of_numpy():
    rng = np.random.default_rng(0)
    arrays = {
        what: {"conv1/kernel": rng.normal(size=(3, 3, 1, 2)), "conv1/bias": rng.normal(size=2)}
        for what in ("params", "grads", "updates")
    }
    output = rng.normal(size=(4, 5, 5, 4)).clip(0)
    output[..., 1], output[..., 2] = 0, 7
    seen = Seen(
        **{what: {p: jnp.asarray(a) for p, a in of.items()} for what, of in arrays.items()},
        outputs={"relu1": jnp.asarray(output)},
        activations=("relu1",),
    )
    found = {name: float(number) for name, number in Layers().measure(seen).items()}
    norms = {what: np.sqrt(sum((array**2).sum() for array in of.values())) for what, of in arrays.items()}
    assert found == pytest.approx(
        {
            "weights/conv1": norms["params"],
            "gradient/conv1": norms["grads"],
            "update/conv1": norms["updates"],
            "ratio/conv1": norms["updates"] / norms["params"],
            "dead/relu1": 0.5,
        },
        rel=1e-5,
    )


def test_activations_are_what_acts_on_each_number_alone():
    values = runs.tiny(
        "model.layers=conv(2, 3) | batch_norm | relu | residual(conv(2, 3, padding='same') | tanh) | max_pool(2) | "
        "flatten | dropout(0.1) | dense(classes) | softmax"
    )
    assert watching.activations(values.rows) == ("relu1", "residual1/tanh1")


@pytest.mark.slow(seconds=5)
def test_the_bits_of_training_are_those_of_one_that_is_not_watched(tmp_path):
    for name, watch in (("plain", "train.watch=none"), ("watched", WATCH)):
        assert runs.train(tmp_path / name, LAYERS, watch) == 0
    fingerprints = [runs.outcome(tmp_path / name)[0] for name in ("plain", "watched")]
    assert fingerprints[0] == fingerprints[1]
    plain, seen = (runs.records(tmp_path / name) for name in ("plain", "watched"))
    assert [record for record in seen if record["kind"] != "watch"] == plain
    looks = [record for record in seen if record["kind"] == "watch"]
    assert [record["step"] for record in looks] == [1, 6, 11, 16, 21, 26, 31, 36]
    assert [record["epoch"] for record in looks] == [1, 1, 1, 2, 2, 3, 3, 3]
    named = {name.partition("/")[0] for name in looks[0]} - {"kind", "step", "epoch"}
    assert named == set(QUANTITIES)
    assert looks[0]["weights/conv1"] > 0 and 0 <= looks[0]["dead/relu1"] <= 1
    # Adam's first update moves every number by the learning rate, whatever the gradient.
    assert looks[0]["update/conv1"] == pytest.approx(0.01 * np.sqrt(2 * 9 + 2), rel=1e-2)
    shown, _ = runs.scalars(tmp_path / "watched")
    assert shown["train", "watch/ratio/conv1", 6] == [pytest.approx(looks[1]["ratio/conv1"])]
    assert runs.saved(tmp_path / "watched", "result.json")["watch_seconds"] > 0
    assert "watch_seconds" not in runs.saved(tmp_path / "plain", "result.json")


@pytest.mark.slow(seconds=6)
@pytest.mark.parametrize("loading", ["memory", "stream"])
def test_a_run_that_goes_on_records_the_same_bytes(tmp_path, fault, loading):
    straight, resumed = runs.stopped_and_resumed(tmp_path, fault, LAYERS, WATCH, f"data.loading={loading}")
    assert runs.outcome(straight) == runs.outcome(resumed)
    for key, numbers in runs.scalars(resumed)[0].items():
        assert len(numbers) == 1, key


@pytest.mark.slow(seconds=4)
def test_a_watch_of_ones_own_is_recorded_and_verified(tmp_path):
    workdir = tmp_path / "run"
    assert runs.train(workdir, LAYERS, "train.watch=largest_output") == 0
    looks = runs.records(workdir, "watch")
    assert [record["step"] for record in looks] == [1, 7, 13, 19, 25, 31]
    assert looks[0]["largest/softmax1"] <= 1
    assert runs.start("verify", f"--workdir={workdir}") == 0


@pytest.mark.slow(seconds=6)
def test_what_is_not_finite_is_recorded_as_nothing(tmp_path):
    overrides = ("optimizer.name=sgd", "optimizer.learning_rate=1e38", "train.watch=layers(1)")
    assert runs.train(tmp_path / "run", *overrides) == launch.DIVERGED
    looks = runs.records(tmp_path / "run", "watch")
    assert looks[0]["update/dense1"] is None and looks[0]["weights/dense1"] > 0
    assert "watch/update/dense1" not in [tag for _, tag, _ in scalars(looks[0])]


@pytest.mark.slow(seconds=8)
@pytest.mark.parametrize("engine", ["map", "vmap"])
def test_each_trial_of_a_sweep_records_its_own(tmp_path, engine):
    folder = tmp_path / "sweep"
    flags = (f"--sweep.engine={engine}", f"--workdir={folder}", "--grid=optimizer.learning_rate=0.01,0.03")
    fields = (LAYERS, WATCH, "train.epochs=1")
    assert runs.start("sweep", *flags, *(f"--config.{text}" for text in fields)) == 0
    trials = sorted((folder / "trials").iterdir())
    looks = [runs.records(trial, "watch") for trial in trials]
    assert [[record["step"] for record in of] for of in looks] == [[1, 6, 11]] * 2
    assert looks[0][0]["weights/conv1"] == looks[1][0]["weights/conv1"]
    rates = [json.loads((trial / "config.json").read_text())["optimizer"]["learning_rate"] for trial in trials]
    updates = [of[0]["update/conv1"] for of in looks]
    assert updates[0] / updates[1] == pytest.approx(rates[0] / rates[1], rel=1e-3)


@pytest.mark.slow(seconds=9)
@pytest.mark.parametrize(
    "overrides",
    [
        (LAYERS,),
        (NORMED,),
        (NORMED, "train.accumulate_steps=2", "data.augment=shift(1) | mixup(0.4)", "data.loading=stream"),
    ],
    ids=["plain", "normed", "in parts"],
)
def test_two_devices_record_what_one_does_within_rounding(tmp_path, overrides):
    code = (
        "from pathlib import Path; import runs; from cnn.train import experiment; "
        "values, folder = runs.tiny(*sys.argv[2:]), Path(sys.argv[1]); "
        "[experiment.run(values, folder / str(count), count) for count in (1, 2)]"
    )
    folder = Path(__file__).parent
    code = f"import sys; sys.path[:0] = {[str(folder), str(folder.parent)]}; {code}"
    fields = (*overrides, "train.watch=layers(every=5)", "train.epochs=1")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), *fields],
        env=processes.environment(JAX_NUM_CPU_DEVICES="2"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "2" / "run.json").read_text())["devices"]) == 2
    one, two = (runs.records(tmp_path / count, "watch") for count in "12")
    assert [record["step"] for record in two] == [1, 6, 11]
    for record, other in zip(one, two, strict=True):
        del record["kind"], other["kind"]
        assert {name.partition("/")[0] for name in other} > set(QUANTITIES)
        assert other == pytest.approx(record, rel=1e-4)


@pytest.fixture
def recorded(tmp_path):
    """A run's directory that holds what a page needs, with records of two steps."""
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "config.json").write_text(runs.tiny(LAYERS, WATCH).json)
    numbers = {"weights/dense1": 3.0, "weights/conv1": 2.0, "ratio/conv1": 1e-3, "ratio/dense1": 1e-4}
    lines = [
        {"kind": "watch", "step": 1, "epoch": 1, **numbers, "dead/relu1": 0.5},
        {
            "kind": "watch",
            "step": 6,
            "epoch": 1,
            **numbers,
            "weights/conv1": None,
            "dead/relu1": 0.0,
            "own/thing": -1.0,
        },
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return workdir


def test_the_page_shows_each_quantity_as_a_heat_map_in_the_networks_order(recorded):
    section = watched.build(run_files.read(recorded))
    html = str(section.html)
    assert [part.partition('"')[0] for part in html.split('data-quantity="')[1:]] == ["weights", "ratio", "dead", "own"]
    assert html.index("<li>conv1</li>") < html.index("<li>dense1</li>")
    assert "update over weights</strong>, powers of ten below and above 0.001" in html
    assert "not finite" in html and "from 1 to 6" in html
    assert set(section.figures) == {
        f"watched-{name}.{kind}" for name in ("weights", "ratio", "dead", "own") for kind in ("png", "svg")
    }
    assert b"figure.watched" in run_page.write(recorded).read_bytes()


def test_a_scale_has_the_healthy_ratio_for_its_zero_and_never_less_than_a_power_of_ten():
    scale, coloured, centre = watched.coloured("ratio", np.array([[1e-3, 1e-5], [0.0, np.nan]]))
    assert (scale.limit, centre) == (pytest.approx(2), 1e-3)
    assert coloured[0] == pytest.approx([0, -2]) and coloured[1, 0] == pytest.approx(-2) and np.isnan(coloured[1, 1])
    assert watched.coloured("weights", np.array([[2.0, 2.1]]))[0].limit == 1
    scale, coloured, centre = watched.coloured("dead", np.array([[0.25]]))
    assert (scale.limit, coloured.tolist(), centre) == (1.0, [[0.25]], None)


def test_a_run_that_is_not_watched_has_no_such_section(recorded):
    (recorded / "metrics.jsonl").write_text("")
    assert watched.build(run_files.read(recorded)) is None


def test_many_records_are_thinned_and_that_is_said(recorded):
    line = {"kind": "watch", "epoch": 1, "weights/conv1": 1.0}
    (recorded / "metrics.jsonl").write_text("".join(json.dumps({**line, "step": n + 1}) + "\n" for n in range(500)))
    html = str(watched.build(run_files.read(recorded)).html)
    assert "from 1 to 500 (260 in between are left out)" in html
