"""Saved states: which are kept, which is restored, and that it is the same to the bit."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import checkpoint, hyper, train, trainer
from runs import tiny


class State(NamedTuple):
    step: Any
    params: Any


def state(step):
    weights = jnp.asarray(np.random.default_rng(step).normal(size=(3, 4)), jnp.float32)
    return State(jnp.asarray(step, jnp.int32), {"a": weights, "b": {}})


def save_all(directory, scores, first=1):
    with checkpoint.open_manager(directory) as manager:
        for number, score in enumerate(scores, first):
            checkpoint.save(manager, state(number), {"number": number}, score=score)


def kept(directory):
    return sorted(int(path.name) for path in directory.iterdir())


def test_nothing_saved_restores_nothing(tmp_path):
    assert checkpoint.restore(tmp_path / "none", state(0)) is None
    checkpoint.open_manager(tmp_path / "empty").close()
    assert checkpoint.restore(tmp_path / "empty", state(0)) is None


def test_the_latest_is_restored_to_the_bit(tmp_path):
    save_all(tmp_path, [None, None, None])
    restored = checkpoint.restore(tmp_path, state(0))
    assert restored is not None
    assert (restored.step, restored.meta) == (3, {"number": 3})
    assert restored.state.params["a"].tobytes() == np.asarray(state(3).params["a"]).tobytes()
    assert restored.state.step.dtype == jnp.int32


@pytest.mark.parametrize(
    ("scores", "steps", "best"),
    [
        ([0.1, 0.2, 0.3, 0.4], [3, 4], 4),
        ([0.9, 0.2, 0.3, 0.4], [1, 3, 4], 1),
        ([0.1, 0.9, 0.3, None], [2, 3, 4], 2),
        ([None, None, None, None], [3, 4], 4),
        ([0.9, math.nan, math.inf, None], [1, 3, 4], 1),
    ],
)
def test_the_latest_two_and_the_best_are_kept(tmp_path, scores, steps, best):
    save_all(tmp_path, scores)
    assert kept(tmp_path) == steps
    restored = checkpoint.restore(tmp_path, state(0), best=True)
    assert restored is not None
    assert restored.step == best


def test_the_best_of_before_is_kept_when_saving_goes_on_later(tmp_path):
    save_all(tmp_path, [0.1, 0.9, 0.2])
    save_all(tmp_path, [0.3, 0.4, 0.5], first=4)
    assert kept(tmp_path) == [2, 5, 6]


def test_a_step_that_is_saved_is_not_saved_again(tmp_path):
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, state(1), {"number": 1}, score=None)
        checkpoint.save(manager, state(1), {"number": 2}, score=None)
    restored = checkpoint.restore(tmp_path, state(0))
    assert restored is not None
    assert restored.meta == {"number": 1}


def test_what_is_half_written_is_not_restored(tmp_path):
    save_all(tmp_path, [None])
    (tmp_path / "00000002.orbax-checkpoint-tmp").mkdir()
    restored = checkpoint.restore(tmp_path, state(0))
    assert restored is not None
    assert restored.step == 1


def test_another_tree_is_refused(tmp_path):
    save_all(tmp_path, [None])
    with pytest.raises(ValueError, match=r"(?i)structure|match"):
        checkpoint.restore(tmp_path, State(jnp.zeros((), jnp.int32), {"c": jnp.zeros((3, 4)), "b": {}}))


def test_a_whole_training_state_comes_back_equal(tmp_path):
    values = tiny("train.average=ema(0.9)", "data.augment=mixup(0.2)", "train.clip=global_norm(1)")
    before = trainer.make_state(values, trainer.make_program(values, 10, 5))
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, before, {}, score=None)
    after = checkpoint.restore(tmp_path, before)
    assert after is not None
    assert isinstance(after.state, train.TrainState)
    assert isinstance(after.state.hyper, hyper.Hyper)
    assert jax.tree.structure(after.state) == jax.tree.structure(before)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after.state), strict=True):
        assert old.dtype == new.dtype
        assert np.asarray(old).tobytes() == np.asarray(new).tobytes()
