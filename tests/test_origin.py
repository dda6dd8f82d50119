"""The data that a run knows as its own: others are told apart, by their classes and by their identity."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cnn
import data_files
import runs
from cnn.config import resolve
from cnn.data import datasets, decode, types
from cnn.runs import recorded_data, run_dir
from cnn.train import experiment, preflight

pytestmark = pytest.mark.slow  # all of them need a run that was trained
FRUIT = ("apple", "kiwi", "plum")


def write(root, names=FRUIT, count=8):
    """Writes pictures whose shade tells their class."""
    for part in ("train", "test"):
        for number, name in enumerate(names):
            (root / part / name).mkdir(parents=True)
            for n in range(count):
                Image.new("L", (4, 4), 80 * number + n + 8 * (part == "test")).save(root / part / name / f"{n}.png")


def sections(root, **changes):
    fields = {"name": "folder", "image_shape": (4, 4, 1), "classes": 3, "data_dir": str(root), "valid_fraction": 0.25}
    return {
        **runs.SECTIONS,
        "data": {**fields, **changes},
        "optimizer": {"name": "adam", "learning_rate": 0.1},
        "train": {"epochs": 30, "batch_size": 6},
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the fruit, and a run on it that knows every one of them."""
    folder = tmp_path_factory.mktemp("origin")
    write(folder / "fruit")
    experiment.run(resolve.resolve(sections(folder / "fruit")), folder / "run")
    assert runs.saved(folder / "run", "result.json")["test"]["accuracy"] == 1
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of both; the run's data are the copied fruit."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    saved = runs.saved(tmp_path / "run", "config.json")
    saved["data"]["data_dir"] = str(tmp_path / "fruit")
    (tmp_path / "run" / "config.json").write_text(json.dumps(saved))
    return tmp_path


def rename(root, before, after):
    for part in ("train", "test"):
        (root / part / before).rename(root / part / after)


def own(workdir):
    """Returns what a run wrote about itself."""
    names = [path for path in Path(workdir).iterdir() if path.suffix in (".json", ".npz")]
    return {path.name: path.read_bytes() for path in names}


def said_of(capsys, *arguments):
    code = runs.start(*arguments)
    return code, capsys.readouterr()


@pytest.mark.parametrize("command", ["eval", "explain"])
def test_classes_of_other_names_are_refused_and_nothing_is_written(copied, capsys, command):
    rename(copied / "fruit", "apple", "zapple")
    before = own(copied / "run")
    code, said = said_of(capsys, command, f"--workdir={copied / 'run'}")
    assert (code, said.out) == (2, "")
    assert said.err == (
        f"config.data: the classes are not those that {copied / 'run'} was trained with: the run has 'apple', which "
        "they lack; they have 'zapple', which the run lacks. Name the classes as the run does, or train another run "
        "on these data.\n"
    )
    assert own(copied / "run") == before


def test_fewer_classes_are_refused_by_name_and_nothing_is_written(copied, capsys):
    lose_a_class(copied / "fruit")
    before = own(copied / "run")
    code, said = said_of(capsys, "eval", f"--workdir={copied / 'run'}")
    assert (code, said.out) == (2, "")
    assert said.err == (
        f"config.data: the classes are not those that {copied / 'run'} was trained with: the run has 'plum', which "
        "they lack. Name the classes as the run does, or train another run on these data.\n"
    )
    assert own(copied / "run") == before


def test_the_api_refuses_them_too(copied):
    rename(copied / "fruit", "kiwi", "fig")
    run = cnn.load(copied / "run")
    for ask in (run.evaluate, lambda: run.data):
        with pytest.raises(types.DataError, match=r"the run has 'kiwi', which they lack; they have 'fig'"):
            ask()


@pytest.mark.parametrize("weights", ["last", "best"])
def test_other_data_of_the_same_classes_are_written_beside_the_runs_own(copied, capsys, weights):
    (copied / "fruit" / "test" / "plum" / "0.png").unlink()
    before = own(copied / "run")
    code, said = said_of(capsys, "eval", f"--workdir={copied / 'run'}", f"--weights={weights}")
    assert code == 0
    assert {name: content for name, content in own(copied / "run").items() if name in before} == before
    (written,) = set(own(copied / "run")) - set(before) - {path.name for path in (copied / "run").glob("*.npz")}
    record = runs.saved(copied / "run", written)
    name = "test" if weights == "last" else "test-best"
    assert written == f"evaluation-{name}-{record['data'][:12]}.json"
    assert record["count"] == 23
    assert f"these are other data than the run was trained with; written to {written}\n" in said.out
    assert (copied / "run" / f"predictions-{name}-{record['data'][:12]}.npz").is_file()


def test_the_runs_own_data_elsewhere_replace_its_files(copied, capsys):
    before = own(copied / "run")
    shutil.copytree(copied / "fruit", copied / "moved")
    code, said = said_of(capsys, "eval", f"--workdir={copied / 'run'}", f"--data_dir={copied / 'moved'}")
    assert (code, "other data" in said.out) == (0, False)
    assert set(own(copied / "run")) == set(before)


def test_pictures_of_other_data_that_are_passed_over_have_their_own_list(copied, capsys):
    saved = runs.saved(copied / "run", "config.json")
    saved["data"]["on_error"] = "skip"
    (copied / "run" / "config.json").write_text(json.dumps(saved))
    (copied / "run" / "bad-pictures.json").write_text('{"count": 0, "pictures": []}')
    before = own(copied / "run")
    (copied / "fruit" / "test" / "plum" / "0.png").write_bytes(b"broken")
    assert said_of(capsys, "eval", f"--workdir={copied / 'run'}")[0] == 0
    assert own(copied / "run")["bad-pictures.json"] == before["bad-pictures.json"]
    (listed,) = (copied / "run").glob("bad-pictures-*.json")
    assert json.loads(listed.read_text())["count"] == 1


def test_the_same_classes_in_another_order_are_counted_as_the_run_counts_them(copied):
    dataset = cnn.load(copied / "run").data
    order = ("plum", "apple", "kiwi")
    made = runs.saved(copied / "run", "run.json")
    (copied / "run" / "run.json").write_text(json.dumps({**made, "data": {**made["data"], "classes": order}}))
    turned = recorded_data.in_order(copied / "run", dataset)
    assert turned.class_names == order
    for part in ("train", "valid", "test"):
        before, after = getattr(dataset, part), getattr(turned, part)
        assert [order[label] for label in after.labels] == [FRUIT[label] for label in before.labels]
        assert after.labels.dtype == np.int32
        assert np.array_equal(after.images, before.images)


def test_a_run_that_does_not_tell_its_classes_is_evaluated_as_before(copied, capsys):
    made = runs.saved(copied / "run", "run.json")
    (copied / "run" / "run.json").write_text(json.dumps({name: made[name] for name in made if name != "data"}))
    rename(copied / "fruit", "plum", "prune")
    code, said = said_of(capsys, "eval", f"--workdir={copied / 'run'}")
    assert (code, "test accuracy 1.0000" in said.out) == (0, True)
    assert runs.saved(copied / "run", "evaluation-test.json")["classes"][2]["name"] == "prune"


# The same command on a run that is finished.


def again(copied, **changes):
    return runs.start("train", f"--workdir={copied / 'run'}", sections=sections(copied / "fruit", **changes))


def lose_a_third(root):
    for path in root.glob("train/*/[012].png"):
        path.unlink()


def lose_a_class(root):
    for part in ("train", "test"):
        shutil.rmtree(root / part / "plum")


def change_a_picture(root):
    Image.new("L", (4, 4), 99).save(root / "test" / "kiwi" / "0.png")


@pytest.mark.parametrize("change", [lose_a_third, lose_a_class, change_a_picture])
def test_a_finished_run_whose_data_changed_is_refused(copied, capsys, change):
    change(copied / "fruit")
    before = own(copied / "run")
    assert again(copied) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"config.data: the data are not those that {copied / 'run'} was trained with, got ")
    assert said.err.endswith(". Restore them, or choose another --workdir.\n")
    assert said.err.count("\n") == 1
    assert own(copied / "run") == before


def test_a_finished_run_is_read_without_decoding_a_picture(copied, capsys, monkeypatch):
    monkeypatch.setattr("cnn.data.encoded.read_picture", None)
    assert again(copied) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{copied / 'run'} is finished. Its result:\n")
    assert said.err == ""


@pytest.mark.parametrize("emptied", [False, True])
def test_a_finished_run_whose_data_are_gone_says_so(copied, capsys, emptied):
    shutil.rmtree(copied / "fruit")
    if emptied:  # as a folder is where nothing is mounted
        (copied / "fruit").mkdir()
    assert again(copied) == 0
    said = capsys.readouterr()
    assert "test accuracy 1.0000" in said.out
    where = copied / "fruit"
    assert said.err == f"its data are not there any more in {where}, so whether they changed is not known\n"


def test_a_finished_run_that_does_not_tell_its_data_is_read_as_before(copied, capsys):
    made = runs.saved(copied / "run", "run.json")
    (copied / "run" / "run.json").write_text(json.dumps({name: made[name] for name in made if name != "data"}))
    lose_a_third(copied / "fruit")
    assert again(copied) == 0
    assert capsys.readouterr().err == ""


def test_a_finished_run_is_checked_against_data_that_are_loaded_already(copied):
    values = resolve.resolve(sections(copied / "fruit"))
    known = cnn.load(copied / "run").data
    assert not experiment.run(values, copied / "run", known=known).fresh
    other = dataclasses.replace(known, identity="another")
    for ask in (
        lambda: experiment.run(values, copied / "run", known=other),
        lambda: experiment.prepare(values, copied / "run", other),
    ):
        with pytest.raises(
            types.DataError, match=r"^config\.data: the data are not those that .* was trained with, got "
        ):
            ask()


def test_tfds_data_are_known_again_without_being_read_and_are_never_prepared_for_it(tmp_path):
    data_files.write_mnist(tmp_path / "files")
    data_files.prepare_from(tmp_path / "files", tmp_path / "root")
    loaded = data_files.load_from(tmp_path / "root").identity
    fields = {"name": "mnist", "manual_dir": str(tmp_path / "files"), "image_shape": (28, 28, 1), "resize": "exact"}
    fields |= {"valid_fraction": 0.0, "classes": 10}
    assert datasets.identity(types.DataSpec(data_dir=str(tmp_path / "root"), **fields)) == loaded
    assert datasets.identity(types.DataSpec(data_dir=str(tmp_path / "elsewhere"), **fields)) is None
    assert not (tmp_path / "elsewhere").exists()


def test_a_class_is_the_same_in_either_unicode_form(tmp_path):
    write(tmp_path / "fruit", names=("caf\u00e9", "kiwi", "plum"))
    dataset = preflight.load_data(resolve.resolve(sections(tmp_path / "fruit")).data)
    run_dir.write_json(tmp_path / "run.json", {"data": {"classes": ["cafe\u0301", "kiwi", "plum"]}})
    assert recorded_data.in_order(tmp_path, dataset).class_names == ("caf\u00e9", "kiwi", "plum")
    run_dir.write_json(tmp_path / "run.json", {"data": {"classes": ["kiwi", "cafe\u0301", "plum"]}})
    turned = recorded_data.in_order(tmp_path, dataset)
    assert turned.test.labels.tolist() == [1] * 8 + [0] * 8 + [2] * 8


def test_a_run_whose_pictures_an_earlier_version_read_otherwise_says_so(copied, capsys):
    run = runs.saved(copied / "run", "run.json")
    assert run["numerics"]["reader"] == decode.READER_VERSION
    assert runs.start("eval", f"--workdir={copied / 'run'}") == 0
    assert "read some transparent PNG" not in capsys.readouterr().err
    run_dir.write_json(copied / "run" / "run.json", {**run, "numerics": {"optimizer": 2}})
    assert runs.start("eval", f"--workdir={copied / 'run'}") == 0
    assert f"{copied / 'run'} was begun by a version that read some transparent PNG" in capsys.readouterr().err
    (copied / "run" / "result.json").unlink()
    assert again(copied) == 0
    assert f"{copied / 'run'} was begun by a version that read some transparent PNG" in capsys.readouterr().err
