"""A hash of a state's very bits.

A sum over all 32-bit words, each mixed with its position and its array's name, so it depends neither on the order of
the additions nor on how an array is spread over devices. 128 bits, in four lanes of 32. It finds damage, not malice.
"""

import functools
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LANES = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F], np.uint32)
"""Odd multipliers, one a lane."""
CHUNK = 1 << 18
"""Words that are hashed at a time on a CPU, within its caches; one small program serves every state."""

# At the usual level, also where all else is compiled quickly: a state of gigabytes would take four times as long.
_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})


def fingerprint(tree: Any) -> str:
    """Returns 32 hexadecimal digits that change with any bit, name, type or shape of a tree of arrays."""
    # On a CPU XLA writes each step of one sum over all words to memory, which takes ten times as long as the sum.
    lanes = _in_chunks(tree) if jax.default_backend() == "cpu" else _where_it_is(tree)
    return "".join(f"{int(lane):08x}" for lane in jax.device_get(lanes))


def _in_chunks(tree: Any) -> np.ndarray:
    chunk, filled, position = np.zeros(CHUNK, np.uint32), 0, 0
    total = np.zeros(len(LANES), np.uint32)
    for words in _each_arrays_words(tree):
        while words.size:
            taken = min(words.size, CHUNK - filled)
            chunk[filled : filled + taken] = words[:taken]
            words, filled = words[taken:], filled + taken
            if filled == CHUNK:
                # Waited for: JAX may read the chunk until the sums are there.
                total += np.asarray(_of_chunk(chunk, np.uint32(position), np.uint32(CHUNK)))
                position, filled = (position + CHUNK) % 2**32, 0
    # What is left, in a chunk of the same length, as another would need another program.
    return total + np.asarray(_of_chunk(chunk, np.uint32(position), np.uint32(filled)))


def _each_arrays_words(tree: Any) -> Iterator[np.ndarray]:
    """Yields the bits of one array after another, as unsigned numbers of at most 32 bits: views of it, on a CPU."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    yield np.full(1, _names(leaves), np.uint32)
    for _, leaf in leaves:
        array = np.asarray(leaf)
        yield array.ravel().view(f"u{min(4, array.dtype.itemsize)}")


@_jit
def _where_it_is(tree: Any) -> jax.Array:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    words = [jnp.full(1, _names(leaves), jnp.uint32), *(_words(leaf) for _, leaf in leaves)]
    return _sums(jnp.concatenate(words), np.uint32(0))


def _sums(words: jax.Array, position: Any, count: Any = None) -> jax.Array:
    """Returns the sum of each lane over the first `count` words, of which the first has this position."""
    places = jax.lax.iota(jnp.uint32, words.size)
    lanes = jnp.asarray(LANES)[:, None]
    # Murmur's finaliser on the word and on its position: one flipped bit changes about half of the sum's bits.
    mixed = _mix(words * lanes + _mix((position + places) * lanes + lanes))
    return jnp.where(places < (words.size if count is None else count), mixed, 0).sum(axis=1, dtype=jnp.uint32)


_of_chunk = _jit(_sums)


def _names(leaves: list[tuple[Any, Any]]) -> int:
    """Returns a word that tells the arrays' names, types and shapes."""
    names = ";".join(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}" for path, leaf in leaves)
    return zlib.crc32(names.encode())


def _words(array: jax.Array) -> jax.Array:
    """Returns the bits as a vector of 32-bit words; narrower numbers take a word each."""
    if array.dtype == jnp.bool_:
        return array.astype(jnp.uint32).ravel()
    bits = jax.lax.bitcast_convert_type(array, jnp.dtype(f"uint{8 * min(4, array.dtype.itemsize)}"))
    return bits.astype(jnp.uint32).ravel()


def _mix(words: jax.Array) -> jax.Array:
    words = (words ^ (words >> 16)) * jnp.uint32(0x85EBCA6B)
    words = (words ^ (words >> 13)) * jnp.uint32(0xC2B2AE35)
    return words ^ (words >> 16)
