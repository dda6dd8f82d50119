"""Crops, colours and TrivialAugment at fixed draws, against Pillow and against the definitions in NumPy."""

import colorsys
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_image

import networks
from cnn.data import image_ops
from cnn.data.augment import CROP_TRIES, ColorJitter, RandAugment, RandomResizedCrop, TrivialAugment, augment
from cnn.data.image_ops import BINS, Op
from cnn.hyperparams import make_pytree

LEVELS = list(range(0, BINS, 5))
"""Every magnitude that posterize can tell from the next, and both ends."""
FLOWER = np.ascontiguousarray(load_sample_image("flower.jpg")[100:341:3, 180:481:3])
SHADES = np.asarray(Image.fromarray(FLOWER).convert("L"))
trivial = networks.jit(image_ops.trivial_augment)
jitter = networks.jit(image_ops.jitter)
crop = networks.jit(image_ops.resized_crop, static_argnames="size")
turn = networks.jit(image_ops.turn_hue)
for kind in (RandomResizedCrop, ColorJitter, TrivialAugment, RandAugment):
    make_pytree(kind)
chain = networks.jit(augment, static_argnames="size")


def as_images(array, copies=1):
    array = array if array.ndim == 3 else array[..., None]
    return jnp.tile(jnp.asarray(array, jnp.float32) / 255, (copies, 1, 1, 1))


def changed(array, op, sign=1.0):
    """Returns the image after the operation at every magnitude of `LEVELS`, in 0..255."""
    count = len(LEVELS)
    ops, signs = jnp.full(count, int(op)), jnp.full(count, sign)
    made = trivial(as_images(array, count), ops, jnp.array(LEVELS), signs)
    return np.asarray(made, np.float64).reshape(count, *array.shape) * 255


def pillow(array, op, level, sign, *, wide=True):
    """Does the same with Pillow, as torchvision's TrivialAugmentWide or its RandAugment calls it."""
    image, share = Image.fromarray(array), sign * level / (BINS - 1)
    shear, degrees, blended = (0.99, 135, 0.99) if wide else (0.3, 30, 0.9)
    across, down = (32, 32) if wide else (150 / 331 * side for side in image.size)
    nearest = {"method": Image.Transform.AFFINE, "resample": Image.Resampling.NEAREST}
    moved = {
        Op.SHEAR_X: (1, shear * share, 0, 0, 1, 0),
        Op.SHEAR_Y: (1, 0, 0, shear * share, 1, 0),
        Op.TRANSLATE_X: (1, 0, -int(across * share), 0, 1, 0),
        Op.TRANSLATE_Y: (1, 0, 0, 0, 1, -int(down * share)),
    }
    enhancers = {
        Op.BRIGHTNESS: ImageEnhance.Brightness,
        Op.COLOR: ImageEnhance.Color,
        Op.CONTRAST: ImageEnhance.Contrast,
        Op.SHARPNESS: ImageEnhance.Sharpness,
    }
    if op in moved:
        image = image.transform(image.size, data=moved[op], **nearest)
    elif op in enhancers:
        image = enhancers[op](image).enhance(1 + blended * share)
    elif op == Op.ROTATE:
        image = image.rotate(degrees * share, Image.Resampling.NEAREST)
    elif op == Op.POSTERIZE:
        image = ImageOps.posterize(image, 8 - round(level / (5 if wide else 7.5)))
    elif op == Op.SOLARIZE:
        image = ImageOps.solarize(image, 255 - 255 * level / (BINS - 1))
    elif op == Op.AUTOCONTRAST:
        image = ImageOps.autocontrast(image)
    elif op == Op.EQUALIZE:
        image = ImageOps.equalize(image)
    return np.asarray(image).astype(np.float64)


@pytest.mark.few(8)
@pytest.mark.parametrize("array", [FLOWER, SHADES], ids=["colour", "grey"])
@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["forward", "backward"])
@pytest.mark.parametrize("op", Op, ids=lambda op: op.name.lower())
def test_each_operation_of_trivial_augment_is_that_of_pillow(op, sign, array):
    for level, made in zip(LEVELS, changed(array, op, sign), strict=True):
        wanted = pillow(array, op, level, sign)
        if op in (Op.SHEAR_X, Op.SHEAR_Y, Op.ROTATE):
            # Pillow counts places in 1/65536 of a pixel, which may round to the neighbour.
            assert (np.abs(made - wanted) > 0.01).mean() < 0.01, level
        else:
            # Pillow leaves off the fractions of a level, and of the mean that contrast is about.
            blended = op in (Op.BRIGHTNESS, Op.COLOR, Op.CONTRAST, Op.SHARPNESS)
            np.testing.assert_allclose(made, wanted, atol=1.6 if blended else 0.01, err_msg=str(level))


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize("magnitude", [9, 30])
def test_rand_augment_does_what_pillow_does_of_each_thing_that_it_draws(magnitude):
    rows, number = 60, 2
    kinds = (RandAugment(number, magnitude),)
    made, _ = chain(kinds, as_images(FLOWER, rows), jnp.ones((rows, 1)), jax.random.key(0))
    ops = set()
    for row, image in enumerate(np.asarray(made) * 255):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), row), 0)
        drawn = np.asarray(jax.random.uniform(key, (2 * number,))).reshape(number, 2)
        wanted = FLOWER
        for op, sign in drawn:
            ops.add(int(op * 14))
            wanted = pillow(wanted, Op(int(op * 14)), magnitude, 1 if sign < 0.5 else -1, wide=False)
            wanted = np.round(wanted).astype(np.uint8)
        # Warps may take the neighbour's pixel, and Pillow rounds to whole levels after each thing.
        assert (np.abs(image - wanted) > 4).mean() < 0.05, (row, drawn)
    assert len(ops) == 14


@pytest.mark.few(4)
@pytest.mark.parametrize("op", [Op.AUTOCONTRAST, Op.EQUALIZE], ids=lambda op: op.name.lower())
@pytest.mark.parametrize("low", [0, 60, 255], ids=lambda low: f"from {low}")
@pytest.mark.parametrize("span", [1, 2, 40], ids=lambda span: f"{span} levels")
def test_images_of_few_levels_are_stretched_and_equalised_as_by_pillow(op, low, span):
    array = np.random.default_rng(span).integers(low, min(256, low + span), (*FLOWER.shape[:2], 3)).astype(np.uint8)
    # Where the stretched level is whole, Pillow's real numbers may fall below it.
    np.testing.assert_allclose(changed(array, op)[0], pillow(array, op, 0, 1), atol=1.01)


@pytest.mark.slow
def test_a_magnitude_of_nothing_changes_nothing():
    still = set(Op) - {Op.SOLARIZE, Op.AUTOCONTRAST, Op.EQUALIZE}
    for op in still:
        np.testing.assert_allclose(changed(FLOWER, op)[0], FLOWER, atol=1e-3, err_msg=op.name)


@pytest.mark.slow(seconds=4)
def test_each_image_draws_an_operation_a_magnitude_and_a_direction_evenly():
    rows = 280
    made, _ = chain((TrivialAugment(),), as_images(FLOWER[:9, :7], rows), jnp.ones((rows, 1)), jax.random.key(0))
    keys = [jax.random.fold_in(jax.random.fold_in(jax.random.key(0), row), 0) for row in range(rows)]
    draws = np.array([jax.random.uniform(key, (3,)) for key in keys])
    ops, levels = np.floor(draws[:, 0] * 14).astype(int), np.floor(draws[:, 1] * 31).astype(int)
    signs = np.where(draws[:, 2] < 0.5, 1.0, -1.0)
    assert set(ops) == set(Op) and len(set(levels)) > 25 and abs(signs.mean()) < 0.2
    wanted = trivial(as_images(FLOWER[:9, :7], rows), *map(jnp.asarray, (ops, levels, signs)))
    np.testing.assert_allclose(made, wanted, atol=1e-6)


@pytest.mark.few(3)
@pytest.mark.parametrize("box", [(0, 0, 81, 101), (10, 20, 40, 40), (3, 5, 7, 11), (80, 0, 1, 101), (30, 60, 48, 24)])
@pytest.mark.parametrize("size", [(24, 32), (96, 64)], ids=["24x32", "96x64"])
def test_a_box_is_resized_as_pillow_resizes_it_alone(box, size):
    top, left, tall, wide = box
    made = crop(as_images(FLOWER), *(jnp.array([float(number)]) for number in box), size=size)[0]
    alone = Image.fromarray(FLOWER[top : top + tall, left : left + wide])
    wanted = np.asarray(alone.resize(size[::-1], Image.Resampling.BILINEAR))
    # Pillow rounds to whole levels between the two axes and after them.
    np.testing.assert_allclose(np.asarray(made) * 255, wanted, atol=1.1)


def wanted_box(numbers, height, width, area, aspect_max):
    """Returns the box by the loop of torchvision's RandomResizedCrop."""
    areas, aspects, (down, across) = numbers[:CROP_TRIES], numbers[CROP_TRIES:-2], numbers[-2:]
    for share, shape in zip(areas, aspects, strict=True):
        pixels = height * width * (area[0] + (area[1] - area[0]) * share)
        aspect = math.exp((2 * shape - 1) * math.log(aspect_max))
        wide, tall = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            return math.floor(down * (height - tall + 1)), math.floor(across * (width - wide + 1)), tall, wide
    tall, wide = height, width
    if width / height < 1 / aspect_max:
        tall = round(width * aspect_max)
    elif width / height > aspect_max:
        wide = round(height * aspect_max)
    return (height - tall) // 2, (width - wide) // 2, tall, wide


@pytest.mark.parametrize(
    ("area", "aspect_max", "shape"),
    [
        ((0.08, 1.0), 4 / 3, (48, 64)),
        ((0.9, 1.0), 1.0, (20, 90)),
        ((0.9, 1.0), 1.5, (90, 20)),
        ((0.3, 0.5), 2.0, (64, 64)),
    ],
    ids=["usual", "too wide", "too tall", "larger aspects"],
)
@pytest.mark.slow(seconds=3)
def test_random_boxes_are_those_of_torchvision_for_the_same_draws(area, aspect_max, shape):
    rows, size = 24, (16, 12)
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(rows, *shape, 1)), jnp.float32)
    kind = RandomResizedCrop(*area, aspect_max)
    made, _ = chain((kind,), images, jnp.ones((rows, 1)), jax.random.key(0), size=size)
    boxes = []
    for row in range(rows):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), row), 0)
        numbers = np.asarray(jax.random.uniform(key, (2 * CROP_TRIES + 2,)), np.float64)
        boxes.append(wanted_box(numbers, *shape, area, aspect_max))
    wanted = crop(images, *jnp.asarray(boxes, jnp.float32).T, size=size)
    np.testing.assert_allclose(made, wanted, atol=1e-6)
    assert (len(set(boxes)) == 1) == (shape[0] != 48 and shape != (64, 64))


def test_hues_turn_as_the_hsv_of_python_does():
    colours = np.random.default_rng(0).uniform(size=(4, 5, 5, 3))
    colours[0, :2] = 0.5
    colours[0, 2, :, 1:] = 0
    turns = np.array([0.0, 0.3, -0.5, -0.1])
    made = turn(jnp.asarray(colours, jnp.float32), jnp.asarray(turns, jnp.float32))
    for index, row, column in np.ndindex(4, 5, 5):
        hue, saturation, value = colorsys.rgb_to_hsv(*colours[index, row, column])
        wanted = colorsys.hsv_to_rgb((hue + turns[index]) % 1, saturation, value)
        np.testing.assert_allclose(made[index, row, column], wanted, atol=2e-6)


def jittered(image, factors, turn_of_hue, order):
    """Changes one image step by step, as torchvision's ColorJitter does."""
    image = np.asarray(image, np.float64)
    for step in order:
        shades = (image @ [0.299, 0.587, 0.114])[..., None]
        other = [0.0, shades.mean(), shades][step] if step < 3 else image
        if step < 3:
            image = np.clip(factors[step] * image + (1 - factors[step]) * other, 0, 1)
        else:
            for place in np.ndindex(image.shape[:2]):
                hue, saturation, value = colorsys.rgb_to_hsv(*image[place])
                image[place] = colorsys.hsv_to_rgb((hue + turn_of_hue) % 1, saturation, value)
    return image


@pytest.mark.slow(seconds=3)
def test_colours_change_in_the_order_that_is_drawn():
    rng = np.random.default_rng(1)
    images = jnp.asarray(rng.uniform(size=(24, 4, 5, 3)), jnp.float32)
    kind = ColorJitter(0.5, 0.6, 0.9, 0.2)
    made, _ = chain((kind,), images, jnp.ones((24, 1)), jax.random.key(3))
    orders = set()
    for row in range(24):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), row), 0)
        numbers = np.asarray(jax.random.uniform(key, (8,)), np.float64)
        factors = [1 + most * (2 * number - 1) for most, number in zip((0.5, 0.6, 0.9), numbers, strict=False)]
        order = np.argsort(numbers[4:])
        orders.add(tuple(order))
        wanted = jittered(images[row], factors, 0.2 * (2 * numbers[3] - 1), order)
        np.testing.assert_allclose(made[row], wanted, atol=1e-5)
    assert len(orders) > 10


@pytest.mark.slow(seconds=3)
def test_factors_of_more_than_one_never_go_below_nothing():
    images = jnp.full((200, 2, 2, 3), 0.25)
    made, _ = chain((ColorJitter(brightness=3.0),), images, jnp.ones((200, 1)), jax.random.key(0))
    factors = np.asarray(made)[:, 0, 0, 0] / 0.25
    assert 0 <= factors.min() < 0.1 and factors.max() > 3.8


@pytest.mark.slow(seconds=3)
def test_grey_images_keep_what_is_of_colours_alone():
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(6, 5, 5, 1)), jnp.float32)
    made, _ = chain((ColorJitter(saturation=0.9, hue=0.5),), images, jnp.ones((6, 1)), jax.random.key(0))
    np.testing.assert_allclose(made, images, atol=1e-6)


@pytest.mark.slow(seconds=2)
@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (3, 1)])
def test_trivial_augment_takes_images_of_any_size(shape):
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(14, *shape, 3)), jnp.float32)
    made = np.asarray(trivial(images, jnp.arange(14), jnp.full(14, 20), jnp.ones(14)))
    assert made.shape == images.shape and 0 <= made.min() <= made.max() <= 1
