"""Finds a TFDS dataset by name, without TensorFlow."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

from etils import epy

from cnn.data.types import DATASET_NAME, DataError
from cnn.fields import did_you_mean
from cnn.registry import SOURCES, of_package

with epy.lazy_imports():
    import tensorflow_datasets as tfds
    from google.protobuf import json_format

INFO_FILE = "dataset_info.json"


def data_root(data_dir: str) -> Path:
    """Returns the folder that holds TFDS datasets: the given one, or `TFDS_DATA_DIR`, or TFDS's default."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def find(name: str, root: Path) -> tfds.core.DatasetBuilder:
    """Returns the TFDS builder of that name, whether prepared or not.

    Args:
      name: as TFDS writes it, "mnist", "emnist/letters" or "mnist:3.0.1".
      root: the folder that holds TFDS datasets.

    Raises:
      DataError: if TFDS has no such dataset, or cannot describe it, or `root` holds a broken one.
    """
    if not DATASET_NAME.fullmatch(name):
        raise _unknown(name)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # TFDS announces on stdout, which is for results
            return tfds.builder(name, data_dir=str(root))
    except tfds.core.DatasetNotFoundError as error:
        raise _unknown(name) from error
    except ImportError as error:
        reason = _reason(error)
        package = reason.rpartition("No module named ")[2].strip("'").partition(".")[0]
        raise DataError(
            f"config.data.name: TFDS lacks a package for it, got {name!r} ({reason}). {install(name, package)}"
        ) from error
    except json_format.ParseError as error:
        broken = root / name.partition(":")[0]
        raise DataError(
            f"config.data.data_dir: {INFO_FILE} of {name} cannot be parsed, got {str(broken)!r}. "
            "Remove that folder and prepare it again."
        ) from error
    except (ValueError, AssertionError) as error:
        raise DataError(f"config.data.name: TFDS refuses it, got {name!r}. {_reason(error)}") from error


def is_prepared(builder: tfds.core.DatasetBuilder) -> bool:
    """Tells whether the dataset lies in its folder.

    Raises:
      DataError: if the folder is there and is no prepared dataset; TFDS would take it for one.
    """
    folder = Path(builder.data_path)
    if not folder.exists():
        return False
    if not (folder / INFO_FILE).is_file():
        raise DataError(
            f"config.data.data_dir: the folder of {builder.name} lacks {INFO_FILE}, got {str(folder)!r}. "
            "Remove that folder and start again."
        )
    return True


def has_tensorflow() -> bool:
    """Tells whether TensorFlow is installed, without importing it."""
    return importlib.util.find_spec("tensorflow") is not None


def install(name: str, package: str = "tensorflow") -> str:
    """Says how a dataset comes to be that needs TensorFlow, or another package, to be prepared."""
    return (
        f"Run pip install {package} and start again: TFDS needs it to prepare this dataset, once; "
        f"or prepare it on another machine with tfds build {name} --file_format=array_record."
    )


def _reason(error: Exception) -> str:
    """Returns TFDS's own words on one line, without what it puts before them."""
    return " ".join(str(error).split()).rpartition('}": ')[2]


def _unknown(name: str) -> DataError:
    own = sorted(of_package(SOURCES))
    known = [*own, *tfds.list_builders(with_community_datasets=False)]
    suggestion = did_you_mean(name, known).partition("Known: ")[0]
    return DataError(
        f"config.data.name: unknown name, got {name!r}. {suggestion}"
        f"Known: {', '.join(own)}, and the {len(known) - len(own)} datasets of TFDS "
        "(https://www.tensorflow.org/datasets/catalog/overview)."
    )
