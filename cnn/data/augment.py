"""The augmentations that a config's chain may name, applied inside the compiled step.

One class is one augmentation: its fields are its options, and `apply` computes it. A new one is a class with the
decorator `@augmentation`. Integers shape the compiled program; real numbers may be traced, so no code may branch on
them. One that says `crops = True` takes images that are larger than what the network sees, and cuts them to that size.

Every draw is a pure function of the step's key, the row in the batch and the position in the chain; what is drawn once
for each example of the training split (a class with `by_example = True`), of the run's key, its row there and the
position. None depends on the batch size, nor on how many devices share the batch. `Mixup` and `Cutmix` mix each row
with the row before it (the first with the last), so there only the first row's partner depends on the size of the
batch.

JAX is imported when the first draw is made: a config with augmentations is read and checked without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from etils import epy

from cnn.data.types import centre
from cnn.fields import Bounds, Count, Fraction, Natural, NonNegative, Positive
from cnn.registry import (
    AUGMENTATIONS,
    PACKAGE,
    FunctionForm,
    OfFunction,
    augmentation,
    blamed,
    is_array,
    misfit,
    origin_of,
)

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp

    from cnn.data import image_ops

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int, Key

    Images = Float[Array, "batch height width channels"]
    Labels = Float[Array, "batch classes"]
    Keys = Key[Array, " batch"]

ERASED_AREA = (0.02, 0.33)
ERASED_ASPECT = (0.3, 3.3)
CROP_TRIES = 10
Fill = Literal["zeros", "reflect"]
"""What is outside an image: zeros, or the image mirrored at its edge, whose pixels are not repeated."""


class BatchRows(NamedTuple):
    """Which rows of the whole batch the examples at hand are: on one device all of them, on several its share.

    Attributes:
      rows: the row of each example.
      row_before: returns, of an array with an entry for each example, the entries of the rows before them; of the first
        row, the last.
    """

    rows: Int[Array, " batch"]
    row_before: Callable[[Array], Array]


def all_rows(batch_size: int) -> BatchRows:
    """Returns the rows of a whole batch, in order."""
    return BatchRows(jnp.arange(batch_size), lambda array: jnp.roll(array, 1, axis=0))


class Passes(NamedTuple):
    """How often the training split was gone through before, and which of its examples a batch holds.

    Attributes:
      epoch: of this batch, from 0 on.
      key: of the run: what is drawn by it alone is the same in every epoch.
      rows: the row of each example in the split.
    """

    epoch: Int[Array, ""]
    key: Key[Array, ""]
    rows: Int[Array, " batch"]


class Draws(NamedTuple):
    """What an augmentation reads beside the images and labels.

    Attributes:
      keys: a key for each row, of this augmentation alone.
      row_before: as in `BatchRows`.
      size: the height and width that the network sees, to which an augmentation that crops cuts the images.
      example_keys: for one with `by_example = True`, a key for each example, the same in every epoch.
      epoch: from 0 on.
    """

    keys: Keys
    row_before: Callable[[Array], Array]
    size: tuple[int, int]
    example_keys: Keys
    epoch: Int[Array, ""] | int


def augment(
    kinds: tuple[Any, ...],
    images: Images,
    labels: Labels,
    key: Key[Array, ""],
    batch_rows: BatchRows | None = None,
    *,
    size: tuple[int, int] | None = None,
    passes: Passes | None = None,
) -> tuple[Images, Labels]:
    """Applies a chain of augmentations in order.

    The first one that crops (a class with `crops = True`) cuts larger images to `size`; where none does, that is their
    centre, cut out before anything else.

    Args:
      kinds: the augmentations; their real numbers may be traced.
      images: intensities in [0, 1], and so they stay.
      labels: one-hot, or any rows that sum to 1, and so they stay.
      key: consumed; do not use it again.
      batch_rows: which rows of the batch the examples are (default: all of it, in order).
      size: height and width wanted, at most those of the images; `None` for those.
      passes: which examples they are; `None` where nobody knows, and each is taken for one of its own, in epoch 0.

    Raises:
      ValueError: if a crop or a shift could leave nothing of an image, or a user's crop leaves another size.
      TypeError: if one of `kinds` is no augmentation.
    """
    batch_rows = batch_rows or all_rows(images.shape[0])
    height, width = size or images.shape[1:3]
    if images.shape[1:3] != (height, width) and not any(getattr(kind, "crops", False) for kind in kinds):
        images = centre(images, (height, width))
    row_keys = example_keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch_rows.rows)
    if passes is not None:
        example_keys = jax.vmap(jax.random.fold_in, (None, 0))(passes.key, passes.rows)
    for position, kind in enumerate(kinds):
        if not hasattr(type(kind), "apply"):
            names = ", ".join(known.__name__ for known in AUGMENTATIONS.values())
            raise TypeError(f"kinds[{position}]: no augmentation, got {kind!r}. Known: {names}.")
        keys = of_examples = jax.vmap(jax.random.fold_in, (0, None))(row_keys, position)
        if passes is not None and getattr(kind, "by_example", False):
            of_examples = jax.vmap(jax.random.fold_in, (0, None))(example_keys, position)
        apply = blamed(kind, "data.augment", kind.apply)
        epoch = 0 if passes is None else passes.epoch
        draws = Draws(keys, batch_rows.row_before, (height, width), of_examples, epoch)
        made = apply(images, labels, draws)
        if origin_of(kind) != PACKAGE:
            pair = isinstance(made, tuple) and len(made) == 2 and all(map(is_array, made))
            if not pair or (made[0].ndim, made[1].ndim) != (images.ndim, labels.ndim):
                raise misfit(kind, "data.augment", "a pair of images and labels", made)
            _check_intensities(kind, made[0])
        images, labels = made
        if getattr(kind, "crops", False) and images.shape[1:3] != (height, width):
            raise ValueError(
                f"config.data.augment: {type(kind).__name__} crops, and must return images of "
                f"{height}x{width}, got {images.shape[1]}x{images.shape[2]}."
            )
    return images, labels


def _check_intensities(kind: Any, images: Any) -> None:
    # Intensities of 0..255 would be cut off at 1.
    if not jnp.issubdtype(images.dtype, jnp.floating) and images.dtype != bool:
        raise misfit(kind, "data.augment", "floats", images, "Intensities are in [0, 1], not 0..255.")


class AugmentationFunction(OfFunction):
    """An augmentation that a function computes of one image at a time; what leaves [0, 1] is cut off."""

    kind: ClassVar[str]

    def apply(self, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
        values = {"image": images, "label": labels, "key": draws.keys}
        if {"image_before", "label_before"} & set(self.given):
            values |= {"image_before": draws.row_before(images), "label_before": draws.row_before(labels)}
        changed, relabelled = jax.vmap(self._made)(values)
        return jnp.clip(changed, 0, 1).astype(images.dtype), relabelled.astype(labels.dtype)

    def _made(self, values: Mapping[str, Any]) -> tuple[Any, Any]:
        """Returns what the function makes of one image and its label."""
        made = self.call(**values)
        image, label = made if isinstance(made, tuple) and len(made) == 2 else (made, values["label"])
        for what, before, after in (("an image", values["image"], image), ("a label", values["label"], label)):
            if not is_array(after) or after.shape != before.shape:
                raise misfit(self, "data.augment", f"{what} of the shape {before.shape}", after)
        _check_intensities(self, image)
        return image, label


AUGMENTATIONS.function = FunctionForm(
    AugmentationFunction, ("image",), ("key", "label", "image_before", "label_before")
)


@augmentation
class RandomCrop:
    """Pads and crops to the size that the network sees, at a random place.

    Attributes:
      pad: pixels added on each side; 0 where `data.stored_size` leaves room to crop.
      fill: what they are: "zeros", or "reflect", the image mirrored at its edge.

    Source:
      He et al. 2016, https://arxiv.org/abs/1512.03385, section 4.2.
    """

    pad: Natural
    fill: Fill = "zeros"

    crops: ClassVar[bool] = True

    def apply(self, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
        return _translate(images, draws.keys, self.pad, draws.size, "random_crop.pad", self.fill), labels


@augmentation
class Flip:
    """Mirrors left and right.

    Attributes:
      probability: share of the images that are mirrored.
    """

    probability: Fraction = 0.5

    def apply(self, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
        flipped = _uniform(draws.keys, 1)[:, 0] < self.probability
        return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images), labels


@augmentation
class AlternatingFlip:
    """Mirrors half of the examples left and right in one epoch, and the other half in the next.

    Which half an example is in follows from the seed and its row in the training split. So two epochs show every
    example both ways, where `flip` repeats one way for half of them.

    Source:
      Jordan 2024, https://arxiv.org/abs/2404.00498, section 3.6.
    """

    by_example: ClassVar[bool] = True

    def apply(self, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
        first = _uniform(draws.example_keys, 1)[:, 0] < 0.5
        flipped = first ^ (draws.epoch % 2 == 1)
        return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images), labels


@augmentation
class VerticalFlip:
    """Mirrors top and bottom.

    Attributes:
      probability: share of the images that are mirrored.
    """

    probability: Fraction = 0.5

    def apply(self, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
        flipped = _uniform(draws.keys, 1)[:, 0] < self.probability
        return jnp.where(flipped[:, None, None, None], images[:, ::-1], images), labels


@augmentation
class RandomResizedCrop:
    """Crops a box of random size, shape and place, and resizes it to what the network sees, bilinear and antialiased.

    The share of the area is uniform, the logarithm of width / height too. The first of ten boxes that fits the image is
    taken; where none does, the largest box about the centre whose aspect is in range.

    Attributes:
      area_min: the least share of the image's area.
      area_max: the largest share, at least `area_min`.
      aspect_max: the largest width / height, and height / width.

    Source:
      Szegedy et al. 2015, https://arxiv.org/abs/1409.4842, section 6; with the distribution of torchvision's.
    """

    area_min: Fraction = 0.08
    area_max: Fraction = 1.0
    aspect_max: Annotated[float, Bounds(1)] = 4 / 3

    crops: ClassVar[bool] = True

    def apply(self, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
        height, width = images.shape[1:3]
        numbers = _uniform(draws.keys, 2 * CROP_TRIES + 2)
        areas, shapes = numbers[:, :CROP_TRIES], numbers[:, CROP_TRIES:-2]
        areas = (self.area_min + (self.area_max - self.area_min) * areas) * height * width
        aspects = jnp.exp((2 * shapes - 1) * jnp.log(self.aspect_max))
        wide, tall = jnp.round(jnp.sqrt(areas * aspects)), jnp.round(jnp.sqrt(areas / aspects))
        fits = (wide >= 1) & (wide <= width) & (tall >= 1) & (tall <= height)
        first = jnp.argmax(fits, axis=1)[:, None]
        found = fits.any(axis=1)

        def box(drawn: Array, across: int, along: int, share: Array) -> tuple[Array, Array]:
            """Returns the first pixel and the length of a side."""
            central = jnp.minimum(along, jnp.round(across * self.aspect_max))
            length = jnp.where(found, jnp.take_along_axis(drawn, first, axis=1)[:, 0], central)
            return jnp.where(found, jnp.floor(share * (along - length + 1)), (along - length) // 2), length

        top, tall = box(tall, width, height, numbers[:, -2])
        left, wide = box(wide, height, width, numbers[:, -1])
        return image_ops.resized_crop(images, top, left, tall, wide, draws.size), labels


@augmentation
class Erase:
    """Fills a random box with zeros: 2 to 33 % of the area, height / width from 0.3 to 3.3.

    Attributes:
      probability: share of the images that lose a box.

    Source:
      Zhong et al. 2017, https://arxiv.org/abs/1708.04896. There a box that does not fit is drawn anew; here its side
      is cut to that of the image.
    """

    probability: Fraction = 0.25

    def apply(self, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
        coin, area, aspect, *corner = _uniform(draws.keys, 5).T
        height, width = images.shape[1:3]
        area = (ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * area) * height * width
        aspect = ERASED_ASPECT[0] + (ERASED_ASPECT[1] - ERASED_ASPECT[0]) * aspect
        tall = jnp.clip(jnp.round(jnp.sqrt(area * aspect)), 1, height)
        wide = jnp.clip(jnp.round(jnp.sqrt(area / aspect)), 1, width)
        top = jnp.floor(corner[0] * (height - tall + 1))
        left = jnp.floor(corner[1] * (width - wide + 1))
        erased = _box(images, top, top + tall, left, left + wide) & (coin < self.probability)[:, None, None]
        return jnp.where(erased[..., None], 0, images), labels


@augmentation
class Rotate:
    """Turns about the centre, bilinear, with zeros from outside.

    Attributes:
      degrees: the largest angle in either direction; angles are uniform.
    """

    degrees: NonNegative

    def apply(self, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
        turns = 2 * _uniform(draws.keys, 1)[:, 0] - 1
        return jax.vmap(_rotate)(images, jnp.deg2rad(turns * self.degrees)), labels


@augmentation
class Shift:
    """Moves by whole pixels; the distribution is that of `random_crop(pad=pixels)`.

    Attributes:
      pixels: the largest shift along either axis.
      fill: what comes from outside: "zeros", or "reflect", the image mirrored at its edge.
    """

    pixels: Count
    fill: Fill = "zeros"

    def apply(self, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
        height, width = images.shape[1:3]
        return _translate(images, draws.keys, self.pixels, (height, width), "shift.pixels", self.fill), labels


@augmentation
class ColorJitter:
    """Changes brightness, contrast, saturation and hue by random factors, in an order that is random for each image.

    The first three are blends, with black, with the mean of the grey image and with the grey image, by a factor that is
    uniform from max(0, 1 - x) to 1 + x; what leaves [0, 1] is cut off after each. The last two are for images with 3
    channels and leave others as they are.

    Attributes:
      brightness: how far its factor may be from 1.
      contrast: how far its factor may be from 1.
      saturation: how far its factor may be from 1.
      hue: the largest turn of the hue in either direction; 1 would be the whole circle.

    Source:
      Howard 2013, https://arxiv.org/abs/1312.5402; with the definitions of torchvision's.
    """

    brightness: NonNegative = 0.0
    contrast: NonNegative = 0.0
    saturation: NonNegative = 0.0
    hue: Annotated[float, Bounds(0, 0.5)] = 0.0

    def apply(self, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
        numbers = _uniform(draws.keys, 8)
        factors = []
        for column, most in enumerate((self.brightness, self.contrast, self.saturation)):
            least = jnp.maximum(0, 1 - jnp.asarray(most))
            factors.append(least + (1 + most - least) * numbers[:, column])
        turns = self.hue * (2 * numbers[:, 3] - 1)
        order = jnp.argsort(numbers[:, 4:], axis=1)
        return image_ops.jitter(images, factors, turns, order), labels


@augmentation
class TrivialAugment:
    """Does one of 14 things to each image, as much of it as a second draw says: TrivialAugment's wide space.

    Nothing; a shear, a shift of up to 32 pixels or a turn of up to 135 degrees, with zeros from outside and the nearest
    pixel; brightness, colour, contrast or sharpness by a factor from 0.01 to 1.99; 2 to 8 bits, intensities above a
    threshold inverted, or each channel stretched or equalised. The definitions are those of Pillow, on its 256 levels.

    Source:
      Müller and Hutter 2021, https://arxiv.org/abs/2103.10158, table 1, TA (Wide).
    """

    def apply(self, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
        op, level, sign = _uniform(draws.keys, 3).T
        op, level = jnp.floor(op * len(image_ops.Op)).astype(int), jnp.floor(level * image_ops.BINS).astype(int)
        changed = image_ops.trivial_augment(images.astype(jnp.float32), op, level, jnp.where(sign < 0.5, 1.0, -1.0))
        return changed.astype(images.dtype), labels


@augmentation
class RandAugment:
    """Does several random things to each image, one after another, all of the same magnitude.

    Each is one of the 14 of `trivial_augment`, less strong: a shear of up to 0.3, a shift of up to 150/331 of the
    side, a turn of up to 30 degrees, a blend by a factor from 0.1 to 1.9, 4 to 8 bits. The direction is random.

    Attributes:
      number: how many things.
      magnitude: of each, from 0 to 30.

    Source:
      Cubuk et al. 2019, https://arxiv.org/abs/1909.13719; with the space of torchvision's.
    """

    number: Count = 2
    magnitude: Annotated[int, Bounds(0, 30)] = 9

    def apply(self, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
        numbers = _uniform(draws.keys, 2 * self.number).reshape(-1, self.number, 2)

        def change(images: Images, drawn: Float[Array, "batch 2"]) -> tuple[Images, None]:
            op, sign = drawn.T
            op, level = jnp.floor(op * len(image_ops.Op)).astype(int), jnp.full(len(op), self.magnitude)
            sign = jnp.where(sign < 0.5, 1.0, -1.0)
            return image_ops.trivial_augment(images, op, level, sign, image_ops.PLAIN), None

        # A loop: so much more would compile for so much longer.
        changed, _ = jax.lax.scan(change, images.astype(jnp.float32), jnp.swapaxes(numbers, 0, 1))
        return changed.astype(images.dtype), labels


@augmentation
class GaussianNoise:
    """Adds a normal number to each intensity of each pixel; what leaves [0, 1] is cut off.

    Attributes:
      std: its standard deviation, where intensities are in [0, 1].
    """

    std: NonNegative

    def apply(self, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
        noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], jnp.float32))(draws.keys)
        return jnp.clip(images + self.std * noise, 0, 1).astype(images.dtype), labels


@augmentation
class Mixup:
    """Blends each image and its label with its partner's, in the same proportion.

    Attributes:
      alpha: both parameters of the Beta distribution of that proportion; towards 0 nothing is mixed.

    Source:
      Zhang et al. 2018, https://arxiv.org/abs/1710.09412.
    """

    alpha: Positive

    def apply(self, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
        own = _beta(_uniform(draws.keys, 2).T, self.alpha)
        blended = _blend(images, draws.row_before(images), own[:, None, None, None])
        return blended, _blend(labels, draws.row_before(labels), own[:, None])


@augmentation
class Cutmix:
    """Replaces a box by the partner's, and the label in proportion to the box's area.

    Attributes:
      alpha: both parameters of the Beta distribution of the share that stays; the paper takes 1.

    Source:
      Yun et al. 2019, https://arxiv.org/abs/1905.04899.
    """

    alpha: Positive

    def apply(self, images: Images, labels: Labels, draws: Draws) -> tuple[Images, Labels]:
        numbers = _uniform(draws.keys, 4).T
        side = jnp.sqrt(1 - _beta(numbers[:2], self.alpha))
        edges = []
        for place, size in zip(numbers[2:], images.shape[1:3], strict=True):
            middle, half = jnp.floor(place * size), jnp.floor(size * side / 2)
            edges += [middle - half, middle + half]
        cut = _box(images, *edges)
        mixed = jnp.where(cut[..., None], draws.row_before(images), images)
        # The box was cut at the image's border, so its pixels are counted again.
        own = 1 - jnp.mean(cut, axis=(1, 2), dtype=jnp.float32)
        return mixed, _blend(labels, draws.row_before(labels), own[:, None])


def _uniform(keys: Keys, count: int) -> Float[Array, "batch count"]:
    return jax.vmap(lambda key: jax.random.uniform(key, (count,), jnp.float32))(keys)


def _beta(draws: Float[Array, "2 batch"], alpha: Float[Array, ""] | float) -> Float[Array, " batch"]:
    # Beta(alpha, alpha) from two uniform numbers (Devroye 1996, https://doi.org/10.1145/256562.256718): no rejection,
    # so no loop in the program and one draw count for all rows.
    cos = jnp.cos(2 * jnp.pi * draws[0])
    share = 0.5 + 0.5 * cos / jnp.sqrt(cos**2 + 1 / jnp.expm1(-jnp.log(draws[1]) / alpha))
    return jnp.clip(share, 0, 1)  # a fast reciprocal root leaves the range by a rounding


def _translate(images: Images, keys: Keys, largest: int, size: tuple[int, int], field: str, fill: Fill) -> Images:
    """Cuts a window of this size out of each padded image."""
    height, width = images.shape[1:3]
    if largest >= min(height, width):
        raise ValueError(
            f"config.data.augment: {field} could leave nothing of the {height}x{width} images, got {largest}. "
            f"Take less than {min(height, width)}."
        )
    places = np.array([height - size[0], width - size[1]], np.float32) + 2 * largest + 1
    offsets = jnp.floor(_uniform(keys, 2) * places).astype(int)
    # On CPU two to five times faster than products with one-hot matrices, or than selecting among the shifts.
    mode = "constant" if fill == "zeros" else fill
    padded = jnp.pad(images, ((0, 0), (largest, largest), (largest, largest), (0, 0)), mode=mode)

    def crop(image: Array, offset: Int[Array, " 2"]) -> Array:
        return jax.lax.dynamic_slice(image, (offset[0], offset[1], 0), (*size, image.shape[-1]))

    return jax.vmap(crop)(padded, offsets)


def _box(images: Images, top: Array, bottom: Array, left: Array, right: Array) -> Bool[Array, "batch height width"]:
    rows, columns = (jnp.arange(size) for size in images.shape[1:3])
    inside_rows = (rows >= top[:, None]) & (rows < bottom[:, None])
    inside_columns = (columns >= left[:, None]) & (columns < right[:, None])
    return inside_rows[:, :, None] & inside_columns[:, None, :]


def _blend(ours: Array, theirs: Array, own: Array) -> Array:
    # In float32, where `own` and `1 - own` sum to 1 closely enough that nothing leaves [0, 1].
    return (own * ours + (1 - own) * theirs).astype(ours.dtype)


def _rotate(
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
