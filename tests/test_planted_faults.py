"""Set-ups that are broken on purpose: the cause of each is named, and of what works none is."""

import numpy as np
import pytest

import cnn
import runs
from cnn.config.config import ConfigError
from cnn.train import overfit, preflight

CONV = "model.layers=conv(8, 3) | relu | max_pool(2) | flatten | dense(32) | relu | dense(classes) | softmax"
RATE = "optimizer.learning_rate=3e-3"
SIGMOIDS = " | ".join(["flatten", *["dense(16) | sigmoid"] * 8, "dense(classes)"])
FAULTS = {
    "labels shuffled": ("labels", "data.name=shuffled_digits"),
    "one picture with two labels": ("labels", "data.name=twice_labelled"),
    "one class only": ("one class", "data.name=one_digit"),
    "rate x 1000": ("rate", "optimizer.learning_rate=3"),
    "rate / 1000": ("rate", "optimizer.learning_rate=3e-6"),
    "a relu after the logits": ("logits", "model.layers=flatten | dense(classes) | relu"),
    "inputs from 0 to 255": ("inputs", "data.std=(0.00392,)"),
    "inputs divided twice": ("inputs", "data.std=(255.0,)"),
    "batch norm frozen": (
        "batch norm",
        "model.layers=conv(8, 3) | batch_norm | relu | flatten | dense(classes)",
        "train.freeze=batch_norm*",
    ),
    "a first layer of zeros": ("dead", "model.layers=conv(8, 3, init=zeros) | relu | flatten | dense(classes)"),
    "a layer frozen": ("frozen", "train.freeze=conv*"),
    "a chain of sigmoids": ("vanishing", f"model.layers={SIGMOIDS}"),
    "labels smoothed away": ("loss", "train.label_smoothing=0.99"),
    "an initialisation that explodes": ("exploding", "model.init=normal(3.0)"),
    "a loss that is upside down": ("loss", "train.loss=upside_down"),
    "a group that stands still": ("update", "train.groups=group('dense1/*', rate=0)"),
}


def digits():
    train = preflight.load_data(runs.tiny().data).train
    return np.asarray(train.images), train.labels.copy()


def shuffled_digits():
    images, labels = digits()
    return cnn.Arrays((images, np.random.default_rng(0).permutation(labels)), class_names=tuple("0123456789"))


def twice_labelled():
    images, labels = digits()
    images = np.repeat(images[:200], 2, axis=0)
    labels = np.repeat(labels[:200], 2)
    labels[1::2] = (labels[1::2] + 1) % 10
    return cnn.Arrays((images, labels), class_names=tuple("0123456789"))


def one_digit():
    images, labels = digits()
    return cnn.Arrays((images, np.zeros_like(labels)), class_names=tuple("0123456789"))


def upside_down(logits, labels):
    return (logits * labels).sum(-1)


@pytest.fixture(autouse=True, scope="module")
def _entered():
    """Enters what is written here, until the file's last test."""
    cnn.source(shuffled_digits)
    cnn.source(twice_labelled)
    cnn.source(one_digit)
    cnn.loss(upside_down)


def tried(*overrides):
    fields = {text.partition("=")[0]: text for text in (CONV, RATE, *overrides)}
    return overfit.overfit(runs.tiny(*fields.values()), 32)


@pytest.mark.thorough(8)
@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize("fault", FAULTS)
def test_the_cause_is_the_first_that_is_named(fault):
    kind, *overrides = FAULTS[fault]
    found = tried(*overrides)
    assert found.findings and found.findings[0].kind == kind, overfit.told(found)
    assert all(len(line.splitlines()) == 1 for line in overfit.told(found))


@pytest.mark.slow(seconds=8)
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        (
            "model.layers=conv(8, 3) | batch_norm | relu | flatten | dropout(0.5) | dense(classes)",
            "data.augment=shift(1)",
        ),
        ("optimizer.name=adamw", "optimizer.weight_decay=0.1", "schedule.name=cosine", "train.label_smoothing=0.1"),
        (
            "model.layers=flatten | dense(32) | tanh | dense(classes)",
            "optimizer.name=momentum",
            "optimizer.learning_rate=0.1",
        ),
    ],
    ids=["plain", "regularised", "decayed", "tanh"],
)
def test_what_works_fits_and_nothing_is_said_of_it(overrides):
    found = tried(*overrides)
    assert found.fits and found.findings == (), overfit.told(found)
    assert found.right == found.examples == 32 and found.loss < 0.7 and 0 < found.steps < overfit.STEPS


def test_units_that_see_one_picture_alone_are_not_called_dead():
    layers = "flatten | dense(16) | relu | dense(classes) | softmax"
    found = overfit.overfit(runs.tiny(f"model.layers={layers}"), 1)
    assert found.fits and found.findings == (), overfit.told(found)


@pytest.mark.slow(seconds=3)
def test_what_is_off_is_said(capsys):
    layers = "model.layers=flatten | dropout(0.5) | dense(classes)"
    decayed = ("optimizer.name=adamw", "optimizer.weight_decay=0.1", "optimizer.learning_rate=0.01")
    flags = (layers, "data.augment=shift(1) | flip", *decayed, "schedule.name=cosine", "train.stop=patience(3)")
    assert runs.start("train", "--overfit=10", *(f"--config.{flag}" for flag in flags)) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        "10 training examples, learning rate 0.01; off for this: data.augment (shift(1), ...), dropout, "
        "optimizer.weight_decay (0.1), schedule (cosine), train.stop"
    )
    assert second.startswith("fits in ") and second.endswith(", 10 of 10 right")


def test_more_examples_than_there_are_are_refused(capsys):
    assert runs.start("train", "--overfit=2000") == 2
    assert capsys.readouterr().err == "--overfit: train holds 1,293 training examples, got 2,000. Use fewer\n"
    assert runs.start("train", "--overfit=0") == 2
    assert capsys.readouterr().err == "--overfit: must be a number of examples, got '0'. Write --overfit=20\n"


def test_what_trains_nothing_at_all_is_refused_before():
    with pytest.raises(ConfigError, match=r"^config\.train\.freeze: leaves nothing to train"):
        tried("train.freeze=*")


@pytest.mark.parametrize("examples", [0, -1, 2.5])
def test_a_number_of_examples_that_is_none_is_one_line(examples):
    with pytest.raises(ConfigError, match=rf"^--overfit: must be a number of examples, at least 1, got {examples}\. "):
        cnn.overfit(runs.SECTIONS, examples)


@pytest.mark.slow(seconds=3)
def test_python_gets_a_record_and_arrays_of_its_own_serve():
    images, labels = digits()
    config = cnn.configure(runs.SECTIONS)
    found = cnn.overfit(config, 12, data=cnn.Arrays((images[:300], labels[:300])))
    assert (found.fits, found.examples, found.right, found.findings) == (True, 12, 12, ())
