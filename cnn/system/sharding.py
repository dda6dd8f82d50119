"""One batch over many devices: a mesh with one axis, `data`, over which batches are spread and states are not.

Everything takes the number of devices; with one, arrays are where JAX puts them and no mesh is made.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cnn.system import host_memory

AXIS = "data"
SPREAD, WHOLE = PartitionSpec(AXIS), PartitionSpec()


@functools.cache
def mesh(count: int) -> Mesh:
    """Returns the mesh of the first `count` devices of all processes."""
    return jax.make_mesh((count,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:count])


def replicate(tree: Any, count: int) -> Any:
    """Returns a tree of arrays that every process has, each whole on each of `count` devices."""
    if count == 1:
        return jax.tree.map(jnp.asarray, tree)
    whole = NamedSharding(mesh(count), WHOLE)
    return jax.tree.map(lambda array: jax.make_array_from_process_local_data(whole, np.asarray(array)), tree)


def replicated_shape(shape: tuple[int, ...], dtype: Any, count: int) -> jax.ShapeDtypeStruct:
    """Returns what an array of this shape is to the compiler once `replicate` has put it on `count` devices."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=None if count == 1 else NamedSharding(mesh(count), WHOLE))


def shape_of(array: jax.Array) -> jax.ShapeDtypeStruct:
    """Returns what an array is to the compiler; its numbers may be gone."""
    sharding = array.sharding if array.committed else None
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding, weak_type=array.weak_type)


def constrain(array: jax.Array, count: int) -> jax.Array:
    """Has the compiler spread an array over `count` devices by its first axis."""
    return jax.lax.with_sharding_constraint(array, NamedSharding(mesh(count), SPREAD))


def each_share(function: Callable[..., jax.Array], count: int) -> Callable[..., jax.Array]:
    """Returns the function computed on each device with its share of the last argument, its results put together.

    Args:
      function: of arguments that every device has whole, and of an array; its result's first axis is that array's.
      count: of devices, more than one; they must divide that axis.
    """

    def compute(*arguments: Any) -> jax.Array:
        specs = (*(WHOLE for _ in arguments[1:]), SPREAD)
        result = jax.shard_map(function, mesh=mesh(count), in_specs=specs, out_specs=SPREAD)(*arguments)
        return jax.lax.with_sharding_constraint(result, NamedSharding(mesh(count), WHOLE))

    return compute


def memory_limit() -> int:
    """Returns how many bytes each device of this process may use: of a CPU, its share of what the host has free."""
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit") if device.platform != "cpu" else None
    return limit or host_memory.free_bytes() // (jax.local_device_count() if device.platform == "cpu" else 1)


def local(tree: Any) -> Any:
    """Returns a replicated tree as this process alone has it: as NumPy's arrays where it is on several devices."""

    def one(array: Any) -> Any:
        here = isinstance(array, np.ndarray) or array.sharding.num_devices == 1
        return array if here else np.asarray(array)

    return jax.tree.map(one, tree)
