"""Pictures that stay stored until a batch asks for them: the same batches, the same bytes, whoever decoded them."""

import json
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import networks
import runs
from cnn.data import loader, types
from cnn.data.loader import Prefetcher
from cnn.data.masking import mask_unusable
from cnn.data.parts import should_stream
from cnn.system import host_memory
from cnn.system.preemption import Preempted
from cnn.train import experiment, multi_step, preflight
from tests import tiny

WORKERS = [0, 1, 4]


def streamed(*overrides, workers=2):
    return runs.tiny("data.loading=stream", f"data.workers={workers}", *overrides)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A run in memory, with draws of every kind."""
    workdir = tmp_path_factory.mktemp("memory") / "run"
    experiment.run(runs.tiny(*DRAWS), workdir)
    return workdir


DRAWS = ("model.layers=flatten | dropout(0.1) | dense(classes)", "data.augment=erase(0.3) | mixup(0.2)")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 4])
def test_a_streamed_run_has_the_bytes_of_one_in_memory(reference, tmp_path, workers):
    experiment.run(streamed(*DRAWS, workers=workers), tmp_path / "run")
    assert runs.outcome(tmp_path / "run") == runs.outcome(reference)
    for name in ("evaluation-valid.json", "evaluation-test.json"):
        assert (tmp_path / "run" / name).read_bytes() == (reference / name).read_bytes()
    about, before = (runs.saved(workdir, "run.json")["data"] for workdir in (tmp_path / "run", reference))
    assert (about.pop("loading"), before.pop("loading")) == ("stream", "memory")
    assert about == before


@pytest.mark.slow
def test_a_run_may_go_on_with_its_pictures_elsewhere_and_ends_with_the_same_bytes(reference, tmp_path, fault):
    workdir = tmp_path / "run"
    for number, values in enumerate([streamed(*DRAWS), runs.tiny(*DRAWS), streamed(*DRAWS, workers=0)]):
        # In the middle of an epoch, each time.
        fault("step:term:5" if number < 2 else "")
        if number < 2:
            with pytest.raises(Preempted):
                experiment.run(values, workdir)
    experiment.run(values, workdir)
    assert runs.outcome(workdir) == runs.outcome(reference)
    assert [record["step"] for record in journal(workdir) if record["event"] == "resume"] == [5, 10]


@pytest.mark.slow
def test_a_scan_over_a_stream_has_the_bytes_of_one_over_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "CHUNK_BYTES", 5 * 100 * 64)  # five steps at a time: 4, 4 and 4
    for name, values in (("memory", runs.tiny), ("stream", streamed)):
        experiment.run(values(*DRAWS, "train.dispatch=scan"), tmp_path / name)
    assert runs.outcome(tmp_path / "stream") == runs.outcome(tmp_path / "memory")


def journal(workdir):
    return [json.loads(line) for line in (workdir / "events.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_share_of_waiting_is_recorded_and_said(tmp_path, capsys):
    assert runs.train(tmp_path / "run", "data.loading=stream", "data.workers=0") == 0
    end = journal(tmp_path / "run")[-1]
    result = runs.saved(tmp_path / "run", "result.json")
    assert 0 < end["waiting"] < 1
    # Seconds are written to the millisecond, and the run may take no more than thirty of them.
    waited, trained, half = result["wait_seconds"], result["train_seconds"], 0.0005
    assert (waited - half) / (trained + half) - 1e-4 <= end["waiting"] <= (waited + half) / (trained - half) + 1e-4
    assert " % waiting for pictures, and " in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.slow
def test_eval_streams_too_and_says_the_same(reference, tmp_path, capsys):
    for name, values in (("memory", runs.tiny), ("stream", streamed)):
        workdir = tmp_path / name
        shutil.copytree(reference, workdir)
        (workdir / "config.json").write_text(values(*DRAWS).json)
        assert runs.start("eval", f"--workdir={workdir}", "--split=train") == 0
    assert (tmp_path / "stream/evaluation-train.json").read_bytes() == (
        tmp_path / "memory/evaluation-train.json"
    ).read_bytes()


@pytest.mark.parametrize("workers", WORKERS)
def test_elements_come_in_order_from_any_first_one_whoever_is_quicker(workers):
    made = [threading.Event() for _ in range(40)]

    def element(number):
        if workers > 1 and number % workers == 0:
            assert all(later.wait(timeout=60) for later in made[number + 1 : number + workers])
        made[number].set()
        return number, threading.current_thread().name

    stream = Prefetcher(element, 40, first=8, workers=workers)
    found = list(stream)
    stream.close()
    assert [number for number, _ in found] == list(range(8, 40))
    assert (len({name for _, name in found}) > 1) == (workers > 1)


@pytest.mark.slow
def test_no_thread_outlives_a_run(tmp_path):
    experiment.run(streamed("train.epochs=1", workers=4), tmp_path / "run")
    left = [thread for thread in threading.enumerate() if thread.name.startswith("grain")]
    for thread in left:
        thread.join(60)
    assert not any(thread.is_alive() for thread in left)


def test_what_goes_wrong_while_reading_ahead_is_raised_where_it_is_needed():
    def element(number):
        if number == 3:
            raise types.DataError("a broken one")
        return number

    stream = Prefetcher(element, 9, workers=2)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(types.DataError, match=r"^a broken one") as caught:
        next(stream)
    assert str(caught.value) == "a broken one"
    stream.close()


def splits():
    held = tiny.split()
    split = types.Split(np.asarray(held.images), np.asarray(held.labels))
    unusable = np.zeros(len(split), dtype=bool)
    stored = types.Stored(tiny.SHAPE, np.arange(len(split)), lambda rows: split.images[rows], unusable)
    return split, types.Split(stored, split.labels)


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("most", [1, 3, None])
def test_every_step_is_fed_the_same_batch_from_wherever_it_begins(workers, most):
    feeds = [
        loader.Loader(split, seed=7, batch_size=8, epochs=3, workers=workers, by_example=True) for split in splits()
    ]
    for step, count in ((0, 4), (4, 2), (6, 2), (2, 2), (9, 3)):
        batches = []
        for one in feeds:
            chunks = list(one.chunks(step, count, most))
            assert all(len(rows) <= (most or count) for _, rows in chunks)
            images = np.concatenate([np.asarray(split.images)[rows].reshape(-1, 64) for split, rows in chunks])
            labels = np.concatenate([np.asarray(split.labels)[rows].ravel() for split, rows in chunks])
            numbers = np.concatenate([np.asarray(split.rows)[rows].ravel() for split, rows in chunks])
            assert np.array_equal(numbers, one.order.rows(step, count).ravel())
            batches.append((images, labels))
            assert len(images) == 8 * count
        assert all(np.array_equal(*pair) for pair in zip(*batches, strict=True))
    assert [one.streams for one in feeds] == [False, True]
    assert feeds[0].waited == 0 < feeds[1].waited
    for one in feeds:
        one.close()


@pytest.mark.parametrize("batch_size", [1, 7, 32])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_evaluation_is_fed_every_picture_once_in_order(batch_size, workers):
    held, stored = splits()
    for images in (jnp.asarray(held.images), stored.images):
        batches = [np.asarray(some)[rows] for some, rows in loader.in_order(images, batch_size, workers)]
        assert all(len(batch) == batch_size for batch in batches)
        assert np.array_equal(np.concatenate(batches)[: len(held)], held.images)


def test_stored_pictures_are_indexed_as_an_array_is():
    held, stored = splits()
    for rows in (3, slice(2, 9), np.array([5, 1, 5]), np.arange(32) % 3 == 0):
        assert np.array_equal(stored.images[rows], held.images[rows])
    assert stored.images.shape == held.images.shape
    some = np.array([9, 4])
    assert np.array_equal(stored.take(some).images[1], held.images[4])
    assert all(np.array_equal(*pair) for pair in zip(stored.images, held.images, strict=True))


@pytest.mark.parametrize(
    ("loading", "memory_budget", "stored"),
    [("auto", 6400, False), ("auto", 6399, True), ("memory", 0, False), ("stream", 1e9, True)],
)
def test_what_does_not_fit_streams_unless_asked_otherwise(loading, memory_budget, stored):
    assert should_stream(loading, 100, (8, 8, 1), memory_budget) is stored


def test_the_share_of_memory_decides(tmp_path):
    assert host_memory.host_bytes() > 2**28
    assert not preflight.load_data(runs.tiny().data).streams
    assert preflight.load_data(runs.tiny("data.memory_share=0").data).streams


@pytest.mark.parametrize(("limit", "used", "limited"), [("4096", "1024", True), ("max", "1024", False)])
def test_the_limit_of_a_container_is_the_memory_that_there_is(tmp_path, monkeypatch, limit, used, limited):
    unlimited = host_memory.host_bytes()
    (tmp_path / "limit").write_text(f"{limit}\n")
    (tmp_path / "used").write_text(f"{used}\n")
    monkeypatch.setattr(host_memory, "CGROUPS", ((tmp_path / "limit", tmp_path / "used"), ("/nowhere", "/nowhere")))
    if limited:
        assert (host_memory.host_bytes(), host_memory.free_bytes()) == (4096, 3072)
    else:
        assert host_memory.host_bytes() >= unlimited
        assert host_memory.free_bytes() > 4096


# Pictures that weigh nothing.


@pytest.mark.slow
def test_an_unusable_picture_changes_nothing_but_the_number_of_examples():
    values = tiny.resolve()
    whole, without = tiny.split(8), tiny.split(8)
    bad = [0, 5]
    labels = whole.labels.at[jnp.array(bad)].set(types.UNUSABLE)
    images = whole.images.at[jnp.array(bad)].set(255)
    good = jnp.array([row for row in range(8) if row not in bad])
    step_config = tiny.step_config(values)
    state, _ = tiny.start(values)

    def step(pictures, *, skips):
        rows = jnp.arange(len(pictures.labels))
        return multi_step.run_step(
            jax.tree.map(jnp.copy, state), pictures, rows, step_config=step_config._replace(skips=skips)
        )

    skips = step(loader.Examples(images, labels), skips=True)
    alone = step(loader.Examples(without.images[good], without.labels[good]), skips=False)
    assert float(skips[1]["count"]) == 6
    networks.agree(skips[0].params, alone[0].params, 1e-6)
    networks.agree(skips[1], alone[1], 1e-6)
    # And the program for pictures that may be so makes of good ones what the other makes.
    both = [step(whole, skips=skips) for skips in (False, True)]
    networks.agree(*both, 1e-6)


def test_another_picture_of_the_batch_stands_in():
    labels = jnp.array([-1, 4, -1, -1, 7])
    taken, weights = mask_unusable(labels)
    assert taken.tolist() == [4, 1, 1, 1, 4]
    assert weights.tolist() == [0, 1, 0, 0, 1]


@pytest.mark.slow(seconds=2)
def test_a_batch_without_any_usable_picture_teaches_nothing():
    values = tiny.resolve()
    state, step_config = tiny.start(values)
    batch = loader.Examples(tiny.split(8).images, jnp.full(8, types.UNUSABLE))
    before = jax.tree.map(np.array, state.params)
    after, metrics = multi_step.run_step(state, batch, jnp.arange(8), step_config=step_config._replace(skips=True))
    networks.agree(after.params, before, 0)
    assert (float(metrics["count"]), float(metrics["loss"]), int(after.bad_step)) == (0, 0, -1)
