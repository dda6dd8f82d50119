"""Labelled pictures that stay encoded, in files or as bytes."""

import io

import numpy as np
import pytest
from PIL import Image

from cnn.data.encoded import EncodedPart
from cnn.data.parts import into_memory
from cnn.data.types import DataError, DataSpec


def encoded(shade, size=(6, 4), form="PNG"):
    Image.new("RGB", size, (shade, 0, 0)).save(buffer := io.BytesIO(), form)
    return buffer.getvalue()


def part(pictures, **changes):
    """Returns a part whose pictures are the paths, bytes or errors given."""

    def picture(row):
        if isinstance(pictures[row], Exception):
            raise pictures[row]
        return pictures[row]

    data = DataSpec(**{"name": "parquet", "image_shape": (4, 6, 3), "classes": 2, **changes})
    labels = np.arange(len(pictures), dtype=np.int32)
    titles = "picture {} of a.parquet".format
    return EncodedPart("train", labels, picture, titles, data, field="config.data.file")


@pytest.mark.parametrize("threads", [1, 3])
def test_files_and_bytes_are_read_alike_in_the_order_asked_for(tmp_path, threads):
    (tmp_path / "a.png").write_bytes(encoded(7))
    both = part([encoded(5), str(tmp_path / "a.png"), encoded(9)])
    images, labels, errors = both.read(np.array([2, 1, 0, 1]), threads)
    assert images[:, 0, 0].tolist() == [[9, 0, 0], [7, 0, 0], [5, 0, 0], [7, 0, 0]]
    assert (labels.tolist(), errors, len(both)) == ([2, 1, 0, 1], {}, 3)
    assert both.title(1) == "picture 1 of a.parquet"


def test_broken_pictures_are_named_together_by_path_or_title(tmp_path):
    missing = OSError(5, "Input/output error")
    pictures = [encoded(5), b"", str(tmp_path / "gone.png"), missing, encoded(5)[:-30], *[b"x"] * 9]
    with pytest.raises(DataError) as caught:
        into_memory(part(pictures), (4, 6, 3), None)
    said = str(caught.value)
    assert said.startswith(
        "config.data.file: 13 of 14 pictures cannot be read, got picture 1 of a.parquet (not a picture in PNG, JPEG, "
        f"BMP, WEBP), {str(tmp_path / 'gone.png')!r} (No such file or directory), picture 3 of a.parquet "
        "(Input/output error), picture 4 of a.parquet ("
    )
    assert said.endswith(
        " and 3 more. Mend them or take them away, or go on without them by config.data.on_error=skip."
    )


def test_what_a_source_says_of_a_row_and_a_size_that_does_not_fit_are_refused_alone():
    error = DataError("config.data.file: 'a.tar' is cut short, got 12 bytes. Copy it again.")
    with pytest.raises(DataError, match=r"^config\.data\.file: 'a\.tar' is cut short"):
        into_memory(part([encoded(5), error]), (4, 6, 3), None)
    with pytest.raises(DataError, match=r"image_shape: picture 1 of a\.parquet is 8x8x3, got \(4, 6, 3\)\. Set it to"):
        into_memory(part([encoded(5), encoded(5, (8, 8))]), (4, 6, 3), None)
