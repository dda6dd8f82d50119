"""A hash of a state's very bits, computed where the arrays are.

A sum over all 32-bit words, each mixed with its position and its array's name, so it depends neither on the order of
the additions nor on how an array is spread over devices. 128 bits, in four lanes of 32. It finds damage, not malice.
"""

import functools
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LANES = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F], np.uint32)
"""Odd multipliers, one a lane."""


def fingerprint(tree: Any) -> str:
    """Returns 32 hexadecimal digits that change with any bit, name, type or shape of a tree of arrays."""
    return "".join(f"{int(lane):08x}" for lane in jax.device_get(_hash(tree)))


# Without MLIR's emitters, XLA compiles this in half the time on a CPU, into something that takes half the time, too. At
# the level that is usual, also where all else is compiled quickly: a state of gigabytes would take four times as long.
@functools.partial(
    jax.jit, compiler_options={"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 3}
)
def _hash(tree: Any) -> jax.Array:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = ";".join(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}" for path, leaf in leaves)
    words = jnp.concatenate(
        [jnp.full(1, zlib.crc32(names.encode()), jnp.uint32), *(_words(leaf) for _, leaf in leaves)]
    )
    positions, lanes = jax.lax.iota(jnp.uint32, words.size), jnp.asarray(LANES)[:, None]
    # Murmur's finaliser on the word and on its position: one flipped bit changes about half of the sum's bits.
    return _mix(words * lanes + _mix(positions * lanes + lanes)).sum(axis=1, dtype=jnp.uint32)


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
