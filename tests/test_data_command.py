"""`data`: what there is to know of data before training, and what a config should say of them."""

import io
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import cnn
import runs
from cnn.api import data as api_data
from cnn.config import config, resolve
from cnn.data import decode, inspection
from cnn.report import picture_sheet

SECTIONS = {**runs.SECTIONS, "train": {"batch_size": 1}}
SIZE = (12, 16)
SETTLED = ("--config.data.classes=3", "--config.data.image_shape=(12, 16, 3)", "--config.data.resize=bilinear")


def picture(seed, size=SIZE, grey=False):
    shape = size if grey else (*size, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path, pixels, orientation=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation:
        exif[0x112] = orientation
    Image.fromarray(pixels).save(path, **({"exif": exif} if orientation else {}))


@pytest.fixture
def pets(tmp_path):
    """Sound pictures of one size: 20 cats, 12 dogs and 10 owls to train with, 3 cats and 2 dogs to test."""
    root = tmp_path / "pets"
    for seed in range(20):
        save(root / f"train/cat/{seed:02}.png", picture(seed))
    for seed in range(12):
        save(root / f"train/dog/{seed:02}.png", picture(100 + seed))
    for seed in range(10):
        save(root / f"train/owl/{seed:02}.png", picture(200 + seed))
    for seed in range(3):
        save(root / f"test/cat/{seed}.png", picture(300 + seed))
    for seed in range(2):
        save(root / f"test/dog/{seed}.png", picture(400 + seed))
    return root


@pytest.fixture
def messy(pets):
    """The same with all that may be wrong with a folder."""
    shutil.copy(pets / "train/cat/00.png", pets / "test/cat/same.png")
    shutil.copy(pets / "train/cat/00.png", pets / "train/dog/same.png")
    shutil.copy(pets / "train/owl/01.png", pets / "train/owl/again.png")
    (pets / "train/cat/broken.png").write_bytes(b"no picture")
    (pets / "train/cat/readme.txt").write_text("cats")
    (pets / "train/cat/more").mkdir()
    save(pets / "train/cat/more/0.png", picture(1))
    save(pets / "train/dog/grey.png", picture(500, grey=True))
    save(pets / "train/dog/turned.jpg", picture(501, (10, 30)), orientation=6)
    return pets


def start(*arguments):
    return runs.start(*arguments, sections=SECTIONS)


def look(root, *flags, capsys, valid=0):
    """Returns the exit code and what was said on stdout; nothing is on stderr."""
    code = start(
        "data",
        "--config.data.name=folder",
        f"--config.data.data_dir={root}",
        f"--config.data.valid_fraction={valid}",
        *flags,
    )
    said = capsys.readouterr()
    assert said.err == ""
    return code, said.out


def told(root, *flags, capsys, valid=0):
    code, out = look(root, "--json", *flags, capsys=capsys, valid=valid)
    return code, json.loads(out)


def stacked(folder):
    paths = sorted(folder.rglob("*.png"))
    return np.stack([np.asarray(Image.open(path)) for path in paths])


def test_classes_are_counted_and_the_mean_is_that_of_the_training_pictures(pets, capsys):
    code, facts = told(pets, *SETTLED, capsys=capsys)
    assert code == 0
    assert facts["class_names"] == ["cat", "dog", "owl"]
    assert {name: split["counts"] for name, split in facts["splits"].items()} == {
        "train": [20, 12, 10],
        "valid": [0, 0, 0],
        "test": [3, 2, 0],
    }
    pixels = stacked(pets / "train").reshape(-1, 3) / 255
    np.testing.assert_allclose(facts["mean"], pixels.mean(axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(facts["std"], pixels.std(axis=0), rtol=0, atol=1e-12)
    assert facts["splits"]["train"]["sizes"] == [{"height": 12, "width": 16, "pictures": 42}]
    assert facts["splits"]["train"]["formats"] == {"PNG": 42}
    assert facts["unusable"] == facts["copies"] == facts["refusals"] == facts["problems"] == []
    assert not facts["streams"] and facts["memory"]["need"] == 47 * 12 * 16 * 3


def test_the_mean_leaves_out_what_became_valid(pets, capsys):
    _, facts = told(pets, *SETTLED, capsys=capsys, valid=0.25)
    assert facts["splits"]["train"]["counts"] == [15, 9, 7]
    assert facts["splits"]["valid"]["counts"] == [5, 3, 3]
    section = resolve.resolve(SECTIONS, overrides(pets, valid_fraction=0.25)).data
    train = cnn.load_data({**SECTIONS, "data": as_json(section)}).train.images.reshape(-1, 3) / 255
    np.testing.assert_allclose(facts["mean"], train.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(facts["std"], train.std(axis=0), atol=1e-12)


def overrides(root, **fields):
    values = {"name": "folder", "data_dir": root, "classes": 3, "image_shape": "(12, 16, 3)", "resize": "bilinear"}
    return [config.Override(f"data.{name}", str(value)) for name, value in {**values, **fields}.items()]


def as_json(section):
    return {name: getattr(section, name) for name in ("name", "data_dir", "classes", "image_shape", "resize")} | {
        "valid_fraction": section.valid_fraction
    }


def test_a_table_tells_the_splits_and_another_the_classes(pets, capsys):
    code, out = look(pets, *SETTLED, capsys=capsys, valid=0.25)
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert "47 pictures, all of them read, as 12x16x3 by config.data.resize=bilinear" in out
    assert ["train", "31", "3", "2.1", ":", "1", "12x16", "12x16", "12x16", "PNG"] in lines
    assert ["test", "5", "2", "of", "3", "1.5", ":", "1", "12x16", "12x16", "12x16", "PNG"] in lines
    assert ["0", "cat", "15", "48.4%", "5", "45.5%", "3", "60.0%"] in lines
    assert ["2", "owl", "7", "22.6%", "3", "27.3%", "0", "0.0%"] in lines
    assert "they are read into memory once" in out
    assert "test has no pictures of 1 of 3 classes: owl" in out
    assert "train has fewer than 10 pictures of 2 of 3 classes, and what is learned of them is mostly chance: " in out


def test_a_config_that_does_not_fit_is_told_what_would(pets, capsys):
    code, out = look(pets, capsys=capsys)
    assert code == 2
    assert "  config.data.classes: folder has 3 classes, got 10. Set it to 3.\n" in out
    assert (
        "  config.data.image_shape: 47 of 47 pictures do not fit it with config.data.resize=exact, all are 12x16 "
        "(height x width), got (8, 8, 1). Set it to (12, 16, 1).\n"
    ) in out
    assert "identity" not in out
    assert "47 of 47 pictures are stored in colour and become grey" in out
    again = ("--config.data.classes=3", "--config.data.image_shape=(12, 16, 1)")
    code, out = look(pets, *again, capsys=capsys)
    assert code == 0
    assert "refused" not in out and "folder, identity " in out


def test_the_identity_is_the_one_of_a_run(pets, capsys):
    _, facts = told(pets, *SETTLED, capsys=capsys)
    section = resolve.resolve(SECTIONS, overrides(pets, valid_fraction=0)).data
    loaded = api_data.loaded(section, 0)
    assert facts["identity"] == loaded.identity


def test_pictures_of_several_sizes_are_told_to_be_resized(messy, capsys):
    os.remove(messy / "train/cat/broken.png")
    code, out = look(messy, "--config.data.classes=3", "--config.data.image_shape=(12, 16, 3)", capsys=capsys)
    assert code == 2
    assert (
        "  config.data.image_shape: 1 of 52 pictures do not fit it with config.data.resize=exact, most (51) are 12x16 "
        "(height x width), got (12, 16, 3). Set config.data.resize to cover.\n"
    ) in out
    code, out = look(messy, "--config.data.classes=3", "--config.data.image_shape=(8, 8, 3)", capsys=capsys)
    assert "Set it to (12, 16, 3), and config.data.resize to cover for the others.\n" in out
    code, _ = look(messy, *SETTLED, capsys=capsys)
    assert code == 0


def test_larger_pictures_do_not_fit_padding_and_smaller_ones_do(pets, capsys):
    pad = ("--config.data.classes=3", "--config.data.resize=pad")
    code, out = look(pets, *pad, "--config.data.image_shape=(10, 16, 3)", capsys=capsys)
    assert code == 2
    assert "47 of 47 pictures do not fit it with config.data.resize=pad, all are 12x16" in out
    code, facts = told(pets, *pad, "--config.data.image_shape=(14, 16, 3)", capsys=capsys)
    assert code == 0 and facts["resize"] == "pad"
    pixels = np.pad(stacked(pets / "train"), ((0, 0), (1, 1), (0, 0), (0, 0))).reshape(-1, 3) / 255
    np.testing.assert_allclose(facts["mean"], pixels.mean(axis=0), atol=1e-12)


def test_of_large_pictures_a_smaller_size_is_proposed(tmp_path, capsys):
    for name in ("train/a/0.png", "train/b/0.png", "test/a/0.png"):
        save(tmp_path / name, picture(len(name), (300, 400)))
    code, out = look(tmp_path, "--config.data.classes=2", capsys=capsys)
    assert code == 2
    proposed = "Set it to (300, 400, 1), or to fewer pixels and config.data.resize to cover, such as (96, 128, 1).\n"
    assert proposed in out
    assert "3 pictures, all of them read, as 96x128x1 by config.data.resize=cover" in out


def test_broken_pictures_are_named_and_refused_unless_they_may_be_skipped(messy, capsys):
    code, out = look(messy, *SETTLED, capsys=capsys)
    assert code == 2
    assert " pictures, all of them looked at, as " in out
    assert "1 cannot be used:\n  train/cat/broken.png: not a picture in PNG, JPEG, BMP, WEBP\n" in out
    assert "  config.data.data_dir: 1 of 47 pictures cannot be read, got " in out
    code, facts = told(messy, *SETTLED, "--config.data.on_error=skip", capsys=capsys)
    assert code == 0
    assert facts["unusable"] == [
        {"split": "train", "picture": "train/cat/broken.png", "reason": "not a picture in PNG, JPEG, BMP, WEBP"}
    ]
    assert facts["splits"]["train"]["counts"] == [21, 15, 11]
    assert facts["splits"]["train"]["examined"] == 47


def test_what_is_passed_over_is_named(messy, capsys):
    _, out = look(messy, *SETTLED, capsys=capsys)
    assert "2 files or folders passed over, as no picture of a class: train/cat/more, train/cat/readme.txt." in out


def test_equal_pictures_are_counted_within_and_between_splits(messy, capsys):
    _, facts = told(messy, *SETTLED, capsys=capsys)
    assert [[copy["picture"] for copy in group] for group in facts["copies"]] == [
        ["train/cat/00.png", "train/dog/same.png", "test/cat/same.png"],
        ["train/owl/01.png", "train/owl/again.png"],
    ]
    assert "train holds 2 pictures more than once, byte for byte" in facts["remarks"]
    assert "1 picture of test is in train, too, byte for byte" in facts["remarks"]
    assert (
        "the same picture has different classes, 1 times: train/cat/00.png (cat) = train/dog/same.png (dog) = "
        "test/cat/same.png (cat)"
    ) in facts["remarks"]
    assert "2 pictures are there more than once:\n  train/cat/00.png = " in look(messy, *SETTLED, capsys=capsys)[1]


def test_with_valid_in_train_a_picture_is_no_copy_of_itself(pets, capsys):
    _, facts = told(pets, *SETTLED, "--config.data.train_on=train+valid", capsys=capsys, valid=0.25)
    assert facts["splits"]["train"]["counts"] == [20, 12, 10]
    assert facts["splits"]["valid"]["counts"] == [5, 3, 3]
    assert facts["copies"] == []


def test_sizes_are_those_of_upright_pictures_and_formats_and_grey_ones_are_counted(messy, capsys):
    _, facts = told(messy, *SETTLED, capsys=capsys)
    train = facts["splits"]["train"]
    assert train["sizes"] == [
        {"height": 12, "width": 16, "pictures": 45},
        {"height": 30, "width": 10, "pictures": 1},
    ]
    assert train["formats"] == {"PNG": 45, "JPEG": 1}
    assert train["grey"] == 1
    line = next(line for line in look(messy, *SETTLED, capsys=capsys)[1].splitlines() if line.startswith("train "))
    assert line.split()[6:] == ["12x16", "12x16", "(98%)", "30x10", "PNG", "45,", "JPEG", "1,", "1", "in", "grey"]


def test_a_large_imbalance_is_said_with_the_remedy(tmp_path, capsys):
    for seed in range(33):
        save(tmp_path / f"train/much/{seed:02}.png", picture(seed))
    for seed in range(3):
        save(tmp_path / f"train/little/{seed}.png", picture(50 + seed))
    save(tmp_path / "test/much/0.png", picture(60))
    _, facts = told(tmp_path, capsys=capsys)
    assert facts["remarks"][0].startswith(
        "the largest class of train, much (33), has 11.0 times the pictures of the smallest, little (3). "
        "config.train.class_weights=balanced "
    )
    resolve.resolve(SECTIONS, [config.Override("train.class_weights", "balanced")])


def test_grey_pictures_need_no_three_channels(tmp_path, capsys):
    for name in ("train/a/0.png", "train/b/0.png", "test/a/0.png"):
        save(tmp_path / name, picture(len(name), grey=True))
    _, facts = told(tmp_path, *SETTLED[1:], "--config.data.classes=2", capsys=capsys)
    assert facts["remarks"][-1].startswith("all pictures are stored in grey. 1 as the last number of config.data.im")
    assert "grey" in look(tmp_path, *SETTLED[1:], "--config.data.classes=2", capsys=capsys)[1]


def test_of_many_pictures_a_fixed_sample_is_read_unless_all_are_asked_for(pets, capsys, monkeypatch):
    monkeypatch.setattr(inspection, "READ_WHOLE", 46)
    monkeypatch.setattr(inspection, "SAMPLE", 8)
    code, facts = told(pets, *SETTLED, capsys=capsys)
    assert code == 0
    assert [split["examined"] for split in facts["splits"].values()] == [8, 0, 5]
    assert [sum(split["counts"]) for split in facts["splits"].values()] == [42, 0, 5]
    assert told(pets, *SETTLED, capsys=capsys)[1] == facts
    out = look(pets, *SETTLED, capsys=capsys)[1]
    assert "47 pictures, a fixed sample of 13 read, of which all but the counts is told" in out
    assert "--check reads all\n" in out
    assert "of the training pictures that were read, intensities in [0, 1]:" in out
    _, whole = told(pets, *SETTLED, "--check", capsys=capsys)
    assert whole["splits"]["train"]["examined"] == 42


def test_whether_the_pictures_stream_is_said(pets, capsys):
    _, out = look(pets, *SETTLED, "--config.data.memory_share=0", capsys=capsys)
    assert "decoded they need 27.1 kB; 0 bytes may be taken (config.data.memory_share): they stream, batch by" in out


def test_a_network_that_does_not_fit_keeps_nobody_from_looking(pets, capsys):
    layers = "--config.model.layers=conv(4, 30) | flatten | dense(classes)"
    code, out = look(pets, *SETTLED, layers, "--config.optimizer.name=adma", capsys=capsys)
    assert code == 2
    assert "why training would be refused:\n" in out
    assert "config.optimizer.name: unknown name 'adma'. Did you mean 'adam'?" in out
    assert "config.model.layers: conv(4, 30) " in out
    assert "config.data.mean = (" in out


def test_a_part_for_validation_that_is_none_is_told_with_all_else(tmp_path, capsys):
    for name in ("train/a/0.png", "train/b/0.png", "test/a/0.png"):
        save(tmp_path / name, picture(len(name)))
    code, out = look(tmp_path, *SETTLED[1:], "--config.data.classes=2", capsys=capsys, valid=0.1)
    assert code == 2
    assert "  config.data.valid_fraction: folder has 2 training pictures, which leaves 2 in train and 0 in " in out
    assert "config.data.mean = (" in out


def test_a_section_data_that_is_wrong_is_refused_with_all_else(pets, capsys):
    assert start("data", "--config.data.nam=folder", "--config.optimizer.name=adma") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "config.data.nam: unknown field. Did you mean 'name'?" in said.err
    assert "config.optimizer.name: unknown name 'adma'." in said.err


def test_data_without_a_test_split_are_told_how_one_is_cut(pets, capsys):
    shutil.rmtree(pets / "test")
    code, out = look(pets, *SETTLED, capsys=capsys)
    assert code == 2
    assert "there is no test split. config.data.test_fraction cuts one from train, and " in out
    assert "  config.eval.test: the data have no test split, got True. Set eval.test=False, or cut one with " in out
    out = look(pets, *SETTLED[1:], "--config.data.classes=4", capsys=capsys)[1]
    assert "  config.data.classes: folder has 3 classes, got 4. Set it to 3.\n  config.eval.test: the data" in out
    assert look(pets, *SETTLED, "--config.eval.test=False", capsys=capsys, valid=0.1)[0] == 0
    code, facts = told(pets, *SETTLED, "--config.data.test_fraction=0.25", capsys=capsys)
    assert code == 0
    assert [facts["splits"][name]["counts"] for name in ("train", "test")] == [[15, 9, 7], [5, 3, 3]]


def test_a_fold_is_looked_at_and_a_wrong_one_refused(pets, capsys):
    code, facts = told(pets, *SETTLED, "--config.data.fold=2/2", capsys=capsys)
    assert code == 0
    assert [facts["splits"][name]["counts"] for name in ("train", "valid")] == [[10, 6, 5], [10, 6, 5]]
    assert start("data", "--config.data.fold=3/2") == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err == "config.data.fold: must be one of 1/2 to 2/2, got '3/2'.\n"


def test_a_split_that_cannot_be_cut_is_told_with_all_else(pets, capsys):
    code, out = look(pets, *SETTLED, "--config.data.test_fraction=0.5", "--config.data.valid=own", capsys=capsys)
    assert code == 2
    refused = out.partition("why training would be refused:\n")[2]
    assert "  config.data.test_fraction: folder has a test split of its own, got 0.5. Set it to 0.\n" in refused
    assert "  config.data.valid: folder has no validation split of its own, got 'own'. " in refused
    assert "config.data.mean = (" in out


def test_a_batch_that_is_larger_than_train_is_told(pets, capsys):
    code, out = look(pets, *SETTLED, "--config.train.batch_size=43", capsys=capsys)
    assert code == 2
    assert "  config.train.batch_size: must be at most the 42 training examples, got 43.\n" in out


@pytest.mark.slow(seconds=2)
def test_an_augmentation_that_does_not_fit_is_one_line(pets, tmp_path, capsys):
    source = ("--config.data.name=folder", f"--config.data.data_dir={pets}", "--config.data.classes=3")
    flags = (f"--sheet={tmp_path / 's.png'}", "--augmented", "--config.data.augment=random_crop(12)")
    assert start("data", *source, *flags, "--config.data.image_shape=(12, 16, 3)") == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "config.data.augment: must move by less than the image's 12 pixels, got 12.\n")
    assert start("data", *source, *flags, "--config.data.image_shape=(20, 20, 3)") == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("--augmented: ") and said.err.count("\n") == 1


def test_data_that_are_missing_are_one_line(tmp_path, capsys):
    arguments = ("data", "--config.data.name=folder", f"--config.data.data_dir={tmp_path / 'none'}")
    assert start(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("config.data.data_dir: ") and said.err.count("\n") == 1


def test_digits_are_kept_as_numbers_and_of_another_shape_theirs_is_told(capsys):
    assert start("data", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert [sum(split["counts"]) for split in facts["splits"].values()] == [1293, 145, 359]
    assert facts["splits"]["train"]["sizes"] == [] and facts["copies"] == []
    train = cnn.load_data(SECTIONS).train.images / 255
    np.testing.assert_allclose([facts["mean"], facts["std"]], [[train.mean()], [train.std()]], atol=1e-12)
    assert start("data", "--json", "--config.data.image_shape=(9, 8, 3)") == 2
    facts = json.loads(capsys.readouterr().out)
    assert facts["image_shape"] == [8, 8, 1] and len(facts["refusals"]) == 1
    assert facts["refusals"][0].startswith("config.data.image_shape: digits is 8x8x1, got (9, 8, 3). Set its last")


@pytest.mark.slow(seconds=2)
def test_data_of_tfds_are_looked_at_as_they_are_stored(prepared, capsys):
    source = ("--config.data.name=mnist", f"--config.data.data_dir={prepared}", "--config.data.valid_fraction=0")
    flags = ("data", *source, "--json")
    assert start(*flags, "--config.data.image_shape=(28, 28, 3)") == 2
    facts = json.loads(capsys.readouterr().out)
    assert facts["image_shape"] == [28, 28, 1]
    assert facts["refusals"] == [
        "config.data.image_shape: mnist (train) is 28x28x1, got (28, 28, 3). Set its last number to 1."
    ]
    assert facts["splits"]["test"]["sizes"] == [{"height": 28, "width": 28, "pictures": 20}]
    assert facts["splits"]["test"]["formats"] == {"PNG": 20} and facts["splits"]["test"]["grey"] == 20


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--columns=4"], "--columns: is for a sheet. Add --sheet=FILE"),
        (["--augmented"], "--augmented: is for a sheet. Add --sheet=FILE"),
        (["--sheet=a.jpg"], "--sheet: must end in .png, got 'a.jpg'. Write --sheet=sheet.png"),
        (["--sheet=no/such/a.png"], "--sheet: no such folder, got 'no/such'. Make it, or write elsewhere"),
        (["--sheet=a.png", "--columns=0"], "--columns: must be a whole number from 1 to 100, got '0'"),
        (["--sheet=a.png", "--columns=101"], "--columns: must be a whole number from 1 to 100, got '101'"),
        (["--sheet=a.png", "--augmented"], "--augmented: config.data.augment is empty. Name augmentations there"),
        (["--workdir=a"], "--workdir: is no flag of data. Leave it out"),
    ],
)
def test_a_wrong_flag_is_one_line(capsys, flags, message):
    assert start("data", *flags) == 2
    assert message in capsys.readouterr().err.splitlines()


@pytest.mark.slow(seconds=2)
def test_the_sheet_shows_a_fixed_choice_of_each_class_pixel_by_pixel(pets, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    code, out = look(pets, *SETTLED, f"--sheet={sheet}", "--columns=11", capsys=capsys)
    assert code == 0 and f"the sheet is in {sheet}\n" in out
    pixels, content = np.asarray(Image.open(sheet)), sheet.read_bytes()
    enlarged = [np.kron(each, np.ones((4, 4, 1), np.uint8)) for each in stacked(pets / "train")]
    found = [count_of(pixels, each) for each in enlarged]
    assert [sum(found[:20]), sum(found[20:32]), sum(found[32:])] == [11, 11, 10]
    look(pets, *SETTLED, f"--sheet={sheet}", "--columns=11", capsys=capsys)
    assert sheet.read_bytes() == content


def places(whole, part):
    """Returns the rows and columns at which a picture begins in another."""
    height, width = part.shape[:2]
    starts = np.argwhere((whole == part[0, 0]).all(axis=2) & np.roll(whole == part[0, -1], 1 - width, 1).all(axis=2))
    return [(y, x) for y, x in starts if np.array_equal(whole[y : y + height, x : x + width], part)]


def count_of(whole, part):
    return len(places(whole, part))


def test_the_sheet_leaves_out_pictures_that_cannot_be_used(messy, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    look(messy, *SETTLED, f"--sheet={sheet}", "--columns=30", capsys=capsys)
    pixels = np.asarray(Image.open(sheet))
    black = np.zeros((48, 64, 3), np.uint8)
    assert count_of(pixels, black) == 0


@pytest.mark.slow(seconds=3)
def test_below_each_picture_stands_what_training_makes_of_it(pets, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    flags = (f"--sheet={sheet}", "--augmented", "--config.data.augment=flip(1.0)", "--columns=5")
    assert look(pets, *SETTLED, *flags, capsys=capsys)[0] == 0
    pixels = np.asarray(Image.open(sheet))
    enlarged = [np.kron(each, np.ones((4, 4, 1), np.uint8)) for each in stacked(pets / "train")]
    shown = [each for each in enlarged if count_of(pixels, each)]
    assert len(shown) == 15
    assert all(count_of(pixels, each[:, ::-1]) == api_data.DRAWS for each in shown)


@pytest.mark.slow(seconds=2)
def test_mixing_takes_a_picture_of_the_sheet_that_is_another():
    section = resolve.resolve(SECTIONS, [config.Override("data.augment", "mixup(0.5)")]).data
    loaded = api_data.loaded(section, seed=3)
    plain, mixed = (np.asarray(loaded.sheet(columns=4, augmented=augmented)) for augmented in (False, True))
    assert mixed.shape[0] > 3 * plain.shape[0]
    assert np.array_equal(np.asarray(loaded.sheet(columns=4, augmented=True)), mixed)


@pytest.mark.slow(seconds=2)
def test_of_pictures_that_are_held_larger_the_centre_is_told_and_drawn_and_training_crops(pets, tmp_path, capsys):
    held = ("--config.data.classes=3", "--config.data.image_shape=(8, 8, 3)", "--config.data.stored_size=(12, 16)")
    sheet = tmp_path / "sheet.png"
    crop = ("--config.data.augment=random_crop(0)", f"--sheet={sheet}", "--augmented", "--columns=4")
    code, facts = told(pets, *held, *crop, capsys=capsys)
    assert code == 0 and facts["image_shape"] == [8, 8, 3] and facts["memory"]["need"] == 47 * 12 * 16 * 3
    whole = stacked(pets / "train")
    middle = whole[:, 2:10, 4:12].reshape(-1, 3) / 255
    np.testing.assert_allclose([facts["mean"], facts["std"]], [middle.mean(axis=0), middle.std(axis=0)], atol=1e-12)
    pixels = np.asarray(Image.open(sheet))
    enlarged = [np.kron(each[2:10, 4:12], np.ones((8, 8, 1), np.uint8)) for each in whole]
    # A crop may be the centre: the picture itself stands above those.
    found = [(each, at) for each, large in zip(whole, enlarged, strict=True) for at in places(pixels, large)[:1]]
    assert len(found) == 12
    for each, (y, x) in found:
        crops = [each[top : top + 8, left : left + 8] for top in range(5) for left in range(9)]
        for draw in range(1, 1 + api_data.DRAWS):
            top = y + draw * (64 + picture_sheet.GAP) + picture_sheet.GAP
            below = pixels[top : top + 64 : 8, x : x + 64 : 8]
            assert any(np.array_equal(below, crop) for crop in crops)


def test_pictures_that_are_not_of_the_size_to_be_held_are_told_to_be_cut(pets, capsys):
    held = ("--config.data.classes=3", "--config.data.image_shape=(8, 8, 3)", "--config.data.stored_size=(10, 10)")
    code, out = look(pets, *held, capsys=capsys)
    assert code == 2
    assert (
        "  config.data.stored_size: 47 of 47 pictures do not fit it with config.data.resize=exact, all are 12x16 "
        "(height x width), got (10, 10). Set config.data.resize to cover.\n"
    ) in out
    assert look(pets, *held, "--config.data.resize=cover", capsys=capsys)[0] == 0


def many(tmp_path, classes):
    for label in range(classes):
        save(tmp_path / f"train/class{label:04}/0.png", picture(label, (8, 8)))
    save(tmp_path / "test/class0000/0.png", picture(9999, (8, 8)))
    return tmp_path


@pytest.mark.slow(seconds=1)
def test_of_many_classes_the_first_are_drawn_and_those_with_most_and_fewest_pictures_listed(tmp_path, capsys):
    root = many(tmp_path / "many", 60)
    save(root / "train/class0059/1.png", picture(777, (8, 8)))
    settled = ("--config.data.classes=60", "--config.data.image_shape=(8, 8, 3)", f"--sheet={tmp_path / 's.png'}")
    code, out = look(root, *settled, capsys=capsys)
    assert code == 0
    assert "it shows the first 50 of 60 classes\n" in out
    lines = [line for line in out.splitlines() if "class00" in line and "%" in line]
    assert len(lines) == 40 and lines[0].startswith("59 class0059")
    assert any(line.startswith("(20 more)") for line in out.splitlines())
    assert len(told(root, *settled[:2], capsys=capsys)[1]["splits"]["train"]["counts"]) == 60


def test_a_name_is_drawn_in_a_font_that_has_its_letters_or_as_a_number():
    assert picture_sheet.written("cat", 3)[0] == "cat"
    unwritable = "\U000f0000 private"
    assert picture_sheet.written(unwritable, 3)[0] == "class 3"
    for name in ("猫", "žába", "собака", "قطة"):
        shown, font = picture_sheet.written(name, 7)
        unknown = bytes(font.getmask(picture_sheet.UNKNOWN))
        assert shown in (name, "class 7")
        assert all(bytes(font.getmask(letter)) != unknown for letter in shown if letter != " ")


def test_names_that_cannot_be_drawn_are_said_with_their_numbers(tmp_path, capsys):
    for name in ("train/a/0.png", "train/\U000f0000/0.png", "test/a/0.png"):
        save(tmp_path / name, picture(len(name), (8, 8)))
    flags = ("--config.data.classes=2", "--config.data.image_shape=(8, 8, 3)", f"--sheet={tmp_path / 's.png'}")
    _, out = look(tmp_path, *flags, capsys=capsys)
    assert "no font on this machine can write 1 of the names there: 1 ?\n" in out


def test_a_long_name_is_cut_and_a_class_without_pictures_keeps_its_row():
    rows = [
        picture_sheet.SheetRow(0, "x" * 200, 0, np.zeros((0, 300, 200, 1), np.uint8)),
        picture_sheet.SheetRow(1, "b", 1, np.full((1, 300, 200, 1), 9, np.uint8)),
    ]
    drawn = picture_sheet.draw(rows, (300, 200, 1), "train")
    assert drawn.width < 400
    assert count_of(np.asarray(drawn), np.full((128, 85, 3), 9, np.uint8)) == 1


def test_loaded_data_are_arrays_that_tell_and_draw_themselves(pets):
    section = resolve.resolve(SECTIONS, overrides(pets, valid_fraction=0)).data
    loaded = api_data.loaded(section, 0)
    np.testing.assert_array_equal(loaded.train.images, stacked(pets / "train"))
    assert np.bincount(loaded.train.labels).tolist() == [20, 12, 10]
    assert loaded.class_names == ("cat", "dog", "owl") and len(loaded.identity) == 64 and len(loaded.notes) == 1
    assert repr(loaded) == "folder: 42 train, 0 valid, 5 test; 3 classes, pictures of 12x16x3, in memory"
    html = str(loaded._repr_html_())
    assert html.count("<img") == 1 and "<td" in html and "owl" in html
    assert loaded.sheet(columns=3).size[0] < loaded.sheet(columns=9).size[0]
    summary = loaded.summary()
    assert summary.facts.splits["train"].counts == (20, 12, 10)
    assert "config.data.mean = (" in repr(summary) and "0 cat" in repr(summary)
    assert str(summary._repr_html_()).count("<table") == 3


@pytest.mark.slow
def test_a_runs_data_and_those_of_its_config_are_the_same_kind(finished):
    run = cnn.load(finished)
    loaded = cnn.load_data(run.config)
    assert type(run.data) is type(loaded) is api_data.LoadedData
    assert run.data.identity == loaded.identity
    np.testing.assert_array_equal(run.data.train.images, loaded.train.images)
    assert repr(loaded).startswith("digits: 1,293 train, 145 valid, 359 test; 10 classes, pictures of 8x8x1, in memory")


def test_a_narrow_terminal_cuts_nothing(pets, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "30")
    _, out = look(pets, *SETTLED, capsys=capsys)
    assert "stored as PNG" in out and "…" not in out


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP"])
@pytest.mark.parametrize("grey", [False, True])
def test_a_header_tells_format_size_and_colours(kind, grey):
    stream = io.BytesIO()
    Image.fromarray(picture(0, (5, 9), grey=grey)).save(stream, kind)
    header = decode.read_header(stream.getvalue())
    assert header[:3] == (kind, 5, 9)
    assert header.grey == (grey and kind != "WEBP")  # which stores colours alone


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_header_tells_the_size_of_the_picture_that_is_read(tmp_path, kind, orientation):
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(picture(0, (5, 9))).save(stream, kind, exif=exif)
    header = decode.read_header(stream.getvalue())
    (tmp_path / "picture").write_bytes(stream.getvalue())
    assert (header.height, header.width) == decode.read_whole(tmp_path / "picture", 3).shape[:2]


def test_what_is_no_picture_has_no_header(tmp_path):
    with pytest.raises(decode.BrokenPicture, match="not a picture in PNG"):
        decode.read_header(b"GIF89a")
    with pytest.raises(decode.BrokenPicture, match="No such file"):
        decode.read_content(tmp_path / "none")
    with pytest.raises(decode.BrokenPicture, match="not a regular file"):
        decode.read_content(tmp_path)


def test_of_arrays_of_two_sizes_both_are_told(tmp_path, capsys):
    code = (
        "import numpy as np\nimport cnn\n"
        "@cnn.source\ndef uneven():\n"
        "    return cnn.Arrays(train=(np.zeros((4, 8, 8), np.uint8), [0, 1, 0, 1]),"
        " test=(np.zeros((2, 9, 9), np.uint8), [0, 1]))\n"
    )
    (tmp_path / "mine.py").write_text(code)
    flags = (f"--config.extensions={tmp_path / 'mine.py'}", "--config.data.name=uneven", "--config.data.classes=2")
    more = ("--config.data.image_shape=(7, 7, 1)", "--config.data.valid_fraction=0", "--json")
    assert start("data", *flags, *more) == 2
    facts = json.loads(capsys.readouterr().out)
    assert [refusal.partition(" Set")[0] for refusal in facts["refusals"]] == [
        "config.data.image_shape: train of uneven is 8x8x1, got (7, 7, 1).",
        "config.data.image_shape: test of uneven is 9x9x1, got (8, 8, 1).",
    ]
    assert (facts["image_shape"], facts["resize"]) == ([8, 8, 1], "cover")


def numbers(count, classes=2):
    """Returns pictures of 6x5 and their labels in turn."""
    images = np.random.default_rng(count).integers(0, 256, (count, 6, 5), dtype=np.uint8)
    return images, np.arange(count) % classes


def test_of_a_file_of_arrays_the_shape_and_the_classes_are_told(tmp_path, capsys):
    (x, y), (x_test, y_test) = numbers(12), numbers(4)
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    flags = ("--json", "--config.data.name=npz", f"--config.data.file={tmp_path / 'mine.npz'}")
    assert start("data", *flags, "--config.data.valid_fraction=0") == 2
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["refusals"]) == 2
    assert any(" 2 classes, got 10. Set it to 2." in refusal for refusal in facts["refusals"])
    assert (facts["image_shape"], facts["identity"]) == ([6, 5, 1], None)
    np.testing.assert_allclose([facts["mean"], facts["std"]], [[(x / 255).mean()], [(x / 255).std()]], atol=1e-12)


def test_a_table_of_files_is_looked_at_as_the_files_are_stored(pets, capsys):
    rows = [f"{path.relative_to(pets)},{path.parent.name}" for path in sorted((pets / "train").rglob("*.png"))]
    (pets / "all.csv").write_text("\n".join(["image,label", *rows, "train/cat/none.png,cat"]))
    table = ("--config.data.name=csv", f"--config.data.file={pets / 'all.csv'}", "--config.data.test_fraction=0.2")
    code = start("data", "--json", *SETTLED, *table, "--config.data.on_error=skip")
    facts = json.loads(capsys.readouterr().out)
    assert code == 0
    assert facts["splits"]["train"]["formats"].keys() == {"PNG"}
    assert sum(sum(split["counts"]) for split in facts["splits"].values()) == 43
    assert [each["picture"].partition("train/")[2] for each in facts["unusable"]] == ["cat/none.png"]


def test_arrays_from_python_tell_and_draw_themselves():
    config = {**SECTIONS, "data": {"image_shape": (6, 5, 1), "classes": 2, "valid_fraction": 0}}
    loaded = cnn.load_data(config, cnn.Arrays(train=numbers(12), test=numbers(4), class_names=("a", "b")))
    summary = loaded.summary()
    assert summary.facts.splits["train"].counts == (6, 6)
    assert summary.facts.copies == () and summary.facts.refusals == ()
    assert loaded.sheet(columns=3).height > 2 * 60
