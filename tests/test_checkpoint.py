"""Saved states: which are kept, and that whatever happens to their files, what is restored is right to the bit."""

import contextlib
import errno
import json
import math
import os
import random
import shutil
import signal
import threading
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import runs
from cnn import hyperparams
from cnn.runs import checkpoint_format, checkpoints
from cnn.system.preemption import Preempted, Preemption
from cnn.train.state import TrainState, create_train_state
from runs import tiny

# What TensorStore leaves of reads that failed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class State(NamedTuple):
    step: Any
    params: Any


def state(step, shape=(3, 4), dtype=jnp.float32):
    weights = jnp.asarray(np.random.default_rng(step).normal(size=shape), dtype)
    return State(jnp.asarray(step, jnp.int32), {"a": weights, "b": {}})


@contextlib.contextmanager
def opened(directory, events=None, like=None):
    """Yields a writer and what it restored; its events are added to the list."""
    events = [] if events is None else events
    with checkpoints.Writer(directory, lambda what, **details: events.append((what, details))) as writer:
        yield writer, writer.open(state(0) if like is None else like)


def save_all(directory, scores, first=1):
    with opened(directory) as (writer, _):
        for number, score in enumerate(scores, first):
            assert writer.save(state(number), {"number": number}, best=score)


def kept(directory):
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())


def contents(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def is_step(restored, number):
    """Tells whether that step was restored, with all that belongs to it, to the bit."""
    return (
        restored.step == number
        and restored.meta["number"] == number
        and restored.state.step.dtype == jnp.int32
        and int(restored.state.step) == number
        and np.asarray(restored.state.params["a"]).tobytes() == np.asarray(state(number).params["a"]).tobytes()
    )


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Steps 1, the best, 2 and 3."""
    directory = tmp_path_factory.mktemp("checkpoint") / "checkpoints"
    save_all(directory, [0.9, None, None])
    return directory


@pytest.fixture
def copied(three, tmp_path):
    return shutil.copytree(three, tmp_path / "copy")


def test_nothing_saved_restores_nothing(tmp_path):
    assert checkpoints.read(tmp_path / "none", state(0)) is None
    assert checkpoints.read(tmp_path / "none", state(0), best=True) is None
    with opened(tmp_path / "empty") as (_, restored):
        assert restored is None
    assert checkpoints.read(tmp_path / "empty", state(0)) is None


def test_the_latest_is_restored_to_the_bit(three):
    assert is_step(checkpoints.read(three, state(0)), 3)


@pytest.mark.slow
def test_a_whole_training_state_comes_back_equal(tmp_path):
    values = tiny("train.average=ema(0.9)", "data.augment=mixup(0.2)", "train.clip=global_norm(1)")
    before = create_train_state(values)
    with opened(tmp_path, like=before) as (writer, _):
        assert writer.save(before, {}, best=None)
    after = checkpoints.read(tmp_path, before)
    assert after is not None
    assert isinstance(after.state, TrainState)
    assert isinstance(after.state.hyper, hyperparams.Hyperparams)
    assert jax.tree.structure(after.state) == jax.tree.structure(before)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after.state), strict=True):
        assert old.dtype == new.dtype
        assert np.asarray(old).tobytes() == np.asarray(new).tobytes()


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("scores", "steps", "best"),
    [
        ([0.1, 0.2, 0.3, 0.4], [3, 4], 4),
        ([0.9, 0.2, 0.3, 0.4], [1, 3, 4], 1),
        ([0.1, 0.9, 0.3, None], [2, 3, 4], 2),
        ([0.0, None, None, None], [1, 3, 4], 1),
    ],
)
def test_the_latest_two_and_the_best_are_kept(tmp_path, scores, steps, best):
    save_all(tmp_path, scores)
    assert kept(tmp_path) == steps
    assert {path.name for path in tmp_path.iterdir()} == {f"{step:08}" for step in steps}
    assert is_step(checkpoints.read(tmp_path, state(0), best=True), best)


@pytest.mark.slow
def test_the_best_of_before_is_kept_when_saving_goes_on_later(tmp_path):
    save_all(tmp_path, [0.1, 0.9, 0.2])
    save_all(tmp_path, [0.3, 0.4, 0.5], first=4)
    assert kept(tmp_path) == [2, 5, 6]


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "0.9", True, [1.0]])
def test_what_is_no_finite_score_is_never_the_best(value):
    assert (
        checkpoint_format.score({"score": value})
        == checkpoint_format.score({})
        == -math.inf
        < checkpoint_format.score({"score": 0.0})
    )


def test_where_no_step_was_the_best_none_is_passed_off_as_it(tmp_path):
    save_all(tmp_path, [None, None])
    with pytest.raises(
        checkpoint_format.NoValidCheckpoint, match=r": holds no step that was the best of .*--weights=last$"
    ):
        checkpoints.read(tmp_path, state(0), best=True)


def test_a_step_that_is_saved_is_saved_again_only_if_asked(tmp_path):
    with opened(tmp_path) as (writer, _):
        for number, again in ((1, False), (2, False)):
            assert writer.save(state(1), {"number": number}, best=None, again=again)
        assert checkpoints.read(tmp_path, state(0)).meta["number"] == 1
        assert writer.save(state(1), {"number": 3}, best=0.5, again=True)
    assert checkpoints.read(tmp_path, state(0), best=True).meta["number"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]


def test_what_a_killed_save_left_is_removed_and_nothing_else(copied):
    for name in ("00000004.orbax-checkpoint-tmp", "00000004.orbax-checkpoint-tmp-17", "_trash/00000000"):
        (copied / name / "state").mkdir(parents=True)
        (copied / name / "state" / "half").write_text("x")
    before = contents(copied)
    with opened(copied) as (_, restored):
        assert is_step(restored, 3)
    assert contents(copied) == {name: content for name, content in before.items() if name.count("/half") == 0}
    assert {path.name for path in copied.iterdir()} == {"00000001", "00000002", "00000003"}


# Damage. A step is a folder of many small files; each of them may be lost or spoilt.

DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size)),
    "json": lambda path: path.write_text('{"content": {"score": NaN}, "score": NaN, "sha256": ""}'),
    "list": lambda path: path.write_text("[]"),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


def files_of(directory, step=3):
    path = directory / f"{step:08}"
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def survives(directory, tolerated=False):
    """Opens a run whose step 3 is damaged, and checks that 2 is restored, or also 3 where that is `tolerated`."""
    events = []
    with opened(directory, events) as (writer, restored):
        if tolerated and restored.step == 3:
            assert is_step(restored, 3)
            return
        assert is_step(restored, 2)
        assert [(what, details["step"]) for what, details in events] == [("step quarantined", 3)]
        assert events[0][1]["reason"]
        assert kept(directory) == [1, 2]
        assert [path.name for path in (directory / "_corrupt").iterdir()] == ["3-0"]
        # Orbax would skip the save silently if it still knew of the step.
        assert writer.save(state(3), {"number": 3}, best=None)
    assert is_step(checkpoints.read(directory, state(0)), 3)
    assert is_step(checkpoints.read(directory, state(0), best=True), 1)


@pytest.mark.thorough(3)
@pytest.mark.slow
@pytest.mark.parametrize("damage", ["one each", *DAMAGES])
def test_a_step_of_which_any_file_is_damaged_is_quarantined(three, tmp_path, damage):
    for number, name in enumerate(files_of(three)):
        directory = shutil.copytree(three, tmp_path / str(number))
        kind = damage if damage in DAMAGES else list(DAMAGES)[number % len(DAMAGES)]
        DAMAGES[kind](directory / "00000003" / name)
        survives(directory, tolerated=(name, kind) == ("sums.json", "missing"))


@pytest.mark.thorough(3)
@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_without_checksums_the_fingerprint_finds_any_damage(three, tmp_path, damage):
    # So is a step whose process was killed between the commit and the checksums.
    for number, name in enumerate(files_of(three)):
        directory = shutil.copytree(three, tmp_path / str(number))
        (directory / "00000003" / "sums.json").unlink()
        if name != "sums.json":
            DAMAGES[damage](directory / "00000003" / name)
        survives(directory, tolerated=True)


@pytest.mark.slow
def test_twenty_flipped_bits_are_survived(three, tmp_path):
    rng = random.Random(0)
    for number in range(20):
        directory = shutil.copytree(three, tmp_path / str(number))
        runs.flip(directory / "00000003", rng)
        survives(directory)


@pytest.mark.slow
@pytest.mark.parametrize("sums", [True, False])
def test_no_flipped_bit_restores_anything_wrong(copied, sums):
    rng, found = random.Random(1), []
    if not sums:
        (copied / "00000003" / "sums.json").unlink()
    for _ in range(400):
        undo = runs.flip(copied / "00000003", rng)
        try:
            assert is_step(checkpoints.load(copied, 3, state(0)), 3)
            found.append("harmless")
        except checkpoint_format.Damaged:
            found.append("detected")
        undo()
    assert is_step(checkpoints.load(copied, 3, state(0)), 3)
    assert found.count("detected") > (399 if sums else 100)


def test_a_damaged_older_step_is_quarantined_before_it_is_needed(copied):
    DAMAGES["garbage"](copied / "00000002" / "state" / "manifest.ocdbt")
    with opened(copied) as (_, restored):
        assert is_step(restored, 3)
    assert kept(copied) == [1, 3]


def test_an_empty_folder_named_as_a_later_step_is_not_the_newest(copied, capsys):
    (copied / "00000099").mkdir()
    assert is_step(checkpoints.read(copied, state(0)), 3)
    assert capsys.readouterr().err == f"{copied}/00000099: passed over: commit_success.txt is missing\n"
    events = []
    with opened(copied, events) as (writer, restored):
        assert is_step(restored, 3)
        assert writer.save(state(4), {"number": 4}, best=None)
    assert [(what, details["step"]) for what, details in events] == [("step quarantined", 99)]
    assert is_step(checkpoints.read(copied, state(0)), 4)


ODD = ["7", "0000007", "000000007", "00000099.bak", "notes", "-0000099", "٠٠٠٠٠٠٩٩", "²", "00000099 ", "_corrupt.old"]


def test_what_is_not_named_as_a_step_is_left_alone(copied):
    for name in ODD:
        (copied / name).mkdir()
    (copied / "00000098").write_text("a file")
    with opened(copied) as (writer, restored):
        assert is_step(restored, 3)
        assert writer.save(state(4), {"number": 4}, best=None)
    assert is_step(checkpoints.read(copied, state(0)), 4)
    assert is_step(checkpoints.read(copied, state(0), best=True), 1)
    assert {*ODD, "00000098"} <= {path.name for path in copied.iterdir()}
    assert not (copied / "_corrupt").exists()


def test_where_all_steps_are_damaged_nothing_starts_again_and_nothing_is_lost(copied):
    for step in (1, 2, 3):
        DAMAGES["garbage"](copied / f"{step:08}" / "meta" / "metadata")
    before = sorted(contents(copied).values())
    for best in (False, True):
        with pytest.raises(
            checkpoint_format.NoValidCheckpoint, match=r"none of 3 saved steps is whole|damaged: .*--weights="
        ):
            checkpoints.read(copied, state(0), best=best)
    for _ in range(2):
        with (
            pytest.raises(
                checkpoint_format.NoValidCheckpoint, match=r"steps were saved and none is whole; they are in _corr"
            ),
            opened(copied),
        ):
            pass
    assert sorted(contents(copied).values()) == before
    # A person who brings a step back goes on from it.
    shutil.rmtree(copied / "_corrupt")
    save_all(copied, [None])
    assert kept(copied) == [1]


def test_one_step_may_be_quarantined_often(copied):
    for number in range(3):
        DAMAGES["missing"](copied / "00000003" / "meta" / "metadata")
        with opened(copied) as (writer, restored):
            assert is_step(restored, 2)
            writer.save(state(3), {"number": 3}, best=None)
        assert sorted(path.name for path in (copied / "_corrupt").iterdir()) == [f"3-{n}" for n in range(number + 1)]


# Whole, but another's.


@pytest.mark.parametrize(
    ("like", "line"),
    [
        (state(0, shape=(3, 5)), r"    params/a: float32\[3, 4\] there, float32\[3, 5\] here"),
        (state(0, dtype=jnp.bfloat16), r"    params/a: float32\[3, 4\] there, bfloat16\[3, 4\] here"),
        (state(0)._replace(step=jnp.zeros((), jnp.uint32)), r"    step: int32\[\] there, uint32\[\] here"),
        (
            state(0)._replace(params={"c": jnp.zeros((3, 4))}),
            r"    params/a: float32\[3, 4\] there, nothing here\n    params/c: nothing there, float32\[3, 4\] here",
        ),
    ],
)
def test_a_state_of_another_network_is_refused_leaf_by_leaf(three, like, line):
    before = contents(three)
    heading = r"^.*/00000003: holds another network's state\. Choose another --workdir\n"
    for attempt in (lambda: checkpoints.read(three, like), lambda: opened(three, like=like).__enter__()):
        with pytest.raises(checkpoint_format.Foreign, match=heading + line + "$"):
            attempt()
    assert contents(three) == before


def test_only_the_first_ten_differing_leaves_are_listed(three):
    like = state(0)._replace(params={f"{n:02}": jnp.zeros(1) for n in range(12)})
    with pytest.raises(checkpoint_format.Foreign, match=r"\n    params/09: .*\n    and 3 more$"):
        checkpoints.read(three, like)


@pytest.mark.parametrize("schema", [0, 2, None])
def test_a_step_of_another_version_is_refused_and_stays(copied, schema):
    path = copied / "00000003" / "meta" / "metadata"
    path.write_text(json.dumps(checkpoint_format.seal({**json.loads(path.read_text())["content"], "schema": schema})))
    checkpoint_format.write_sums(copied / "00000003")
    message = rf"/00000003: has schema {schema}, expected 1\. Use the version that wrote it$"
    for attempt in (lambda: checkpoints.read(copied, state(0)), lambda: opened(copied).__enter__()):
        with pytest.raises(checkpoint_format.Foreign, match=message):
            attempt()
    assert kept(copied) == [1, 2, 3]


# Reading while another writes.


@pytest.mark.parametrize("name", ["meta/metadata", "metrics/metrics", "sums.json", "state/manifest.ocdbt"])
def test_a_damaged_best_step_is_no_other_step(copied, name):
    DAMAGES["garbage"](copied / "00000001" / name)
    with pytest.raises(checkpoint_format.NoValidCheckpoint, match=r"/00000001: damaged: .*\. Use --weights=last$"):
        checkpoints.read(copied, state(0), best=True)
    assert is_step(checkpoints.read(copied, state(0)), 3)


@pytest.fixture
def before_restoring(monkeypatch):
    """Makes something happen whenever a reader has inspected a step and is about to read its arrays."""

    def arrange(happening):
        restore = ocp.StandardCheckpointer.restore

        def delayed(self, path, *args, **kwargs):
            happening(path)
            return restore(self, path, *args, **kwargs)

        monkeypatch.setattr(ocp.StandardCheckpointer, "restore", delayed)

    return arrange


@pytest.mark.parametrize("best", [False, True])
def test_a_step_that_vanishes_while_it_is_read_is_looked_for_again(copied, before_restoring, capsys, best):
    happened = []

    def write_others(path):
        if not happened:
            happened.append(path)
            for number in (4, 5):
                writer.save(state(number), {"number": number}, best=0.9 + number / 100)
            assert not path.exists()

    with opened(copied) as (writer, _):
        before_restoring(write_others)
        assert is_step(checkpoints.read(copied, state(0), best=best), 5)
    assert capsys.readouterr().err == ""


def test_a_step_that_is_replaced_while_it_is_read_is_read_again(copied, before_restoring, capsys):
    happened = []

    def replace(path):
        if not happened:
            happened.append(path)
            writer.save(state(3), {"number": 3}, best=None, again=True)
            raise FileNotFoundError("what this reader had begun to read")

    with opened(copied) as (writer, _):
        before_restoring(replace)
        assert is_step(checkpoints.read(copied, state(0)), 3)
    assert happened
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_steps_that_always_vanish_are_a_clean_error(copied, before_restoring):
    number = iter(range(4, 1000))

    def move_on(path):
        path.parent.rename(path.parents[1] / f"{next(number):08}")

    before_restoring(move_on)
    for best in (False, True):
        with pytest.raises(
            checkpoint_format.NoValidCheckpoint, match=r": steps vanish while they are read\. Try again$"
        ):
            checkpoints.read(copied, state(0), best=best)


@pytest.mark.thorough(1)
@pytest.mark.slow
@pytest.mark.parametrize(("last", "best"), [(12, False), (40, False), (40, True)])
def test_whoever_reads_beside_a_busy_writer_reads_something_whole(copied, last, best):
    def write():
        for number in range(4, last + 1):
            writer.save(state(number), {"number": number}, best=0.9 + number / 100)

    with opened(copied) as (writer, _):
        thread = threading.Thread(target=write)
        thread.start()
        seen = []
        while thread.is_alive() or not seen:
            restored = checkpoints.read(copied, state(0), best=best)
            assert is_step(restored, restored.step)
            seen.append(restored.step)
        thread.join()
    assert seen == sorted(seen)
    assert is_step(checkpoints.read(copied, state(0), best=best), last)


def test_a_signal_while_a_step_is_read_is_no_damage(copied, before_restoring):
    before_restoring(lambda path: os.kill(os.getpid(), signal.SIGTERM))
    for attempt in (lambda: checkpoints.read(copied, state(0)), lambda: opened(copied).__enter__()):
        with Preemption(), pytest.raises(Preempted):
            attempt()
    assert kept(copied) == [1, 2, 3]


# Saving that fails.


def half_a_save(self, step, **kwargs):
    """Stands for a save on a disk that fills up."""
    (self.directory / f"{step:08}.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    (self.directory / f"{step:08}.orbax-checkpoint-tmp" / "state" / "half").write_text("x")
    raise OSError(errno.ENOSPC, "No space left on device\nsecond line")


def test_a_failed_save_leaves_what_is_finished_and_is_tried_again(copied, fault):
    events, before = [], contents(copied)
    fault("before_save:error:1")
    with opened(copied, events) as (writer, _):
        assert not writer.save(state(4), {"number": 4}, best=None)
        assert contents(copied) == before
        assert events == [("save failed", {"step": 4, "reason": "[Errno 28] No space left on device: 'before_save'"})]
        assert writer.save(state(4), {"number": 4}, best=None)
    assert kept(copied) == [1, 3, 4]


def test_a_failed_save_removes_its_own_files_before_it_writes_anything(copied, monkeypatch):
    seen = []

    def tell(what, **details):
        seen.append((details["reason"], sorted(path.name for path in copied.iterdir())))

    with monkeypatch.context() as patch, checkpoints.Writer(copied, tell) as writer:
        writer.open(state(0))
        patch.setattr(ocp.CheckpointManager, "save", half_a_save)
        assert not writer.save(state(4), {"number": 4}, best=None)
        assert seen == [("[Errno 28] No space left on device", ["00000001", "00000002", "00000003"])]


def test_the_third_failure_in_a_row_ends_it(copied, monkeypatch):
    before = contents(copied)
    with monkeypatch.context() as patch, opened(copied) as (writer, _):
        with patch.context() as full:
            full.setattr(ocp.CheckpointManager, "save", half_a_save)
            for number in (4, 5):
                assert not writer.save(state(number), {"number": number}, best=None)
        assert writer.save(state(6), {"number": 6}, best=None)
        shutil.rmtree(copied / "00000006")
        patch.setattr(ocp.CheckpointManager, "save", half_a_save)
        for number in (7, 8):
            assert not writer.save(state(number), {"number": number}, best=None)
        with pytest.raises(OSError, match=r": step 9 could not be saved, 3 times in a row: \[Errno 28\] No space left"):
            writer.save(state(9), {"number": 9}, best=None)
    assert {name: content for name, content in before.items() if "00000002" not in name} == contents(copied)
    assert is_step(checkpoints.read(copied, state(0)), 3)


def test_a_step_that_could_not_be_replaced_is_still_there(copied, fault):
    before = contents(copied)
    fault("before_save:error:1")
    with opened(copied) as (writer, _):
        assert not writer.save(state(3), {"number": 30}, best=None, again=True)
        assert contents(copied) == before
        assert writer.save(state(3), {"number": 30}, best=None, again=True)
    assert checkpoints.read(copied, state(0)).meta["number"] == 30


def test_a_step_without_checksums_because_the_disk_was_full_is_still_a_step(copied, fault):
    fault("after_commit:error:1")
    with opened(copied) as (writer, _):
        assert not writer.save(state(4), {"number": 4}, best=None)
        assert not (copied / "00000004" / "sums.json").exists()
        assert writer.save(state(4), {"number": 4}, best=None)
    assert is_step(checkpoints.read(copied, state(0)), 4)
