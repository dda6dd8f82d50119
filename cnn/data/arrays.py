"""Pictures and labels as NumPy arrays, brought to what every source gives; their bytes are the data's identity."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnn.data.types import DataError, DataSpec, Source, Split

Pairs = tuple[Any, Any]
"""Images and labels, row by row. Images are [n, height, width] or [n, height, width, channels]: uint8, or floats in
[0, 1] or in 0..255. Labels are whole numbers from 0 on, or the names of classes."""


@dataclasses.dataclass(frozen=True)
class Arrays:
    """Pictures in memory.

    Attributes:
      train: images and labels.
      test: likewise; `None` for none, or for one that is cut from train, as `config.data.test_fraction` says.
      valid: likewise; `None` cuts it from train, as `config.data.valid_fraction` says.
      class_names: one a class; `None` for the names among the labels, sorted, or the numbers.
    """

    train: Pairs
    test: Pairs | None = None
    valid: Pairs | None = None
    class_names: Sequence[str] | None = None

    def as_source(self, what: str, data: DataSpec) -> Source:
        """Returns the arrays as a source gives them.

        Args:
          what: whose arrays these are, for the errors.
          data: the shape wanted, and how pictures of another are brought to it.

        Raises:
          DataError: they are no pictures and labels.
        """
        from cnn.data.parts import ArrayPart  # Pillow is not needed to check a config
        from cnn.data.resize import fit_images

        class_names, total = _class_names(what, self, data.class_names), hashlib.sha256()
        notes: list[str] = []
        splits = {}
        for split in ("train", "test", "valid"):
            pair = getattr(self, split)
            if pair is None and split != "train":
                continue
            images, labels, note = _converted(f"{split} of {what}", pair, class_names)
            for array in (images, labels):
                total.update(f"{split} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
            notes += [note] if note else []
            fitted = fit_images(images, image_shape=data.image_shape, resize=data.resize, what=f"{split} of {what}")
            splits[split] = Split(fitted, labels)
        valid = ArrayPart("valid", splits["valid"]) if "valid" in splits else None
        identity = f"arrays:{total.hexdigest()}"
        return Source(splits["train"], splits.get("test"), class_names, identity, tuple(notes), valid)


def _class_names(kind: str, arrays: Arrays, names: tuple[str, ...]) -> tuple[str, ...]:
    if arrays.class_names is not None or names:
        return tuple(map(str, arrays.class_names if arrays.class_names is not None else names))
    pairs: list[Any] = [arrays.train, arrays.test, arrays.valid]
    labels = [np.asarray(pair[1]) for pair in pairs if _is_pair(pair)]
    if any(each.dtype.kind in "US" for each in labels):
        return tuple(sorted({str(label) for each in labels for label in each}))
    whole = [each for each in labels if each.size and each.dtype.kind in "iu"]
    if not whole:
        raise DataError(f"config.data.name: {kind} has no labels that are whole numbers or names. Return such labels.")
    return tuple(map(str, range(1 + max(int(each.max()) for each in whole))))


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, (tuple, list)) and len(pair) == 2


def _converted(what: str, pair: Any, class_names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, str]:
    """Returns images as uint8 with their channels, labels as indices, and what was done that the user should hear."""
    if not _is_pair(pair):
        raise DataError(f"config.data.name: {what} must be (images, labels), got {type(pair).__name__}.")
    images, labels = np.asarray(pair[0]), np.asarray(pair[1])
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or labels.shape != (len(images),):
        raise DataError(
            f"config.data.name: {what} must hold images [n, height, width, channels] and n labels, "
            f"got shapes {images.shape} and {labels.shape}."
        )
    if labels.dtype.kind in "US":
        index = {name: row for row, name in enumerate(class_names)}
        if unknown := sorted({str(label) for label in labels} - set(index)):
            raise DataError(f"config.data.name: {what} has the label {unknown[0]!r}, which is none of its class_names.")
        labels = np.asarray([index[str(label)] for label in labels])
    if labels.dtype.kind not in "iu":
        raise DataError(f"config.data.name: {what}: labels must be whole numbers or names, got {labels.dtype}.")
    note = ""
    if images.dtype != np.uint8:
        images, note = _bytes(what, images)
    return images, labels.astype(np.int32), note


def _bytes(what: str, images: np.ndarray) -> tuple[np.ndarray, str]:
    """Returns numbers as bytes, and how they were read."""
    if images.dtype.kind not in "iuf" or not np.isfinite(images).all():
        raise DataError(f"config.data.name: {what}: images must be finite numbers, got {images.dtype}.")
    low, high = (float(images.min()), float(images.max())) if images.size else (0.0, 0.0)
    if low < 0 or high > 255:
        raise DataError(
            f"config.data.name: {what}: images must lie in [0, 1] or in 0..255, got {low:g} to {high:g}. "
            "Return them before any standardisation; config.data.mean and std do that."
        )
    shares = images.dtype.kind == "f" and high <= 1
    said = "shares of full intensity: they lie in [0, 1]" if shares else "intensities from 0 to 255"
    note = f"{what}: its {images.dtype} numbers, {low:g} to {high:g}, are read as {said}"
    return np.round(images * (255 if shares else 1)).astype(np.uint8), note
