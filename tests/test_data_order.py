"""The order of examples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn.data.order import BatchOrder, permutation

SEEDS = st.integers(0, 2**64 - 1)
GOLDEN = {
    (0, 0): [0, 2, 9, 1, 8, 5, 4, 3, 6, 7],
    (1, 0): [3, 5, 2, 9, 7, 0, 8, 6, 1, 4],
    (0, 1): [5, 3, 7, 8, 2, 4, 1, 0, 6, 9],
    (2**64 - 1, 3): [3, 2, 8, 0, 1, 6, 9, 5, 4, 7],
}


def test_the_order_never_changes():
    assert {key: permutation(*key, 10).tolist() for key in GOLDEN} == GOLDEN


@given(seed=SEEDS, epoch=SEEDS, n=st.integers(0, 300))
def test_an_epoch_is_a_permutation(seed, epoch, n):
    order = permutation(seed, epoch, n)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))


def test_neighbouring_seeds_and_epochs_share_nothing():
    orders = {permutation(seed, epoch, 1000).tobytes() for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_a_seed_below_zero_is_refused():
    with pytest.raises(OverflowError):
        permutation(-1, 0, 10)


def test_the_steps_of_an_epoch_take_its_permutation_in_turn_and_drop_the_rest():
    order = BatchOrder(22, seed=3, batch_size=5)
    assert order.steps_per_epoch == 4
    for epoch in (1, 0, 2):
        expected = permutation(3, epoch, 22)[:20].reshape(4, 5)
        np.testing.assert_array_equal(order.rows(4 * epoch, 4), expected)
        np.testing.assert_array_equal(order.rows(4 * epoch + 2), expected[2:3])
    assert order.rows(0).dtype == np.int32
