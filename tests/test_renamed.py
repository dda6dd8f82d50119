"""Fields that were called otherwise: either name is read, in files, flags, runs and sweeps, and they are one field."""

import json

import pytest

import cnn
import runs
from cnn.cli import parser
from cnn.config import config, resolve
from cnn.config.config import ConfigError, Override
from cnn.runs import compare, run_dir

pytestmark = pytest.mark.slow  # they train runs

OLD = {**runs.SECTIONS, "data": {**runs.SECTIONS["data"], "image_shape": (10, 10, 1), "fit": "pad"}}
NEW = config.renamed(OLD)
SAID = "config.data.fit: is called config.data.resize now; read as that\n"


def name_as_before(workdir):
    """Makes a run's config.json what an earlier version wrote."""
    saved = runs.saved(workdir, "config.json")
    saved["data"]["fit"] = saved["data"].pop("resize")
    (workdir / "config.json").write_text(json.dumps(saved))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A finished run whose config.json has the old name."""
    workdir = tmp_path_factory.mktemp("earlier") / "run"
    assert runs.train(workdir, sections=NEW) == 0
    name_as_before(workdir)
    return workdir


@pytest.mark.parametrize(
    ("raw", "overrides"),
    [
        (OLD, ()),
        (NEW, ()),
        (OLD, (("data.fit", "pad"),)),
        (OLD, (("data.resize", "pad"),)),
        ({**NEW, "data": {**NEW["data"], "resize": "exact"}}, (("data.fit", "pad"),)),
    ],
)
def test_either_name_gives_the_same_config(raw, overrides):
    values = resolve.resolve(raw, [Override(*pair) for pair in overrides])
    assert values.data.resize == "pad"
    assert values.json == resolve.resolve(NEW).json
    assert "fit" not in json.loads(values.json)["data"]


def test_every_old_name_leads_to_a_field_and_is_none_itself():
    for old, new in config.RENAMED.items():
        section, _, field = new.partition(".")
        names = config.SECTIONS[section].__dataclass_fields__
        assert field in names
        assert old.partition(".")[2] not in names


def test_both_names_at_once_are_refused():
    both = {**NEW, "data": {**NEW["data"], "fit": "exact"}}
    with pytest.raises(ConfigError) as error:
        resolve.resolve(both)
    said = "config.data.fit: is what config.data.resize was called, and both are set. Leave it out."
    assert error.value.problems == [said]
    typed = parser.parse(["--config.data.fit=pad", "--config.data.resize=exact"])
    assert typed.problems == ["--config.data.resize: is given twice. Keep one"]


def test_a_wrong_value_is_refused_by_the_name_of_today():
    with pytest.raises(ConfigError, match=r"config\.data\.resize: must be one of .*, got 'squash'"):
        resolve.resolve(OLD, [Override("data.fit", "squash")])


@pytest.mark.parametrize(("sections", "typed"), [(OLD, []), (NEW, ["--config.data.fit=pad"])])
def test_a_line_on_stderr_says_what_a_field_is_called_now(sections, typed, capsys):
    assert runs.start("summary", *typed, sections=sections) == 0
    assert capsys.readouterr().err == SAID


def test_nothing_is_said_of_todays_name_nor_of_a_runs_own_file(earlier, capsys):
    assert runs.start("summary", sections=NEW) == 0
    assert runs.start("summary", f"--config={earlier / 'config.json'}") == 0
    assert capsys.readouterr().err == ""


def test_an_earlier_run_is_of_the_same_config(earlier, tmp_path, capsys):
    before = runs.outcome(earlier)
    assert run_dir.check_same_config(resolve.resolve(NEW), earlier) == []
    for sections in (OLD, NEW):
        assert runs.train(earlier, sections=sections) == 0
    with pytest.raises(ConfigError, match=r"config\.data\.resize: 'pad' there, 'lanczos' here"):
        run_dir.check_same_config(resolve.resolve(NEW, [Override("data.resize", "lanczos")]), earlier)
    assert runs.start("eval", f"--workdir={earlier}") == 0
    assert runs.train(tmp_path / "today", sections=NEW) == 0
    assert runs.outcome(tmp_path / "today") == before
    assert compare.runs(earlier, tmp_path / "today").config == []
    assert "data.fit" not in capsys.readouterr().out


@pytest.mark.slow(seconds=4)
def test_an_earlier_unfinished_run_goes_on_with_the_same_bits(tmp_path, fault):
    assert runs.train(tmp_path / "whole", sections=NEW) == 0
    fault("step:term:15")
    assert runs.train(tmp_path / "run", sections=NEW) == 75
    name_as_before(tmp_path / "run")
    fault("")
    assert runs.train(tmp_path / "run", sections=NEW) == 0
    assert runs.outcome(tmp_path / "run") == runs.outcome(tmp_path / "whole")
    assert runs.saved(tmp_path / "run", "config.json")["data"]["resize"] == "pad"


def test_python_reads_either_name_too(earlier):
    again = cnn.load(earlier).config
    assert again.data.resize == "pad"
    assert "fit" not in again.data
    for name in ("data.fit", "data.resize"):
        for base in (OLD, NEW, again):
            assert cnn.configure(base, **{name: "lanczos"}).data.resize == "lanczos"


@pytest.mark.slow(seconds=4)
def test_a_sweep_takes_either_name_as_one_field(tmp_path, capsys):
    sweep = ["sweep", f"--workdir={tmp_path / 'sweep'}", "--sweep.engine=map", "--config.train.epochs=1"]
    grid = "--grid=data.fit=pad,lanczos"
    assert runs.start(*sweep, grid, "--config.data.resize=pad", sections=OLD) == 2
    assert "--config.data.resize: is swept too. Leave one out" in capsys.readouterr().err
    assert runs.start(*sweep, grid + ";data.resize=pad,exact", sections=OLD) == 2
    assert "space.data.resize: is swept twice. Keep one" in capsys.readouterr().err
    assert runs.start(*sweep, grid, sections=OLD) == 0
    folders = [tmp_path / "sweep" / "trials" / f"{number:04}" for number in range(2)]
    assert [runs.saved(folder, "config.json")["data"]["resize"] for folder in folders] == ["pad", "lanczos"]
    before = [runs.outcome(folder) for folder in folders]
    assert runs.start(*sweep, grid, sections=NEW) == 0, "the same sweep, whatever its config calls the field"
    assert [runs.outcome(folder) for folder in folders] == before
