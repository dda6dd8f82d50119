"""Eight devices compute what one does; a run moves between them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import many_devices
import processes
from cnn.cli import parser
from cnn.config.config import ConfigError
from cnn.train import cpu_devices, experiment, init_from, load_init_from, step
from cnn.train.state import StepConfig
from runs import tiny

EIGHT = processes.devices(8)
RUN = {"train__batch_size": "96", "train__epochs": "2"}


def test_each_device_has_its_share_of_every_part_of_a_batch():
    def arranged(batch_size, parts, devices):
        return step.device_permutation(batch_size, StepConfig(3, 1, 1, parts, "float32", devices=devices)).tolist()

    assert arranged(6, 1, 1) == arranged(6, 1, 3) == arranged(6, 3, 1) == [0, 1, 2, 3, 4, 5]
    # The first part is 0 to 3, and the first of two devices takes 0 and 1 of it.
    assert arranged(8, 2, 2) == [0, 1, 4, 5, 2, 3, 6, 7]
    assert sorted(arranged(96, 4, 8)) == list(range(96))


@pytest.mark.parametrize(
    ("count", "overrides", "message"),
    [
        (8, (), r"config\.train\.batch_size: must be a multiple of 8 devices, got 100\. Use 96 or 104, or fewer --dev"),
        (3, ("train.accumulate_steps=2",), r"of 3 devices x train\.accumulate_steps = 2, 6, got 100\. Use 96 or 102"),
        (256, (), r"must be a multiple of 256 devices, got 100\. Use 256, or fewer --devices"),
    ],
)
def test_devices_that_do_not_divide_a_batch_are_an_error_before_anything_is_read(tmp_path, count, overrides, message):
    with pytest.raises(ConfigError, match=message):
        experiment.run(tiny(*overrides), tmp_path / "run", count)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--devices=none", "--devices: must be all or a number of devices, got 'none'"),
        ("--devices=0", "--devices: must be all or a number of devices, got '0'"),
        ("--distributed=on", "--distributed: must be off, auto, or HOST:PORT,N,I for process I of N, got 'on'"),
        ("--distributed=host:1,2", "--distributed: must be off, auto, or HOST:PORT,N,I for process I of N, got"),
        ("--distributed=host:1,2,2", "--distributed: needs a port below 65536 and 0 <= I < N, got 'host:1,2,2'"),
        ("--distributed=host:70000,2,1", "--distributed: needs a port below 65536 and 0 <= I < N"),
    ],
)
def test_wrong_flags_are_named(argument, message):
    problems = parser.parse(["train", argument]).problems
    assert len(problems) == 1
    assert problems[0].startswith(message)


def test_many_processes_use_all_devices_and_one_at_most_those_that_are_there(tmp_path):
    assert parser.parse(["train", "--devices=2", "--distributed=host:1,2,0"]).problems == [
        "--devices: many processes use all that they have, got '2'. Leave it out"
    ]
    assert parser.devices({}) is parser.devices({"devices": "all"}) is None
    assert parser.devices({"devices": "4"}) == 4
    with pytest.raises(ConfigError, match=r"--devices: there are \d+, got 999\. Use at most those"):
        experiment.run_on(tiny(), tmp_path / "run", 999)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def compared():
    """Returns, for each case, by how much eight devices differ from one, and the collectives of the compiled step."""
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, folder / "many_devices.py"],
        env=processes.environment(PYTHONPATH=str(folder.parent), **EIGHT),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow(seconds=8)
@pytest.mark.parametrize("case", many_devices.CASES)
def test_eight_devices_compute_what_one_does_within_rounding(compared, case):
    # Another order of a sum may round the next product's operand to its neighbour in bfloat16, 2**-8 away.
    coarse = 1000 if case == "mixed" else 1
    for dispatch in "step", "scan":
        learned, metrics = compared[case].get(dispatch, (0, 0))
        assert learned < 1e-4 * coarse
        assert metrics < 1e-5 * coarse
    assert all(compared[case]["kept"].values())
    assert len(compared[case]["kept"]) == (4 if case == "again" else 0)
    assert compared[case].get("augmented", 0) == 0
    difference, examples = compared[case]["logits"]
    assert difference < 1e-5 * coarse
    assert examples == 37


@pytest.mark.slow
@pytest.mark.parametrize("case", many_devices.CASES)
def test_the_step_sums_gradients_once_and_gathers_no_batch(compared, case):
    found = dict(compared[case]["collectives"])
    parameters = found.pop("parameters")
    assert not {"all-gather", "all-to-all", "reduce-scatter"} & set(found)
    # Beside batch statistics, of which a layer has four numbers a channel, a gradient is sent once; SAM takes two.
    gradients = 2 if case == "sharp" else 1
    sent = sum(found["all-reduce"])
    assert gradients * parameters <= sent <= gradients * (parameters + 2) + 16 * many_devices.CHANNELS
    # Mixup needs a row from the neighbour, 64 pixels and 3 classes, in each part of the batch.
    moved = sum(found.get("collective-permute", [0]))
    assert moved == {"drawn": 67, "accumulated": 2 * 67, "weighted": 2 * 67}.get(case, 0)


@pytest.mark.thorough
@pytest.mark.slow
def test_a_run_from_trained_arrays_moves_from_eight_devices_to_one_and_back_with_a_line(tmp_path):
    rng, file = np.random.default_rng(0), tmp_path / "weights.safetensors"
    given = {"dense1/kernel": rng.normal(0, 0.1, (64, 10)), "dense1/bias": rng.normal(0, 0.1, 10)}
    given = {path: array.astype(np.float32) for path, array in given.items()}
    save_file(given, file)
    arguments = processes.flags(**RUN, init_from=str(file), train__freeze="dense1/bias", checkpoint__every="steps(50)")
    straight = processes.straight(tmp_path, *arguments)
    arguments.append(f"--workdir={tmp_path / 'run'}")
    first = processes.start(*arguments, fault="step:term:8", **EIGHT)
    assert first.code == 75, first.err
    assert processes.steps(tmp_path / "run")[0] == [0, 8]
    assert arrays(tmp_path / "run", 0) == {path: array.tobytes() for path, array in given.items()}
    file.unlink()
    second = processes.start(*arguments, fault="step:term:8")
    assert second.code == 75, second.err
    assert "not bit-identical from here: step 8, reason devices 8 -> 1; xla_flags" in second.err
    third = processes.start(*arguments, **EIGHT)
    assert third.code == 0, third.err
    assert "not bit-identical from here: step 16, reason devices 1 -> 8; xla_flags" in third.err
    found = processes.outcome(tmp_path / "run")
    pairs = zip(*(map(json.loads, metrics.splitlines()) for _, metrics in (found, straight)), strict=True)
    for one, other in pairs:
        means = [record["train"] if record["kind"] == "epoch" else record for record in (one, other)]
        np.testing.assert_allclose(*([mean["loss"], mean["accuracy"]] for mean in means), rtol=1e-5)
    assert arrays(tmp_path / "run", 26)["dense1/bias"] == given["dense1/bias"].tobytes()
    assert arrays(tmp_path / "run", 26)["dense1/kernel"] != given["dense1/kernel"].tobytes()
    done = processes.start("eval", f"--workdir={tmp_path / 'run'}")
    assert done.code == 0, done.err


def arrays(workdir, step):
    """Returns the bytes of a step's parameters by their paths."""
    _, _, found = load_init_from._read(init_from.find(f"{workdir}@{step}"))
    return {path: np.asarray(array).tobytes() for path, array in found.items()}


@pytest.mark.thorough
@pytest.mark.slow
def test_fewer_devices_than_there_are_can_be_asked_for_and_more_cannot(tmp_path):
    arguments = [*processes.flags(train__epochs="1"), f"--workdir={tmp_path / 'run'}"]
    done = processes.start(*arguments, "--devices=9", **EIGHT)
    assert done.code == 2
    assert done.err.strip() == "--devices: there are 8, got 9. Use at most those"
    done = processes.start(*arguments, **EIGHT)
    assert done.code == 2
    assert "must be a multiple of 8 devices, got 100. Use 96 or 104, or fewer --devices" in done.err
    done = processes.start(*arguments, "--devices=4", **EIGHT)
    assert done.code == 0, done.err


TIED = "model.layers=conv(8, 3) | batch_norm | relu | max_pool(2) | flatten | dense(classes) | softmax"


@pytest.mark.parametrize(
    ("threads", "overrides", "count"),
    [
        (2, [TIED], 2),
        (8, [TIED, "train.accumulate_steps=5"], 2),
        (1, [TIED], 1),
        (2, ["model.layers=flatten | dense(classes) | softmax"], 1),  # nothing ties its examples together
        (2, [TIED, "train.batch_size=99"], 1),
        (2, [TIED, "train.batch_size=98", "train.accumulate_steps=7"], 2),
        (2, [TIED, "train.batch_size=98", "train.accumulate_steps=2"], 1),
    ],
)
def test_halves_are_for_networks_with_batch_normalisation_several_threads_and_even_batches(
    monkeypatch, threads, overrides, count
):
    monkeypatch.setenv("NPROC", str(threads))
    assert cpu_devices._wanted(tiny(*overrides)) == count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "counts"),
    [
        ({}, [2, 1]),
        ({"JAX_NUM_CPU_DEVICES": "1"}, [1, 1]),
        ({"JAX_NUM_CPU_DEVICES": "2"}, [2, 2]),
        (processes.devices(4), [4, 4]),
    ],
)
def test_a_cpu_is_two_devices_for_who_gains_and_what_the_environment_says_for_everyone(environment, counts):
    code = (
        "from cnn.train import cpu_devices; from runs import tiny; values = tiny(sys.argv[1]); "
        "cpu_devices.prepare(values); print(cpu_devices.count(values), cpu_devices.count(tiny())); "
        "cpu_devices.prepare(values)"
    )
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {[str(folder), str(folder.parent)]}; {code}", TIED],
        env=processes.environment(NPROC="2", **environment),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(count) for count in counts]


@pytest.mark.thorough
@pytest.mark.slow(seconds=25)
def test_halves_continue_to_the_same_bytes_and_one_device_says_that_it_is_another(tmp_path):
    network = {"model__layers": TIED.partition("=")[2], "train__epochs": "2"}
    arguments, threads = processes.flags(**network), {"NPROC": "2"}
    for name, fault in (("straight", ""), ("stopped", "step:term:8")):
        done = processes.start(*arguments, f"--workdir={tmp_path / name}", fault=fault, **threads)
        assert done.code == (75 if fault else 0), done.err
    about = json.loads((tmp_path / "stopped" / "run.json").read_text())
    assert len(about["devices"]) == 2
    shutil.copytree(tmp_path / "stopped", tmp_path / "whole")
    again = processes.start(*arguments, f"--workdir={tmp_path / 'stopped'}", **threads)
    assert again.code == 0, again.err
    assert "not bit-identical" not in again.err
    assert processes.outcome(tmp_path / "stopped") == processes.outcome(tmp_path / "straight")
    other = processes.start(*arguments, f"--workdir={tmp_path / 'whole'}", "--devices=1", **threads)
    assert other.code == 0, other.err
    assert "not bit-identical from here: step 8, reason devices 2 -> 1" in other.err
    verified = processes.start("verify", f"--workdir={tmp_path / 'whole'}", **threads)
    assert verified.code == 2, verified
    assert "not comparable: " in verified.err
    assert ", as what came before step 8 was computed otherwise (devices 2 -> 1)" in verified.err
