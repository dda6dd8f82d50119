"""Augmentation against NumPy loops that use the same draws, its ranges, its keys and its compilations."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn import hyperparams
from cnn.data import augment as module
from cnn.data.augment import (
    AUGMENTATIONS,
    AlternatingFlip,
    ColorJitter,
    Cutmix,
    Erase,
    Flip,
    GaussianNoise,
    Mixup,
    Passes,
    RandAugment,
    RandomCrop,
    RandomResizedCrop,
    Rotate,
    Shift,
    TrivialAugment,
    VerticalFlip,
    augment,
)

EXAMPLES = {
    "random_crop": RandomCrop(2),
    "flip": Flip(),
    "vertical_flip": VerticalFlip(),
    "random_resized_crop": RandomResizedCrop(0.2),
    "erase": Erase(0.7),
    "rotate": Rotate(20.0),
    "shift": Shift(3),
    "mixup": Mixup(0.4),
    "cutmix": Cutmix(1.0),
    "color_jitter": ColorJitter(0.4, 0.3, 0.2, 0.1),
    "trivial_augment": TrivialAugment(),
    "alternating_flip": AlternatingFlip(),
    "rand_augment": RandAugment(2, 20),
    "gaussian_noise": GaussianNoise(0.1),
}
# Where rounding up would leave the range: mostly ones.
EXTREMES = {
    dtype: jnp.asarray(np.random.default_rng(0).uniform(size=(6, 9, 7, 2)) > 0.2, dtype)
    for dtype in (jnp.float32, jnp.bfloat16)
}
each_kind = pytest.mark.parametrize("kind", EXAMPLES.values(), ids=EXAMPLES)


def batch(rows=6, height=9, width=7, channels=2, classes=4):
    rng = np.random.default_rng(0)
    images = rng.uniform(0.1, 1, (rows, height, width, channels))
    return jnp.asarray(images, jnp.float32), jax.nn.one_hot(rng.integers(0, classes, rows), classes)


def row_keys(rows, place=0, seed=0):
    return [jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), row), place) for row in range(rows)]


def uniform(key, count):
    return np.asarray(jax.random.uniform(key, (count,)))


for kind in EXAMPLES.values():
    hyperparams.make_pytree(type(kind))  # as a config does that uses them
compiled = jax.jit(augment)
turn = jax.jit(module._rotate)
beta_of = jax.jit(module._beta)


def lone(kind, images, labels, seed=0):
    return [np.asarray(result) for result in compiled((kind,), images, labels, jax.random.key(seed))]


def test_the_examples_name_every_kind_in_the_table():
    assert {name: type(kind) for name, kind in EXAMPLES.items()} == AUGMENTATIONS


def test_no_augmentation_leaves_the_batch_alone():
    images, labels = batch()
    same_images, same_labels = augment((), images, labels, jax.random.key(0))
    assert same_images is images
    assert same_labels is labels


@pytest.mark.parametrize("fill", ["zeros", "reflect"])
@pytest.mark.parametrize("kind", [RandomCrop, Shift], ids=["random_crop", "shift"])
def test_crops_and_shifts_equal_slices_of_the_padded_image(kind, fill):
    images, labels = batch()
    cropped, same_labels = lone(kind(2, fill), images, labels)
    for image, key, crop in zip(np.asarray(images), row_keys(6), cropped, strict=True):
        top, left = (uniform(key, 2) * 5).astype(int)
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="constant" if fill == "zeros" else fill)
        np.testing.assert_array_equal(crop, padded[top : top + 9, left : left + 7])
    np.testing.assert_array_equal(same_labels, labels)


@pytest.mark.slow
def test_crop_offsets_cover_the_whole_range_evenly():
    images = jnp.zeros((4000, 5, 5, 1)).at[:, 2, 2, 0].set(1)
    cropped, _ = lone(RandomCrop(2), images, jnp.ones((4000, 1)))
    counts = cropped.sum(axis=(0, 3))
    assert counts.sum() == 4000
    # 160 expected in each of the 25 places, with a standard deviation of 12.4.
    assert counts.min() > 100
    assert counts.max() < 220


@pytest.mark.parametrize(
    ("kind", "field"), [(RandomCrop(7), "random_crop.pad"), (Shift(7), "shift.pixels")], ids=["random_crop", "shift"]
)
def test_a_shift_that_may_leave_nothing_of_an_image_is_refused(kind, field):
    with pytest.raises(ValueError, match=rf"{field} could leave nothing of the 9x7 images, got 7\. Take less than 7\."):
        lone(kind, *batch())


def test_what_is_no_augmentation_is_refused_by_its_place():
    with pytest.raises(TypeError, match=r"kinds\[1\]: no augmentation, got 'blur'\. Known: RandomCrop, Flip, "):
        jax.eval_shape(lambda *arrays: augment((Flip(), "blur"), *arrays), *batch(), jax.random.key(0))


@pytest.mark.slow
def test_flips_mirror_the_width_where_the_coin_says_so():
    images, labels = batch(rows=12)
    flipped, _ = lone(Flip(0.5), images, labels)
    coins = [uniform(key, 1)[0] < 0.5 for key in row_keys(12)]
    assert 0 < sum(coins) < 12
    for image, coin, result in zip(np.asarray(images), coins, flipped, strict=True):
        np.testing.assert_array_equal(result, image[:, ::-1] if coin else image)


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.slow(seconds=1)
def test_flips_and_erasures_happen_at_their_rate(probability):
    images, labels = batch(rows=1)
    images, labels = jnp.tile(images, (4000, 1, 1, 1)), jnp.tile(labels, (4000, 1))
    for kind in Flip(probability), Erase(probability):
        changed = (lone(kind, images, labels)[0] != np.asarray(images)).any(axis=(1, 2, 3)).mean()
        # Four standard deviations; exact at 0 and 1.
        assert abs(changed - probability) <= 4 * (probability * (1 - probability) / 4000) ** 0.5


def beta(draws, alpha):
    """Returns a Beta(alpha, alpha) variate through Student's t with 2 alpha degrees of freedom."""
    student = np.cos(2 * np.pi * float(draws[0])) * np.sqrt(float(draws[1]) ** (-1 / alpha) - 1)
    return 0.5 + 0.5 * student / np.sqrt(1 + student**2)


def erased_box(draws, height, width):
    _, area, aspect, top, left = draws.astype(np.float32)
    area = (np.float32(0.02) + np.float32(0.31) * area) * np.float32(height * width)
    aspect = np.float32(0.3) + np.float32(3) * aspect
    tall = int(np.clip(np.round(np.sqrt(area * aspect)), 1, height))
    wide = int(np.clip(np.round(np.sqrt(area / aspect)), 1, width))
    top, left = int(top * (height - tall + 1)), int(left * (width - wide + 1))
    return slice(top, top + tall), slice(left, left + wide)


@pytest.mark.slow(seconds=2)
def test_erasing_zeroes_the_drawn_box_and_nothing_else():
    images, labels = batch(rows=12)
    erased, same_labels = lone(Erase(0.6), images, labels)
    for image, key, result in zip(np.asarray(images), row_keys(12), erased, strict=True):
        draws, expected = uniform(key, 5), image.copy()
        if draws[0] < 0.6:
            expected[erased_box(draws, 9, 7)] = 0
        np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(same_labels, labels)


@pytest.mark.slow
def test_erased_boxes_keep_to_their_area_and_aspect():
    images = jnp.ones((2000, 40, 60, 1))
    gone = lone(Erase(1.0), images, jnp.ones((2000, 1)))[0][..., 0] == 0
    tall, wide = gone.any(axis=2).sum(axis=1), gone.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(gone.sum(axis=(1, 2)), tall * wide)
    share = tall * wide / 2400
    assert share.min() > 0.015
    assert share.max() < 0.35
    fits = tall < 40
    assert (tall / wide)[fits].min() > 0.25
    assert (tall / wide)[fits].max() < 3.9
    assert gone[:, 0].any()
    assert gone[:, -1].any()
    assert gone[:, :, 0].any()
    assert gone[:, :, -1].any()


@pytest.mark.slow
def test_a_rotation_by_nothing_is_the_identity():
    images, labels = batch()
    np.testing.assert_array_equal(lone(Rotate(0.0), images, labels)[0], images)


@pytest.mark.parametrize("quarters", [-3, -2, -1, 1, 2, 3, 4])
def test_quarter_turns_equal_rot90(quarters):
    image = batch(height=8, width=8)[0][0]
    turned = turn(image, jnp.float32(quarters * np.pi / 2))
    np.testing.assert_allclose(turned, np.rot90(image, quarters), atol=1e-5)


def bilinear(image, y, x):
    """Sums the four neighbours of a place, those outside being zero."""
    total = np.zeros(image.shape[2])
    for row, column in itertools.product(
        (int(np.floor(y)), int(np.floor(y)) + 1), (int(np.floor(x)), int(np.floor(x)) + 1)
    ):
        if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
            total += (1 - abs(y - row)) * (1 - abs(x - column)) * image[row, column]
    return total


@pytest.mark.slow
def test_rotations_read_each_pixel_where_it_came_from():
    images, labels = batch()
    rotated, _ = lone(Rotate(30.0), images, labels)
    for image, key, result in zip(np.asarray(images, np.float64), row_keys(6), rotated, strict=True):
        angle = np.deg2rad(30 * (2 * float(uniform(key, 1)[0]) - 1))
        expected = np.empty_like(image)
        for row, column in np.ndindex(9, 7):
            y, x = row - 4, column - 3
            back = np.cos(angle) * y + np.sin(angle) * x + 4, np.cos(angle) * x - np.sin(angle) * y + 3
            expected[row, column] = bilinear(image, *back)
        np.testing.assert_allclose(result, expected, atol=2e-6)


@pytest.mark.slow
def test_mixup_blends_images_and_labels_with_the_row_before_in_one_proportion():
    images, labels = batch()
    mixed, mixed_labels = lone(Mixup(0.4), images, labels)
    shares = [beta(uniform(key, 2), 0.4) for key in row_keys(6)]
    assert len(set(shares)) == 6
    for row, share in enumerate(shares):
        expected = share * images[row] + (1 - share) * images[row - 1]
        np.testing.assert_allclose(mixed[row], expected, atol=1e-6)
        np.testing.assert_allclose(mixed_labels[row], share * labels[row] + (1 - share) * labels[row - 1], atol=1e-6)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 4.0, 100.0])
def test_proportions_follow_their_beta_distribution(alpha):
    draws = jax.random.uniform(jax.random.key(5), (2, 20_000))
    shares = np.asarray(beta_of(draws, alpha), np.float64)
    # Away from the ends, where a small alpha meets the steps of float32.
    points = np.linspace(0.001, 0.999, 999)
    empirical = (shares[:, None] <= points).mean(axis=0)
    # Kolmogorov's bound: exceeded by one seed in a thousand.
    assert abs(empirical - scipy.stats.beta.cdf(points, alpha, alpha)).max() < 1.95 / 20_000**0.5


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 1e4, 1e8])
def test_proportions_stay_in_range_at_the_ends_of_the_draws_for_any_alpha(alpha):
    ends = [0.0, 2**-23, 0.25, 0.5, 0.75, 1 - 2**-23]
    shares = np.asarray(beta_of(jnp.array(list(itertools.product(ends, ends))).T, alpha))
    assert ((shares >= 0) & (shares <= 1)).all()


@pytest.mark.slow(seconds=2)
def test_cutmix_pastes_the_box_of_the_row_before_and_shares_the_label_by_its_pixels():
    images, labels = batch(rows=12)
    mixed, mixed_labels = lone(Cutmix(1.0), images, labels)
    shares = set()
    for row, key in enumerate(row_keys(12)):
        draws = uniform(key, 4)
        side = np.sqrt(1 - beta(draws, 1.0))
        (y, x), half = (draws[2:] * (9, 7)).astype(int), (np.array((9, 7)) * side / 2).astype(int)
        box = slice(max(y - half[0], 0), y + half[0]), slice(max(x - half[1], 0), x + half[1])
        expected = np.array(images[row])
        expected[box] = images[row - 1][box]
        np.testing.assert_array_equal(mixed[row], expected)
        own = 1 - expected[box][..., 0].size / 63
        shares.add(own)
        np.testing.assert_allclose(mixed_labels[row], own * labels[row] + (1 - own) * labels[row - 1], atol=1e-6)
    assert len(shares) > 5


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31 - 1))
def test_intensities_stay_in_range_and_labels_sum_to_one(dtype, seed):
    images, labels = EXTREMES[dtype], jnp.eye(6)
    augmented, mixed = compiled(tuple(EXAMPLES.values()), images, labels, jax.random.key(seed))
    assert augmented.dtype == dtype
    assert augmented.shape == images.shape
    assert mixed.dtype == labels.dtype
    augmented, mixed = np.asarray(augmented, np.float64), np.asarray(mixed, np.float64)
    assert 0 <= augmented.min() <= augmented.max() <= 1
    assert mixed.min() >= 0
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-6)


@pytest.mark.few(3)
@each_kind
def test_equal_keys_give_equal_batches_and_other_keys_others(kind):
    images, labels = batch(rows=12)
    first, again, other = (lone(kind, images, labels, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()


@pytest.mark.few(3)
@each_kind
def test_a_row_is_augmented_alike_in_every_batch_size(kind):
    images, labels = batch(rows=12)
    whole, part = lone(kind, images, labels), lone(kind, images[:6], labels[:6])
    # The partner of the first row is the last one, which is another in a shorter batch.
    first = 1 if isinstance(kind, Mixup | Cutmix) else 0
    np.testing.assert_array_equal(part[0][first:], whole[0][first:6])
    np.testing.assert_array_equal(part[1][first:], whole[1][first:6])


@pytest.mark.slow
def test_equal_kinds_in_one_chain_draw_independently():
    images = jnp.zeros((64, 9, 9, 1)).at[:, 4, 4, 0].set(1)
    twice, _ = compiled((Shift(1), Shift(1)), images, jnp.ones((64, 1)), jax.random.key(0))
    rows, columns = np.nonzero(np.asarray(twice).any(axis=(0, 3)))
    assert {2, 3, 4, 5, 6} == set(rows.tolist()) == set(columns.tolist())
    assert any(np.asarray(twice)[:, row, 4].any() for row in (3, 5))


@pytest.mark.slow
def test_another_probability_angle_or_alpha_compiles_nothing_new():
    traces = []

    @jax.jit
    def step(kinds, images, labels, key):
        traces.append(kinds)
        return augment(kinds, images, labels, key)

    images, labels = batch()
    results = [
        step(
            (RandomCrop(1), Flip(share), Erase(share), Rotate(degrees), Mixup(alpha), Cutmix(alpha)),
            images,
            labels,
            jax.random.key(0),
        )
        for share, degrees, alpha in [(0.5, 10.0, 0.2), (0.9, 40.0, 2.0)]
    ]
    assert len(traces) == 1
    assert (results[0][0] != results[1][0]).any()


def every_kind(alpha):
    return Shift(2), Flip(alpha / 4), Erase(alpha / 4), Rotate(10 * alpha), Mixup(alpha), Cutmix(alpha)


@pytest.mark.slow
@pytest.mark.parametrize("chain", [lambda alpha: (Shift(2), Mixup(alpha)), every_kind])
def test_lanes_of_a_sweep_augment_like_lone_runs(chain):
    images, labels = batch()
    keys, alphas = jax.random.split(jax.random.key(0), 3), jnp.array([0.2, 1.0, 3.0])

    def lane(alpha, key):
        return augment(chain(alpha), images, labels, key)

    together, alone = jax.jit(jax.vmap(lane))(alphas, keys), jax.jit(lane)
    for index in range(3):
        for lanes, single in zip(together, alone(alphas[index], keys[index]), strict=True):
            np.testing.assert_allclose(lanes[index], single, atol=2e-6)


def alternated(rows, epoch, seed=0, step=0):
    """Returns which examples are mirrored, those at these rows of the split, in a step of an epoch."""
    images = jnp.tile(jnp.arange(3.0)[None, None, :, None] / 4, (len(rows), 3, 1, 1))
    passes = Passes(jnp.int32(epoch), jax.random.key(seed), jnp.asarray(rows))
    made, _ = compiled((AlternatingFlip(),), images, jnp.ones((len(rows), 1)), jax.random.key(step), passes=passes)
    return np.asarray(made)[:, 0, 0, 0] > 0


@pytest.mark.slow
def test_an_alternating_flip_mirrors_each_example_in_every_other_epoch():
    rows = np.arange(1000)
    first = alternated(rows, 0)
    keys = [jax.random.fold_in(jax.random.fold_in(jax.random.key(0), row), 0) for row in range(20)]
    assert first[:20].tolist() == [float(jax.random.uniform(key, (1,))[0]) < 0.5 for key in keys]
    assert 430 < first.sum() < 570
    for epoch in range(1, 4):
        assert (alternated(rows, epoch, step=epoch) == (first if epoch % 2 == 0 else ~first)).all()
    assert (alternated(rows, 0, seed=1) != first).any()
    # Wherever the examples stand in a batch, and with whichever others.
    some = np.random.default_rng(0).permutation(1000)[:50]
    assert (alternated(some, 2, step=9) == first[some]).all()


def test_gaussian_noise_is_normal_with_its_deviation_and_stays_within_range():
    images = jnp.full((50, 20, 20, 1), 0.5)
    made, _ = lone(GaussianNoise(0.1), images, jnp.ones((50, 1)))
    deviations = ((made - 0.5) / 0.1).ravel()
    assert scipy.stats.kstest(deviations, "norm").pvalue > 1e-3
    noise = np.asarray(jax.random.normal(row_keys(3)[2], (20, 20, 1)))
    np.testing.assert_allclose(made[2], 0.5 + 0.1 * noise, atol=1e-6)
    wide, _ = lone(GaussianNoise(3.0), images, jnp.ones((50, 1)))
    assert wide.min() == 0 and wide.max() == 1


def test_no_noise_changes_nothing():
    images, labels = batch()
    np.testing.assert_array_equal(lone(GaussianNoise(0.0), images, labels)[0], images)
