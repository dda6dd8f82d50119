"""A state's fingerprint: whatever changes a bit changes it, and nothing else does."""

import os
import subprocess
import sys
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn.runs import checksum
from cnn.runs.checksum import LANES, fingerprint
from cnn.train import multi_step
from tests import tiny

RNG = np.random.default_rng(0)
TREE = {
    "kernel": RNG.normal(size=(3, 4)).astype(np.float32),
    "bias": np.zeros(4, np.float32),
    "count": np.asarray(7, np.int32),
    "key": np.asarray([1, 2**32 - 1], np.uint32),
    "narrow": jnp.asarray(RNG.normal(size=5), jnp.bfloat16),
    "images": RNG.integers(0, 256, (2, 3), dtype=np.uint8),
    "mask": np.asarray([True, False, True]),
    "nothing": np.zeros((0, 3), np.float32),
    "empty": {},
}
GOLDEN = "124140e78e37f9e61e6a1a0e52ad261a"


def flipped(array, byte, bit):
    """Returns the array with one bit of its bytes flipped."""
    array = np.asarray(array)
    content = bytearray(array.tobytes())
    content[byte] ^= 1 << bit
    return np.frombuffer(bytes(content), array.dtype).reshape(array.shape)


def words_by_numpy(array):
    array = np.asarray(array)
    return np.frombuffer(array.tobytes(), f"u{array.dtype.itemsize}").astype(np.uint32)


def mixed(words):
    words = (words ^ (words >> 16)) * np.uint32(0x85EBCA6B)
    words = (words ^ (words >> 13)) * np.uint32(0xC2B2AE35)
    return words ^ (words >> 16)


def fingerprint_by_numpy(tree):
    """Returns what the module's description says, computed without JAX's arithmetic."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = ";".join(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}" for path, leaf in leaves)
    first = np.asarray([zlib.crc32(names.encode())], np.uint32)
    words = np.concatenate([first, *(words_by_numpy(leaf) for _, leaf in leaves)])
    places = np.arange(len(words), dtype=np.uint32)
    sums = [mixed(words * lane + mixed(places * lane + lane)).sum(dtype=np.uint32) for lane in LANES]
    return "".join(f"{int(lane):08x}" for lane in sums)


def test_it_has_128_bits_and_its_value_never_changes():
    assert len(fingerprint(TREE)) == 32
    assert fingerprint(TREE) == fingerprint_by_numpy(TREE) == GOLDEN
    assert fingerprint({}) == fingerprint_by_numpy({})


@pytest.mark.parametrize("chunk", [1, 2, 5, 12, 13, 14, 15, 40, 41, 42, 1000])
def test_it_does_not_depend_on_how_many_words_are_hashed_at_a_time(monkeypatch, chunk):
    monkeypatch.setattr(checksum, "CHUNK", chunk)
    assert fingerprint(TREE) == GOLDEN


def test_an_accelerator_computes_the_same(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert fingerprint(TREE) == GOLDEN


@given(st.data())
def test_any_flipped_bit_changes_all_of_its_lanes(data):
    name = data.draw(st.sampled_from(["kernel", "bias", "count", "key", "narrow", "images"]))
    byte = data.draw(st.integers(0, np.asarray(TREE[name]).nbytes - 1))
    changed = fingerprint({**TREE, name: flipped(TREE[name], byte, data.draw(st.integers(0, 7)))})
    assert all(changed[lane : lane + 8] != GOLDEN[lane : lane + 8] for lane in range(0, 32, 8))


@pytest.mark.parametrize("place", range(3))
def test_a_flipped_truth_changes_it(place):
    mask = TREE["mask"].copy()
    mask[place] = not mask[place]
    assert fingerprint({**TREE, "mask": mask}) != GOLDEN


@given(st.permutations(range(12)))
def test_it_depends_on_the_places_of_numbers(order):
    moved = TREE["kernel"].ravel()[order].reshape(3, 4)
    assert (fingerprint({**TREE, "kernel": moved}) == GOLDEN) == (list(order) == list(range(12)))


@pytest.mark.few(4)
@pytest.mark.parametrize(
    "change",
    [
        {"kernel": TREE["kernel"][[1, 0, 2]]},
        {"kernel": TREE["kernel"].T},
        {"kernel": TREE["kernel"].reshape(4, 3)},
        {"kernel": TREE["kernel"].reshape(12)},
        {"kernel": TREE["kernel"].view(np.int32)},
        {"kernel": TREE["bias"], "bias": TREE["kernel"]},
        {"bias": -TREE["bias"]},
        {"bias": np.zeros(5, np.float32)},
        {"mask": TREE["mask"].astype(np.uint8)},
        {"images": TREE["images"].astype(np.int8)},
        {"nothing": np.zeros((0, 4), np.float32)},
        {"more": np.zeros(0, np.float32)},
    ],
    ids=lambda change: "-".join(f"{name}{list(array.shape)}{array.dtype}" for name, array in change.items()),
)
def test_a_moved_retyped_or_reshaped_array_changes_it(change):
    assert fingerprint({**TREE, **change}) != GOLDEN


def test_a_renamed_array_changes_it():
    renamed = {("kernal" if name == "kernel" else name): array for name, array in TREE.items()}
    assert fingerprint(renamed) != GOLDEN


def test_the_order_of_a_dict_and_where_arrays_live_do_not_change_it():
    assert fingerprint(dict(reversed(TREE.items()))) == GOLDEN
    assert fingerprint(jax.tree.map(jnp.asarray, TREE)) == GOLDEN


SHARDED = """
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from cnn.runs.checksum import fingerprint
assert jax.device_count() == 8
rng = np.random.default_rng(0)
tree = {"a": rng.normal(size=(16, 8)).astype("f"), "b": rng.integers(0, 256, (8, 3), dtype="u1"), "c": np.float32(3)}
mesh = Mesh(np.asarray(jax.devices()), ("data",))
specs = {"a": PartitionSpec("data"), "b": PartitionSpec("data"), "c": PartitionSpec()}
across = {"a": PartitionSpec(None, "data"), "b": PartitionSpec(), "c": PartitionSpec()}
spread = [jax.device_put(tree, {n: NamedSharding(mesh, s) for n, s in each.items()}) for each in (specs, across)]
assert len(spread[0]["a"].sharding.device_set) == 8
print(fingerprint(tree), *map(fingerprint, spread))
"""


@pytest.mark.slow
def test_it_is_the_same_for_arrays_spread_over_eight_devices():
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": ".", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(set(done.stdout.split())) == 1


RICH = {
    **tiny.RAW,
    "model": {"layers": "conv(2, 3) | batch_norm | relu | max_pool(2) | flatten | dropout(0.25) | dense(classes)"},
    "data": {**tiny.RAW["data"], "augment": "shift(1) | mixup(0.4)"},
}


@pytest.mark.slow
def test_a_training_step_repeated_twenty_times_on_the_same_input_has_one_fingerprint():
    state, step_config = tiny.start(tiny.resolve(RICH))
    images = tiny.split()
    found = set()
    for _ in range(20):
        copy = jax.tree.map(jnp.copy, state)  # the step consumes it
        found.add(fingerprint(multi_step.run_step(copy, images, tiny.rows(0), step_config=step_config)))
    assert len(found) == 1


@pytest.mark.slow
def test_a_batch_that_was_copied_to_the_device_is_independent_of_its_buffer():
    # A plain NumPy batch is not: JAX may read it after the call. The loop never writes to one again.
    values = tiny.resolve()
    state, step_config = tiny.start(values)
    other, _ = tiny.start(values)
    images, buffer = tiny.split(), np.zeros(tiny.BATCH, np.int32)
    for step in range(20):
        rows = np.asarray(tiny.rows(step))
        buffer[:] = rows
        batch = jnp.array(buffer)
        buffer[:] = 0
        state, _ = multi_step.run_step(state, images, batch, step_config=step_config)
        other, _ = multi_step.run_step(other, images, rows.copy(), step_config=step_config)
    assert fingerprint(state) == fingerprint(other)
