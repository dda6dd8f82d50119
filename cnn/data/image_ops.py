"""What augmentations compute of a batch of images, given what was drawn: crops, colours, TrivialAugment, RandAugment.

Images are intensities in [0, 1]; each function has one number, or one row of numbers, for each of them.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Images = Float[Array, "batch height width channels"]
Numbers = Float[Array, " batch"]

LEVELS = 256
BINS = 31
"""There are so many magnitudes, from that which does nothing to the largest."""


class Space(NamedTuple):
    """The largest magnitudes of the operations.

    Attributes:
      shear: a slope.
      pixels: of a shift, given the size of the side.
      degrees: of a turn.
      blend: what a blend's factor is from 1.
      dropped: how many of the 8 bits a level of the magnitude drops.
    """

    shear: float
    pixels: Callable[[int], float]
    degrees: float
    blend: float
    dropped: Callable[[Any], Any]


WIDE = Space(0.99, lambda side: 32, 135.0, 0.99, lambda level: (level + 2) // 5)
"""TrivialAugment's; of the bits at most 6 are dropped, the level over five, rounded."""
PLAIN = Space(0.3, lambda side: 150 / 331 * side, 30.0, 0.9, lambda level: (2 * level + 7) // 15)
"""RandAugment's, as torchvision has it; of the bits at most 4 are dropped, the level over 7.5, rounded."""


class Op(enum.IntEnum):
    """The operations of TrivialAugment, and of RandAugment."""

    IDENTITY = 0
    SHEAR_X = 1
    SHEAR_Y = 2
    TRANSLATE_X = 3
    TRANSLATE_Y = 4
    ROTATE = 5
    BRIGHTNESS = 6
    COLOR = 7
    CONTRAST = 8
    SHARPNESS = 9
    POSTERIZE = 10
    SOLARIZE = 11
    AUTOCONTRAST = 12
    EQUALIZE = 13


def resized_crop(
    images: Images, top: Numbers, left: Numbers, tall: Numbers, wide: Numbers, size: tuple[int, int]
) -> Images:
    """Cuts a box out of each image and resizes it, bilinear with antialiasing, as Pillow does with the box alone.

    Args:
      images: of any size.
      top: the first row of the box, and so on, in whole pixels; it lies within the image.
      left: its first column.
      tall: its height.
      wide: its width.
      size: height and width wanted.
    """
    rows = _resampling(top, tall, images.shape[1], size[0])
    columns = _resampling(left, wide, images.shape[2], size[1])
    exact = jax.lax.Precision.HIGHEST
    fewer = jnp.einsum("bih,bhwc->biwc", rows, images, precision=exact)
    resized = jnp.einsum("bjw,biwc->bijc", columns, fewer, precision=exact)
    return jnp.clip(resized, 0, 1).astype(images.dtype)


def _resampling(first: Numbers, length: Numbers, before: int, after: int) -> Float[Array, "batch after before"]:
    """Returns how much of each old pixel is in each new one, along one axis."""
    scale = (length / after)[:, None, None]
    middle = first[:, None, None] + (jnp.arange(after)[:, None] + 0.5) * scale
    pixels = jnp.arange(before)
    weights = jnp.maximum(0, 1 - jnp.abs(pixels + 0.5 - middle) / jnp.maximum(scale, 1))
    within = (pixels >= first[:, None, None]) & (pixels < (first + length)[:, None, None])
    weights = jnp.where(within, weights, 0)
    return weights / weights.sum(axis=-1, keepdims=True)


def grey(images: Images) -> Float[Array, "batch height width 1"]:
    """Returns luma (ITU-R BT.601) of colours, the mean of any other number of channels."""
    if images.shape[-1] != 3:
        return images.mean(axis=-1, keepdims=True)
    red, green, blue = jnp.split(images, 3, axis=-1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def blend(images: Images, other: Array, factor: Numbers) -> Images:
    """Returns images moved away from another one (a factor above 1) or towards it, cut off at 0 and 1."""
    factor = factor[:, None, None, None]
    return jnp.clip(factor * images + (1 - factor) * other, 0, 1)


def turn_hue(images: Images, turns: Numbers) -> Images:
    """Turns the hue of colours and keeps their saturation and value (HSV); one turn is the whole circle."""
    red, green, blue = (images[..., channel] for channel in range(3))
    value = images.max(axis=-1)
    spread = value - images.min(axis=-1)
    divisor = jnp.where(spread > 0, spread, 1)
    sixths = jnp.where(
        value == red,
        (green - blue) / divisor,
        jnp.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sixths += 6 * turns[:, None, None]

    def channel(offset: int) -> Array:
        place = offset + sixths
        place -= 6 * jnp.floor(place / 6)  # many times faster than the modulo
        return value - spread * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)], axis=-1)


def jitter(images: Images, factors: list[Numbers], turns: Numbers, order: Int[Array, "batch 4"]) -> Images:
    """Changes brightness, contrast, saturation (by these factors) and hue (by these turns), in this order.

    Args:
      images: those without 3 channels keep saturation and hue.
      factors: of each image, for the three.
      turns: of each image.
      order: which of the four, 0 to 3, comes first, second and so on.
    """
    dtype, coloured = images.dtype, images.shape[-1] == 3
    images = images.astype(jnp.float32)
    if not coloured:
        factors = [*factors[:2], jnp.ones_like(turns)]
    # What turns the hue is blended with itself.
    every_factor = jnp.stack([*factors, jnp.ones_like(turns)], axis=1)

    def change(images: Images, kinds: Int[Array, " batch"]) -> tuple[Images, None]:
        kind = kinds[:, None, None, None]
        shades = grey(images)
        other = jnp.where(kind == 0, 0, jnp.where(kind == 1, shades.mean(axis=(1, 2), keepdims=True), shades))
        factor = jnp.take_along_axis(every_factor, kinds[:, None], axis=1)[:, 0]
        blended = blend(images, other, factor)
        return (jnp.where(kind == 3, turn_hue(images, turns), blended) if coloured else blended), None

    # A loop: four times as much would compile for four times as long.
    images, _ = jax.lax.scan(change, images, order.T)
    return jnp.clip(images, 0, 1).astype(dtype)


def trivial_augment(
    images: Images, op: Int[Array, " batch"], level: Int[Array, " batch"], sign: Numbers, space: Space = WIDE
) -> Images:
    """Applies one operation to each image.

    Whatever was drawn, the cost is the same: one warp, one blend, one table of intensities, each of which leaves an
    image as it is that drew another operation.

    Args:
      images: grey images have no colour, which leaves them alone.
      op: of each image, see `Op`.
      level: the magnitude, 0 to `BINS` - 1.
      sign: 1 or -1, the direction of what has one.
      space: how much the levels are.
    """
    share = level / (BINS - 1)
    images = _warp(images, _matrix(op, share * sign, images.shape[1:3], space))
    images = _enhance(images, op, 1 + space.blend * share * sign)
    levels = jnp.round(images * (LEVELS - 1)).astype(jnp.int32)
    mapped = _mapped(levels, _tables(levels, op, level, space)) / (LEVELS - 1)
    return jnp.where((op >= Op.POSTERIZE)[:, None, None, None], mapped, images)


def _is(op: Array, wanted: Op) -> Bool[Array, " batch"]:
    return op == int(wanted)


def _matrix(op: Array, signed: Numbers, size: Sequence[int], space: Space) -> tuple[Numbers, ...]:
    """Returns where pixels come from: x = a x' + b y' + c and y = d x' + e y' + f, counted from the corner."""
    one, zero = jnp.ones_like(signed), jnp.zeros_like(signed)
    angle = jnp.where(_is(op, Op.ROTATE), jnp.deg2rad(signed * space.degrees), 0)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x, y = size[1] / 2, size[0] / 2
    down, right = (jnp.trunc(signed * space.pixels(side)) for side in size)
    a, e = jnp.where(angle == 0, one, cos), jnp.where(angle == 0, one, cos)
    b = jnp.where(_is(op, Op.SHEAR_X), signed * space.shear, -sin)
    d = jnp.where(_is(op, Op.SHEAR_Y), signed * space.shear, sin)
    c = jnp.where(_is(op, Op.TRANSLATE_X), -right, jnp.where(angle == 0, zero, x - cos * x + sin * y))
    f = jnp.where(_is(op, Op.TRANSLATE_Y), -down, jnp.where(angle == 0, zero, y - sin * x - cos * y))
    return a, b, c, d, e, f


def _warp(images: Images, matrix: tuple[Numbers, ...]) -> Images:
    """Takes the nearest pixel, and zeros from outside."""
    height, width, channels = images.shape[1:]
    a, b, c, d, e, f = (number[:, None, None] for number in matrix)
    x, y = jnp.arange(width) + 0.5, jnp.arange(height)[:, None] + 0.5
    column = jnp.floor(a * x + b * y + c).astype(jnp.int32)
    row = jnp.floor(d * x + e * y + f).astype(jnp.int32)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    source = jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)
    flat = images.reshape(len(images), -1, channels)
    taken = jnp.take_along_axis(flat, source.reshape(len(images), -1, 1), axis=1, mode="promise_in_bounds")
    return jnp.where(inside[..., None], taken.reshape(images.shape), 0)


def _enhance(images: Images, op: Array, factor: Numbers) -> Images:
    """Blends with black, with grey, with the mean of grey, or with the smoothed image."""
    shades = grey(images)
    choices = {
        Op.BRIGHTNESS: jnp.zeros_like(images),
        Op.CONTRAST: jnp.broadcast_to(shades.mean(axis=(1, 2), keepdims=True), images.shape),
        Op.SHARPNESS: _smooth(images),
    }
    if images.shape[-1] == 3:
        choices[Op.COLOR] = jnp.broadcast_to(shades, images.shape)
    for wanted, other in choices.items():
        images = jnp.where(_is(op, wanted)[:, None, None, None], blend(images, other, factor), images)
    return images


def _smooth(images: Images) -> Images:
    """Averages each pixel, counted five times, with its eight neighbours; the border stays."""
    rows = images[:, :-2] + images[:, 1:-1] + images[:, 2:]
    window = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = images[:, 1:-1, 1:-1]
    return images.at[:, 1:-1, 1:-1].set((window + 4 * inner) / 13)


def _tables(
    levels: Int[Array, "batch height width channels"], op: Array, level: Array, space: Space
) -> Int[Array, "batch channels {LEVELS}"]:
    """Returns the new level of each old one."""
    counts = _histograms(levels)
    values, present = jnp.arange(LEVELS), counts > 0
    lowest = jnp.argmax(present, axis=-1, keepdims=True)
    highest = LEVELS - 1 - jnp.argmax(present[..., ::-1], axis=-1, keepdims=True)

    op, level = op[:, None, None], level[:, None, None]
    dropped = space.dropped(level)
    posterized = values >> dropped << dropped
    solarized = jnp.where(values < 255 - 8.5 * level, values, 255 - values)
    stretched = jnp.clip((values - lowest) * 255 // jnp.maximum(highest - lowest, 1), 0, 255)
    stretched = jnp.where(highest > lowest, stretched, values)
    step = (counts.sum(axis=-1, keepdims=True) - jnp.take_along_axis(counts, highest, axis=-1)) // 255
    below = jnp.cumsum(counts, axis=-1) - counts
    equalized = jnp.where(step > 0, jnp.clip((below + step // 2) // jnp.maximum(step, 1), 0, 255), values)

    table = jnp.broadcast_to(values, counts.shape)
    made = {Op.POSTERIZE: posterized, Op.SOLARIZE: solarized, Op.AUTOCONTRAST: stretched, Op.EQUALIZE: equalized}
    for wanted, new in made.items():
        table = jnp.where(_is(op, wanted), new, table)
    return table


def _histograms(levels: Int[Array, "batch height width channels"]) -> Int[Array, "batch channels 256"]:
    batch, channels = levels.shape[0], levels.shape[-1]
    flat = jnp.moveaxis(levels, -1, 1).reshape(batch * channels, -1)
    counts = jax.vmap(lambda one: jnp.zeros(LEVELS, jnp.int32).at[one].add(1, mode="promise_in_bounds"))(flat)
    return counts.reshape(batch, channels, LEVELS)


def _mapped(levels: Array, tables: Array) -> Array:
    batch, channels = tables.shape[:2]
    table = jnp.arange(batch)[:, None, None, None] * channels + jnp.arange(channels)
    return jnp.take(tables.ravel(), table * LEVELS + levels, mode="clip")
