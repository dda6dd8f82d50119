"""A person's own pictures in folders."""

import io
import re
import unicodedata

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

import runs
from cnn.data.datasets import load
from cnn.data.types import DataError, DataSpec


def load_folder(root, **changes):
    fields = {
        "name": "folder",
        "data_dir": str(root),
        "manual_dir": "",
        "image_shape": (8, 8, 1),
        "classes": 2,
        "resize": "exact",
        "valid_fraction": 0.0,
        "train_on": "train",
    }
    return load(DataSpec(**{**fields, **changes}))


def write(root, names):
    """Writes plain pictures, each of its own shade."""
    for shade, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), shade).save(path)
    return root


def small(root):
    return write(root, ["train/cat/b.png", "train/cat/a.png", "train/dog/c.png", "test/dog/d.png", "test/cat/e.png"])


@pytest.fixture
def photographs(tmp_path):
    """Crops of two photographs and some digits, in grey and in colour, as PNG and as JPEG."""
    sample = load_sample_images()
    for name, photograph in zip(("china", "flower"), sample.images, strict=True):
        for n in range(12):
            folder = tmp_path / ("test" if n < 3 else "train") / name
            folder.mkdir(parents=True, exist_ok=True)
            crop = Image.fromarray(photograph[n * 20 : n * 20 + 60, n * 30 : n * 30 + 80])
            crop.convert("L" if n % 2 else "RGB").save(folder / f"{n:02}.{'png' if n % 3 else 'JPG'}")
    for n, digit in enumerate(load_digits().images[:9]):
        folder = tmp_path / ("test" if n < 2 else "train") / "digit"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digit * 15).astype(np.uint8)).save(folder / f"{n}.bmp")
    return tmp_path


@pytest.mark.parametrize("channels", [1, 3])
def test_photographs_and_digits_are_loaded(photographs, channels):
    data = load_folder(photographs, image_shape=(24, 32, channels), classes=3, resize="lanczos", valid_fraction=0.2)
    assert data.class_names == ("china", "digit", "flower")
    assert np.bincount(data.train.labels).tolist() == [7, 6, 7]
    assert np.bincount(data.valid.labels).tolist() == [2, 1, 2]
    assert np.bincount(data.test.labels).tolist() == [3, 2, 3]
    assert data.train.images.shape == (20, 24, 32, channels)
    assert len({image.tobytes() for image in data.train.images}) == 20


@pytest.mark.thorough(1)
@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_trains_on_photographs_and_digits_and_is_evaluated(photographs, tmp_path_factory, channels):
    workdir = tmp_path_factory.mktemp("folder") / "run"
    sections = {
        "model": {"layers": "conv(4, 5) | relu | max_pool(4) | flatten | dense(classes) | softmax"},
        "data": {"name": "folder", "data_dir": str(photographs), "image_shape": (24, 32, channels), "classes": 3},
        "optimizer": {"name": "adam", "learning_rate": 0.01},
        "train": {"batch_size": 5, "epochs": 30},
    }
    sections["data"] |= {"resize": "lanczos", "valid_fraction": 0.2}
    assert runs.train(workdir, sections=sections) == 0
    result = runs.saved(workdir, "result.json")
    assert result["train"]["accuracy"] > 0.9
    assert (result["valid"]["count"], result["test"]["count"]) == (5, 8)
    assert [entry["name"] for entry in runs.saved(workdir, "evaluation-test.json")["classes"]] == [
        *("china", "digit", "flower"),
    ]


def test_files_are_sorted_and_hidden_ones_and_notes_are_passed_over(tmp_path):
    small(tmp_path)
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "train" / "cat" / "._a.png").write_bytes(b"x")
    (tmp_path / "train" / "cat" / "notes.txt").write_text("x")
    data = load_folder(tmp_path)
    assert data.train.images[:, 0, 0, 0].tolist() == [1, 0, 2]
    assert data.train.labels.tolist() == [0, 0, 1]
    assert data.test.images[:, 0, 0, 0].tolist() == [4, 3]
    assert data.test.labels.tolist() == [0, 1]


def test_test_may_lack_a_class(tmp_path):
    write(tmp_path, ["train/cat/a.png", "train/dog/b.png", "test/dog/c.png"])
    missing = load_folder(tmp_path)
    assert missing.test.labels.tolist() == [1]
    (tmp_path / "test" / "cat").mkdir()
    empty = load_folder(tmp_path)
    assert empty.test.labels.tolist() == [1] and empty.identity == missing.identity
    note = "config.data.data_dir: test has no pictures of 1 of 2 classes, of which its results say nothing: cat."
    assert missing.notes == empty.notes == (note,)
    (tmp_path / "valid" / "dog").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no class folder holds pictures, got .*valid'"):
        load_folder(tmp_path)
    write(tmp_path, ["valid/dog/d.png"])
    assert [line for line in load_folder(tmp_path).notes if line.startswith("config.data.data_dir: valid has no pict")]


def test_the_identity_follows_the_pixels_and_the_classes(tmp_path):
    first, second = small(tmp_path / "a"), small(tmp_path / "b")
    assert load_folder(first).identity == load_folder(second).identity
    Image.new("L", (8, 8), 77).save(second / "test/cat/e.png")
    assert load_folder(first).identity != load_folder(second).identity
    third = small(tmp_path / "c")
    (third / "train/cat").rename(third / "train/bird")
    (third / "test/cat").rename(third / "test/bird")
    assert load_folder(first).identity != load_folder(third).identity


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"config\.data\.data_dir: cannot read the folder, got .*train' \(No such file or directory\)\. Put pict"),
        (["train/a.png"], r"config\.data\.data_dir: holds no class folders, got .*train'\. Put pictures into <data_"),
        (
            ["test/cat/a.png"],
            r"config\.data\.data_dir: cannot read the folder, got .*train' \(No such file.*or all into",
        ),
        (
            ["train/a.png", "cat/a.png"],
            r"holds no class folders, got .*train'\. .* no class being called train, test or",
        ),
        (["test/a.png", "cat/a.png"], r"cannot read the folder, got .*train' .* no class being called train, test or"),
        (["pictures/cat/a.png"], r"the class folder holds no pictures, got .*pictures'\. Put .*, or all into"),
        (["train/cat/a.png", "test/cow/a.png"], r"every class of test must also be in train, got 'cow' in .*Class"),
        (["train/cat/a.png", "train/dog/c/d.png", "test/cat/b.png"], r"the class folder holds no pictures, got .*dog'"),
        (
            ["train/cat/a.png", "train/cat/b.gif", "test/cat/b.png"],
            r"pictures in \.gif \(1\) are not read, got train/cat/b\.gif\.",
        ),
    ],
)
def test_a_folder_laid_out_otherwise_is_refused(tmp_path, names, message):
    write(tmp_path, names)
    with pytest.raises(DataError, match=message):
        load_folder(tmp_path)


def test_splits_that_begin_with_a_capital_letter_are_not_taken_for_empty_classes(tmp_path):
    write(tmp_path, ["Train/cat/a.png", "Test/cat/b.png"])
    with pytest.raises(DataError, match=r"2 class folders hold no pictures, .* Write the names of the splits in"):
        load_folder(tmp_path)


def test_all_that_is_wrong_with_a_folder_is_told_at_once(tmp_path):
    write(tmp_path, ["train/cat/a.png", "train/cat/b.gif", "train/cat/c.tiff", "train/owl/d.GIF", "test/cow/e.png"])
    for name in ("ant", "bee"):
        (tmp_path / "train" / name).mkdir()
    with pytest.raises(DataError) as refused:
        load_folder(tmp_path)
    empty, unknown, unread = str(refused.value).splitlines()
    folders = ", ".join(repr(str(tmp_path / "train" / name)) for name in ("ant", "bee"))
    assert empty.startswith(f"config.data.data_dir: 2 class folders hold no pictures, got {folders}. Put")
    assert unknown.startswith("config.data.data_dir: every class of test must also be in train, got 'cow' in ")
    assert unread == (
        "config.data.data_dir: pictures in .gif (2), .tiff (1) are not read, got train/cat/b.gif, train/cat/c.tiff, "
        "train/owl/d.GIF. Convert them to .png, .apng, .jpg, .jpeg, .jpe, .jfif, .bmp, .dib, .webp, or take them away."
    )


def test_a_config_unlike_the_folder_is_refused(tmp_path):
    small(tmp_path)
    with pytest.raises(DataError, match=r"config\.data\.data_dir: must name the folder of the pictures, got ''"):
        load_folder("")
    with pytest.raises(DataError, match=r"config\.data\.classes: folder has 2 classes, got 10\. Set it to 2"):
        load_folder(tmp_path, classes=10)
    with pytest.raises(DataError, match=r"config\.data\.image_shape: pictures of a folder have 1 .* got \(8, 8, 4\)"):
        load_folder(tmp_path, image_shape=(8, 8, 4))
    with pytest.raises(DataError, match=r"config\.data\.image_shape: picture .*a\.png' is 8x8x1, got \(9, 9, 1\)"):
        load_folder(tmp_path, image_shape=(9, 9, 1))


def test_all_broken_pictures_are_named_up_to_ten(tmp_path):
    small(tmp_path)
    (tmp_path / "train/cat/x.png").write_bytes(b"")
    (tmp_path / "train/dog/y.jpg").write_bytes(b"<svg/>")
    with pytest.raises(DataError, match=r"data_dir: 2 of 5 pictures cannot be read, got .*x\.png' \(not a.*y\.jpg' \("):
        load_folder(tmp_path)
    for n in range(12):
        (tmp_path / f"train/cat/z{n}.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"14 of 17 pictures cannot be read, .* and 4 more\. Mend them or take"
    ) as caught:
        load_folder(tmp_path)
    assert str(caught.value).count(".png'") + str(caught.value).count(".jpg'") == 10


@pytest.mark.parametrize(
    ("name", "written"),
    [*((f"x{suffix}", "JPEG") for suffix in (".jfif", ".jpe", ".JPEG")), ("x.dib", "BMP"), ("x.apng", "PNG")]
    + [(name, name.upper()) for name in ("png", "jpeg", "bmp", "webp")],
)
@pytest.mark.parametrize("loading", ["memory", "stream"])
def test_every_suffix_of_a_format_is_read_and_files_without_one_by_their_first_bytes(tmp_path, name, written, loading):
    small(tmp_path)
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 200).save(buffer, written)
    (tmp_path / "train" / "dog" / name).write_bytes(buffer.getvalue())
    data = load_folder(tmp_path, loading=loading)
    assert len(data.train) == 4
    assert abs(max(int(image[0, 0, 0]) for image in data.train.images) - 200) < 4
    assert data.notes == ()


def test_what_is_passed_over_is_counted_and_named(tmp_path):
    small(tmp_path)
    write(tmp_path, ["extra/cat/v.png", "train/cat/more/m.png", "train/loose.png"])
    (tmp_path / "train/cat/notes.txt").write_text("x")
    (tmp_path / "test/dog/LICENSE").write_text("x")
    (note,) = load_folder(tmp_path).notes
    assert note == (
        "config.data.data_dir: 5 files or folders passed over, as no picture of a class: "
        "extra, train/loose.png, train/cat/more, train/cat/notes.txt, test/dog/LICENSE."
    )


def test_pictures_that_are_in_train_and_in_test_are_told(tmp_path):
    small(tmp_path)
    (tmp_path / "test/cat/copy.png").write_bytes((tmp_path / "train/dog/c.png").read_bytes())
    (tmp_path / "train/dog/twice.png").write_bytes((tmp_path / "train/dog/c.png").read_bytes())
    (note,) = load_folder(tmp_path).notes
    assert note == (
        "config.data.data_dir: 1 picture is in two splits, byte for byte: "
        "test/cat/copy.png = train/dog/c.png. Accuracy counts them."
    )


def test_a_class_is_one_whatever_unicode_form_its_folders_have(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    write(tmp_path, [f"train/{nfc}/a.png", "train/tea/b.png", f"test/{nfd}/c.png", "test/tea/d.png"])
    data = load_folder(tmp_path)
    assert data.class_names == (nfc, "tea")
    assert data.test.labels.tolist() == [0, 1]
    write(tmp_path / "both", [f"train/{nfc}/a.png", f"train/{nfd}/b.png", f"test/{nfd}/c.png"])
    with pytest.raises(DataError, match=rf"two folders of one class.*Unicode form only .*got '{nfc}' twice\. Put"):
        load_folder(tmp_path / "both")


@pytest.mark.parametrize(("pictures", "fraction"), [(1, 0.5), (2, 0.75), (1, 0.9)])
@pytest.mark.parametrize("train_on", ["train", "train+valid"])
def test_a_class_that_valid_would_take_whole_stays_in_train(tmp_path, pictures, fraction, train_on):
    small(tmp_path)
    write(tmp_path, [*(f"train/ant/{n}.png" for n in range(pictures)), *(f"train/dog/{n}.png" for n in range(9))])
    data = load_folder(tmp_path, classes=3, valid_fraction=fraction, train_on=train_on)
    assert np.unique(data.train.labels).tolist() == [0, 1, 2]
    told = [note for note in data.notes if note.startswith("config.data.valid_fraction")]
    if train_on == "train+valid":
        assert told == [] and (data.valid.labels == 0).sum() == pictures
        return
    assert (data.train.labels == 0).sum() == 1 and (data.valid.labels == 0).sum() == pictures - 1
    assert len(data.train) + len(data.valid) == 12 + pictures
    (note,) = told
    assert re.search(
        rf"{fraction} would take every picture of \d of 3 classes out .* stays there: ant \({pictures}\)", note
    )


def test_broken_pictures_of_train_and_of_test_are_named_together(tmp_path):
    small(tmp_path)
    (tmp_path / "train/cat/x.png").write_bytes(b"")
    (tmp_path / "test/dog/y.jpg").write_bytes(b"")
    for loading in ("memory", "stream"):
        with pytest.raises(DataError) as caught:
            load_folder(tmp_path, loading=loading)
        first, second = str(caught.value).splitlines()
        assert re.search(r"1 of 4 pictures cannot be read, got .*train/cat/x\.png'", first)
        assert re.search(r"1 of 3 pictures cannot be read, got .*test/dog/y\.jpg'", second)


@pytest.mark.parametrize("loading", ["memory", "stream"])
def test_a_valid_folder_is_the_validation_split(tmp_path, loading):
    small(tmp_path)
    write(tmp_path, ["valid/dog/x.png", "valid/dog/y.png", "valid/cat/z.png"])
    for n, name in enumerate(("valid/cat/z.png", "valid/dog/x.png", "valid/dog/y.png")):
        Image.new("L", (8, 8), 100 + n).save(tmp_path / name)
    data = load_folder(tmp_path, loading=loading, valid_fraction=0.1)
    assert data.valid.labels.tolist() == [0, 1, 1]
    assert [int(image[0, 0, 0]) for image in data.valid.images] == [100, 101, 102]
    assert data.train.labels.tolist() == [0, 0, 1]
    assert [int(image[0, 0, 0]) for image in data.train.images] == [1, 0, 2]
    assert data.notes[0].startswith("config.data.valid_fraction: is not used, as the folder has a validation split of")
    joined = load_folder(tmp_path, loading=loading, train_on="train+valid")
    mixed = joined.train.images[np.array([4, 0, 5, 2])]
    assert mixed[:, 0, 0, 0].tolist() == [101, 1, 102, 2]
    assert joined.train.labels.tolist() == [0, 0, 1, 0, 1, 1]
    assert len({load_folder(tmp_path, train_on=on).identity for on in ("train", "train+valid")}) == 2
    (tmp_path / "valid/dog/broken.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 4 pictures cannot be read, got .*valid/dog/broken\.png'"):
        load_folder(tmp_path, loading=loading)
    skipped = load_folder(tmp_path, loading="memory", on_error="skip")
    assert skipped.valid.marked().tolist() == [0, -1, 1, 1]
    assert skipped.bad_examples.to_json()[0]["picture"] == "valid/dog/broken.png"


def test_a_valid_folder_with_a_class_that_train_lacks_is_refused(tmp_path):
    write(small(tmp_path), ["valid/cow/x.png"])
    with pytest.raises(DataError, match=r"every class of valid must also be in train, got 'cow' in .*valid'\. Classes"):
        load_folder(tmp_path)
