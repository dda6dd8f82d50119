"""CSV: lists of picture files and labels, and rows of pixels."""

import csv
import functools
import shutil

import numpy as np
import pytest

import cnn
import picture_files
import runs
from cnn.data.sources import hashing
from cnn.data.types import DataError
from picture_files import made, png, shades, write_csv, write_pixels, write_table

SHADES = (10, 20, 200, 210)
"""Two cats and two dogs."""
PAIRS = [("a.png", "cat"), ("b.png", "cat"), ("c.png", "dog"), ("d.png", "dog")]


def pictures(root, names=("a.png", "b.png", "c.png", "d.png"), shades=SHADES):
    root.mkdir(parents=True, exist_ok=True)
    for name, shade in zip(names, shades, strict=True):
        (root / name).write_bytes(png(np.full((8, 8, 1), shade, np.uint8)))


@pytest.fixture
def root(tmp_path):
    """Tables of four pictures for training, and of four for testing, beside them."""
    pictures(tmp_path)
    pictures(tmp_path, ("e.png", "f.png", "g.png", "h.png"), (11, 21, 201, 211))
    write_table(tmp_path / "train.csv", [("image", "label"), *PAIRS])
    write_table(
        tmp_path / "test.csv", [("image", "label"), *((chr(ord(name[0]) + 4) + ".png", label) for name, label in PAIRS)]
    )
    return tmp_path


def read(file, name="csv", **changes):
    return picture_files.read(name, file, **{"classes": 2, **changes})


one_line = functools.partial(picture_files.refusal, read)


@pytest.mark.parametrize("loading", ["memory", "stream"])
def test_a_list_of_files_is_read_in_its_order(root, loading):
    data = read(root, loading=loading)
    assert data.class_names == ("cat", "dog")
    assert shades(data.train) == list(SHADES) and data.train.labels.tolist() == [0, 0, 1, 1]
    assert (shades(data.test), len(data.valid), data.streams) == ([11, 21, 201, 211], 0, loading == "stream")


@pytest.mark.parametrize("columns", [("File", "Class"), (" path ", "TARGET"), ("image_id", "y"), ("id", "category")])
def test_columns_are_found_by_common_names(root, columns):
    write_table(root / "train.csv", [("x", *columns), *(("1", *pair) for pair in PAIRS)])
    assert shades(read(root).train) == list(SHADES)


def test_columns_suffix_and_folder_are_options(root):
    pictures(root / "train_images", ("1.png", "2.png", "3.png", "4.png"))
    write_table(root / "train.csv", [("nr", "kind", "label"), (1, "x", 9), (2, "x", 8), (3, "z", 7), ("4.png", "z", 6)])
    shutil.copy(root / "train.csv", root / "test.csv")
    data = read(root, "csv(image='nr', label='Kind', suffix='.png', folder='train_images')")
    assert (shades(data.train), data.class_names) == (list(SHADES), ("x", "z"))


def test_each_table_may_have_a_folder_of_pictures(root):
    for word, some in (("train", (1, 2)), ("test", (3, 4))):
        pictures(root / f"{word}_images", ("0.png", "1.png"), some)
        write_table(root / f"{word}.csv", [("id", "label"), ("0.png", "cat"), ("1.png", "dog")])
    said = one_line(root)
    assert said.endswith("""Say where they are by config.data.name="csv(folder='{split}_images')".""")
    data = read(root, "csv(folder='{split}_images')")
    assert (shades(data.train), shades(data.test)) == ([1, 2], [3, 4])


def test_pictures_are_looked_for_beside_the_table_or_in_the_data_folder(root, tmp_path):
    pictures(tmp_path / "other", shades=(1, 2, 3, 4))
    shutil.copy(root / "train.csv", root / "test.csv")
    assert shades(read(root, data_dir=str(tmp_path / "other")).train) == [1, 2, 3, 4]


@pytest.mark.parametrize("column", ["split", "Usage", "subset"])
def test_a_column_of_splits_sorts_the_rows(root, column):
    words = ("Training", "val", "train", "PublicTest")
    (root / "test.csv").unlink()
    write_table(root / "train.csv", [("image", "label", column), *((*p, w) for p, w in zip(PAIRS, words, strict=True))])
    with open(root / "train.csv", "a", newline="") as file:
        csv.writer(file).writerows([("e.png", "cat", "PrivateTest"), ("g.png", "dog", "testing")])
    data = read(root / "train.csv")
    assert [shades(split) for split in (data.train, data.valid, data.test)] == [[10, 200], [20, 210], [11, 201]]


def test_folds_that_are_numbers_are_no_splits_unless_they_are_named(root):
    write_table(root / "train.csv", [("image", "label", "fold"), *((*pair, n) for n, pair in enumerate(PAIRS))])
    (note,) = read(root).notes
    assert note == (
        "config.data.file: the column of split or subset or usage or fold is not used, as it names no splits, but "
        "0, 1, 2, 3."
    )
    said = one_line(root / "train.csv", name="csv(split='fold')")
    assert said.startswith("config.data.file: the split of a row must be train, valid or test, or one of train, ")
    assert said.endswith(", got '0' in line 2 of train.csv. Write one of these.")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_separators_line_ends_and_a_byte_order_mark_are_told(root, separator, ending):
    lines = [separator.join(row) for row in [("image", "label"), *PAIRS]]
    (root / "train.csv").write_bytes(b"\xef\xbb\xbf" + ending.join([*lines, "", ""]).encode())
    assert read(root).identity and shades(read(root).train) == list(SHADES)


def test_labels_that_are_whole_numbers_are_classes_in_the_order_of_the_numbers(root):
    largest = str(2**53 + 1)  # the float nearest to it is another number
    numbers = ("10", "9", largest, f"{largest}.0")
    write_table(root / "train.csv", [("image", "label"), *zip("abcd", numbers, strict=True)])
    shutil.copy(root / "train.csv", root / "test.csv")
    data = read(root, "csv(suffix='.png')", classes=3)
    assert (data.class_names, data.train.labels.tolist()) == (("9", "10", largest), [1, 0, 2, 2])
    named = read(root, "csv(suffix='.png')", classes=3, class_names=("nine", "ten", "hundred"))
    assert (named.class_names, named.train.labels.tolist()) == (("nine", "ten", "hundred"), [1, 0, 2, 2])
    assert one_line(root, name="csv(suffix='.png')", class_names=("nine", "ten")) == (
        "config.data.class_names: labels that are numbers must be from 0 on and below 2, as many classes as are "
        "named, got 10 in train (4 such). Number the classes from 0, or write names in place of numbers."
    )


def test_given_class_names_are_indexed_by_numbers_or_looked_up(root):
    write_table(root / "train.csv", [("image", "label"), *((name, int(label == "dog")) for name, label in PAIRS)])
    shutil.copy(root / "train.csv", root / "test.csv")
    assert read(root, class_names=("cow", "bull")).class_names == ("cow", "bull")
    write_table(root / "train.csv", [("image", "label"), *PAIRS])
    shutil.copy(root / "train.csv", root / "test.csv")
    assert read(root, class_names=("dog", "cat")).train.labels.tolist() == [1, 1, 0, 0]
    assert one_line(root, class_names=("dog", "cow")) == (
        "config.data.class_names: lacks a label of the data, got 'cat'. It has dog, cow; add that, or leave "
        "class_names empty for the names of the data."
    )


def test_letters_written_in_another_way_are_the_same_name(root):
    rows = [("a.png", "caf\u00e9"), ("b.png", "cafe\u0301"), *PAIRS[2:]]
    write_table(root / "train.csv", [("image", "label"), *rows])
    shutil.copy(root / "train.csv", root / "test.csv")
    assert read(root).class_names == ("caf\u00e9", "dog")


def test_the_test_set_of_a_competition_is_not_used_and_that_is_said(root):
    write_table(root / "test.csv", [("image",), ("a.png",)])
    write_table(root / "valid.csv", [("image", "label"), ("e.png", "dog"), ("f.png", "cat")])
    data = read(root)
    assert (len(data.test), len(data.valid)) == (0, 2)
    assert data.notes[1:3] == (
        "config.data.file: test.csv is not used, as it has no column of labels, like the test set of a competition.",
        "config.data.file: 2 pictures are passed over, as no row names them: g.png, h.png.",
    )


def test_what_no_row_names_and_what_two_rows_name_is_said(root, monkeypatch):
    pictures(root, ("x.png", "y.png", ".z.png"), (1, 2, 3))
    write_table(root / "train.csv", [("image", "label"), *PAIRS, PAIRS[0]])
    write_table(root / "test.csv", [("image", "label"), ("b.png", "cat")])
    assert read(root).notes == (
        "config.data.file: test has no pictures of 1 of 2 classes, of which its results say nothing: dog.",
        "config.data.file: 1 picture is listed more than once, and counted each time: a.png (train, train).",
        "config.data.file: 6 pictures are passed over, as no row names them: e.png, f.png, g.png, h.png, x.png, y.png.",
        "config.data.file: 1 picture is in two splits, byte for byte: b.png (test) = b.png (train). "
        "Accuracy counts them.",
    )
    monkeypatch.setattr(hashing, "HASHED_WHOLE", 3)
    assert (
        "2 pictures are listed more than once, and counted each time: a.png (train, train), b.png (train, test)."
        in (read(root).notes[1])
    )
    write_table(root / "test.csv", [("image", "label"), ("a.png", "dog")])
    assert one_line(root) == (
        "config.data.file: a picture has two labels, got 'a.png' as 'cat' in line 2 of train.csv and as 'dog' in "
        "line 2 of test.csv. Leave one of the rows."
    )


def test_files_that_are_not_there_are_named_or_skipped(root):
    (root / "b.png").unlink()
    said = one_line(root)
    assert said.startswith("config.data.file: 1 of 8 pictures are not there, got '")
    assert said.endswith(
        "/b.png' (line 3 of train.csv). Set config.data.data_dir to the folder that the names start from, or take the "
        "rows away."
    )
    for loading in ("memory", "stream"):
        data = read(root, on_error="skip", loading=loading)
        assert shades(data.train) == [10, 0, 200, 210]
        assert data.train.marked().tolist() == [0, -1, 1, 1]
        assert [bad.picture for bad in data.bad_examples.fresh(root)] == ["b.png"]


def test_where_missing_files_may_lie_is_told(root):
    pictures(root / "jpg", ("1.jpg", "2.jpg"), (1, 2))
    write_table(root / "train.csv", [("image", "label"), ("a", "cat"), ("c", "dog")])
    assert one_line(root).endswith("""Say where they are by config.data.name="csv(suffix='.png')".""")
    write_table(root / "train.csv", [("image", "label"), (1, "cat"), (2, "dog")])
    assert one_line(root).endswith("""Say where they are by config.data.name="csv(folder='jpg', suffix='.jpg')".""")
    (root / "test.csv").unlink()
    assert one_line(root, on_error="skip").startswith("config.data.file: 2 of 2 pictures are not there, got '")


@pytest.mark.parametrize("loading", ["memory", "stream"])
def test_broken_pictures_are_refused_or_skipped(root, loading):
    (root / "b.png").write_bytes(b"no picture")
    said = one_line(root, loading=loading)
    assert (
        said.startswith("config.data.file: 1 of 4 pictures cannot be read, got '") and "b.png' (not a picture" in said
    )
    data = read(root, loading=loading, on_error="skip")
    assert shades(data.train) == [10, 0, 200, 210]
    assert data.train.marked().tolist() == [0, -1, 1, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"has no header, got '.*train\.csv'\. Begin it with a line such as image,label\.$"),
        (
            "a.png,cat\n",
            r"has no header, got 'a\.png,cat' as the first line of '.*'\. Write the names of the columns ab",
        ),
        ("7,0,0,0\n", r"has no header, got '7,0,0,0' as the first line of '.*'\. Write the names of the columns above"),
        ("image,label\n", r"has no rows, got '.*train\.csv'\. Write one a picture\.$"),
        (
            "imgae,label\na.png,cat\n",
            r"no column of images in train\.csv, got the columns imgae, label\. Did you mean 'im",
        ),
        (
            "image,lable\na.png,cat\n",
            r"no column of labels in train\.csv, .* Did you mean 'lable'\? Call one label, class,",
        ),
        (
            "image,label,label\na.png,x,y\n",
            r"2 columns of train\.csv are called 'label', got image, label, label\. Renam",
        ),
        (
            "image,label\na.png\nb.png,cat,x\n",
            r"2 of 2 rows have other cells than the header, got line 2 of train\.csv, ",
        ),
        (
            "image,label\na.png,\nb.png,NaN\nc.png,dog\n",
            r"2 of 3 rows have no label, got line 2 of train\.csv, line 3 of",
        ),
        (
            "image,label\n,cat\nc.png,dog\n",
            r"1 of 2 rows have other cells than the header, got line 2 of train\.csv\. Me",
        ),
        (
            'image,label\na.png,"cat\nb.png,dog\n',
            r"wrong quotes in line 3 of train\.csv, got: unexpected end of data\. B",
        ),
        (
            'image,label\na.png,"cat" x\n',
            r"wrong quotes in line 2 of train\.csv, got: ',' expected after '\"'\. Begin an",
        ),
        ('"image,label\n', r"wrong quotes in the header of train\.csv, got: unexpected end of data\. Begin"),
        ("image,label,split\na.png,cat,test\n", r"no row is of train, got test\. Name a file with rows of train\.$"),
        (
            "image,label,split\na.png,cat,train\nb.png,cat,\n",
            r"the split of a row must be .*, got '' in line 3 of train",
        ),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(root, text, message):
    (root / "train.csv").write_text(text)
    with pytest.raises(DataError, match=rf"^config\.data\.file: {message}") as caught:
        read(root / "train.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["image,label\na.png,Kätzchen\n", "image,tête\na.png,cat\n"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings_are_refused(root, text, encoding):
    (root / "train.csv").write_bytes(text.encode(encoding))
    assert one_line(root / "train.csv").endswith("train.csv'. Save it as UTF-8.")


def test_an_option_that_names_no_column_is_refused(root):
    assert one_line(root, name="csv(label='lable')") == (
        "config.data.name: csv(label=...) names no column of train.csv, got 'lable'. Did you mean 'label'? "
        "Columns: image, label."
    )
    assert one_line(root, image_shape=(8, 8, 2)).startswith("config.data.name: pictures must have 1 or 3 channels, csv")


def test_rows_without_a_label_or_a_cell_are_left_out_where_that_is_wanted(root):
    with open(root / "train.csv", "a") as file:
        file.write("x.png,\ny.png\n")
    assert read(root, on_error="skip").notes == (
        "config.data.file: 1 of 10 rows have other cells than the header and are left out: line 7 of train.csv.",
        "config.data.file: 1 of 10 rows have no label and are left out: line 6 of train.csv.",
    )


def test_the_identity_follows_labels_and_pictures_and_not_the_place(root, tmp_path_factory):
    before = read(root).identity
    moved = tmp_path_factory.mktemp("moved")
    shutil.copytree(root, moved, dirs_exist_ok=True)
    assert read(moved).identity == before
    pictures(moved, ("a.png",), (11,))
    assert read(moved).identity != before
    write_table(root / "train.csv", [("image", "label"), *PAIRS[:3], ("d.png", "cat")])
    assert read(root).identity != before


# Rows of pixels.


@pytest.mark.parametrize("loading", ["memory", "stream"])
@pytest.mark.parametrize("shape", [(8, 8, 1), (4, 4, 3), (4, 6, 1)])
def test_rows_of_pixels_are_pictures(tmp_path, loading, shape):
    splits = made({"train": 4, "test": 2}, shape=shape)
    write_pixels(tmp_path, splits)
    data = picture_files.read("csv", tmp_path, image_shape=shape, loading=loading)
    for split, (images, labels) in splits.items():
        got = getattr(data, split)
        np.testing.assert_array_equal(got.images[np.arange(len(got))], images)
        assert got.labels.tolist() == labels.tolist()
    np.testing.assert_array_equal(data.train.images[np.array([5, 2, 5])], splits["train"][0][[5, 2, 5]])


def fer(path, rows, header=("emotion", "pixels", " Usage"), quoting=csv.QUOTE_MINIMAL):
    with open(path, "w", newline="") as file:
        csv.writer(file, quoting=quoting).writerows([header, *rows])
    return path


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_pixels_in_one_text_and_the_column_of_usage_are_read(tmp_path, quoting):
    splits = made({"Training": 3, "PublicTest": 1, "PrivateTest": 2})
    rows = [
        (label, " ".join(map(str, image.ravel())), split)
        for split, (images, labels) in splits.items()
        for image, label in zip(images, labels, strict=True)
    ]
    data = picture_files.read("csv", fer(tmp_path / "fer2013.csv", rows, quoting=quoting))
    for split, name in (("train", "Training"), ("valid", "PublicTest"), ("test", "PrivateTest")):
        got = getattr(data, split)
        np.testing.assert_array_equal(got.images, splits[name][0])
        assert got.labels.tolist() == splits[name][1].tolist()


def test_square_pixels_of_another_size_are_resized_and_others_refused(tmp_path):
    write_pixels(tmp_path, made({"train": 2, "test": 1}))
    assert picture_files.read("csv", tmp_path, image_shape=(16, 16, 1), resize="bilinear").train.images.shape[1] == 16
    assert one_line(tmp_path, classes=3, image_shape=(9, 9, 1)).startswith(
        "config.data.image_shape: train of train.csv is 8x"
    )
    write_pixels(tmp_path, made({"train": 2, "test": 1}, shape=(3, 5, 1)))
    assert one_line(tmp_path, classes=3) == (
        "config.data.image_shape: train.csv has 15 pixels a row, which make neither this shape nor a square, got "
        "(8, 8, 1). Set it to their height, width and channels."
    )


def pixel_rows(root, train):
    """Writes 2x2 pictures of two classes, and rows as they are given behind them."""
    header = "label,pixel0,pixel1,pixel2,pixel3"
    good = ["0,1,2,3,4", "1,5,6,7,8"]
    (root / "train.csv").write_text("\n".join([header, *good, *train]) + "\n")
    (root / "test.csv").write_text("\n".join([header, *good]) + "\n")
    return root


@pytest.mark.parametrize("loading", ["memory", "stream"])
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,2,3,4,256", r"pixels must be from 0 to 255, got 256"),
        ("1,2,-3,4,5", r"pixels must be from 0 to 255, got -3"),
        ("1,2,0.5,4,5", r"pixels must be whole numbers, got '0\.5'"),
        ("1,2,,4,5", r"pixels must be whole numbers, got ''"),
        ("1,2,x,4,5", r"pixels must be whole numbers, got 'x'"),
    ],
)
def test_rows_that_are_no_pictures_are_refused_or_skipped(tmp_path, loading, row, reason):
    pixel_rows(tmp_path, [row])
    shape = {"image_shape": (2, 2, 1), "loading": loading}
    message = (
        rf"^config\.data\.file: 1 of 3 rows are no pictures, got line 4 of train\.csv \({reason}\)\. Mend them, or "
    )
    with pytest.raises(DataError, match=message):
        read(tmp_path, **shape)
    data = read(tmp_path, on_error="skip", **shape)
    assert np.asarray(data.train.images[np.arange(3)]).reshape(3, 4).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [0] * 4]
    assert data.train.marked().tolist() == [0, 1, -1]
    assert [bad.picture for bad in data.bad_examples.fresh(tmp_path)] == ["line 4 of train.csv"]


def test_decimals_that_are_whole_quotes_and_blank_lines_are_read(tmp_path):
    pixel_rows(tmp_path, ["", '"1","9.0","10.0","11.0","12.0"', "1,9.0,10,11.0,12", ""])
    data = read(tmp_path, image_shape=(2, 2, 1))
    assert data.train.images[2:].reshape(2, 4).tolist() == [[9, 10, 11, 12]] * 2


def test_ragged_rows_of_pixels_and_those_without_a_label_are_refused_or_left_out(tmp_path):
    pixel_rows(tmp_path, ["1,2,3,4", ",1,2,3,4"])
    assert one_line(tmp_path, image_shape=(2, 2, 1)) == (
        "config.data.file: 1 of 6 rows have other cells than the header, got line 4 of train.csv. Mend them, or leave "
        "them out by config.data.on_error=skip."
    )
    assert len(read(tmp_path, image_shape=(2, 2, 1), on_error="skip").train) == 2


def test_columns_of_pixels_stand_side_by_side_and_files_are_of_one_kind(tmp_path):
    (tmp_path / "train.csv").write_text("p0,p1,x,p2,p3,label\n1,2,9,3,4,0\n")
    assert one_line(tmp_path / "train.csv") == (
        "config.data.file: the columns of pixels must stand side by side, got 'x' between them in train.csv. Move it."
    )
    pixel_rows(tmp_path, [])
    write_table(tmp_path / "test.csv", [("image", "label"), PAIRS[0]])
    assert one_line(tmp_path).startswith(
        "config.data.file: no columns of pixels in test.csv, as its other files have, got"
    )


def test_the_identity_of_pixels_follows_them(tmp_path):
    before = read(pixel_rows(tmp_path, ["1,9,9,9,9"]), image_shape=(2, 2, 1)).identity
    assert read(pixel_rows(tmp_path, ["1,9,9,9,9"]), image_shape=(2, 2, 1)).identity == before
    assert read(pixel_rows(tmp_path, ["1,9,9,9,8"]), image_shape=(2, 2, 1)).identity != before
    assert read(pixel_rows(tmp_path, ["0,9,9,9,9"]), image_shape=(2, 2, 1)).identity != before


@pytest.mark.slow(seconds=5)
def test_a_command_line_and_python_name_it_and_its_options_alike(tmp_path):
    write_csv(tmp_path / "data", made({"train": 16, "test": 4}))
    sections = {
        "model": {"layers": "flatten | dense(classes)"},
        "data": {"image_shape": (8, 8, 1), "classes": 3},
        "optimizer": {"name": "adam", "learning_rate": 0.01},
        "train": {"batch_size": 4, "epochs": 3},
        "report": {"page": "never"},
    }
    given = {"name": "csv(image='image', label='label')", "file": str(tmp_path / "data")}
    assert (
        runs.train(tmp_path / "line", *(f"data.{name}={value}" for name, value in given.items()), sections=sections)
        == 0
    )
    cnn.run({**sections, "data": {**sections["data"], **given}}, tmp_path / "python")
    assert runs.outcome(tmp_path / "line") == runs.outcome(tmp_path / "python")
