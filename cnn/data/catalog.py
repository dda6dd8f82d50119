"""Finds a TFDS dataset by name, without TensorFlow."""

import os
import re
from pathlib import Path

import tensorflow_datasets as tfds
from google.protobuf.json_format import ParseError

from cnn.data.types import DataError
from cnn.fields import did_you_mean

# TFDS also takes names with a namespace, which reach for the network; and a name must not leave the data folder.
NAME = re.compile(r"[a-zA-Z]\w*(/[\w.+-]*\w)?(:\d+\.\d+\.\d+)?", re.ASCII)
OWN_NAMES = ("digits", "folder")
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
    if not NAME.fullmatch(name):
        raise _unknown(name)
    try:
        return tfds.builder(name, data_dir=str(root))
    except tfds.core.DatasetNotFoundError as error:
        raise _unknown(name) from error
    except ImportError as error:
        raise DataError(f"config.data.name: {error.name} is needed to use it, got {name!r}. {install(name)}") from error
    except ParseError as error:
        broken = root / name.partition(":")[0]
        raise DataError(
            f"config.data.data_dir: {INFO_FILE} of {name} cannot be parsed, got {str(broken)!r}. "
            "Remove that folder and prepare it again."
        ) from error
    except (ValueError, AssertionError) as error:
        reason = " ".join(str(error).split()).rpartition('}": ')[2]
        raise DataError(f"config.data.name: TFDS refuses it, got {name!r}. {reason}") from error


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


def install(name: str) -> str:
    """Says how a dataset comes to be that only TensorFlow can prepare."""
    return (
        "Run pip install tensorflow and start again: TFDS needs it to prepare this dataset, once, and not to read it; "
        f"or prepare it on another machine with tfds build {name} --file_format=array_record."
    )


def _unknown(name: str) -> DataError:
    known = [*OWN_NAMES, *tfds.list_builders(with_community_datasets=False)]
    suggestion = did_you_mean(name, known).partition("Known: ")[0]
    return DataError(
        f"config.data.name: unknown name, got {name!r}. {suggestion}"
        f"Known: {', '.join(OWN_NAMES)}, and the {len(known) - len(OWN_NAMES)} datasets of TFDS "
        "(https://www.tensorflow.org/datasets/catalog/overview)."
    )
