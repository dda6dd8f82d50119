"""The order of examples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn.data.order import BatchOrder, balanced_epoch, permutation, permutations

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


def test_shuffles_of_a_seed_are_the_same_wherever_one_begins():
    for n in (1, 4, 7):
        together = permutations(5, 0, 6, n)
        assert [sorted(order.tolist()) for order in together] == [list(range(n))] * 6
        np.testing.assert_array_equal(permutations(5, 2, 3, n), together[2:5])
    assert permutations(3, 0, 2, 6).tolist() == [[1, 5, 2, 4, 3, 0], [5, 3, 0, 2, 1, 4]]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    n=st.integers(1, 90),
    first=st.integers(0, 3),
)
def test_a_balanced_epoch_takes_as_many_of_each_class_and_in_the_long_run_of_each_row(seed, sizes, n, first):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    rows_of_class = [np.flatnonzero(labels == label) for label in range(len(sizes))]
    epochs = [balanced_epoch(rows_of_class, seed, epoch, n) for epoch in range(first, first + 5)]
    for rows in epochs:
        assert len(rows) == n
        of_class = np.bincount(labels[rows], minlength=len(sizes))
        assert set(of_class) <= {n // len(sizes), -(-n // len(sizes))}
    from_the_start = np.concatenate([balanced_epoch(rows_of_class, seed, epoch, n) for epoch in range(first + 5)])
    of_class = np.bincount(labels[from_the_start], minlength=len(sizes))
    assert of_class.max() - of_class.min() <= 1
    drawn = np.bincount(from_the_start, minlength=len(labels))
    assert all(drawn[rows].max() - drawn[rows].min() <= 1 for rows in rows_of_class)


def test_balanced_batches_follow_from_the_step_and_differ_between_epochs_and_seeds():
    labels = np.repeat(np.arange(3, dtype=np.int32), (90, 9, 1))
    order = BatchOrder(100, seed=3, batch_size=30, balanced=labels)
    assert order.steps_per_epoch == 3
    epochs = [order.rows(3 * epoch, 3) for epoch in range(4)]
    for epoch in (2, 0, 3):
        again = BatchOrder(100, seed=3, batch_size=30, balanced=labels)
        np.testing.assert_array_equal(again.rows(3 * epoch + 1), epochs[epoch][1:2])
        assert np.bincount(labels[epochs[epoch].ravel()]).tolist() == [30, 30, 30]
    assert epochs[0].dtype == np.int32
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], BatchOrder(100, seed=4, batch_size=30, balanced=labels).rows(0, 3))
    assert order.rows(0).ravel()[:6].tolist() == [98, 99, 99, 52, 42, 99]


def test_a_class_without_examples_takes_no_part():
    order = BatchOrder(8, seed=0, batch_size=4, balanced=np.array([0, 0, 0, 0, 0, 0, 2, 2], np.int32))
    assert (order.rows(0, 2) >= 6).sum() == 4
