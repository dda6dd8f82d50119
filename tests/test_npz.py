"""Data in a file of NumPy's, and such files written from any data."""

import io
import zipfile

import numpy as np
import pytest

from cnn.data import datasets, sources
from cnn.data.sources import npz
from cnn.data.types import DataError, DataSpec

SHAPE = (4, 4, 1)
NAMES = ("train", "valid", "test")
COUNTS = {"train": 20, "valid": 6, "test": 8}
FIRST = {"train": 0, "valid": 20, "test": 26}
"""Where the pictures of a split begin: no two are equal."""


def pictures(split, dtype=np.uint8, high=255):
    n = COUNTS[split]
    return ((np.arange(n * 16) + FIRST[split] * 16).reshape(n, 4, 4) % 97 / 96 * high).astype(dtype), np.arange(n) % 2


def arrays(*splits, images="x_{}", labels="y_{}", **how):
    given = {}
    for split in splits or ("train", "test"):
        given[images.format(split)], given[labels.format(split)] = pictures(split, **how)
    return given


def spec(path, **changes):
    fields = {"name": "npz", "file": str(path), "image_shape": SHAPE, "classes": 2, "valid_fraction": 0.2}
    return DataSpec(**{**fields, **changes})


def load(path, **changes):
    return datasets.load(spec(path, **changes))


def written(folder, *, by=np.savez, name="data.npz", **given):
    by(folder / name, **given)
    return folder / name


def equal(one, other):
    assert one.identity == other.identity and one.class_names == other.class_names
    for split in NAMES:
        np.testing.assert_array_equal(getattr(one, split).images[:], getattr(other, split).images[:])
        np.testing.assert_array_equal(getattr(one, split).labels, getattr(other, split).labels)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("x_{}", "y_{}"),
        ("X_{}", "Y_{}"),
        ("{}_images", "{}_labels"),
        ("images_{}", "labels_{}"),
        ("{}_x", "{}_y"),
        ("x{}", "y{}"),
        ("{}-data", "{}-targets"),
    ],
)
def test_common_spellings_are_known(tmp_path, images, labels):
    usual = load(written(tmp_path, **arrays()))
    assert (len(usual.train), len(usual.valid), len(usual.test)) == (16, 4, 8) and usual.notes == ()
    equal(load(written(tmp_path, **arrays(images=images, labels=labels))), usual)


@pytest.mark.parametrize("word", ["valid", "val", "validation"])
def test_its_own_validation_split_is_taken(tmp_path, word):
    given = arrays(*NAMES, images="{}_images", labels="{}_labels")
    renamed = {key.replace("valid", word): array for key, array in given.items()}
    assert len(load(written(tmp_path, **renamed)).valid) == 6


@pytest.mark.parametrize(("images", "labels"), [("x", "y"), ("images", "labels")])
def test_what_names_no_split_is_train_from_which_a_test_may_be_cut(tmp_path, images, labels):
    given = dict(zip((images, labels), pictures("train"), strict=True))
    path = written(tmp_path, **given)
    assert (len(load(path).train), len(load(path).test)) == (16, 0)
    assert len(load(path, test_fraction=0.5).test) == 10
    equal(load(path), load(written(tmp_path, name="b.npz", **arrays("train"))))
    npz.write(tmp_path / "again.npz", sources.read(spec(path)), SHAPE)
    equal(load(tmp_path / "again.npz", test_fraction=0.5), load(path, test_fraction=0.5))


def test_labels_in_a_column_and_names_of_classes_are_read(tmp_path):
    given = {key: array[:, None] if key[0] == "y" else array for key, array in arrays().items()}
    for names in (np.array(["a", "b"]), np.array([b"a", b"b"])):
        assert load(written(tmp_path, **given, class_names=names)).class_names == ("a", "b")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("x", "y", "z"), r"class_names: names 3 classes, got config\.data\.classes=2\. .* set .* to 3\.$"),
        ((), r"classes: npz has 1 class, got 2\. Set it to 1\.$"),
    ],
)
def test_names_of_another_number_than_the_classes_are_blamed_themselves(tmp_path, names, message):
    given = {**arrays(), "y_train": np.zeros(20, np.int64), "y_test": np.zeros(COUNTS["test"], np.int64)}
    with pytest.raises(DataError, match=rf"^config\.data\.{message}"):
        load(written(tmp_path, **given), class_names=names)


def test_a_file_for_each_split_is_read_by_a_pattern(tmp_path):
    together = load(written(tmp_path, **arrays(*NAMES)))
    for split, word in zip(NAMES, ("train", "val", "test"), strict=True):
        images, labels = pictures(split)
        written(tmp_path, name=f"{word}.npz", x=images, y=labels)
    equal(load(tmp_path / "{split}.npz"), together)
    written(tmp_path, name="train.npz", **arrays())
    data = load(tmp_path / "{split}.npz")
    assert data.notes[1:] == ("config.data.file: arrays of train.npz passed over: x_test, y_test",)


@pytest.mark.parametrize("by", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(("dtype", "high"), [(np.uint8, 255), (np.float32, 1), (np.float64, 255), (np.int16, 255)])
def test_it_streams_to_the_same_pictures(tmp_path, by, dtype, high):
    path = written(tmp_path, by=by, **arrays(dtype=dtype, high=high))
    whole, streamed = load(path, loading="memory"), load(path, loading="stream")
    assert streamed.streams and not whole.streams
    equal(streamed, whole)
    packed = [note for note in streamed.notes if "is compressed, so its" in note]
    assert len(packed) == (by is np.savez_compressed)
    assert not [note for note in whole.notes if "compressed" in note]


def test_what_is_not_compressed_is_mapped_whatever_the_order_of_its_axes(tmp_path):
    given = arrays()
    given["x_train"] = np.asfortranarray(given["x_train"])
    path = written(tmp_path, **given)
    assert isinstance(npz._read(path, "")[0][npz.Role("train", "images")].numbers, np.memmap)
    equal(load(path, loading="stream"), load(written(tmp_path, name="b.npz", **arrays())))


def test_the_same_numbers_are_the_same_data_whatever_their_type(tmp_path):
    given = arrays()
    floats = {key: array / 255 if key[0] == "x" else array.astype(np.uint8) for key, array in given.items()}
    equal(load(written(tmp_path, **floats)), load(written(tmp_path, name="b.npz", **given)))


def test_a_split_in_two_files_is_refused(tmp_path):
    for word, pattern, message in (
        ("train-1", "{split}-{0..1}.npz", r"images of train are in two files, got "),
        ("training-0", "{split}-0.npz", r"{split} stands for train and training alike, got "),
    ):
        for name in ("train-0", word):
            written(tmp_path, name=f"{name}.npz", **dict(zip("xy", pictures("train"), strict=True)))
        with pytest.raises(DataError, match=rf"config\.data\.file: {message}"):
            load(tmp_path / pattern)
        (tmp_path / f"{word}.npz").unlink()


def test_pictures_in_two_splits_are_told_with_what_named_them(tmp_path):
    given = arrays()
    given["x_test"][3] = given["x_train"][5]
    (note,) = load(written(tmp_path, **given), loading="stream").notes
    assert note == (
        "config.data.file: 1 picture is in two splits, byte for byte: picture 3 of test = picture 5 of train (valid). "
        "Accuracy counts them."
    )


def test_arrays_that_are_not_read_are_named(tmp_path):
    data = load(written(tmp_path, **arrays(), ids=np.arange(3), x_extra=np.arange(3)))
    assert data.notes == ("config.data.file: arrays of data.npz passed over: ids, x_extra",)


def without(*keys):
    return {key: array for key, array in arrays().items() if key not in keys}


WRONG = {
    "no train": (without("x_train", "y_train"), r"data.npz lacks the arrays x_train and y_train, got images of test, "),
    "nothing known": ({"a": np.arange(3)}, r"data.npz lacks the arrays x_train and y_train, got none that is known"),
    "no labels": (without("y_test"), r"data.npz has images of test and no labels, got one alone"),
    "no images": (without("x_test"), r"data.npz has labels of test and no images, got one alone"),
    "twice": ({**arrays(), "train_images": np.arange(2)}, r"two arrays of train images, got 'x_train' and 'train_im"),
    "no split": ({**arrays(), "x": np.arange(2)}, r"others whose names say no split, got 'x'. Leave them out"),
    "unequal": ({**arrays(), "y_train": np.arange(3)}, r"train of data.npz must hold .*\(20, 4, 4, 1\) and \(3,\)"),
    "two ranges": (
        {**arrays(dtype=float, high=1), "x_test": pictures("test", float, 255)[0]},
        r"train and test of data.npz must lie in one range, .* got 0 to 1 and 0 to 255. Save all",
    ),
    "NaN labels": ({**arrays(), "y_train": np.full(20, np.nan)}, r"whole numbers or names, got float64, NaN in row 0"),
    "NaN": ({**arrays(), "x_train": np.full((20, 4, 4), np.nan)}, r"finite numbers, got float64 with NaN or infinit"),
    "too few names": (
        {**arrays(), "y_train": np.arange(20) % 3, "class_names": np.array(["a", "b"])},
        r"labels of train of data.npz must lie in 0..1, a number for each of 2 class names, got 2 in row 2",
    ),
    "objects": (
        {**arrays(), "x_train": np.array([np.zeros((4, 4)), np.zeros((3, 4))], dtype=object)},
        r"x_train.npy of data.npz is an array of Python objects, which would have to be unpickled, got object",
    ),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("by", [np.savez, np.savez_compressed])
def test_what_is_wrong_with_its_arrays_is_one_line(tmp_path, case, by):
    given, message = WRONG[case]
    with pytest.raises(DataError, match=rf"config\.data\.file: .*{message}") as caught:
        load(written(tmp_path, by=by, **given))
    assert "\n" not in str(caught.value)


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def spoil(path):
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(200)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, spoil, lambda path: path.write_bytes(b"PK"), lambda path: path.write_text("")])
def test_a_damaged_file_is_one_line(tmp_path, damage):
    path = written(tmp_path, by=np.savez_compressed, **arrays())
    damage(path)
    with pytest.raises(DataError, match=r"config.data.file: is no npz file, or a damaged one, got '.*data.npz' \("):
        load(path)


def test_an_array_that_is_shorter_than_it_says_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive, archive.open("x_train.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (9, 4, 4)})
        file.write(bytes(9))
    with pytest.raises(DataError, match=r"damaged one, got .*x_train.npy has 9 bytes of numbers, not 144"):
        load(tmp_path / "short.npz")


def test_what_does_not_fit_the_memory_is_refused_before_it_is_unpacked(tmp_path):
    header, shape = io.BytesIO(), (1 << 40, 4, 4)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", header.getvalue())
        archive.infolist()[0].file_size += 1 << 44
    with pytest.raises(DataError, match=r"x_train.npy of bomb.npz is compressed and does not fit the memory, got 17"):
        load(tmp_path / "bomb.npz")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("", r"must name the npz file, got ''"),
        ("no/such.npz", r"no such file, got 'no/such.npz'"),
        ("no/{split}.npz", r"no such file, got 'no/{split}.npz'"),
        (".", r"is a folder, got '\.'"),
    ],
)
def test_a_file_that_is_not_there_is_one_line(file, message):
    assert datasets.identity(spec(file)) is None
    with pytest.raises(DataError, match=rf"config\.data\.file: {message}. Write it by numpy.savez"):
        load(file)


@pytest.mark.parametrize("names", [None, ["dog", "c\u00e4t"]])
def test_what_is_written_of_it_is_the_same_data(tmp_path, names):
    further = {} if names is None else {"class_names": np.array(names)}
    first = written(tmp_path, **arrays(*NAMES, dtype=np.float32, high=1), **further)
    for changes in ({}, {"image_shape": (6, 6, 1), "resize": "pad"}):
        npz.write(tmp_path / "again.npz", sources.read(spec(first, **changes)), (6, 6, 1))
        equal(load(tmp_path / "again.npz", **changes), load(first, **changes))
    before = (tmp_path / "again.npz").read_bytes()
    npz.write(tmp_path / "again.npz", sources.read(spec(first)), SHAPE)
    assert (tmp_path / "again.npz").read_bytes() == before


def test_of_other_sources_the_pictures_are_written_as_the_network_gets_them(tmp_path):
    digits = DataSpec(name="digits", image_shape=(10, 10, 1), classes=10, resize="bilinear")
    npz.write(tmp_path / "digits.npz", sources.read(digits), digits.image_shape)
    given, again = datasets.load(digits), load(tmp_path / "digits.npz", image_shape=(10, 10, 1), classes=10)
    assert given.identity != again.identity
    with np.load(tmp_path / "digits.npz") as file:
        assert file["x_train"].shape == (1438, 10, 10, 1)
    again = load(tmp_path / "digits.npz", image_shape=(10, 10, 1), classes=10, valid_fraction=0.1)
    for split in NAMES:
        np.testing.assert_array_equal(getattr(given, split).images, getattr(again, split).images)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    source = sources.read(spec(written(tmp_path, **arrays())))
    with pytest.raises(FileNotFoundError):
        npz.write(tmp_path / "no" / "data.npz", source, SHAPE)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        npz.write(tmp_path / "folder", source, SHAPE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "folder"]
