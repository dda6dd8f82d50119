"""The same pictures give the same numbers, whatever they are stored as."""

import pytest

import picture_files
import runs
from cnn.system.preemption import Preempted
from cnn.train import experiment

WRITTEN = {
    "folder": ("folder", picture_files.write_folder),
    "npz": ("npz", picture_files.write_npz),
    "idx": ("idx", picture_files.write_idx),
    "csv": ("csv", picture_files.write_csv),
    "csv of pixels": ("csv", picture_files.write_pixels),
    "parquet": ("parquet", picture_files.write_parquet),
    "tar": ("tar", picture_files.write_tar),
}
SPLITS = picture_files.made({"train": 20, "test": 5})
"""Rows grouped by class, as folders list them."""


def sections(form, root, **changes):
    name, write = WRITTEN[form]
    write(root, SPLITS)
    where = {"data_dir": str(root)} if name == "folder" else {"file": str(root / "data.npz" if name == "npz" else root)}
    data = {"name": name, **where, "image_shape": (8, 8, 1), "classes": 3, "valid_fraction": 0.2, **changes}
    return {
        "model": {"layers": "conv(4, 3) | relu | max_pool(2) | flatten | dense(classes)"},
        "data": data,
        "optimizer": {"name": "adam", "learning_rate": 0.01},
        "train": {"batch_size": 8, "epochs": 3, "log_every_steps": 2},
        "report": {"page": "never"},
    }


@pytest.fixture(scope="module")
def of_folder(tmp_path_factory):
    """The result of a run on folders, and its metrics."""
    root = tmp_path_factory.mktemp("folder")
    assert runs.train(root / "run", sections=sections("folder", root / "data")) == 0
    return runs.outcome(root / "run")


@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize("loading", ["memory", "stream"])
@pytest.mark.parametrize("form", WRITTEN)
def test_a_run_gives_the_same_metrics_from_every_source(of_folder, tmp_path, form, loading):
    given = sections(form, tmp_path / "data", loading=loading)
    assert runs.train(tmp_path / "run", sections=given) == 0
    assert runs.outcome(tmp_path / "run") == of_folder


@pytest.mark.slow(seconds=5)
@pytest.mark.parametrize("form", ["npz", "idx", "csv", "csv of pixels", "parquet", "tar"])
def test_a_streamed_run_that_was_stopped_goes_on_to_the_bit(of_folder, tmp_path, form, fault):
    values = runs.resolve.resolve(sections(form, tmp_path / "data", loading="stream"))
    fault("step:term:9")
    with pytest.raises(Preempted):
        experiment.run(values, tmp_path / "run")
    fault("")
    experiment.run(values, tmp_path / "run")
    assert runs.outcome(tmp_path / "run") == of_folder


@pytest.mark.slow(seconds=5)
@pytest.mark.parametrize("form", ["npz", "idx", "csv", "csv of pixels", "parquet", "tar"])
def test_other_pictures_or_labels_are_other_data_for_a_finished_run(tmp_path, form, capsys):
    assert runs.train(tmp_path / "run", sections=sections(form, tmp_path / "data")) == 0
    for images, labels in ((1, 0), (0, 1)):
        changed = {split: (old + images, (row + labels) % 3) for split, (old, row) in SPLITS.items()}
        assert runs.start("eval", f"--workdir={tmp_path / 'run'}") == 0
        assert "other data" not in capsys.readouterr().out
        WRITTEN[form][1](tmp_path / "data", changed)
        assert runs.start("eval", f"--workdir={tmp_path / 'run'}") == 0
        assert "these are other data than the run was trained with" in capsys.readouterr().out
        WRITTEN[form][1](tmp_path / "data", SPLITS)
