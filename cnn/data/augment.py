"""Augmentation inside the compiled step: every draw is a pure function of the step's key, the row and the kind's place.

No draw depends on the batch size, nor on how many devices share the batch. `Mixup` and `Cutmix` draw for each row and
mix it with the row before it (the first with the last), so there only the first row's partner knows the size of the
batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from cnn.data.augment_kinds import Cutmix, Erase, Flip, Mixup, RandomCrop, Rotate, Shift

Images = Float[Array, "batch height width channels"]
Labels = Float[Array, "batch classes"]
Keys = Key[Array, " batch"]

_AREA = (0.02, 0.33)
_ASPECT = (0.3, 3.3)


class Draws(NamedTuple):
    """What an augmentation may read beside the examples: a key of its own for each, and `Places.before`."""

    keys: Keys
    before: Callable[[Array], Array]


class Places(NamedTuple):
    """Where in the whole batch the examples at hand stand.

    Attributes:
      rows: the row of each.
      before: returns, of an array with an entry for each example, the entries of the rows before them; of the first
        row, the last.
    """

    rows: Int[Array, " batch"]
    before: Callable[[Array], Array]


def whole(size: int) -> Places:
    """Returns the places of a whole batch, in order."""
    return Places(jnp.arange(size), lambda array: jnp.roll(array, 1, axis=0))


def augment(
    kinds: tuple[Any, ...], images: Images, labels: Labels, key: Key[Array, ""], places: Places | None = None
) -> tuple[Images, Labels]:
    """Applies the kinds in order.

    Args:
      kinds: values of `cnn.data.augment_kinds`; their real numbers may be traced.
      images: intensities in [0, 1], and so they stay.
      labels: one-hot, or any rows that sum to 1, and so they stay.
      key: consumed; do not use it again.
      places: where in the batch the examples stand (default: they are all of it, in order).

    Raises:
      ValueError: if a crop or a shift could leave nothing of an image.
      TypeError: if there is no augmentation of a kind.
    """
    places = places or whole(images.shape[0])
    row_keys = jax.vmap(jax.random.fold_in, (None, 0))(key, places.rows)
    for place, kind in enumerate(kinds):
        apply = _APPLY.get(type(kind))
        if apply is None:
            names = ", ".join(known.__name__ for known in _APPLY)
            raise TypeError(f"kinds[{place}]: no augmentation, got {kind!r}. Known: {names}.")
        keys = jax.vmap(jax.random.fold_in, (0, None))(row_keys, place)
        images, labels = apply(kind, images, labels, Draws(keys, places.before))
    return images, labels


def _random_crop(kind: RandomCrop, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
    return _translate(images, draws.keys, kind.pad, "random_crop.pad"), labels


def _shift(kind: Shift, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
    return _translate(images, draws.keys, kind.pixels, "shift.pixels"), labels


def _flip(kind: Flip, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
    flipped = _uniform(draws.keys, 1)[:, 0] < kind.probability
    return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images), labels


def _erase(kind: Erase, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
    coin, area, aspect, *corner = _uniform(draws.keys, 5).T
    height, width = images.shape[1:3]
    area = (_AREA[0] + (_AREA[1] - _AREA[0]) * area) * height * width
    aspect = _ASPECT[0] + (_ASPECT[1] - _ASPECT[0]) * aspect
    tall = jnp.clip(jnp.round(jnp.sqrt(area * aspect)), 1, height)
    wide = jnp.clip(jnp.round(jnp.sqrt(area / aspect)), 1, width)
    top = jnp.floor(corner[0] * (height - tall + 1))
    left = jnp.floor(corner[1] * (width - wide + 1))
    erased = _box(images, top, top + tall, left, left + wide) & (coin < kind.probability)[:, None, None]
    return jnp.where(erased[..., None], 0, images), labels


def _rotate(kind: Rotate, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
    turns = 2 * _uniform(draws.keys, 1)[:, 0] - 1
    return jax.vmap(_turn)(images, jnp.deg2rad(turns * kind.degrees)), labels


def _mixup(kind: Mixup, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
    own = _beta(_uniform(draws.keys, 2).T, kind.alpha)
    blended = _blend(images, draws.before(images), own[:, None, None, None])
    return blended, _blend(labels, draws.before(labels), own[:, None])


def _cutmix(kind: Cutmix, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
    numbers = _uniform(draws.keys, 4).T
    side = jnp.sqrt(1 - _beta(numbers[:2], kind.alpha))
    edges = []
    for centre, size in zip(numbers[2:], images.shape[1:3], strict=True):
        middle, half = jnp.floor(centre * size), jnp.floor(size * side / 2)
        edges += [middle - half, middle + half]
    cut = _box(images, *edges)
    mixed = jnp.where(cut[..., None], draws.before(images), images)
    # The box was cut at the image's border, so its pixels are counted again.
    own = 1 - jnp.mean(cut, axis=(1, 2), dtype=jnp.float32)
    return mixed, _blend(labels, draws.before(labels), own[:, None])


_APPLY: dict[type, Callable[[Any, Images, Labels, Draws], tuple[Images, Labels]]] = {
    RandomCrop: _random_crop,
    Flip: _flip,
    Erase: _erase,
    Rotate: _rotate,
    Shift: _shift,
    Mixup: _mixup,
    Cutmix: _cutmix,
}


def _uniform(keys: Keys, count: int) -> Float[Array, "batch count"]:
    return jax.vmap(lambda key: jax.random.uniform(key, (count,), jnp.float32))(keys)


def _beta(draws: Float[Array, "2 batch"], alpha: Float[Array, ""] | float) -> Float[Array, " batch"]:
    # Beta(alpha, alpha) from two uniform numbers (Devroye 1996, https://doi.org/10.1145/256562.256718): no rejection,
    # so no loop in the program and one draw count for all rows.
    cos = jnp.cos(2 * jnp.pi * draws[0])
    share = 0.5 + 0.5 * cos / jnp.sqrt(cos**2 + 1 / jnp.expm1(-jnp.log(draws[1]) / alpha))
    return jnp.clip(share, 0, 1)  # a fast reciprocal root leaves the range by a rounding


def _translate(images: Images, keys: Keys, reach: int, field: str) -> Images:
    height, width = images.shape[1:3]
    if reach >= min(height, width):
        raise ValueError(
            f"config.data.augment: {field} could leave nothing of the {height}x{width} images, got {reach}. "
            f"Take less than {min(height, width)}."
        )
    offsets = jnp.floor(_uniform(keys, 2) * (2 * reach + 1)).astype(int)
    # On CPU two to five times faster than products with one-hot matrices, or than selecting among the shifts.
    padded = jnp.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))

    def crop(image: Array, offset: Int[Array, " 2"]) -> Array:
        return lax.dynamic_slice(image, (offset[0], offset[1], 0), images.shape[1:])

    return jax.vmap(crop)(padded, offsets)


def _box(images: Images, top: Array, bottom: Array, left: Array, right: Array) -> Bool[Array, "batch height width"]:
    rows, columns = (jnp.arange(size) for size in images.shape[1:3])
    inside_rows = (rows >= top[:, None]) & (rows < bottom[:, None])
    inside_columns = (columns >= left[:, None]) & (columns < right[:, None])
    return inside_rows[:, :, None] & inside_columns[:, None, :]


def _blend(ours: Array, theirs: Array, own: Float[Array, "..."]) -> Array:
    # In float32, where `own` and `1 - own` sum to 1 closely enough that nothing leaves [0, 1].
    return (own * ours + (1 - own) * theirs).astype(ours.dtype)


def _turn(
    image: Float[Array, "height width channels"], angle: Float[Array, ""]
) -> Float[Array, "height width channels"]:
    """Rotates counterclockwise, as `np.rot90` does; the angle is in radians."""
    height, width = image.shape[:2]
    y, x = jnp.arange(height)[:, None] - (height - 1) / 2, jnp.arange(width) - (width - 1) / 2
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    from_y, from_x = cos * y + sin * x + (height - 1) / 2, cos * x - sin * y + (width - 1) / 2
    top, left = jnp.floor(from_y), jnp.floor(from_x)
    down, right = from_y - top, from_x - left
    turned = jnp.zeros(image.shape, jnp.float32)
    for row, row_weight in ((top, 1 - down), (top + 1, down)):
        for column, column_weight in ((left, 1 - right), (left + 1, right)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = jnp.where(inside, row_weight * column_weight, 0)
            source = jnp.clip(row, 0, height - 1).astype(int), jnp.clip(column, 0, width - 1).astype(int)
            turned += weight[..., None] * image[source]
    return jnp.clip(turned, 0, 1).astype(image.dtype)
