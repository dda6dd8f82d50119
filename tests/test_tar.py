"""Tar files as WebDataset has them: members of one name are a picture and its label."""

import functools
import gzip
import io
import json
import shutil
import tarfile

import numpy as np
import pytest

import picture_files
from cnn.data.sources import hashing
from cnn.data.types import DataError
from picture_files import NAMES, made, png, shades, write_members, write_tar


def picture(shade):
    return png(np.full((8, 8, 1), shade, np.uint8))


def pair(key, shade, label, suffix=".cls"):
    return [(f"{key}.png", picture(shade)), (f"{key}{suffix}", str(label).encode())]


GOOD = [*pair("0", 10, "cat"), *pair("1", 20, "dog"), *pair("2", 30, "cat")]


@pytest.fixture
def root(tmp_path):
    write_members(tmp_path / "train.tar", GOOD)
    write_members(tmp_path / "test.tar", [*pair("3", 40, "dog"), *pair("4", 50, "cat")])
    return tmp_path


def read(file, name="tar", **changes):
    return picture_files.read(name, file, **{"classes": 2, **changes})


one_line = functools.partial(picture_files.refusal, read)


@pytest.mark.parametrize("loading", ["memory", "stream"])
def test_shards_of_every_split_are_read_in_order(tmp_path, loading):
    splits = made({"train": 5, "valid": 2, "test": 3})
    write_tar(tmp_path, splits, shards=3)
    for file in (tmp_path, tmp_path / "{split}-*.tar", tmp_path / "{split}-{000000..000002}.tar"):
        data = picture_files.read("tar", file, loading=loading)
        assert data.class_names == NAMES
        for split, (images, labels) in splits.items():
            got = getattr(data, split)
            np.testing.assert_array_equal(got.images[np.arange(len(got))], images)
            assert got.labels.tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("suffix", "written", "name", "class_names"),
    [
        (".cls", ["cat", "dog", "cat"], "tar", ("cat", "dog")),
        (".cls", ["2", "0", "1"], "tar", ("0", "1", "2")),
        (".txt", ["dog\n", " cat", "dog"], "tar", ("cat", "dog")),
        (".json", ['{"label": 1}', '{"class": 0}', '{"cls": 1}'], "tar", ("0", "1")),
        (".json", ['"cat"', '"dog"', '"cat"'], "tar", ("cat", "dog")),
        (".json", ['{"kind": "b", "label": 7}', '{"kind": "a"}', '{"kind": "b"}'], "tar(label='kind')", ("a", "b")),
        (".json", ['{"label": "3"}', '{"label": "10"}', '{"label": "3"}'], "tar", ("3", "10")),
    ],
)
def test_labels_are_read_from_cls_json_and_txt(root, suffix, written, name, class_names):
    for split, lighter in (("train", 0), ("test", 1)):
        members = [member for n, label in enumerate(written) for member in pair(n, 10 * n + lighter, label, suffix)]
        write_members(root / f"{split}.tar", members)
    data = read(root, name, classes=len(class_names))
    assert data.class_names == class_names and shades(data.train) == [0, 10, 20]
    assert data.notes == ()


def test_numbers_may_be_given_names(root):
    for split in ("train", "test"):
        write_members(root / f"{split}.tar", [*pair("a", 1, 1), *pair("b", 2, 0)])
    assert read(root, class_names=("no", "yes")).class_names == ("no", "yes")
    assert one_line(root, class_names=("no",), classes=1).startswith(
        "config.data.class_names: labels that are numbers must"
    )


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_nested_and_long_and_foreign_names_are_read(root, form):
    deep = "/".join(["folder"] * 30) + "/käfer"
    with tarfile.open(root / "train.tar", "w", format=form) as tar:
        for name, content in [*pair("a/0", 10, "cat"), *pair("b/0", 20, "dog"), *pair(deep, 30, "dog")]:
            info = tarfile.TarInfo(name if form != tarfile.USTAR_FORMAT else name[-90:])
            info.size, info.pax_headers = (
                len(content),
                {"comment": "made by a test"} if form == tarfile.PAX_FORMAT else {},
            )
            tar.addfile(info, io.BytesIO(content))
    assert shades(read(root).train) == [10, 20, 30]


def test_what_is_neither_picture_nor_label_is_counted_and_named(root):
    odd = [tarfile.TarInfo(name) for name in ("link.png", "hard.png", "pipe.png", "folder")]
    odd[0].type, odd[0].linkname = tarfile.SYMTYPE, "/etc/passwd"
    odd[1].type, odd[1].linkname = tarfile.LNKTYPE, "0.png"
    odd[2].type, odd[3].type = tarfile.FIFOTYPE, tarfile.DIRTYPE
    extra = [
        ("README", b"x"),
        (".hidden.png", b"x"),
        ("0.json", b'{"label": "dog"}'),
        ("0.seg.png", b"x"),
        ("0.jpg", b"x"),
    ]
    write_members(root / "train.tar", [*GOOD, *((info, b"") for info in odd), *extra])
    (note,) = read(root).notes
    assert note == (
        "config.data.file: 8 members of train passed over, neither picture nor label: links (2), devices and the like "
        "(1), without a suffix (1), hidden (1), .json (1), .seg.png (1), .jpg (1)."
    )


def test_pictures_without_labels_and_labels_without_pictures_are_refused_or_left_out(root):
    write_members(root / "train.tar", [*GOOD, ("7.png", picture(1)), ("9.png", picture(1)), ("9.cls", b" ")])
    assert one_line(root) == (
        "config.data.file: 2 of 5 pictures have no label, got 7.png of train.tar, 9.png of train.tar. "
        "Give each a .cls, .json, .txt, or leave them out by config.data.on_error=skip."
    )
    assert read(root, on_error="skip").notes == (
        "config.data.file: 2 of 5 pictures have no label and are left out: 7.png of train.tar, 9.png of train.tar.",
        "config.data.file: 1 member of train passed over, neither picture nor label: .cls (1).",
    )
    write_members(root / "train.tar", [*GOOD, ("8.cls", b"cat")])
    assert one_line(root).startswith(
        "config.data.file: 1 of 4 labels are of no picture, got 8.cls of train.tar. Add the p"
    )
    assert len(read(root, on_error="skip").train) == 3


@pytest.mark.parametrize("loading", ["memory", "stream"])
def test_broken_pictures_are_refused_or_skipped(root, loading):
    write_members(root / "train.tar", [*GOOD, ("5.png", b"no picture"), ("5.cls", b"dog")])
    said = one_line(root, loading=loading)
    assert said.startswith(
        "config.data.file: 1 of 4 pictures cannot be read, got 5.png of train.tar (not a picture in PNG"
    )
    data = read(root, loading=loading, on_error="skip")
    assert shades(data.train) == [10, 20, 30, 0] and data.train.marked().tolist() == [0, 1, 0, -1]
    assert [bad.picture for bad in data.bad_examples.fresh(root)] == ["5.png of train.tar"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            [*GOOD, ("0.png", b"x")],
            r"two members of train\.tar are of one name, got '0\.png' and '0\.png'\. Rename one\.",
        ),
        (
            [*GOOD, ("0.PNG", b"x")],
            r"two members of train\.tar are of one name, got '0\.PNG' and '0\.png'\. Rename one\.",
        ),
        (
            [*GOOD, ("5.gif", b"x"), ("5.cls", b"x")],
            r"\.gif pictures are not read, got 5\.gif of train\.tar\. Convert th",
        ),
        (
            [*GOOD, *pair("6", 1, "{", ".json")],
            r"a label that cannot be read, got 6\.json of train\.tar: Expecting prop",
        ),
        (
            [*GOOD, *pair("6", 1, "[1, 2]", ".json")],
            r"a label must be a name or a whole number, got \[1, 2\] in 6\.json",
        ),
        (
            [*GOOD, ("6.png", b"x"), ("6.cls", b"\xff")],
            r"a label that cannot be read, got 6\.cls of train\.tar: 'utf-8' c",
        ),
        (
            [*GOOD, ("6.png", b"x"), ("6.txt", b"x" * 2_000_000)],
            r"a label of 2000000 bytes, got 6\.txt of train\.tar\. Wr",
        ),
        (
            [("a.txt", b""), ("b", b"")],
            r"train holds no picture with a label, such as 000\.png and 000\.cls, got 2 other",
        ),
        (
            [],
            r"train holds no picture with a label, such as 000\.png and 000\.cls, got 0 other members\. Name ",
        ),
        (
            [*pair("a", 1, "cow")],
            r"every class of test must also be in train, got 'cat' \(2 such\)\. Classes of train: c",
        ),
    ],
)
def test_wrong_members_are_refused_in_one_line(root, members, message):
    write_members(root / "train.tar", members)
    with pytest.raises(DataError, match=rf"^config\.data\.file: {message}") as caught:
        read(root)
    assert "\n" not in str(caught.value)


def test_damaged_and_truncated_files_are_refused(root):
    whole = (root / "train.tar").read_bytes()
    with tarfile.open(root / "train.tar") as tar:
        last = tar.getmembers()[-1]
        header, end = last.offset, last.offset_data + 512
    cases = {
        b"": "empty file",
        b"no tar file at all": "truncated header",
        b"x" * 2048: "invalid header",
        whole[: header + 100]: f"it ends at byte {header} without a mark of its end",
        whole[:header]: f"it ends at byte {header} without a mark of its end",
        whole[: end - 512]: "unexpected end of data",
        whole[:header] + b"x" * 512 + whole[header + 512 :]: f"no header at byte {header}",
    }
    for content, reason in cases.items():
        (root / "train.tar").write_bytes(content)
        said = one_line(root)
        assert said.startswith("config.data.file: a damaged tar file, got '") and f"train.tar': {reason}" in said
        assert said.endswith(". Fetch or write it again.")


def test_a_gzipped_file_is_read_in_memory_alone(root):
    before = read(root).identity
    with open(root / "train.tar", "rb") as plain, gzip.open(root / "train.tar.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    (root / "train.tar").unlink()
    data = read(root)
    assert shades(data.train) == [10, 20, 30] and data.identity == before
    assert "is compressed, so that its pictures cannot be read one by one, got '" in one_line(root, loading="stream")
    content = (root / "train.tar.gz").read_bytes()
    (root / "train.tar.gz").write_bytes(content[:-20])
    assert "config.data.file: a damaged tar file, got '" in one_line(root)
    (root / "train.tar.gz").write_bytes(b"BZh9" + content)
    assert one_line(root).endswith("train.tar.gz'. Decompress it.")


def test_a_file_that_shrinks_while_it_is_read_is_refused(root):
    data = read(root, loading="stream")
    content = (root / "train.tar").read_bytes()
    (root / "train.tar").write_bytes(content[: 4 * 512])
    with pytest.raises(DataError, match=r"config\.data\.file: a damaged tar file, got .*: '2\.png' is cut short"):
        data.train.images[np.array([2])]


def test_the_identity_follows_names_labels_and_bytes_and_not_the_place(root, tmp_path_factory):
    before = read(root).identity
    moved = tmp_path_factory.mktemp("moved")
    shutil.copytree(root, moved, dirs_exist_ok=True)
    assert read(moved).identity == before
    for changed in (pair("2", 31, "cat"), pair("2", 30, "dog"), pair("5", 30, "cat")):
        write_members(moved / "train.tar", [*GOOD[:4], *changed])
        assert read(moved).identity != before


def test_of_many_pictures_a_sample_is_hashed_and_the_sizes_of_all(root, monkeypatch):
    for name, value in (("HASHED_WHOLE", 3), ("SAMPLE", 1)):
        monkeypatch.setattr(hashing, name, value)
    before = read(root).identity
    changed = []
    for key, shade, label in (("0", 11, "cat"), ("1", 21, "dog"), ("2", 31, "cat")):
        place = 2 * int(key)
        write_members(root / "train.tar", [*GOOD[:place], *pair(key, shade, label), *GOOD[place + 2 :]])
        changed.append(read(root).identity != before)
    assert sum(changed) == 1
    write_members(root / "train.tar", [*GOOD[:4], ("2.png", GOOD[4][1] + b"x"), GOOD[5]])
    assert read(root).identity != before


def test_json_lines_of_many_kinds_are_told_by_their_key(root):
    members = [("0.png", picture(1)), ("0.json", json.dumps({"label": True}).encode()), *GOOD[2:]]
    write_members(root / "train.tar", members)
    assert "a label must be a name or a whole number, got True in 0.json" in one_line(root)
    assert one_line(root, name="tar(label='kind')").startswith(
        "config.data.file: 3 of 3 pictures have no label, got 0.png"
    )
