"""Pictures held larger than the network sees them: cropped in training, their centre everywhere else."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import networks
import runs
import sweeps
import tiny
from cnn.config.config import ConfigError
from cnn.data import datasets
from cnn.data.augment import Cutmix, Flip, RandomCrop, RandomResizedCrop, Shift, augment
from cnn.data.loader import Examples
from cnn.data.types import DataSpec, Stored, centre
from cnn.hyperparams import make_pytree
from cnn.registry import AUGMENTATIONS
from cnn.train import memory_estimate
from cnn.train.step import train_step

STORED, SEEN = (14, 12), (9, 8)
DIGITS = DataSpec("digits", (*SEEN, 1), 10, resize="bilinear", valid_fraction=0.25, stored_size=STORED)
CHAIN = "random_resized_crop(0.3) | flip | color_jitter(0.4, 0.4) | trivial_augment"
for kind in (Cutmix, Flip, RandomCrop, RandomResizedCrop, Shift):
    make_pytree(kind)
compiled = networks.jit(augment, static_argnames="size")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of several sizes, brighter for class b."""
    root = tmp_path_factory.mktemp("photographs")
    for part, number in (("train", 24), ("test", 9)):
        for label, name in enumerate("ab"):
            (root / part / name).mkdir(parents=True)
            for n in range(number):
                random = np.random.default_rng([label, n, number])
                shape = (20, 24, 3) if n % 2 else (16, 14, 3)
                noise = random.integers(0, 128, shape) + 100 * label
                Image.fromarray(noise.astype(np.uint8)).save(root / part / name / f"{n:02}.png")
    return root


def of_folder(root, **changes):
    fields = {"data_dir": str(root), "resize": "cover", "stored_size": STORED, "valid_fraction": 0.25}
    return DataSpec("folder", (*SEEN, 3), 2, **{**fields, **changes})


def sections(root, **changes):
    data = dataclasses.asdict(of_folder(root)) | {"class_names": [], "augment": CHAIN, **changes}
    layers = 'conv(4, 3, padding="same") | batch_norm(0.5) | relu | global_avg_pool | dense(classes)'
    return {**runs.SECTIONS, "model": {"layers": layers}, "data": data}


def cut(images):
    """Returns the centre, worked out by hand for the sizes of these tests."""
    return np.asarray(images)[:, 2:11, 2:10]


def test_a_dataset_shows_the_centre_and_keeps_whole_pictures_for_training():
    dataset = datasets.load(DIGITS)
    whole = datasets.load(dataclasses.replace(DIGITS, image_shape=(*STORED, 1), stored_size=()))
    assert dataset.training.images.shape[1:] == (*STORED, 1)
    for name in ("train", "valid", "test"):
        split, larger = getattr(dataset, name), getattr(whole, name)
        assert split.images.shape[1:] == (*SEEN, 1)
        np.testing.assert_array_equal(split.images, cut(larger.images))
        np.testing.assert_array_equal(split.labels, larger.labels)
    np.testing.assert_array_equal(dataset.training.images, whole.train.images)
    assert np.shares_memory(dataset.train.images, dataset.training.images)


def test_without_a_stored_size_training_takes_what_evaluation_sees():
    dataset = datasets.load(dataclasses.replace(DIGITS, stored_size=()))
    assert dataset.training is dataset.train


def test_pictures_that_stream_have_the_same_pixels(folder):
    in_memory, streamed = (datasets.load(of_folder(folder, loading=loading)) for loading in ("memory", "stream"))
    for name in ("train", "valid", "test", "training"):
        kept, read = getattr(in_memory, name).images, getattr(streamed, name).images
        assert isinstance(read, Stored) and read.shape == kept.shape
        np.testing.assert_array_equal(read[np.arange(len(read))], kept)
        np.testing.assert_array_equal(read.take(np.array([3, 1]))[:], kept[[3, 1]])


@pytest.mark.slow
def test_the_identity_changes_with_the_stored_size_and_only_with_another():
    found = {
        size: datasets.identity(dataclasses.replace(DIGITS, stored_size=size)) for size in ((), SEEN, STORED, (14, 13))
    }
    assert found[()] == found[SEEN] and len(set(found.values())) == 3
    assert datasets.load(DIGITS).identity == found[STORED]


def test_memory_is_counted_at_the_size_at_which_pictures_are_held(folder):
    values = runs.resolve.resolve(sections(folder))
    pixels = 66 * 3 * STORED[0] * STORED[1]
    assert datasets.load(values.data, memory_budget=pixels).streams is False
    assert datasets.load(values.data, memory_budget=pixels - 1).streams is True
    plain = runs.resolve.resolve(sections(folder, stored_size=[]))
    more = memory_estimate.need(values, "gpu").activations - memory_estimate.need(plain, "gpu").activations
    assert more == values.train.batch_size * 3 * (14 * 12 - 9 * 8) * 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"stored_size": (8, 20)},
            r"config.data.stored_size: must be empty, or a height and a width of at least 9x8, those of "
            r"data.image_shape, got \(8, 20\). Make it larger.",
        ),
        ({"stored_size": (20,)}, r"config.data.stored_size: must be empty, or a height and a width .* got \(20,\)"),
        ({"stored_size": (0, 20)}, r"config.data.stored_size: must be an integer in \[1, 16384\]"),
        (
            {"augment": "random_crop(0)", "stored_size": ()},
            r"config.data.augment: random_crop\(0\) has nothing to crop, got pad=0. Pad, or set data.stored_size",
        ),
        ({"augment": "random_crop(0)", "stored_size": SEEN}, r"has nothing to crop"),
        ({"augment": "random_crop(8)"}, r"must move by less than the image's 8 pixels, got 8."),
        (
            {"augment": "random_resized_crop(0.9, 0.5)"},
            r"config.data.augment: random_resized_crop.area_min must be at most area_max = 0.5, got 0.9.",
        ),
        (
            {"augment": "random_resized_crop(aspect_max=0.9)"},
            r"aspect_max must be a finite number of at least 1, got 0.9",
        ),
        ({"augment": "color_jitter(hue=0.6)"}, r"hue must be a finite number in \[0, 0.5\], got 0.6"),
        (
            {"augment": "color_jitter(0.1, 0.1, 0.2)", "image_shape": (*SEEN, 1)},
            r"config.data.augment: color_jitter.saturation needs 3 channels, and data.image_shape has 1, got 0.2. "
            r"Leave it at 0.",
        ),
        (
            {"augment": "color_jitter(hue=0.1)", "image_shape": (*SEEN, 1)},
            r"color_jitter.hue needs 3 channels, and data.image_shape has 1, got 0.1.",
        ),
    ],
)
def test_sizes_and_augmentations_that_cannot_be_are_refused(folder, data, message):
    with pytest.raises(ConfigError, match=message):
        runs.resolve.resolve(sections(folder, **data))


@pytest.mark.parametrize("chain", ["random_crop(0)", "random_crop(7)", "color_jitter(0.5, 0.5)", "random_resized_crop"])
def test_augmentations_that_can_be_are_taken(folder, chain):
    assert runs.resolve.resolve(sections(folder, augment=chain)).data.augment


def pictures(rows, size=STORED):
    return jnp.asarray(np.random.default_rng(0).uniform(0.1, 1, (rows, *size, 2)), jnp.float32)


@pytest.mark.slow
def test_where_nothing_crops_the_centre_is_cut_out_before_anything_else():
    images, labels, key = pictures(6), jnp.eye(6), jax.random.key(0)
    for kinds in ((), (Shift(2), Flip())):
        found = compiled(kinds, images, labels, key, size=SEEN)
        wanted = compiled(kinds, cut(images), labels, key)
        np.testing.assert_array_equal(found[0], wanted[0])


@pytest.mark.slow
@pytest.mark.parametrize("pad", [0, 2])
def test_a_random_crop_is_a_window_of_the_padded_stored_picture(pad):
    images = pictures(400)
    made, _ = compiled((RandomCrop(pad),), images, jnp.ones((400, 1)), jax.random.key(0), size=SEEN)
    keys = jax.vmap(lambda row: jax.random.fold_in(jax.random.fold_in(jax.random.key(0), row), 0))(jnp.arange(400))
    draws = np.asarray(jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys))
    places = set()
    for image, found, drawn in zip(np.asarray(images), np.asarray(made), draws, strict=True):
        top, left = (drawn * (6 + 2 * pad, 5 + 2 * pad)).astype(int)
        places.add((top, left))
        padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
        np.testing.assert_array_equal(found, padded[top : top + 9, left : left + 8])
    rows, columns = map(set, zip(*places, strict=True))
    assert rows == set(range(6 + 2 * pad)) and columns == set(range(5 + 2 * pad))


@pytest.mark.slow
def test_what_follows_the_first_crop_gets_pictures_of_the_size_that_the_network_sees():
    images, labels = pictures(6), jnp.eye(6)
    kinds = (Flip(), RandomCrop(0), RandomCrop(1), Cutmix(1.0))
    made, mixed = compiled(kinds, images, labels, jax.random.key(0), size=SEEN)
    assert made.shape == (6, *SEEN, 2)
    # The shares of the labels are those of the pixels that are seen.
    pixels = np.asarray(mixed) * SEEN[0] * SEEN[1]
    np.testing.assert_allclose(pixels, np.round(pixels), atol=1e-4)


def test_a_crop_of_ones_own_that_leaves_another_size_is_refused():
    class Half:
        crops = True

        def apply(self, images, labels, draws):
            return images[:, :5], labels

    with pytest.raises(ValueError, match=r"config.data.augment: Half crops, and must return images of 9x8, got 5x12."):
        augment((Half(),), pictures(2), jnp.eye(2), jax.random.key(0), size=SEEN)


@pytest.mark.slow(seconds=2)
def test_a_step_on_stored_pictures_is_that_on_their_centres():
    raw = {**tiny.RAW, "data": {**tiny.RAW["data"], "stored_size": (11, 12)}}
    plain, held = tiny.resolve(), tiny.resolve(raw)
    split = tiny.split(8)
    padding = np.random.default_rng(0).integers(0, 256, (8, 11, 12, 1), dtype=np.uint8)
    padding[:, 1:9, 2:10] = split.images
    make_step = networks.jit(train_step, static_argnames="step_config")
    results = []
    for values, images in ((plain, split.images), (held, padding)):
        state, step_config = tiny.start(values)
        results.append(make_step(state, Examples(jnp.asarray(images), split.labels), step_config=step_config))
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow(seconds=6)
def test_another_strength_of_a_jitter_or_a_crop_compiles_nothing_new():
    traces = []

    @jax.jit
    def make(kinds, images, key):
        traces.append(kinds)
        return augment(kinds, images, jnp.ones((4, 1)), key, size=SEEN)[0]

    images = jnp.asarray(np.random.default_rng(0).uniform(size=(4, *STORED, 3)), jnp.float32)
    kinds = [AUGMENTATIONS[name] for name in ("random_resized_crop", "color_jitter", "vertical_flip")]
    for each in kinds:
        make_pytree(each)
    options = [((0.1, 0.9, 1.2), (0.1, 0.2, 0.3, 0.1), (0.5,)), ((0.3, 0.8, 2.0), (0.6, 0.5, 0.4, 0.3), (0.9,))]
    made = [
        make(tuple(each(*o) for each, o in zip(kinds, given, strict=True)), images, jax.random.key(0))
        for given in options
    ]
    assert len(traces) == 1
    assert (made[0] != made[1]).any()


@pytest.mark.slow(seconds=20)
def test_a_run_in_memory_and_one_that_streams_are_the_same_and_predict_what_they_evaluate(folder, tmp_path, capsys):
    given = sections(folder)
    changes = ("train.epochs=2", "train.batch_size=12")
    for loading in ("memory", "stream"):
        assert runs.train(tmp_path / loading, *changes, f"data.loading={loading}", sections=given) == 0
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("memory", "stream")]
    logits = [np.load(tmp_path / name / "predictions-test.npz")["logits"] for name in ("memory", "stream")]
    assert metrics[0] == metrics[1]
    np.testing.assert_array_equal(*logits)
    capsys.readouterr()
    assert runs.start("predict", f"--workdir={tmp_path / 'memory'}", "--json", folder / "test") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_array_equal([record["logits"] for record in records], logits[0])
    assert "16x14 (height x width) cropped and resized to 14x12 as in training" in records[0]["notes"][0]
    assert records[0]["notes"][-1] == "the centre of 9x8 cut out as in evaluation"


@pytest.mark.slow(seconds=20)
@pytest.mark.parametrize("engine", ["map", "vmap"])
def test_a_sweep_over_brightness_trains_on_stored_pictures_as_a_run_does(folder, tmp_path, engine):
    given = sections(folder, augment="random_crop(0) | color_jitter(0.2)")
    given["train"] = {"epochs": 1, "batch_size": 12, "log_every_steps": 1}
    space = "data.augment='random_crop(0) | color_jitter(0.2)','random_crop(0) | color_jitter(0.6)'"
    assert sweeps.sweep(tmp_path / "sweep", space, f"sweep.engine={engine}", sections=given) == 0
    for row, strength in zip(sweeps.record(tmp_path / "sweep")["trials"], ("0.2", "0.6"), strict=True):
        alone = tmp_path / strength
        assert runs.train(alone, f"data.augment=random_crop(0) | color_jitter({strength})", sections=given) == 0
        found = sweeps.losses(tmp_path / "sweep" / row["folder"])
        assert found == pytest.approx(sweeps.losses(alone), rel=1e-4)


def test_the_odd_row_too_many_is_left_out_at_the_end():
    images = np.arange(5 * 4).reshape(1, 5, 4, 1)
    np.testing.assert_array_equal(centre(images, (2, 2))[0, :, :, 0], [[5, 6], [9, 10]])
