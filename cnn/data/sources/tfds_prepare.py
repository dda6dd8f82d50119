"""Prepares TFDS datasets as ArrayRecord; a few well-known ones without TensorFlow.

TFDS's own generators of these few need TensorFlow only to open files and to encode pictures. Here the standard library
opens the files, Pillow encodes, and TFDS writes what it would have written, under a name that appears when all is done.
"""

from __future__ import annotations

import contextlib
import errno
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from cnn.data.sources import mnist_cifar, tfds_catalog
from cnn.data.sources.mnist_cifar import Remote, locate
from cnn.data.types import DataError, Split

Reader = Callable[[Mapping[str, Path]], tuple[dict[str, Split], tuple[str, ...]]]
READERS: dict[str, Reader] = {
    "mnist": mnist_cifar.read_mnist,
    "fashion_mnist": mnist_cifar.read_mnist,
    "kmnist": mnist_cifar.read_mnist,
    "cifar10": mnist_cifar.read_cifar10,
}


def prepare(
    builder: tfds.core.DatasetBuilder,
    name: str,
    root: Path,
    manual_dir: str,
    remotes: Mapping[str, Remote] | None = None,
) -> None:
    """Writes a dataset into `root` so that `tfds.data_source` reads it.

    Args:
      builder: of the dataset that is not prepared yet.
      name: the dataset, as the config names it.
      root: the folder that holds TFDS datasets.
      manual_dir: where source files lie that were fetched by hand; empty to fetch them.
      remotes: the source files; `None` means those that TFDS knows.

    Raises:
      DataError: if the source files are missing or broken, or the dataset needs TensorFlow, which is not installed, or
        `root` cannot be written.
    """
    reader = READERS.get(builder.name)
    try:
        if reader is None:
            _prepare_with_tensorflow(builder, name, root, manual_dir)
            return
        known = _remotes(builder) if remotes is None else remotes
        splits, names = reader(locate(builder.name, known, manual_dir, root / "downloads" / builder.name))
        _check(splits, names, builder)
        _replace_generators(builder, splits, names)
        _write(builder, root)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise
        raise DataError(
            f"config.data.data_dir: cannot prepare {name} there, got {str(root)!r} ({error.strerror}). "
            "Name a folder that you may write into."
        ) from error


def _remotes(builder: tfds.core.DatasetBuilder) -> dict[str, Remote]:
    return {
        info.filename: Remote(url, int(info.size), info.checksum) for url, info in (builder.url_infos or {}).items()
    }


def _check(splits: Mapping[str, Split], names: tuple[str, ...], builder: tfds.core.DatasetBuilder) -> None:
    features: Any = builder.info.features
    shape, classes = features["image"].shape, features["label"].num_classes
    for part, split in splits.items():
        if len(split) == 0 or split.images.shape[1:] != shape or split.labels.max() >= classes:
            raise DataError(
                f"config.data.manual_dir: the {part} files of {builder.name} must hold {shape} pictures of {classes} "
                f"classes, got {split.images.shape} and labels up to {max(split.labels, default='none')}. "
                "Fetch them again."
            )
    if names and len(names) != classes:
        raise DataError(
            f"config.data.manual_dir: the files of {builder.name} must name {classes} classes, got {len(names)}. "
            "Fetch them again."
        )


def _replace_generators(builder: Any, splits: Mapping[str, Split], names: tuple[str, ...]) -> None:
    """Gives the builder our examples in place of its own generators."""
    features = builder.info.features
    if names:
        features["label"].names = list(names)

    def examples(part: str) -> Iterator[tuple[int, dict[str, bytes | int | str]]]:
        # TFDS shuffles by the hash of the key, so these are the keys that its own generators use.
        for row, (image, label) in enumerate(zip(splits[part].images, splits[part].labels, strict=True)):
            example: dict[str, bytes | int | str] = {"image": _png(image), "label": int(label)}
            if "id" in features:
                example["id"] = f"{part}_{row:05d}"
            yield row, example

    builder._split_generators = lambda dl_manager: {part: examples(part) for part in splits}


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()


def _write(builder: Any, root: Path, **options: Any) -> None:
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # TFDS announces on stdout, which is for results
            builder.download_and_prepare(file_format="array_record", download_dir=str(root / "downloads"), **options)
    except OSError as error:
        # Another process prepared it meanwhile: its files are as good.
        overtaken = isinstance(error, FileExistsError) or error.errno == errno.ENOTEMPTY
        if not (overtaken and tfds_catalog.is_prepared(builder)):
            raise


def _prepare_with_tensorflow(builder: tfds.core.DatasetBuilder, name: str, root: Path, manual_dir: str) -> None:
    if not tfds_catalog.has_tensorflow():
        raise DataError(
            f"config.data.name: {name} is not prepared in {str(root)!r}, and TensorFlow is not installed, "
            f"got {name!r}. {tfds_catalog.install(name)} Without it: digits, folder, {', '.join(READERS)}."
        )
    options = tfds.download.DownloadConfig(manual_dir=manual_dir or None)
    _write(builder, root, download_config=options)
