"""Parquet files as Hugging Face stores sets of pictures."""

import functools
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import picture_files
from cnn.data import sources
from cnn.data.types import DataError, DataSpec
from picture_files import NAMES, made, png, shades, table, write_parquet


def pictures(*shades):
    return [png(np.full((8, 8, 1), shade, np.uint8)) for shade in shades]


def write(path, arrow, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(arrow, path, **options)


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "train.parquet", table(pictures(10, 20, 30), (0, 1, 0), ("cat", "dog")))
    write(tmp_path / "test.parquet", table(pictures(40, 50), (1, 0), ("cat", "dog")))
    return tmp_path


def read(file, name="parquet", **changes):
    return picture_files.read(name, file, **{"classes": 2, **changes})


one_line = functools.partial(picture_files.refusal, read)


@pytest.mark.parametrize("loading", ["memory", "stream"])
@pytest.mark.parametrize("folder", ["", "data"])
def test_shards_of_every_split_are_read_in_order(tmp_path, loading, folder):
    splits = made({"train": 7, "valid": 2, "test": 3})
    write_parquet(tmp_path / folder, splits)
    data = picture_files.read("parquet", tmp_path, loading=loading)
    assert data.class_names == NAMES
    for split, (images, labels) in splits.items():
        got = getattr(data, split)
        np.testing.assert_array_equal(got.images[np.arange(len(got))], images)
        assert got.labels.tolist() == labels.tolist()
    rows = np.array([20, 3, 11, 3, 12])
    np.testing.assert_array_equal(data.train.images[rows], splits["train"][0][rows])


def test_a_row_group_is_read_once_for_a_batch_and_let_go(tmp_path, monkeypatch):
    from cnn.data.sources import parquet

    write_parquet(tmp_path, made({"train": 7, "test": 3}))
    data = picture_files.read("parquet", tmp_path, loading="stream")
    read_groups, column = [], parquet.Shard.column

    def counted(shard, name, groups):
        read_groups.append((shard.path.name, list(groups)))
        return column(shard, name, groups)

    monkeypatch.setattr(parquet.Shard, "column", counted)
    data.train.images[np.array([20, 0, 19, 1, 2])]
    assert read_groups == [("train-00000-of-00002.parquet", [0]), ("train-00001-of-00002.parquet", [2])]


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({"image": "binary", "label": pa.int32()}, "parquet"),
        ({"img": "large_binary", "fine_label": pa.int64()}, "parquet"),
        ({"photo": "struct", "y": pa.int8()}, "parquet"),
        ({"photo": "binary", "kind": pa.int64()}, "parquet(image='photo', label='kind')"),
        ({"image": "binary", "label": pa.bool_()}, "parquet"),
    ],
)
def test_columns_are_found_by_type_and_name_or_given(root, columns, name):
    (image, kind), (label, kind_of_label) = columns.items()
    encoded = pictures(10, 20, 30)
    if kind == "struct":
        array = pa.array([{"bytes": each, "path": None} for each in encoded])
    else:
        array = pa.array(encoded, getattr(pa, kind)())
    arrow = pa.table({"nr": [1, 2, 3], image: array, label: pa.array([0, 1, 0]).cast(kind_of_label)})
    for split in ("train", "test"):
        write(root / f"{split}.parquet", arrow)
    data = read(root, name)
    assert (data.class_names, shades(data.train), data.train.labels.tolist()) == (("0", "1"), [10, 20, 30], [0, 1, 0])
    assert read(root, name, class_names=("no", "yes")).class_names == ("no", "yes")


@pytest.mark.parametrize("dictionary", [False, True])
def test_labels_that_are_texts_are_names(root, dictionary):
    labels = pa.array(["owl", "ant", "owl"])
    arrow = pa.table({"image": pictures(1, 2, 3), "label": labels.dictionary_encode() if dictionary else labels})
    for split in ("train", "test"):
        write(root / f"{split}.parquet", arrow)
    data = read(root)
    assert (data.class_names, data.train.labels.tolist()) == (("ant", "owl"), [1, 0, 1])


def test_class_names_of_the_file_go_before_those_of_the_config_and_bound_the_labels(root):
    assert read(root, class_names=("x", "y")).class_names == ("cat", "dog")
    write(root / "train.parquet", table(pictures(1, 2), (0, 2), ("cat", "dog")))
    assert one_line(root).endswith(
        "as many classes as are named, got 2 in train (1 such). Number the classes from 0, or write names in place of "
        "numbers."
    )


def test_a_test_set_whose_labels_are_hidden_is_not_used_and_that_is_said(root):
    write(root / "test.parquet", table(pictures(40, 50), (-1, -1), ("cat", "dog")))
    source = sources.read(DataSpec(name="parquet", file=str(root), image_shape=(8, 8, 1), classes=2))
    assert source.test is None
    assert source.notes == (
        "config.data.file: test is not used, as it has no labels, like the test set of a competition.",
    )


def test_rows_without_a_label_are_refused_or_left_out(root):
    write(root / "train.parquet", table(pictures(1, 2, 3, 4), (0, -1, 1, 0), ("cat", "dog")), row_group_size=2)
    assert one_line(root) == (
        "config.data.file: 1 of 4 rows of train have no label, got row 1 of train.parquet. Give them one, or leave "
        "them out by config.data.on_error=skip."
    )
    data = read(root, on_error="skip")
    assert shades(data.train) == [1, 3, 4] and data.train.labels.tolist() == [0, 1, 0]
    assert data.notes == (
        "config.data.file: 1 of 4 rows of train have no label and are left out: row 1 of train.parquet.",
    )


@pytest.mark.parametrize("loading", ["memory", "stream"])
def test_broken_and_missing_pictures_are_refused_or_skipped(root, loading):
    encoded = [*pictures(10), b"no picture", None, *pictures(40)]
    write(root / "train.parquet", table(encoded, (0, 0, 1, 1), ("cat", "dog")), row_group_size=2)
    said = one_line(root, loading=loading)
    assert said.startswith(
        "config.data.file: 2 of 4 pictures cannot be read, got row 1 of train.parquet (not a picture in PNG, JPEG, "
        "BMP, WEBP), row 2 of train.parquet (it has no bytes). Mend"
    )
    data = read(root, loading=loading, on_error="skip")
    assert shades(data.train) == [10, 0, 0, 40] and data.train.marked().tolist() == [0, -1, -1, 1]


@pytest.mark.parametrize(
    ("arrow", "message"),
    [
        (
            table([None, None], (0, 1)),
            r"no bytes of pictures in '.*', got their paths alone\. Write the bytes of the pict",
        ),
        (
            pa.table({"image": ["a.png"], "label": [0]}),
            r"the column 'image' must hold the bytes of pictures, or struct<by",
        ),
        (
            pa.table({"image": [{"path": "a.png"}], "label": [0]}),
            r"the column 'image' must hold the bytes .*, got struct<",
        ),
        (
            pa.table({"nr": [1], "label": [0]}),
            r"no column of images in '.*', got the columns nr, label\. Call one image, ",
        ),
        (
            pa.table({"image": [b"x"], "kind": [0]}),
            r"no column of labels in '.*', got the columns image, kind\. Call one ",
        ),
        (
            pa.table({"image": [b"x"], "label": [0.5]}),
            r"the column 'label' must hold whole numbers or names in '.*', got d",
        ),
        (table([], ()), r"no rows in '.*', got 0\. Name other files\."),
    ],
)
def test_other_columns_are_refused_in_one_line(root, arrow, message):
    write(root / "train.parquet", arrow)
    with pytest.raises(DataError, match=rf"^config\.data\.file: {message}") as caught:
        read(root)
    assert "\n" not in str(caught.value)


def test_an_option_that_names_no_column_and_shards_of_other_columns_are_refused(root):
    assert one_line(root, name="parquet(label='lable')") == (
        "config.data.name: parquet(label=...) names no column of train.parquet, got 'lable'. Did you mean 'label'? "
        "Columns: image, label."
    )
    (root / "train.parquet").rename(root / "train-00000-of-00002.parquet")
    write(root / "train-00001-of-00002.parquet", pa.table({"image": pictures(1), "y": [0]}))
    assert one_line(root).startswith("config.data.file: other columns than in train-00000-of-00002.parquet in '")


def test_damaged_files_are_refused(root):
    whole = (root / "train.parquet").read_bytes()
    for content in (b"", b"no parquet", whole[:-100], whole[:50]):
        (root / "train.parquet").write_bytes(content)
        said = one_line(root)
        assert said.startswith("config.data.file: no Parquet file, or a damaged one, got '")
        assert said.endswith(". Fetch it again.")
    spoilt = bytearray(whole)
    spoilt[4:200] = b"\xff" * 196
    (root / "train.parquet").write_bytes(spoilt)
    assert one_line(root).startswith("config.data.file: ")


def test_the_identity_follows_labels_names_and_bytes_and_not_the_place(root, tmp_path_factory):
    before = read(root).identity
    moved = tmp_path_factory.mktemp("moved")
    shutil.copytree(root, moved, dirs_exist_ok=True)
    assert read(moved).identity == before
    for arrow in (
        table(pictures(10, 20, 31), (0, 1, 0), ("cat", "dog")),
        table(pictures(10, 20, 30), (0, 1, 1), ("cat", "dog")),
    ):
        write(moved / "train.parquet", arrow)
        assert read(moved).identity != before


@pytest.mark.slow(seconds=4)
def test_without_pyarrow_the_remedy_is_told(root):
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from cnn.data import sources; from cnn.data.types import DataSpec\n"
        "try:\n    sources.read(DataSpec(name='parquet', file='x', image_shape=(8, 8, 1), classes=2))\n"
        "except ValueError as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("config.data.name: parquet is read by pyarrow, got: ")
    assert said.endswith(". Install it: pip install pyarrow.\n")
